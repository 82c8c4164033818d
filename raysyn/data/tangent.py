"""Tangent features of images (empirical neural tangent kernel, Jacot et al., 2018): how a small random network's output
would change with each of its weights.

The network is that of DP-NTK (Yang et al., 2023): dense, ReLU after its first layer, then, where there is one, a second
without, layer normalisation, and outputs that are added up. Its weights come from settings, shape and seed alone, all
of them public; nothing ever trains it.

The gradient by a layer's weights is the outer product of the gradient at what leaves the layer (left) and of what
enters it, with a 1 for the bias (right). So an image's features are a few pairs of vectors, their squared norm is the
sum of |left|^2 |right|^2, their product with another image's is the sum of products of both, and a sum over images is a
product of matrices: none is ever written down for each image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysyn.data.fourier import SHORT, Held

GRID = 2.0**-40
"""First weights are whole multiples of this for each grey level: sums of them over pixels are exact in 64-bit floats,
in whatever order a matrix product adds them up, and so with any number of threads."""
LEFT_GRID = 2.0**-36
"""The same of gradients, which are below 1 here, times grey levels: exact over at most `MOST` images."""
MOST = 256
EPS = 1e-5
"""Of the layer normalisation."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class TangentConfig:
    """Which features an image has: one for each weight of the random network."""

    widths: tuple[int, ...] = (800,)
    """Of its hidden layers, one or two: 800 are the paper's for grey images, 32 256 for coloured ones. Wider ones
    describe images finer, take longer, and cost nothing more."""
    outputs: int = 10
    """Outputs that are added up, the paper's for ten classes: the more, the more the first layers count beside the
    last."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.widths) <= 2 or not all(2 <= one <= 2**16 for one in self.widths):
            raise ValueError(f"features.widths is {self.widths}: give one or two widths from 2 to 65536, 800 is usual")
        if not 1 <= self.outputs <= 2**16:
            raise ValueError(f"features.outputs is {self.outputs}: give 1 to 65536, the number of classes is usual")

    def of(self, shape: tuple[int, int, int], seed: int) -> Tangent:
        """The features themselves."""
        return tangent(self, shape, seed)

    def blank(self, shape: tuple[int, int, int]) -> Tangent:
        """As many, for measuring how long they take."""
        return tangent(self, shape, 0)

    def held(self, shape: tuple[int, int, int]) -> Held:
        """How much they are."""
        pixels, first, last = math.prod(shape), self.widths[0], self.widths[-1]
        hidden = (pixels + 1) * first + sum((first + 1) * second for second in self.widths[1:])
        # Those of all outputs are drawn before they are added up.
        weights = hidden + last * self.outputs
        # What enters and leaves each layer, forth and back, and the gradient of that.
        image = 12 * (pixels + sum(self.widths))
        widths = " and ".join(f"{width:,}" for width in self.widths)
        return Held(
            features=hidden + last + 1, weights=weights, image=image, layers=len(self.widths) + 1,
            words=f"{weights:,} weights of a network of width {widths}",
        )  # fmt: skip


@dataclass(frozen=True)
class Tangent:
    """A random network, whose every weight gives a feature."""

    first_PM: Floats
    """For grey levels, multiples of `GRID`."""
    bias_M: Floats
    second_MO: Floats | None
    bias_O: Floats | None
    last: Floats
    """Weights of the outputs, added up; their gradient is alike for each output, and stands once, longer."""
    outputs: int

    @property
    def size(self) -> int:
        """Features."""
        pixels, first = self.first_PM.shape
        return (
            (pixels + 1) * first
            + (0 if self.second_MO is None else self.second_MO.size + len(self.last))
            + len(self.last)
            + 1
        )

    def pairs(self, images_NHWC: NDArray[np.uint8]) -> tuple[list[Floats], list[Floats], Floats]:
        """Gradients at what leaves each layer, what enters it (without the 1 of the bias; of the first, grey levels),
        and the squared norms of the features, (N,)."""
        levels_NP = images_NHWC.reshape(len(images_NHWC), -1).astype(np.float64)
        hidden_NM = levels_NP @ self.first_PM + self.bias_M
        active_NM = np.maximum(hidden_NM, 0.0)
        top = active_NM
        if self.second_MO is not None:
            # Not a matrix product, whose rounding depends on the number of threads; so below.
            top = np.einsum("nm,mo->no", active_NM, self.second_MO) + self.bias_O
        spread_N1 = np.sqrt(top.var(axis=1, keepdims=True) + EPS)
        normal = (top - top.mean(axis=1, keepdims=True)) / spread_N1
        back = self.last - self.last.mean() - normal * (normal * self.last).mean(axis=1, keepdims=True)
        back /= spread_N1
        lefts, rights = [back], [levels_NP]
        if self.second_MO is not None:
            lefts, rights = [np.einsum("no,mo->nm", back, self.second_MO), back], [levels_NP, active_NM]
        lefts[0] = lefts[0] * (hidden_NM > 0)
        lefts.append(np.full((len(levels_NP), 1), math.sqrt(self.outputs)))
        rights.append(normal)
        scales = [255.0, *[1.0] * (len(rights) - 1)]
        squared_N = np.zeros(len(levels_NP))
        for left, right, scale in zip(lefts, rights, scales, strict=True):
            squared_N += np.square(left).sum(axis=1) * (np.square(right / scale).sum(axis=1) + 1)
        return lefts, rights, squared_N

    def total(self, images_NHWC: NDArray[np.uint8], weights_N: Floats) -> Floats:
        """Sum of the features of at most `MOST` images, each divided by their norm and times a weight of at most 1,
        (features,): the same with any number of threads."""
        if len(images_NHWC) > MOST:
            raise ValueError(f"sums of {len(images_NHWC)} images at once are not exact: give at most {MOST}")
        lefts, rights, squared_N = self.pairs(images_NHWC)
        # Never 0: the last bias adds `outputs` to each square.
        each_N1 = (SHORT * weights_N / np.sqrt(squared_N))[:, None]
        # Towards 0, so that no norm grows, not even of somebody whose many images have small weights.
        whole_NM = np.trunc(lefts[0] * each_N1 / LEFT_GRID)
        found = [
            np.concatenate([whole_NM.T @ rights[0] / 255, whole_NM.sum(axis=0)[:, None]], axis=1).ravel() * LEFT_GRID
        ]
        for left, right in zip(lefts[1:], rights[1:], strict=True):
            known = left * each_N1
            outer = np.einsum("no,ni->oi", known, right)
            found.append(np.concatenate([outer, known.sum(axis=0)[:, None]], axis=1).ravel())
        return np.concatenate(found)

    def along(self, images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], rows_KF: Floats) -> Floats:
        """How far each image's features of norm 1 go along the row of its class, (N,)."""
        lefts, rights, squared_N = self.pairs(images_NHWC)
        rights[0] = rights[0] / 255
        found_N = np.zeros(len(images_NHWC))
        for label in np.unique(labels_N):
            mine, at = labels_N == label, 0
            for left, right in zip(lefts, rights, strict=True):
                shape = (left.shape[1], right.shape[1] + 1)
                row_OI = rows_KF[label, at : at + math.prod(shape)].reshape(shape)
                at += row_OI.size
                entering = left[mine] @ row_OI
                found_N[mine] += (entering[:, :-1] * right[mine]).sum(axis=1) + entering[:, -1]
        return np.asarray(found_N / np.sqrt(squared_N))


def tangent(config: TangentConfig, shape: tuple[int, int, int], seed: int) -> Tangent:
    """The network of this seed: weights and biases are even up to 1 / root of what enters a layer, as PyTorch's."""
    rng = np.random.default_rng([seed, 42])

    def layer(into: int, out: int) -> tuple[Floats, Floats]:
        most = 1 / math.sqrt(into)
        return rng.uniform(-most, most, (into, out)), rng.uniform(-most, most, out)

    first_PM, bias_M = layer(math.prod(shape), config.widths[0])
    second_MO, bias_O = layer(config.widths[0], config.widths[1]) if len(config.widths) == 2 else (None, None)
    last, _ = layer(config.widths[-1], config.outputs)
    whole_PM = np.rint(first_PM / 255 / GRID) * GRID
    return Tangent(whole_PM, bias_M, second_MO, bias_O, last.sum(axis=1), config.outputs)
