"""Images as their lowest spatial frequencies, in a basis that depends on nothing but their shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def lowest(height: int, width: int, count: int) -> NDArray[np.int64]:
    """The `count` lowest frequencies of a channel of height x width pixels (all, where it has fewer), as flat indices
    into its cosine transform, the lowest first; ties go to the first."""
    down_H, right_W = np.arange(height) / height, np.arange(width) / width
    radius_HW = down_H[:, None] ** 2 + right_W**2
    return np.argsort(radius_HW, axis=None, kind="stable")[:count].astype(np.int64)


def to_frequencies(images_NHWC: NDArray[np.uint8], count: int) -> Floats:
    """uint8 images to their `count` lowest frequencies per channel, (N, C * count), channel after channel.

    Of pixels in [-0.5, 0.5], where 0 is medium grey, by the orthonormal cosine transform: the L2 norm of a row is at
    most that of its pixels, sqrt(H * W * C) / 2.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy.fft import dctn

    images, height, width, channels = images_NHWC.shape
    kept = lowest(height, width, count)
    found_NHWC = dctn(images_NHWC / 255.0 - 0.5, axes=(1, 2), norm="ortho")
    return np.ascontiguousarray(
        found_NHWC.reshape(images, height * width, channels)[:, kept].transpose(0, 2, 1)
    ).reshape(images, -1)


def to_images(frequencies_NF: Floats, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The inverse, for images of `shape` (H, W, C): what was left out is 0, and pixels are clipped to what there is."""
    from scipy.fft import idctn

    height, width, channels = shape
    count = frequencies_NF.shape[1] // channels
    full_NPC = np.zeros((len(frequencies_NF), height * width, channels))
    full_NPC[:, lowest(height, width, count)] = frequencies_NF.reshape(-1, channels, count).transpose(0, 2, 1)
    pixels_NHWC = idctn(full_NPC.reshape(-1, height, width, channels), axes=(1, 2), norm="ortho") + 0.5
    return np.rint(255.0 * np.clip(pixels_NHWC, 0.0, 1.0)).astype(np.uint8)
