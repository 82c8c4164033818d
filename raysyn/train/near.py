"""The nearest of other images, by what one looks at of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import as_float
from raysyn.train.memory import at_once

SIDE = 32
"""Pixels are those of images averaged down to at most so many on a side."""
BLOCK, CELLS = 4_000 * 28 * 28, 20_000_000
"""Numbers in the pixels of the images that are looked at together, and in a matrix of distances."""
TOGETHER = 500
"""Small images whose pixels are averaged together."""
Look = Callable[[Images], Tensor]
"""look(images): their vectors, (N, F)."""


class Near(NamedTuple):
    """Of each image the nearest ones of others, by what one look sees: (N, count), the nearest first."""

    far: Tensor
    """Euclidean; endless where there is none."""
    who: Tensor
    """Their places among the others."""


def flat(images: Images) -> Tensor:
    """Pixels as float vectors in [-1, 1], averaged where images are large."""
    pixels, device = as_tensor(images.images_NHWC), best_device()
    window = max(1, -(-max(images.shape[:2]) // SIDE))
    parts = (as_float(part.to(device)) for part in pixels.split(at_once(TOGETHER, images.shape)))
    return torch.cat([functional.avg_pool2d(part, window, ceil_mode=True).flatten(1) for part in parts])


def nearest(
    images: Images, among: Images, look: Look, units_N: NDArray[np.int64] | None = None, count: int = 1
) -> Near:  # fmt: skip
    """Of each image the nearest `count` of the others; with `units_N`, of the same images those of another unit alone.
    The others are looked at in blocks: they may be many and large."""
    mine = look(images)
    best = torch.full((len(mine), count), torch.inf, device=mine.device)
    far, who = best, torch.zeros_like(best, dtype=torch.int64)
    units = None if units_N is None else torch.from_numpy(units_N).to(mine.device)
    centre = mine.mean(0)
    squared = (mine - centre).square().sum(1, keepdim=True)
    together = max(1, min(BLOCK // math.prod(among.shape), CELLS // max(1, len(mine))))
    for at in range(0, len(among), together):
        theirs = look(among.select(slice(at, at + together)))
        moved = theirs - centre
        # The fast form of the distance: good enough to tell the nearest, not to say how far a copy is.
        apart = squared - 2 * (mine - centre) @ moved.T + moved.square().sum(1)
        if units is not None:
            apart[units[:, None] == units[at : at + together]] = torch.inf
        values, indices = apart.topk(min(count, len(theirs)), dim=1, largest=False)
        exact = torch.stack([torch.linalg.vector_norm(mine - theirs[one], dim=1) for one in indices.T], 1)
        exact[values.isinf()] = torch.inf
        best, order = torch.cat([best, values], 1).topk(count, dim=1, largest=False)
        far = torch.cat([far, exact], 1).gather(1, order)
        who = torch.cat([who, at + indices], 1).gather(1, order)
    return Near(far, who)
