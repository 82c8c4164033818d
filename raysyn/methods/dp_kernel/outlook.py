"""What --dry-run adds to the plan of DP-Kernel: how long each stage would take here, and how much memory."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from raysyn.data.images import Images
from raysyn.methods import matching
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.dp_kernel.config import Config
from raysyn.methods.dp_kernel.model import DRAWN, pupil, resemblance
from raysyn.methods.machines import On
from raysyn.methods.matching import STEPS, new_generator
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, refuse_too_large
from raysyn.methods.synthesis import CHUNK
from raysyn.privacy import units
from raysyn.privacy.queries.functions import BLOCK, FUNCTIONS, fit
from raysyn.screen.console import Console
from raysyn.train.memory import Need
from raysyn.train.outlook import Stopwatch, one_thread, seconds

TRIED = 4_000
"""Made-up images, at most, of which rounds are measured."""


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    pixels, crowd = math.prod(shape), config.training.crowd
    image, weights = matching.image_bytes(config.network, shape), matching.weight_bytes(config.network, shape)
    inner = min(crowd - 1, pixels) * crowd
    # Covariance with its parts, its jitter and its root; points with what is made of them; a block of a class.
    of_class = 8 * (5 * inner**2 + 8 * crowd * pixels)
    some = min(BLOCK, usual_sample(config, private))
    rounds = private.classes * (of_class + crowd * image) + 8 * some * (2 * pixels + 4 * crowd)
    return [
        Need(FUNCTIONS, rounds + weights, f"{crowd:,} images of each of {private.classes:,} classes"),
        Need("synthesise", weights + CHUNK * image, f"{CHUNK} images at a time"),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from measurements that read no image; answered too."""
    private = prepared.dataset.train
    found = [
        shared.start_up(machines),
        shared.alone(FUNCTIONS, learning_seconds(config, private)),
        *shared.counting(config, private),
        shared.Stage("synthesise", matching.drawing_seconds(config.network, private, config.synthetic)),
    ]
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(config, prepared, config.synthetic, partial(resembling_seconds, config, private))
    shared.show(console, found, machines, title="Outlook")
    return found


def usual_sample(config: Config, like: Images) -> int:
    """Images of a round, of as many for each person as there are in the mean; a whole number, at least 1."""
    return max(1, round(config.rounds.batch_size * len(like) / like.units))


def learning_seconds(config: Config, like: Images) -> float:
    """Of all rounds, by a few of them with as many made-up images as a usual sample has, none of which is left out; of
    more than TRIED by these, as if a round took as much longer: rather too long, as its noise does not."""
    usual = usual_sample(config, like)
    few, clock = shared.made_up(like, min(usual, TRIED)), Stopwatch()
    brief = replace(config.rounds, count=STEPS, batch_size=few.units)
    price = units.priced(replace(brief.cost(few.units), noise_multiplier=1.0), few)
    with one_thread():
        fit(clock, pupil(config, few), few, config.kernel, brief, price, bytes(32))
    return float(config.rounds.count * clock.step_s() * usual / len(few))


def resembling_seconds(config: Config, like: Images, count: int) -> float:
    """Of saying how near to the generator's `count` images are."""
    few, generator = shared.made_up(like, min(count, DRAWN)), new_generator(config.network, like, config.seed)
    return seconds(lambda: resemblance(config, generator, few), repeats=1) * max(1.0, count / len(few))
