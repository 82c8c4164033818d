"""DP-ImgSyn's units of work: what workers do with some of the images, in the order of the pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.compute.doorway import Compute
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.dp_imgsyn.config import Config, new_teacher
from raysyn.methods.soft_students import seed_for
from raysyn.models.teacher import Teacher
from raysyn.privacy.mechanisms import LayersSeen, Learned, Mechanism
from raysyn.privacy.queries import layer_statistics
from raysyn.privacy.queries.layer_statistics import Layers
from raysyn.privacy.trial import Choice
from raysyn.train import alignment
from raysyn.train.alignment import LOSSES, MOST_STEPS, AlignmentConfig, Statistics
from raysyn.train.classifier import accuracy, as_float
from raysyn.train.diffusion import to_images
from raysyn.train.memory import at_once
from raysyn.train.naming import Naming

Answer = Callable[[str], Any]
BATCHES = 5
"""Batches per unit of the alignment."""
CHOOSE_ON = 5
"""Batches on which the number of steps is chosen."""


@dataclass(frozen=True)
class Publics:
    """The public images of a run."""

    own: Public | None
    """None where it begins with noise."""
    of_experiments: Mapping[int, Public]
    """By their places."""


@dataclass(frozen=True)
class Synthesis:
    """One way of aligning images, whatever the teacher is."""

    alignment: AlignmentConfig
    shape: tuple[int, int, int]
    classes: int
    seed: int

    def begin(self, public: Public | None, chosen: NDArray[np.int64], at: int = 0) -> Tensor:
        """Images to align, float32 (N, C, H, W): the chosen public ones in [-1, 1], or noise that follows from `at`."""
        if public is not None:
            return as_float(torch.from_numpy(public.train.images_NHWC[chosen]))
        return alignment.noise(self.alignment, len(chosen), self.shape, seed_for(self.seed, at))

    def chosen(self, public: Public | None, private: int, wanted: int | None) -> NDArray[np.int64]:
        """Which public images are aligned: `wanted`, by default as many as there are `private` ones, if that many."""
        if public is None:
            return np.arange(wanted or private)
        # In random order, because the file of a public set may be ordered by class, and a batch should see many.
        return np.random.default_rng([self.seed, 7]).permutation(len(public.train))[: wanted or private]

    def units(self, chosen: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        """Parts of what is chosen, each with its place; a whole number of batches as equal as can be."""
        batches = max(1, round(len(chosen) / self.alignment.batch_size))
        units, at = [], 0
        for part in np.array_split(chosen, math.ceil(batches / BATCHES)):
            units.append((at, part))
            at += len(part)
        return units


def sum_shard(shard: tuple[int, int], shared: tuple[Teacher, Images, np.ndarray, list[float], float]) -> Tensor:
    """One unit of the statistics: exact sums over some private images, which stay inside."""
    (start, end), (teacher, private, times_N, scales, clip_norm) = shard, shared
    device, total = best_device(), torch.zeros(())
    teacher = teacher.to(device)
    size = at_once(250, private.shape)
    for at in range(start, end, size):
        part = slice(at, min(at + size, end))
        pixels = as_float(torch.tensor(private.images_NHWC[part], device=device))
        u = layer_statistics.clipped(layer_statistics.moments(teacher, pixels), scales, clip_norm)
        total = total + (u * torch.tensor(times_N[part], device=device)[:, None]).sum(0).cpu()
    return total


Aligning = tuple[Teacher, Sequence[Sequence[Tensor]], Public | None, Synthesis]


def align_some(unit: tuple[int, NDArray[np.int64]], shared: Aligning) -> dict[str, Tensor]:
    """One unit of the alignment: some batches, as they are released, with the teacher's probabilities.

    {"images": uint8 (N, H, W, C), "soft": float32 (N, K), "losses": (batches, steps + 1, terms and total), total
    variation and squared norm per image}.
    """
    (at, chosen), (teacher, stored, public, synthesis) = unit, shared
    device = best_device()
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    wanted = [(mean.to(device), variance.to(device)) for mean, variance in stored]
    images, soft, told = list[Tensor](), list[Tensor](), []
    # As equal as can be: the statistics of a small remainder would be its own.
    for some in np.array_split(chosen, max(1, round(len(chosen) / synthesis.alignment.batch_size))):
        x = synthesis.begin(public, some, at + sum(map(len, images))).to(device)
        y = alignment.targets(len(x), synthesis.classes).to(device)
        x, history = alignment.align(teacher, x, y, wanted, synthesis.alignment)
        # What leaves are whole numbers: the teacher labels those, and not what they were rounded from.
        pixels = to_images(x)
        said, last = alignment.label(teacher, as_float(pixels), y, wanted, synthesis.alignment)
        soft.append(said.cpu())
        images.append(pixels.cpu())
        each = {"total_variation": len(x), "l2": len(x)}
        told.append([[step[name] / each.get(name, 1) for name in (*LOSSES, "total")] for step in (*history, last)])
    return {"images": torch.cat(images), "soft": torch.cat(soft), "losses": torch.tensor(told)}


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The answers of all units as one."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def tried(
    compute: Compute, teacher: Teacher, wanted: Statistics, public: Public | None, synthesis: Synthesis, few: int,
    noise: float,
) -> dict[str, Tensor]:  # fmt: skip
    """What MOST_STEPS do to a few batches of images, as `align_some` answers; after none where the `noise` explains how
    far these are from what is wanted already, for then `enough_steps` says 0 whatever further ones bring."""
    chosen = synthesis.chosen(public, few, CHOOSE_ON * synthesis.alignment.batch_size)
    for iterations, name in ((0, "steps-none"), (MOST_STEPS, "steps")):
        some = replace(synthesis, alignment=replace(synthesis.alignment, iterations=iterations))
        shared = (teacher, [list(pair) for pair in wanted], public, some)
        found = joined(compute.map(align_some, some.units(chosen), name=name, shared=shared))
        if float(found["losses"][:, 0, LOSSES.index("feature")].mean()) <= noise:
            break
    return found


def teacher_accuracy(_: None, shared: tuple[Teacher, Images]) -> float:
    """One unit: the teacher's own accuracy on real test images."""
    teacher, test = shared
    return accuracy(teacher.to(best_device()), test)


def synthesis_of(config: Config, private: Images) -> Synthesis:
    """How the released images are made."""
    return Synthesis(config.alignment, private.shape, private.classes, config.seed)


def mechanisms(config: Config, like: Images, answer: Answer) -> dict[str, Mechanism]:
    """See `Method.mechanisms`. Scales are those of noise: they are public, whatever they are."""
    stored, teacher = answer("teacher"), new_teacher(config, like)
    teacher.load_state_dict(stored["ema"])
    noise = torch.randn(BATCHES, like.shape[2], *like.shape[:2], generator=torch.Generator().manual_seed(0))
    seen = LayersSeen(config.statistics, Layers.of(teacher, noise))
    learned = Learned(teacher.train(), Naming(), config.training, Choice(**stored["engine"]))
    return {"teacher": learned, "statistics": seen}
