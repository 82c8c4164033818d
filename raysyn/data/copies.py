"""Images that are there several times, pixel by pixel: a promise for one image is weaker for what has copies, and so is
one for a person whose images are there under other names too."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

NOBODY = -1
"""Of an image that several persons have."""


@dataclass(frozen=True)
class Copies:
    """Exact copies among the training images, and of them among the test images."""

    among: int
    """Training images that are copies of others before them."""
    most: int
    """How often the most frequent training image is there; 1 without copies."""
    tested: int
    """Test images that are training images too."""
    units: int = 1
    """How many persons have the image that most have; where nobody is named, as `most`."""
    different: tuple[bytes, ...] = field(default=(), compare=False, repr=False)
    """Digests of the training images, each once."""
    whose: tuple[int, ...] | None = field(default=None, compare=False, repr=False)
    """Whose image each of these is, NOBODY of what several persons have; None where nobody is named."""


def find_copies(train_NHWC: np.ndarray, test_NHWC: np.ndarray, persons_N: np.ndarray | None = None) -> Copies:
    """Compare decoded images, uint8 (N, H, W, C), by a digest of 16 bytes each; labels do not matter. `persons_N` are
    those of the training images."""
    digests = list(map(digest, train_NHWC))
    times = Counter(digests)
    apart, whose = times, None
    if persons_N is not None:
        named = set(zip(digests, persons_N.tolist(), strict=True))
        apart, whom = Counter(one for one, _ in named), dict(named)
        whose = tuple(whom[one] if apart[one] == 1 else NOBODY for one in times)
    return Copies(
        units=max(apart.values(), default=1),
        among=len(train_NHWC) - len(times),
        most=max(times.values(), default=1),
        tested=sum(digest(one) in times for one in test_NHWC),
        different=tuple(times),
        whose=whose,
    )


def digest(pixels: np.ndarray) -> bytes:
    """Of one image, 16 bytes."""
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
