"""Images from a noisy answer for a network to learn from before it meets private ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods.moments import draw_chunk
from raysyn.methods.synthesis import CHUNK
from raysyn.models.class_gaussians import ClassGaussians


def draws(fitted: ClassGaussians, count: int, seed: int, like: Images) -> Images:
    """`count` images from noisy Gaussians, as `in_chunks`."""
    return in_chunks(draw_chunk, (fitted, like.shape), count, seed, like)


def in_chunks(draw: Callable[[Any, Any], Tensor], shared: Any, count: int, seed: int, like: Images) -> Images:
    """`count` images, of the classes of `like` in turn: post-processing of what was paid for. `draw` makes those of
    ((SeedSequence, labels), shared), uint8 (N, H, W, C)."""
    labels_N = np.arange(count, dtype=np.int64) % like.classes
    seeds = {at: np.random.SeedSequence([seed, at]) for at in range(0, len(labels_N), CHUNK)}
    parts = [draw((one, labels_N[at : at + CHUNK]), shared) for at, one in seeds.items()]
    return Images(torch.cat(parts).numpy(), labels_N, like.class_names)
