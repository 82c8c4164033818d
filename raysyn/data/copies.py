"""Images that are there several times, pixel by pixel: a promise for one image is weaker for what has copies."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Copies:
    """Exact copies among the training images, and of them among the test images."""

    among: int
    """Training images that are copies of others before them."""
    most: int
    """How often the most frequent training image is there; 1 without copies."""
    tested: int
    """Test images that are training images too."""


def find_copies(train_NHWC: np.ndarray, test_NHWC: np.ndarray) -> Copies:
    """Compare decoded images, uint8 (N, H, W, C), by a digest of 16 bytes each; labels do not matter."""
    times = Counter(map(digest, train_NHWC))
    return Copies(
        among=len(train_NHWC) - len(times),
        most=max(times.values(), default=1),
        tested=sum(digest(one) in times for one in test_NHWC),
    )


def digest(pixels: np.ndarray) -> bytes:
    """Of one image, 16 bytes."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
