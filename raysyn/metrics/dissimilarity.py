"""Do released images look like private ones? Distances to the nearest private image, beside those of images that owe
the private ones nothing (DP-ImgSyn's claim, measured)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.metrics.utility import subset
from raysyn.train.classifier import ClassifierConfig, as_float, features, fit, hold_out

BLOCK = 4_000 * 28 * 28
"""Numbers in the pixels of the private images that are looked at together."""
CLOSEST = 8
"""Released images, the nearest to a private one, that are shown."""
SHARES = torch.arange(0, 1.0001, 0.05, dtype=torch.float64)
"""Of the images, for the curve of distances."""


@dataclass(frozen=True, kw_only=True)
class DissimilarityConfig:
    """How images are compared; nothing here changes them."""

    images: int = 2_000
    """Images of each kind whose nearest private neighbour is looked for, among all private ones; 0 skips this."""
    learn_from: int = 50_000
    """Private images, at most, that the CNN learns from in whose features images are compared."""
    epochs: int = 10
    """Epochs of that CNN."""
    show_private: bool = False
    """Show real private images in internal/report.html, beside the released ones that they are nearest to."""

    def __post_init__(self) -> None:
        for field, least in {"images": 0, "learn_from": 20, "epochs": 1}.items():
            if getattr(self, field) < least:
                raise ValueError(f"dissimilarity.{field} is {getattr(self, field)}: give at least {least}")


def dissimilarity(
    released: Images, raw: Images, private: Images, test: Images, config: DissimilarityConfig, seed: int
) -> dict[str, Any]:
    """{"pixels", "features": {"released", "before", "held_out": {"median", "nearest_5_percent", "nearest"}}}: distances
    to the nearest private image, of `released` images, of the `raw` ones that they were before alignment, in the same
    order, and of real images that were never trained on; "curves": {kind: distances in features at SHARES};
    "closest": uint8 (some, 2 or 3, H, W, C), the released images nearest to a private one in features, what each was
    before, and, where `show_private`, the private one.

    Pixels: root mean square difference, in [0, 1]. Features: Euclidean, of a CNN trained on private images, as a
    multiple of the median of held-out images. Not for release: it is computed from private images.
    """
    kinds = {"released": released, "before": raw, "held_out": subset(test, config.images, seed)}
    training = ClassifierConfig(epochs=config.epochs)
    some = subset(private, config.learn_from, seed)
    model = fit(*hold_out(some, training.validation_share, seed), "cnn", training, seed, best_device()).model

    pixels = {kind: nearest(images, private, flat) for kind, images in kinds.items()}
    seen = {kind: nearest(images, private, partial(features, model)) for kind, images in kinds.items()}
    unit = float(seen["held_out"][0].median()) or 1.0
    far, who = seen["released"]
    order = far.argsort()[:CLOSEST].cpu().numpy()
    shown = [released.images_NHWC[order], raw.images_NHWC[order]]
    if config.show_private:
        shown.append(private.images_NHWC[who.cpu().numpy()[order]])
    return {
        "pixels": {kind: _told(far / np.sqrt(np.prod(private.shape)) / 2) for kind, (far, _) in pixels.items()},
        "features": {kind: _told(far / unit) for kind, (far, _) in seen.items()},
        "curves": {kind: (far / unit).double().cpu().quantile(SHARES).tolist() for kind, (far, _) in seen.items()},
        "closest": torch.from_numpy(np.stack(shown, 1)),
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
    together = max(1, BLOCK // math.prod(among.shape))
    for at in range(0, len(among), together):
        theirs = see(among.select(slice(at, at + together)))
        # The fast form of the distance: good enough to tell the nearest, not to say how far a copy is.
        values, indices = (squared - 2 * mine @ theirs.T + theirs.square().sum(1)).min(1)
        nearer = values < best
        far[nearer] = torch.linalg.vector_norm(mine[nearer] - theirs[indices[nearer]], dim=1)
        best, who = torch.where(nearer, values, best), torch.where(nearer, at + indices, who)
    return far, who
