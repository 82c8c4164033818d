"""What --dry-run shows of the time that a run will take: every stage, their sum, and the workers there are for them.

Everything is measured for a moment on made-up images; no private image is read.
"""

from __future__ import annotations

import copy
import functools
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from raysyn.attacks import nearest
from raysyn.compute import worker
from raysyn.compute.doorway import Machines
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.class_shares import counted
from raysyn.methods.moments import draw_chunk
from raysyn.metrics import pace
from raysyn.metrics.utility import EvalConfig
from raysyn.models.class_gaussians import ClassGaussians
from raysyn.privacy import micro_batches, sgd
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.central import CentralConfig, central_images
from raysyn.privacy.queries.counts import class_counts, cost
from raysyn.privacy.queries.moments import MEANS, SPREAD, MomentsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import FUSED, Choice, SGDSpeed, fitting
from raysyn.screen.console import Console, duration
from raysyn.train import loop, near
from raysyn.train.loop import Augment, LoopConfig, Task
from raysyn.train.memory import at_once
from raysyn.train.outlook import Stopwatch, fitting_images, measure, now, one_thread, seconds, shortest
from raysyn.train.samplers import SamplerConfig, generate, network_calls

ALL, START_UP = "all", "start-up"
FEW = 64
"""Images to measure with: a usual batch."""
STEP_S = 0.6
"""A measured step should take no longer."""


@dataclass(frozen=True)
class Stage:
    """A stage as `timings` in report.json names it, or what comes before and between them."""

    name: str
    seconds: float
    """Of one worker with one CPU or GPU."""
    longest: float = 0.0
    """Of them, those of the longest part that further workers cannot share."""

    def with_workers(self, count: int) -> float:
        return max(self.longest, self.seconds / count)


def alone(name: str, spent: float) -> Stage:
    """A stage of one worker, however many there are."""
    return Stage(name, spent, spent)


def units(name: str, spent: Sequence[float]) -> Stage:
    """A fan-out of units that take so long."""
    return Stage(name, sum(spent), max(spent, default=0.0))


def total(stages: Sequence[Stage]) -> float:
    """Seconds of one worker for a whole run."""
    return sum(stage.seconds for stage in stages)


def show(console: Console, stages: Sequence[Stage], machines: Machines, *, title: str, caption: str = "") -> None:
    """The stages and a row for all of them, for one worker and for those of `machines` where they are known."""
    count = workers(machines)
    device = "GPU" if best_device().type == "cuda" else "CPU"
    rows = list[Mapping[str, Any]]()
    for name, some in [*((stage.name, [stage]) for stage in stages), (ALL, stages)]:
        row = {"stage": name, f"one worker with one {device}": duration(total(some))}
        if count is not None and count > 1:
            row[f"{count} workers"] = duration(sum(stage.with_workers(count) for stage in some))
        rows.append(row)
    console.plan_table(rows, title=title)
    told = f"Measured on made-up images on this machine. {caption}".strip()
    if count is None:
        told += " How many workers the cluster has is not known here: say --on.workers."
    console.say(told)


def workers(machines: Machines) -> int | None:
    """Workers that a run will have, as `on_ray` deals them out; None on a cluster, of which nothing is known here."""
    if machines.address == "here":
        return 1
    if machines.workers is not None or machines.address != "local":
        return machines.workers
    return torch.cuda.device_count() if best_device().type == "cuda" else min(os.cpu_count() or 1, 4)


@functools.cache
def _so_far() -> float:
    """CPU seconds of this process when it first asks: imports, data, checks and the plan, as of every run's start."""
    return time.process_time()


def start_up(machines: Machines) -> Stage:
    """Imports, data and the plan, as this process took them; on Ray every worker imports too."""
    here = _so_far()
    if machines.address == "here":
        return alone(START_UP, here)
    return Stage(START_UP, here * (1 + (workers(machines) or 1)), 2 * here)


def made_up(like: Images, n: int) -> Images:
    """Noise in the shape and with the classes of `like`, none of whose images is read."""
    return replace(pace.made_up(like.shape, like.classes, n), class_names=like.class_names)


def judging(config: EvalConfig, like: Images, *, synthetic: int, test: int, real: int | None = None) -> list[Stage]:
    """Of `synthesis.evaluate`: the floor, classifiers of the evaluation, fidelity, and then the attack by distances. Of
    `like`, the real training images, only shape, classes and number count."""
    counts = {"synthetic": synthetic, "real": len(like) if real is None else real}
    floor = list[Stage]()
    if config.floor and config.classifiers:
        floor.append(alone("floor", floor_seconds(like, min(synthetic, config.images or synthetic))))
    return [
        *floor,
        units("utility", pace.utility_units(config, like.shape, like.classes, **counts, test=test)),
        units("fidelity", pace.fidelity_units(config, like.shape, like.classes, **counts, test=test)),
        *attacking(config.distances, like, synthetic=synthetic, test=test),
    ]


