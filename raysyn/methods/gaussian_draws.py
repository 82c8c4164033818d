"""Images from noisy Gaussians for a network to learn from before it meets private ones."""

from __future__ import annotations

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.methods.moments import draw_chunk
from raysyn.methods.synthesis import CHUNK
from raysyn.models.class_gaussians import ClassGaussians


def draws(fitted: ClassGaussians, count: int, seed: int, like: Images) -> Images:
    """`count` images, of the classes of `like` in turn: post-processing of what was paid for."""
    labels_N = np.arange(count, dtype=np.int64) % like.classes
    parts = [
        draw_chunk((np.random.SeedSequence([seed, at]), labels_N[at : at + CHUNK]), (fitted, like.shape))
        for at in range(0, len(labels_N), CHUNK)
    ]
    return Images(torch.cat(parts).numpy(), labels_N, like.class_names)
