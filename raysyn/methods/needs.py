"""How much memory each stage of a run will hold, and the refusal of one that has no place here."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from raysyn.compute.doorway import Machines
from raysyn.compute.worker import best_device
from raysyn.methods.machines import On
from raysyn.metrics.utility import EvalConfig
from raysyn.models.classifiers import BUILT, build
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.moments import MEANS, SPREAD, MomentsConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import fitting
from raysyn.screen.console import Console
from raysyn.train.classifier import EVALUATION_BATCH, ClassifierConfig, images_per_step
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import few
from raysyn.train.memory import (
    BOOKS,
    HEADROOM,
    Need,
    at_once,
    available_bytes,
    call_bytes,
    check_memory,
    gradient_bytes,
    held_bytes,
    largest,
    step_bytes,
    told,
)
from raysyn.train.samplers import MOST_AT_ONCE

Shape = tuple[int, int, int]
Needs = Callable[[Any, Shape, Any], list[Need]]
"""needs(config, shape, machines): what the stages of a run on images of `shape` would hold."""
LIBRARIES = 450 * 2**20
"""Bytes that a further worker's process holds of its own before it does anything: Python, PyTorch and Ray."""
PATCHES, SIDES = (2, 4, 8, 16), (128, 64, 32, 28, 16)
"""What is tried where a run does not fit."""
PARTS, LEAST_DRAWS = (2, 4, 8, 16), 1_000
"""The same of a second warm-up: by what its numbers are divided; and no fewer images than that."""


def refuse_too_large(console: Console, config: Any, shape: Shape, needs: Needs, machines: Machines) -> None:
    """Say what a worker will hold; ValueError, with a mend that fits, where this machine is to do it and cannot."""
    found, free = needs(config, shape, machines), available_bytes()
    worst = largest(found)
    here = machines.address in ("local", "here")
    check_memory(shape, found, mends(config, shape, needs, machines), free if here else None)
    console.say(
        f"Memory: a worker holds about {told(held_bytes() + HEADROOM * worst.bytes)}, of it "
        f"{told(HEADROOM * worst.bytes)} in {worst.stage} ({worst.of})"
    )


def mends(
    config: Any, shape: Shape, needs: Needs, machines: Machines
) -> Iterator[list[tuple[str, Callable[[], list[Need]]]]]:
    """Groups of flags, of each of which the first that fits is worth naming."""
    if sharing(machines) > 1:
        yield [("--on.workers 1", lambda: needs(config, shape, replace(machines, workers=1)))]
    if getattr(getattr(config, "network", None), "factory", "") is None and (
        getattr(config, "generator", "diffusion") == "diffusion"
    ):
        patched = [(one, replace(config, network=replace(config.network, patch=one))) for one in PATCHES]
        yield [
            (f"--network.patch {one}", lambda other=other: needs(other, shape, machines))  # type: ignore[misc]
            for one, other in patched
            if one > config.network.patch
        ]
    yield from fewer_generated(config, shape, needs, machines)
    names = getattr(getattr(config, "eval", None), "classifiers", ())
    if any(name.startswith("resnet9") for name in names):
        few = tuple(name for name in names if not name.startswith("resnet9"))
        other = replace(config, eval=replace(config.eval, classifiers=few))
        yield [(f"--eval.classifiers {' '.join(few)}".strip(), lambda: needs(other, shape, machines))]
    yield [
        (f"--data.size {side}", lambda side=side: needs(config, (side, side, shape[2]), machines))  # type: ignore[misc]
        for side in SIDES
        if side < min(shape[:2])
    ]