def attacking(most: int, like: Images, *, synthetic: int, test: int) -> list[Stage]:
    """Of `distances.attack_by_distances`, where it is asked for: a CNN of the released images, and nearest images by
    two looks, of the pool among these and in itself, the same of its control where images are left for it; and the
    closest pairs, among all training images."""
    if not most:
        return []
    few, asked = made_up(like, 100), round(most * len(like) / like.units)
    pool, left = min(asked, len(like)) + min(asked, test), len(like) - asked
    learnt = min(synthetic, nearest.LEARN_FROM)
    of_cnn = (EvalConfig(), like.shape, like.classes, learnt, nearest.EPOCHS, 2 * (synthetic + pool))
    rounds = 2 if left >= nearest.LEFT * like.classes else 1
    with one_thread():
        pair_s = seconds(lambda: near.nearest(few, few, near.flat)) / len(few) ** 2
    pairs = (2 * rounds * pool * (2 * synthetic + pool) + min(most, synthetic) * len(like)) / like.classes
    return [alone("distances", rounds * pace.classifier_seconds("cnn", *of_cnn) + pairs * pair_s)]


def central_seconds(config: CentralConfig, like: Images) -> float:
    """Of the query for central images, on a few made-up ones. Their noise is thrown away with them."""
    few = made_up(like, min(len(like), 500))
    spent = seconds(lambda: central_images(few, config, Stream(bytes(32), "outlook")), repeats=1)
    return spent * len(like) / len(few)


def counting(config: Any, like: Images) -> list[Stage]:
    """The stage of noisy class counts, where they are asked for, on a few made-up images."""
    few, stream = made_up(like, min(len(like), 500)), Stream(bytes(32), "outlook")

    def asked() -> float:
        return seconds(lambda: class_counts(few, cost(config.classes.noisy_counts), stream))

    return [alone(stage, asked() * len(like) / len(few)) for stage in counted(config)]


def floor_seconds(like: Images, count: int) -> float:
    """Of `floor.floor_images`."""
    config = MomentsConfig()
    return sum(moments_seconds(config, stage, like) for stage in (MEANS, SPREAD)) + moments_drawing(config, like, count)


def moments_seconds(config: MomentsConfig, stage: str, like: Images) -> float:
    """Of one of the two questions for moments, on a few made-up images. Their noise is thrown away with them."""
    few, stream = made_up(like, min(len(like), moments.BLOCK)), Stream(bytes(32), "outlook")
    price = Cost(mechanism="", noise_multiplier=1.0, sampling_rate=1.0, steps=1)
    if stage == MEANS:
        ask = functools.partial(moments.class_sums, few, config, price, stream)
    else:
        grey_KF = np.zeros((like.classes, like.shape[2] * moments.kept(like.shape, config.frequencies)))
        ask = functools.partial(moments.spread_sums, few, grey_KF, config, price, stream, own=False)
    return seconds(ask, repeats=1) * len(like) / len(few)


def moments_drawing(config: MomentsConfig, like: Images, count: int) -> float:
    """Of drawing `count` images from Gaussians with these moments: a few of them, all grey."""
    few, size = min(count, moments.BLOCK), like.shape[2] * moments.kept(like.shape, config.frequencies)
    directions = like.shape[2] * moments.kept(like.shape, config.spread_frequencies)
    grey = ClassGaussians(np.zeros((like.classes, size)), np.zeros((1, size, directions)))
    chunk = (0, np.arange(few) % like.classes)
    return seconds(lambda: draw_chunk(chunk, (grey, like.shape)), repeats=1) * count / few


def gradient_seconds(model: nn.Module, task: Task, like: Images) -> float:
    """Of one image, in one copy, forward and backward; a GPU is asked for many, or it told what starting takes."""
    return measure(copy.deepcopy(model), task, like.shape, most=FEW if best_device().type == "cuda" else 2).gradient_s


def affordable(model: nn.Module, task: Task, like: Images, batch: int, each_s: float, least: int = 1) -> int:
    """Images to measure a step of `batch` with, of `each_s` seconds each: no more than fit and, beyond `least`, than a
    moment is enough for."""
    # A clock of CPU time, on a busy machine, may not have moved.
    long_enough = int(STEP_S / max(each_s, STEP_S / batch))
    return max(1, min(batch, fitting_images(model, task, like.shape, FEW), max(least, long_enough)))


