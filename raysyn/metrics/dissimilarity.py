"""Do released images look like private ones? Distances to the nearest private image, beside those of images that owe
the private ones nothing (DP-ImgSyn's claim, measured)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.compute import best_device
from raysyn.data import Images
from raysyn.metrics.utility import subset
from raysyn.train.classifier import ClassifierConfig, as_float, features, fit, hold_out

BLOCK = 4_000
CLOSEST = 8
"""Released images that are shown beside their nearest private ones."""


@dataclass(frozen=True, kw_only=True)
class DissimilarityConfig:
    """How images are compared; nothing here changes them."""

    images: int = 2_000
    """Images of each kind whose nearest private neighbour is looked for, among all private ones; 0 skips this."""
    learn_from: int = 50_000
    """Private images, at most, that the CNN learns from in whose features images are compared."""
    epochs: int = 10
    """Epochs of that CNN."""

    def __post_init__(self) -> None:
        for field, least in {"images": 0, "learn_from": 20, "epochs": 1}.items():
            if getattr(self, field) < least:
                raise ValueError(f"dissimilarity.{field} is {getattr(self, field)}: give at least {least}")


def dissimilarity(
    released: Images, raw: Images | None, private: Images, test: Images, config: DissimilarityConfig, seed: int
) -> dict[str, Any]:
    """{"pixels", "features": {"released", "public", "held_out": {"median", "nearest_5_percent", "nearest"}}}: distances
    to the nearest private image, of released images, of the public ones that they were (None leaves them out) and of
    real images that were never trained on; "closest": uint8 (pairs, 2, H, W, C), the released images nearest to a
    private one in features, and that one.

    Pixels: root mean square difference, in [0, 1]. Features: Euclidean, of a CNN trained on private images, as a
    multiple of the median of held-out images. Not for release: it is computed from private images.
    """
    kinds = {"released": released, "held_out": subset(test, config.images, seed)}
    if raw is not None:
        kinds["public"] = raw
    training = ClassifierConfig(epochs=config.epochs)
    some = subset(private, config.learn_from, seed)
    model = fit(*hold_out(some, training.validation_share, seed), "cnn", training, seed, best_device()).model

    pixels = {kind: nearest(images, private, flat) for kind, images in kinds.items()}
    seen = {kind: nearest(images, private, partial(features, model)) for kind, images in kinds.items()}
    unit = float(seen["held_out"][0].median()) or 1.0
    far, who = seen["released"]
    order = far.argsort()[:CLOSEST].cpu().numpy()
    pairs = np.stack([released.images_NHWC[order], private.images_NHWC[who.cpu().numpy()[order]]], 1)
    return {
        "pixels": {kind: _told(far / np.sqrt(np.prod(private.shape)) / 2) for kind, (far, _) in pixels.items()},
        "features": {kind: _told(far / unit) for kind, (far, _) in seen.items()},
        "closest": torch.from_numpy(pairs),
    }


def _told(distances: Tensor) -> dict[str, float]:
    return {
        "median": float(distances.median()),
        "nearest_5_percent": float(distances.quantile(0.05)),
        "nearest": float(distances.min()),
    }


def flat(images: Images) -> Tensor:
    """Pixels as float vectors in [-1, 1]."""
    return as_float(torch.tensor(images.images_NHWC, device=best_device())).flatten(1)


def nearest(images: Images, among: Images, see: Callable[[Images], Tensor]) -> tuple[Tensor, Tensor]:
    """Euclidean distance of each image to the nearest of the others, by what `see` says of them, (N,), and which one
    that is. The others are looked at in blocks: they may be many and large."""
    mine = see(images)
    squared = mine.square().sum(1, keepdim=True)
    best, far = torch.full_like(mine[:, 0], torch.inf), torch.zeros_like(mine[:, 0])
    who = torch.zeros(len(mine), dtype=torch.int64, device=mine.device)
    for at in range(0, len(among), BLOCK):
        theirs = see(among.select(slice(at, at + BLOCK)))
        # The fast form of the distance: good enough to tell the nearest, not to say how far a copy is.
        values, indices = (squared - 2 * mine @ theirs.T + theirs.square().sum(1)).min(1)
        nearer = values < best
        far = torch.where(nearer, torch.linalg.vector_norm(mine - theirs[indices], dim=1), far)
        best, who = torch.where(nearer, values, best), torch.where(nearer, at + indices, who)
    return far, who