def fewer_generated(
    config: Any, shape: Shape, needs: Needs, machines: Machines
) -> Iterator[list[tuple[str, Callable[[], list[Need]]]]]:
    """Of a second warm-up: fewer images of its generator, and fewer features of the question that this learns from."""
    second = getattr(config, "frequency", None)
    if second is None or not second.asked:
        return
    count = second.features.count

    def held(other: Any) -> list[Need]:
        return needs(replace(config, frequency=other), shape, machines)

    draws = [second.draws // part for part in PARTS if second.draws // part >= LEAST_DRAWS]
    yield [(f"--frequency.draws {one}", lambda one=one: held(replace(second, draws=one))) for one in draws]  # type: ignore[misc]
    features = [
        2 * (count // (2 * part)) for part in PARTS if count // (2 * part) >= len(second.features.length_scales)
    ]
    yield [
        (
            f"--frequency.features.count {one}",
            lambda one=one: held(replace(second, features=replace(second.features, count=one))),  # type: ignore[misc]
        )
        for one in features
    ]


def per_worker(batch: int, machines: Machines) -> int:
    """Images of a batch in one memory: workers without a GPU share the machine's."""
    if best_device().type != "cuda":
        return batch
    return math.ceil(batch / (machines.workers or torch.cuda.device_count()))


def sharing(machines: Machines) -> int:
    """Workers of one group whose memory is this machine's, as `on_ray` deals them out by default. One each where they
    have GPUs, and on a cluster, of which nothing is known here."""
    if best_device().type == "cuda" or machines.address != "local":
        return 1
    return machines.workers or min(os.cpu_count() or 1, 4)


def denoiser_needs(
    new: Callable[[], nn.Module], shape: Shape, plain: dict[str, tuple[int, int]], private: SGDConfig | None,
    machines: On,
) -> list[Need]:  # fmt: skip
    """Of a diffusion model: of the `plain` stages with their images and copies per step, of DP-SGD, of drawing."""
    device, task = best_device(), DiffusionTask(classes=1)
    found = [
        Need(stage, gradient_bytes(new(), task, shape, images, copies), f"a batch of {images:,} images")
        for stage, (images, copies) in plain.items()
    ]
    if private is not None:
        found.append(private_need(new, task, shape, private, machines, private.noise_multiplicity))
    drawn = at_once(MOST_AT_ONCE[device.type], shape)
    found.append(Need("synthesise", call_bytes(new(), task, shape, drawn), f"{drawn:,} images at a time"))
    return found


def private_need(
    new: Callable[[], nn.Module], task: Any, shape: Shape, config: SGDConfig, machines: On, rows: int,
    stage: str = "finetune",
) -> Need:  # fmt: skip
    """Of DP-SGD by all workers that share this memory, whose micro-batch follows it; `rows` of the network's input
    belong to an image."""
    workers, speed = sharing(machines), machines.sgd
    channels_first = (shape[2], *shape[:2])
    own_share = math.ceil(config.batch_size / workers)
    fits = fitting(best_device(), torch.empty(1, rows, *channels_first, device="meta"), own_share)

    def held(images: int) -> float:
        model = few(new(), config.layers)
        own = images * sum(value.numel() for value in model.parameters()) * 4
        return BOOKS * gradient_bytes(model, task, shape, images, config.noise_multiplicity) + own

    images = speed.micro_batch or fits
    size, halves = held(images), best_device().type == "cuda" and speed.micro_batch is None
    while halves and images > 1 and HEADROOM * size > (available_bytes() or math.inf):
        images = -(-images // 2)  # as `trial.measure` does
        size = held(images)
    of = f"{images:,} images at a time" + (f", {rows} inputs of the network each" if rows > 1 else "")
    if workers == 1:
        return Need(stage, int(size), of)
    return Need(stage, int(workers * (size + LIBRARIES)), f"{workers} workers, each with {of}")


def moments_needs(config: MomentsConfig, shape: Shape, classes: int) -> list[Need]:
    """Of both questions for noisy moments, and of the answer to the second as it is read."""
    image = float_image(shape)
    spread = 8 * classes * (shape[2] * moments.kept(shape, config.spread_frequencies)) ** 2
    return [
        Need(MEANS, moments.BLOCK * image, f"{moments.BLOCK} images at a time"),
        Need(SPREAD, moments.BLOCK * image + 4 * spread, f"spreads of {classes} classes"),
    ]


def float_image(shape: Shape) -> int:
    """Bytes of an image as a question reads it: pixels and their transform as float64, and one of both sorted."""
    return 3 * 8 * math.prod(shape)


def classifier_needs(config: EvalConfig, shape: Shape, classes: int, images: int) -> list[Need]:
    """Of the classifiers that judge, and of the network whose features are compared."""
    found, training = [], ClassifierConfig()
    names: Sequence[str] = [name for name in BUILT if name in config.classifiers]
    if config.feature_epochs:
        names = [*dict.fromkeys([*names, "cnn"])]
    for name in names:
        width = config.resnet9_width if name == "resnet9" else 1.0
        size = images_per_step(name, training, min(images, config.images or images))
        found.append(naming_need(name, build(name, shape, classes, width), shape, size))
    if any(name.startswith("sklearn_") for name in config.classifiers):
        held = min(images, config.images or images) * math.prod(shape) * 4 * 3
        found.append(Need("utility", held, "scikit-learn's copies of all images"))
    return found


def naming_need(name: str, network: nn.Module, shape: Shape, images: int) -> Need:
    """Of one classifier, in training or asked."""
    network, channels_first = network.to("meta"), (shape[2], *shape[:2])
    asked = at_once(EVALUATION_BATCH, shape)

    def loss() -> torch.Tensor:
        labels = torch.empty(images, dtype=torch.int64, device="meta")
        return F.cross_entropy(network(torch.empty(images, *channels_first, device="meta")), labels)

    # Without gradients layers let go of what they were given, so that a few times as many images fit.
    return Need(name, step_bytes([network], loss), f"{images:,} images a step, {asked:,} when asked")