def learning_seconds(
    model: nn.Module, task: Task, like: Images, config: LoopConfig, augment: Augment | None = None
) -> float:
    """Of `loop.fit`: a few of its steps on made-up images, from a smaller batch where it is large."""
    if not config.iterations:
        return 0.0
    each_s, clock = config.copies * gradient_seconds(model, task, like), Stopwatch()
    few = affordable(model, task, like, config.batch_size, each_s)
    brief = replace(config, iterations=5, batch_size=few)
    with one_thread():
        loop.fit(clock, model, task, made_up(like, few), brief, 0, augment)
    return config.iterations * clock.step_s() * config.batch_size / few


def private_seconds(model: nn.Module, task: Task, like: Images, config: SGDConfig, speed: SGDSpeed) -> float:
    """Of `sgd.fit` on as many images as `like` has, with the trial of its engines and without a partner: a few of its
    steps on made-up ones. Their noise is thrown away with them. On a GPU an upper bound: nothing is compiled for so few
    steps."""
    whole, copies = min(config.batch_size, like.units), config.noise_multiplicity
    each_s = gradient_seconds(model, task, like)
    # Of two images at least, or what one more takes would not be known; in no more copies than make a moment's step.
    held = max(1, min(copies, int(STEP_S / 2 / each_s))) if each_s else copies
    few = affordable(model, task, like, whole, held * each_s, least=2)
    speed = replace(speed, engine="auto" if speed.engine == FUSED else speed.engine)
    if not worker.has_bf16(best_device()):
        speed = replace(speed, precision="float32")

    def steps(images: int, speed: SGDSpeed) -> tuple[float, float, Choice]:
        """Seconds of one step on so many images, and of what comes before the first, and the choice of the trial."""
        brief, clock = replace(config, batch_size=images, epochs=4, noise_multiplicity=held), Stopwatch()
        price, some = replace(brief.cost(images), noise_multiplier=1.0), made_up(like, images)
        started = now()
        with one_thread():
            found = sgd.fit(clock, model, task, some, brief, price, bytes(32), speed)
        step_s = shortest(clock.times)
        return step_s, max(0.0, clock.times[0] - started - step_s), Choice(**found.value["engine"])

    step_s, before_s, choice = steps(few, speed)
    tried = choice.micro_batch if best_device().type == "cuda" else min(few, choice.micro_batch)
    alone_s, untried_s, _ = steps(1, SGDSpeed(**choice.as_dict() | {"micro_batch": min(few, choice.micro_batch)}))
    if few == 1 or best_device().type == "cuda":
        # Where one image takes a GPU as long as a few, what one more takes would be chance.
        step_s *= whole * copies / (few * held)
    elif few < whole or held < copies:
        # The noise and the optimizer cost the same whatever the batch is.
        more_s = max(0.0, step_s - alone_s) / (few - 1)
        step_s = max(0.0, alone_s - more_s) + whole * more_s * copies / held
    given = micro_batches.made_up(task, like, copies, 1, torch.device("cpu"))
    to_try = speed.micro_batch or fitting(best_device(), given[0], whole)
    to_try = to_try if best_device().type == "cuda" else min(whole, to_try)
    trial_s = max(0.0, before_s - untried_s) * to_try * copies / (tried * held)
    return config.cost(like.units).steps * step_s + untried_s + trial_s


def each_seconds(action: Callable[[int], object], most: int) -> float:
    """Per image, of `action(images)`: of as many, up to `most`, as a moment is enough for."""
    return paced(lambda images: seconds(lambda: action(images), repeats=1), most)


def paced(measured: Callable[[int], float], most: int) -> float:
    """Per image, of what takes `measured(images)` seconds: of as many, up to `most`, as a moment is enough for."""
    few = min(4, most)
    with one_thread():
        # A GPU may take no longer for twice as many.
        while (more := min(most, int(STEP_S * few / max(took := measured(few), STEP_S / most)))) >= 2 * few:
            few = more
    return took / few


def drawing_seconds(model: nn.Module, sampler: SamplerConfig, like: Images, count: int) -> float:
    """Of drawing `count` images from a diffusion model: a few of them, by two steps of the solver."""
    brief = replace(sampler, steps=2)

    def draw(few: int) -> None:
        generate(model, brief, torch.arange(few) % like.classes, like.shape, 0, best_device())

    each_s = each_seconds(draw, at_once(FEW, like.shape))
    return count * network_calls(sampler) * each_s / network_calls(brief)


def again_seconds(model: nn.Module, sampler: SamplerConfig | None, like: Images, count: int) -> float:
    """Of drawing once more, where a sampler for fidelity is given."""
    return 0.0 if sampler is None else drawing_seconds(model, sampler, like, count)
