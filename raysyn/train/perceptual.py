"""What a public network sees in real images, a block of them at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.compute.worker import full_float32
from raysyn.models.perceptual import Perceptual
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.train.memory import at_once

BATCH = 64
"""Images at a time: their features are many."""


def perceived(
    features: Perceptual, images_NHWC: NDArray[np.uint8], device: torch.device
) -> Iterator[list[NDArray[np.float64]]]:  # fmt: skip
    """`features.both` of images, uint8 (N, H, W, C), in blocks: float64 (B, F) each.

    Each a function of its image alone: full precision, and batches of one size, filled up with black images, because
    kernels are chosen by size and round differently. Batches shrink until they fit the device's memory.
    """
    features, at = features.to(device), 0
    size = at_once(BATCH, images_NHWC.shape[1:])
    while at < len(images_NHWC):
        try:
            part = images_NHWC[at : at + size]
            pixels = torch.zeros((size, *part.shape[1:]), dtype=torch.uint8, device=device)
            # torch.tensor copies: arrays that came through Ray are read-only, and a view of them would warn.
            pixels[: len(part)] = torch.tensor(part, device=device)
            with torch.inference_mode(), full_float32(device):
                found = features.both(pixels.movedim(-1, -3).float() / 255, precise=True)
            block = [one[: len(part)].cpu().numpy() for one in found]
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        at += size
        yield block


def untaught(channels: int, squares: bool) -> Perceptual:
    """Those of a small network with its first weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Perceptual(resnet(ResNetConfig(blocks=1, width=2), channels, 1), squares)
