"""What --dry-run adds to the plan of noisy means: how long each stage would take here, and how much memory."""

from __future__ import annotations

from functools import partial

from raysyn.data.images import Images
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, float_image, moments_needs, refuse_too_large
from raysyn.methods.noisy_means.config import Config
from raysyn.methods.synthesis import CHUNK
from raysyn.privacy.queries.counts import COUNTS
from raysyn.screen.console import Console
from raysyn.train.memory import Need


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    return [
        *moments_needs(config.moments, shape, private.classes),
        Need("synthesise", CHUNK * float_image(shape), f"{CHUNK} images at a time"),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from moments' measurements that read no image; answered too."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    found = [
        shared.start_up(machines),
        *(
            shared.alone(stage, shared.moments_seconds(config.moments, stage, private))
            for stage in plan.stages
            if stage != COUNTS
        ),
    ]
    found += shared.counting(config, private)
    found.append(shared.Stage("synthesise", shared.moments_drawing(config.moments, private, config.synthetic)))
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(config, prepared, config.synthetic)
    shared.show(console, found, machines, title="Outlook")
    return found
