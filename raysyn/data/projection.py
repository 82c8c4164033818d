"""Images with their classes as vectors, and a linear map of these to a few numbers, which depends on nothing but itself
and the image at hand."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysyn.data.frequencies import to_frequencies

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What stands in a vector: the lowest frequencies of each channel, then the class as one number of `classes` that
    is `label_weight` where all others are 0."""

    frequencies: int
    """Of each channel."""
    classes: int
    label_weight: float

    def vectors(self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> Floats:
        """Of some images, (N, C * frequencies + classes)."""
        named_NK = np.zeros((len(images_NHWC), self.classes))
        named_NK[np.arange(len(labels_N)), labels_N] = self.label_weight
        return np.concatenate([to_frequencies(images_NHWC, self.frequencies), named_NK], 1)


@dataclass(frozen=True, kw_only=True)
class Projection:
    """z = (v - centre) directions, scaled down to L2 norm `largest` where it is longer."""

    layout: Layout
    centre_D: Floats
    directions_DL: Floats
    largest: float

    def latents(self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64]) -> Floats:
        """Of some images, (N, L), each row of norm `largest` at most, whatever the image shows: a function of that
        image and its class alone."""
        away_ND = self.layout.vectors(images_NHWC, labels_N) - self.centre_D
        # Not a matrix product, whose rounding depends on the number of threads, and on the images beside one.
        latents_NL = np.einsum("nd,dl->nl", away_ND, self.directions_DL)
        lengths_N1 = np.linalg.norm(latents_NL, axis=1, keepdims=True)
        return latents_NL * (self.largest / np.maximum(lengths_N1, self.largest))
