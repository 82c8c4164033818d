"""Do released images look like private ones? Distances to the nearest private image, beside those of images that owe
the private ones nothing (DP-ImgSyn's claim, measured)."""

from __future__ import annotations

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


@dataclass(frozen=True, kw_only=True)
class DissimilarityConfig:
    """How images are compared; nothing here changes them."""

    images: int = 2_000
    """Images of each kind whose nearest private neighbour is looked for; 0 skips this."""
    private: int = 50_000
    """Look among at most this many private images."""
    epochs: int = 10
    """Epochs of the CNN, trained on private images, in whose features images are compared."""

    def __post_init__(self) -> None:
        for field, least in {"images": 0, "private": 2, "epochs": 1}.items():
            if getattr(self, field) < least:
                raise ValueError(f"dissimilarity.{field} is {getattr(self, field)}: give at least {least}")


def dissimilarity(
    released: Images, raw: np.ndarray | None, private: Images, test: Images, config: DissimilarityConfig, seed: int
) -> dict[str, Any]:
    """{"pixels", "features": {"released", "public", "held_out": {"median", "nearest_5_percent"}}}: the distance to the
    nearest private image of released images, of raw public ones (uint8 (N, H, W, C); None leaves them out) and of real
    images that were never trained on.

    Pixels: root mean square difference, in [0, 1]. Features: Euclidean, of a CNN trained on private images, as a
    multiple of the median of held-out images. Not for release: it is computed from private images.
    """
    private = subset(private, config.private, seed)
    kinds = {"released": subset(released, config.images, seed), "held_out": subset(test, config.images, seed)}
    if raw is not None:
        raw_images = Images(raw, np.zeros(len(raw), np.int64), released.class_names)
        kinds["public"] = subset(raw_images, config.images, seed)
    training = ClassifierConfig(epochs=config.epochs)
    model = fit(*hold_out(private, training.validation_share, seed), "cnn", training, seed, best_device()).model

    def found(see: Any, scale: float) -> dict[str, dict[str, float]]:
        mine, told = see(private), {}
        for kind, images in kinds.items():
            nearest = scale * nearest_distances(see(images), mine).cpu().numpy()
            told[kind] = {"median": float(np.median(nearest)), "nearest_5_percent": float(np.quantile(nearest, 0.05))}
        return told

    pixels = found(flat, 1 / np.sqrt(np.prod(private.shape)) / 2)
    seen = found(lambda images: features(model, images), 1.0)
    unit = seen["held_out"]["median"] or 1.0
    seen = {kind: {name: value / unit for name, value in one.items()} for kind, one in seen.items()}
    return {"pixels": pixels, "features": seen}


def flat(images: Images) -> Tensor:
    """Pixels as float vectors in [-1, 1]."""
    return as_float(torch.tensor(images.images_NHWC, device=best_device())).flatten(1)


def nearest_distances(queries_NF: Tensor, among_MF: Tensor) -> Tensor:
    """Euclidean distance of each query to the nearest of the others, (N,)."""
    return torch.cat([torch.cdist(part, among_MF).amin(1) for part in queries_NF.split(BLOCK)])
