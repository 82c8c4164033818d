"""What --dry-run adds to the plan of evolution: how long each stage would take here, and how much memory."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.evolution.config import Config
from raysyn.methods.evolution.evolve import SHARD, draw_chunk, size_of
from raysyn.methods.evolution.sources import AT_ONCE, SMALL, source_of
from raysyn.methods.evolution.warps import drawn
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, refuse_too_large
from raysyn.methods.synthesis import CHUNK
from raysyn.privacy.queries.votes import BLOCK, VOTES, nearest
from raysyn.screen.console import Console
from raysyn.train.memory import Need, at_once
from raysyn.train.outlook import one_thread, seconds


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
    image, (classes, each) = math.prod(shape), size_of(config, private, noise)
    pool = 0 if public is None else min(config.source.pool, len(public.train))
    held = classes * each * image + pool * (image + 4 * SMALL * SMALL * shape[2])
    compared = 4 * BLOCK * (4 * image + BLOCK) + at_once(SHARD, shape) * image
    near = 4 * AT_ONCE * pool
    return [
        Need(VOTES, held + compared + near, f"{classes * each:,} candidates and {pool:,} public images"),
        Need("synthesise", 8 * at_once(AT_ONCE, shape) * 4 * image + CHUNK * image, f"{CHUNK} images at a time"),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from moments' measurements that read no private image; answered too."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    source = source_of(config.source, private.class_names, private.shape, prepared.more, config.seed)
    painter, (classes, each) = source.painter(), size_of(config, private, plan.noise(VOTES))
    few = shared.made_up(private, 128)
    genes = drawn(torch.zeros(32, dtype=torch.int64), torch.Generator().manual_seed(0))
    chunk = 0, np.zeros(32, np.int64)
    shares = torch.ones(classes, 32, dtype=torch.float64)
    population = (painter, genes.expand(classes, *genes.shape), shares, config.source.final)
    with one_thread():
        pair_s = seconds(lambda: nearest(few.images_NHWC, few.images_NHWC, config.votes.blur)) / len(few) ** 2
        draw_chunk(chunk, population)  # faces of a character are made once
        drawn_s = seconds(lambda: draw_chunk(chunk, population)) / 32
    rounds = plan.stages[VOTES].steps * each
    voting = rounds * (classes * drawn_s + len(private) * pair_s)
    found = [shared.start_up(machines), shared.Stage(VOTES, voting), *shared.counting(config, private)]
    found.append(shared.Stage("synthesise", drawn_s * config.synthetic))
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))

    def unvoted(count: int) -> float:
        # Candidates are drawn again, for canaries and for those beside them.
        return rounds * (2 * classes * drawn_s + count * pair_s)

    found += auditing(config, prepared, config.synthetic, unvoted)
    shared.show(console, found, machines, title="Outlook")
    return found
