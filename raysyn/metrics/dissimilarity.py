"""Do released images look like private ones? Distances to the nearest private image, beside those of images that owe
the private ones nothing (DP-ImgSyn's claim, measured)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.compute import best_device
from raysyn.data import Images
from raysyn.metrics.utility import subset
from raysyn.train.classifier import ClassifierConfig, as_float, features, fit, hold_out

BLOCK = 500
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

    def found(see: Callable[[Images], Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        mine = see(private)
        return {kind: nearest(see(images), mine) for kind, images in kinds.items()}

    pixels, seen = found(flat), found(lambda images: features(model, images))
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


def nearest(queries_NF: Tensor, among_MF: Tensor) -> tuple[Tensor, Tensor]:
    """Euclidean distance of each query to the nearest of the others, (N,), and which one that is."""
    found = [
        torch.cdist(part, among_MF, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        for part in queries_NF.split(BLOCK)
    ]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])
