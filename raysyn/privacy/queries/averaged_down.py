"""Images averaged down before a noisy question, and its answer made as large again."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.privacy.queries.noise import Floats


def small_shape(shape: tuple[int, int, int], factor: int) -> tuple[int, int, int]:
    """The shape of images that are averaged down, (height, width, channels)."""
    height, width, channels = shape
    return -(-height // factor), -(-width // factor), channels


def shrink(images_BHWC: NDArray[np.uint8], factor: int) -> Floats:
    """(B, H, W, C) uint8 averaged down by the factor, float64 in [0, 1]."""
    # Block averages: no larger a sensitivity than the public code's nearest pixel, and less aliasing. Edges
    # of odd sizes repeat, so that border blocks are full.
    height, width, _ = small_shape((*images_BHWC.shape[1:3], 1), factor)
    below, right = height * factor - images_BHWC.shape[1], width * factor - images_BHWC.shape[2]
    padded = np.pad(images_BHWC, [(0, 0), (0, below), (0, right), (0, 0)], mode="edge")
    # Rows before columns: adding whole rows is fast, and leaves fewer pixels to pick single columns from.
    rows = sum((padded[:, row::factor] for row in range(1, factor)), padded[:, ::factor].astype(np.uint32))
    total = sum((rows[:, :, column::factor] for column in range(1, factor)), rows[:, :, ::factor])
    return total / (255.0 * factor**2)


def finish(pixels_NHWC: Floats, shape: tuple[int, int, int], factor: int, smooth: bool) -> NDArray[np.uint8]:
    """Noisy small images to uint8 images of the data's shape; touches no private data."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy import ndimage

    height, width, channels = shape
    small = torch.from_numpy(np.clip(pixels_NHWC, 0.0, 1.0)).permute(0, 3, 1, 2)
    large = torch.nn.functional.interpolate(small, scale_factor=factor, mode="bilinear", align_corners=False)
    images = np.rint(255.0 * large[:, :, :height, :width].permute(0, 2, 3, 1).numpy())
    if smooth:
        images = ndimage.median_filter(images, size=(1, 3, 3, 1), mode="nearest")
        if channels == 1:
            cross = np.array([[0.0, -1.0, 0.0], [-1.0, 5.0, -1.0], [0.0, -1.0, 0.0]]).reshape(1, 3, 3, 1)
            images = ndimage.convolve(images, cross, mode="nearest")
    return np.ascontiguousarray(np.clip(images, 0, 255).astype(np.uint8))
