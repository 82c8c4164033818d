"""Random Fourier features of images (Rahimi and Recht, 2007): cosines and sines of random waves over all pixels.

The mean product of two images' features is about a Gaussian kernel of how they differ. The waves depend on settings,
shape and seed alone, all of them public.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GRID = 2.0**-32
"""Waves are whole multiples of this many cycles per grey level: with at most 2**53 of them in a sum of 64-bit floats,
phases are exact in whatever order a matrix product adds them up, and so with any number of threads."""
SHORT = 1 - 2.0**-20
"""What rounding of 32-bit cosines could add to a norm is taken off it before."""


@dataclass(frozen=True, kw_only=True)
class FourierConfig:
    """Which features an image has."""

    count: int = 10_000
    """Features: half are cosines, half sines. More describe images finer, take longer, and cost nothing more."""
    length_scales: tuple[float, ...] = (0.366,)
    """How far apart two images are that count as different: root mean square over pixels, where 1 is all of the way
    from black to white. 0.366 is the paper's for 28 pixels, its variance of 105; of several each has an equal part of
    the features. Choose without looking at private images: about the median over pairs of public images of such a
    kind, and a half of it for finer shapes."""

    def __post_init__(self) -> None:
        if self.count < 2 or self.count % 2:
            raise ValueError(f"features.count is {self.count}: give an even number of at least 2")
        if not self.length_scales or not all(0.01 <= one < math.inf for one in self.length_scales):
            raise ValueError(
                f"features.length_scales is {self.length_scales}: give numbers of at least 0.01, 0.366 is usual"
            )
        if self.count // 2 < len(self.length_scales):
            raise ValueError(
                f"features.count is {self.count}, but there are {len(self.length_scales)} features.length_scales: give "
                "at least two features for each"
            )

    def of(self, shape: tuple[int, int, int], seed: int) -> Waves:
        """The features themselves."""
        return waves(self, shape, seed)

    def blank(self, shape: tuple[int, int, int]) -> Waves:
        """As many, for measuring how long they take."""
        return Waves(np.zeros((math.prod(shape), self.count // 2)))

    def held(self, shape: tuple[int, int, int]) -> Held:
        """How much they are."""
        pixels = math.prod(shape)
        return Held(
            features=self.count, weights=pixels * self.count // 2, image=2 * self.count,
            words=f"{self.count:,} waves of {pixels:,} pixels",
        )  # fmt: skip


class Held(NamedTuple):
    """How much it takes to have features, in numbers."""

    features: int
    weights: int
    """Random ones that make them."""
    image: int
    """For an image's features while they are learned from."""
    words: str
    layers: int = 0
    """Whose products of two images each are written down, or their sums, while they are learned from."""


class Waves(NamedTuple):
    """Random waves."""

    cycles_PW: NDArray[np.float64]
    """Cycles per grey level of a pixel: (pixels, waves), multiples of `GRID`."""

    def radians(self) -> NDArray[np.float32]:
        """The same for pixels in [0, 1]."""
        return (self.cycles_PW * (255 * 2 * np.pi)).astype(np.float32)

    def features(self, images_NHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, 2 * waves), each row of L2 norm at most 1, and no shorter than that by a millionth."""
        phases_NW = images_NHWC.reshape(len(images_NHWC), -1).astype(np.float64) @ self.cycles_PW
        phases_NW -= np.rint(phases_NW)
        angles_NW = (2 * np.pi * phases_NW).astype(np.float32)
        both = np.concatenate([np.cos(angles_NW), np.sin(angles_NW)], axis=1)
        both *= np.float32(SHORT / math.sqrt(self.cycles_PW.shape[1]))
        return both

    @property
    def size(self) -> int:
        """Features."""
        return 2 * self.cycles_PW.shape[1]

    def total(self, images_NHWC: NDArray[np.uint8], weights_N: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of features, each image's times its weight, (features,): the same with any number of threads."""
        # Not a matrix product, whose rounding depends on the number of threads.
        return np.asarray(np.einsum("b,bf->f", weights_N, self.features(images_NHWC)))

    def along(
        self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], rows_KF: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """How far each image's features go along the row of its class, (N,)."""
        known_NF = rows_KF[labels_N, : self.size]
        return np.asarray(np.einsum("nf,nf->n", self.features(images_NHWC), known_NF))


def waves(config: FourierConfig, shape: tuple[int, int, int], seed: int) -> Waves:
    """The waves of this seed."""
    pixels, half = math.prod(shape), config.count // 2
    scales_W = np.resize(np.asarray(config.length_scales), half)
    normal_PW = np.random.default_rng([seed, 40]).standard_normal((pixels, half))
    cycles_PW = normal_PW / (scales_W * math.sqrt(pixels) * 255 * 2 * np.pi)
    return Waves(np.rint(cycles_PW / GRID) * GRID)
