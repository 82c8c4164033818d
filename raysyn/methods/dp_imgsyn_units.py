"""DP-ImgSyn's units of work: what workers do with some of the images, in the order of the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.compute import best_device
from raysyn.data import Images
from raysyn.metrics.dissimilarity import DissimilarityConfig, dissimilarity
from raysyn.models.students import student
from raysyn.models.teacher import Teacher
from raysyn.privacy import layer_statistics
from raysyn.public import Public
from raysyn.train import alignment
from raysyn.train.alignment import LOSSES, AlignmentConfig
from raysyn.train.classifier import accuracy, as_float
from raysyn.train.diffusion import to_images
from raysyn.train.distillation import DistillationConfig, distill

BATCHES = 5
"""Batches per unit of the alignment."""
YARDSTICK = 200
"""Images, no private ones, that say how large each layer's inputs are."""


@dataclass(frozen=True)
class Layers:
    """What is public about the layers that are asked about."""

    channels: list[int]
    scales: list[float]

    @staticmethod
    def of(teacher: Teacher, images_NCHW: Tensor) -> Layers:
        """As `teacher` sees some images, none of them private."""
        seen = layer_statistics.moments(teacher, images_NCHW)
        return Layers([v.shape[1] // 2 for v in seen], layer_statistics.scales(seen))


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
        seed = int(np.random.SeedSequence([self.seed, at]).generate_state(1)[0])
        return alignment.noise(self.alignment, len(chosen), self.shape, seed)

    def chosen(self, public: Public | None, private: int, wanted: int | None) -> NDArray[np.int64]:
        """Which public images are aligned: `wanted`, by default as many as there are `private` ones, if that many."""
        there = private if public is None else len(public.train)
        # In random order, because the file of a public set may be ordered by class, and a batch should see many.
        return np.random.default_rng([self.seed, 7]).permutation(there)[: wanted or min(there, private)]

    def units(self, chosen: NDArray[np.int64]) -> list[tuple[int, NDArray[np.int64]]]:
        """Parts of what is chosen, each with its place."""
        size = self.alignment.batch_size * BATCHES
        return [(at, chosen[at : at + size]) for at in range(0, len(chosen), size)]


def sum_shard(shard: tuple[int, int], shared: tuple[Teacher, Images, np.ndarray, list[float], float]) -> Tensor:
    """One unit of the statistics: exact sums over some private images, which stay inside."""
    (start, end), (teacher, private, times_N, scales, clip_norm) = shard, shared
    device, total = best_device(), torch.zeros(())
    teacher = teacher.to(device)
    for at in range(start, end, 250):
        part = slice(at, min(at + 250, end))
        pixels = as_float(torch.tensor(private.images_NHWC[part], device=device))
        u = layer_statistics.clipped(layer_statistics.moments(teacher, pixels), scales, clip_norm)
        total = total + (u * torch.tensor(times_N[part], device=device)[:, None]).sum(0).cpu()
    return total


Aligning = tuple[Teacher, Sequence[Sequence[Tensor]], Public | None, Synthesis]


def align_some(unit: tuple[int, NDArray[np.int64]], shared: Aligning) -> dict[str, Tensor]:
    """One unit of the alignment: some batches, as they are released, with the teacher's probabilities.

    {"images": uint8 (N, H, W, C), "soft": float32 (N, K), "losses": (batches, steps + 1, terms and total), of total
    variation and squared norm per image}.
    """
    (at, chosen), (teacher, stored, public, synthesis) = unit, shared
    device, size = best_device(), synthesis.alignment.batch_size
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    wanted = [(mean.to(device), variance.to(device)) for mean, variance in stored]
    images, soft, told = [], [], []
    for start in range(0, len(chosen), size):
        x = synthesis.begin(public, chosen[start : start + size], at + start).to(device)
        y = alignment.targets(len(x), synthesis.classes).to(device)
        x, history = alignment.align(teacher, x, y, wanted, synthesis.alignment)
        # What leaves are whole numbers: the teacher labels those, and not what they were rounded from.
        pixels = to_images(x.float())
        with torch.no_grad():
            soft.append(teacher(as_float(pixels)).float().softmax(1).cpu())
        images.append(pixels.cpu())
        each = {"total_variation": len(x), "l2": len(x)}
        told.append([[step[name] / each.get(name, 1) for name in (*LOSSES, "total")] for step in history])
    return {"images": torch.cat(images), "soft": torch.cat(soft), "losses": torch.tensor(told)}


def joined(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The answers of all units as one."""
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def learn(
    name: str, shared: tuple[Images, np.ndarray, Images, Teacher | None, DistillationConfig, int]
) -> dict[str, float]:
    """One unit: a student trained on the release, or the teacher itself, and its accuracy on real test images."""
    released, soft, test, teacher, config, seed = shared
    device = best_device()
    if name == "teacher":
        assert teacher is not None
        return {"accuracy": accuracy(teacher.to(device), test)}
    with torch.random.fork_rng():  # dropout and first weights draw from the global generator: leave it as found
        torch.manual_seed(seed)
        network = student(name, released.shape, released.classes, config.width)  # type: ignore[arg-type]
        return {"accuracy": accuracy(distill(network, released.images_NHWC, soft, config, seed, device), test)}


def measure_distances(
    _: None, shared: tuple[Images, np.ndarray | None, Images, Images, DissimilarityConfig, int]
) -> dict[str, Any]:
    """`dissimilarity` as the one unit of a fan-out."""
    return dissimilarity(*shared)
