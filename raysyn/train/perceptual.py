"""What a public network sees in real images, a block of them at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.models.discriminant import Discriminant
from raysyn.models.perceptual import Perceptual
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.train.alone import each_alone

BATCH = 64
"""Images at a time: their features are many."""


def perceived(
    features: Perceptual | Discriminant, images_NHWC: NDArray[np.uint8], device: torch.device
) -> Iterator[list[NDArray[np.float64]]]:  # fmt: skip
    """`features.both` of images, uint8 (N, H, W, C), in blocks: float64 (B, F) each, a function of its image alone."""
    features = features.to(device)

    def both(pixels_BHWC: Tensor) -> list[Tensor]:
        return features.both(pixels_BHWC.movedim(-1, -3).float() / 255, precise=True)

    return each_alone(both, images_NHWC, BATCH, device)


def untaught(channels: int, squares: bool) -> Perceptual:
    """Those of a small network with its first weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Perceptual(resnet(ResNetConfig(blocks=1, width=2), channels, 1), squares)
