"""Do released images look like private ones? Distances to the nearest private image, beside those of images that owe
the private ones nothing (DP-ImgSyn's claim, measured)."""

from __future__ import annotations

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
from raysyn.train.near import Look, nearest

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

    def __post_init__(self) -> None:
        for field, least in {"images": 0, "learn_from": 20, "epochs": 1}.items():
            if getattr(self, field) < least:
                raise ValueError(f"dissimilarity.{field} is {getattr(self, field)}: give at least {least}")


def dissimilarity(
    released: Images, raw: Images, private: Images, test: Images, config: DissimilarityConfig, seed: int
) -> dict[str, Any]:
    """{"pixels", "features": {"released", "before", "held_out": {"median", "nearest_5_percent", "nearest"}}}: distances
    to the nearest private image, of `released` images, of the `raw` ones that they were before alignment, in the same
    order, and of real images that were never trained on; "curves": {kind: distances in features at SHARES}.

    Pixels: root mean square difference, in [0, 1]. Features: Euclidean, of a CNN trained on private images, as a
    multiple of the median of held-out images. Not for release: it is computed from private images.
    """
    kinds = {"released": released, "before": raw, "held_out": subset(test, config.images, seed)}
    training = ClassifierConfig(epochs=config.epochs)
    some = subset(private, config.learn_from, seed)
    model = fit(*hold_out(some, training.validation_share, seed), "cnn", training, seed, best_device()).model

    def far(look: Look) -> dict[str, Tensor]:
        return {kind: nearest(images, private, look).far[:, 0] for kind, images in kinds.items()}

    pixels, seen = far(flat), far(partial(features, model))
    unit = float(seen["held_out"].median()) or 1.0
    return {
        "pixels": {kind: _told(one / np.sqrt(np.prod(private.shape)) / 2) for kind, one in pixels.items()},
        "features": {kind: _told(one / unit) for kind, one in seen.items()},
        "curves": {kind: (one / unit).double().cpu().quantile(SHARES).tolist() for kind, one in seen.items()},
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
