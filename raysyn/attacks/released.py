"""What released images say of an image: how near they come to it, among those of its class.

Each signal is higher for an image that the release is more like, as it would be if it was learned from. Some images are
like any release; what a release says beyond that only other releases can tell, with and without the image
(`shadow_runs`).

Shapes: N images asked about, D pixels, F directions, Q signals.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from raysyn.data.images import Images

SIDE = 32
"""Larger images are averaged down to it: what is copied shows there too, and distances cost less."""
DIRECTIONS = 64
FEW = 10
SIGNALS = tuple(
    f"{what}, {space}" for space in ("pixels", "directions") for what in ("nearest", f"nearest {FEW}", "mean")
)
"""Less the distance to the nearest released image of the class, to the nearest few, to the mean of all. In pixels, and
in the directions in which images differ most, each made as wide as the others: details count as much as outlines there.
"""
AT_ONCE, PART = 2**24, 4096
"""Distances held together, and images."""


class Space(NamedTuple):
    """Directions, told by images that are the same for every release."""

    mean_D: Tensor
    scaled_DF: Tensor


def space_of(images: Images) -> Space:
    """The directions in which these images differ most, and how far: each as wide as the others."""
    n = len(images)
    mean_D = torch.stack([part.sum(0, dtype=torch.float64) for part in _parts(images.images_NHWC)]).sum(0) / n
    if n < len(mean_D):
        apart_ND = (_flat(images.images_NHWC) - mean_D) / max(1, n - 1) ** 0.5
        directions_DF, lengths, _ = torch.linalg.svd(apart_ND.T, full_matrices=False)
        spread = lengths**2
    else:
        # A part at a time: all images as float64 numbers are eight times as large as they are.
        varied_DD = torch.zeros(len(mean_D), len(mean_D), dtype=torch.float64)
        for part in _parts(images.images_NHWC):
            apart_ND = part - mean_D
            varied_DD.addmm_(apart_ND.T, apart_ND, alpha=1 / max(1, n - 1))
        spread, directions_DF = (part.flip(-1) for part in torch.linalg.eigh(varied_DD))
    spread, directions_DF = spread[:DIRECTIONS], directions_DF[:, :DIRECTIONS]
    # Directions in which nothing differs, as at a border that is always black, would be nothing but noise.
    there = spread > 1e-4 * spread[0].clamp(min=1e-12)
    return Space(mean_D.float(), (directions_DF[:, there] / spread[there].sqrt()).float())


def signals(released: Images, asked: Images, space: Space) -> Tensor:
    """float32 (N, Q): SIGNALS of the images `asked` about, each among released images of its class, or where there are
    none among all."""
    found = torch.empty(len(asked), len(SIGNALS))
    sides = [_flat(side.images_NHWC) for side in (released, asked)]
    narrow = [(side - space.mean_D) @ space.scaled_DF for side in sides]
    for label in np.unique(asked.labels_N):
        theirs, mine = (torch.from_numpy(np.flatnonzero(side.labels_N == label)) for side in (released, asked))
        theirs = theirs if len(theirs) else torch.arange(len(released))
        found[mine] = torch.cat([_near(own[theirs], its[mine]) for own, its in (sides, narrow)], 1)
    return found


def centred(signals_NQ: NDArray[np.float64], labels_N: NDArray[np.int64]) -> NDArray[np.float64]:
    """Less their means within each class: a release that is nearer to everybody of a class says nothing of anybody."""
    found_NQ = np.array(signals_NQ, np.float64)
    for label in np.unique(labels_N):
        found_NQ[labels_N == label] -= found_NQ[labels_N == label].mean(0)
    return found_NQ


def _near(released_MD: Tensor, asked_ND: Tensor) -> Tensor:
    """(N, 3): less the distance to the nearest, the mean to the nearest few, and to the mean."""
    rows = max(1, AT_ONCE // max(1, len(released_MD)))
    nearest = torch.cat([
        torch.cdist(part, released_MD).topk(min(FEW, len(released_MD)), largest=False).values
        for part in asked_ND.split(rows)
    ])  # fmt: skip
    to_mean = (asked_ND - released_MD.mean(0)).norm(dim=1)
    return -torch.stack([nearest[:, 0], nearest.mean(1), to_mean], 1)


def _flat(images_NHWC: NDArray[np.uint8]) -> Tensor:
    """float32 (N, D) from 0 to 1, of at most SIDE by SIDE pixels."""
    return torch.cat(list(_parts(images_NHWC)))


def _parts(images_NHWC: NDArray[np.uint8]) -> Iterator[Tensor]:
    """The same, PART images at a time."""
    for at in range(0, len(images_NHWC), PART):
        # torch.tensor copies: arrays that came through Ray are read-only, and a view of them would warn.
        part = torch.tensor(images_NHWC[at : at + PART]).permute(0, 3, 1, 2).float() / 255
        height, width = part.shape[2:]
        if max(height, width) > SIDE:
            part = F.adaptive_avg_pool2d(part, (min(height, SIDE), min(width, SIDE)))
        yield part.flatten(1)
