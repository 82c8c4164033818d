"""The simplest images that have classes."""

from __future__ import annotations

import numpy as np

from raysyn.data.images import Images


def halves(count: int) -> Images:
    """Class 0 is bright above, class 1 bright below."""
    labels = np.arange(count, dtype=np.int64) % 2
    pixels = np.random.default_rng(0).integers(0, 60, (count, 8, 8, 1)).astype(np.uint8)
    pixels[labels == 0, :4] += 190
    pixels[labels == 1, 4:] += 190
    return Images(pixels, labels, ("above", "below"))
