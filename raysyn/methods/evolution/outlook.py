"""What --dry-run adds to the plan of evolution: how long each stage would take here, and how much memory."""

from __future__ import annotations

from functools import partial

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import evolving_outlook
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.evolution.config import Config
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, refuse_too_large
from raysyn.privacy.queries.votes import VOTES
from raysyn.screen.console import Console
from raysyn.train.memory import Need


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    noise = prepared.plan.noise(VOTES) if prepared.plan is not None else 1.0
    measured = partial(needs, private=private, public=prepared.more, noise=noise)
    refuse_too_large(console, config, private.shape, measured, machines)


def needs(
    config: Config, shape: Shape, machines: On, *, private: Images, public: Public | None, noise: float
) -> list[Need]:  # fmt: skip
    """What each stage holds, on images of `shape` in place of the private ones."""
    return [
        *evolving_outlook.needs(config, shape, private, public, noise),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from moments' measurements that read no private image; answered too."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    pace = evolving_outlook.pace(config, private, prepared.more, plan.noise(VOTES))
    found = [shared.start_up(machines), shared.Stage(VOTES, pace.voting(len(private)))]
    found += shared.counting(config, private)
    found.append(shared.Stage("synthesise", pace.drawn * config.synthetic))
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(config, prepared, config.synthetic, pace.looking)
    shared.show(console, found, machines, title="Outlook")
    return found
