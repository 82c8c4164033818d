"""Gaussian kernels of images, also called RBF, of several widths: k(x, y) is the mean of exp(-|x - y|^2 / (2 l^2)).

Images are vectors of their pixels from -1, black, to 1, in the order of an image's array. k(x, x) is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

NARROWEST, WIDEST = 0.01, 10.0
"""Length scales that are served."""


@dataclass(frozen=True, kw_only=True)
class KernelConfig:
    """When two images count as alike."""

    length_scales: tuple[float, ...] = (0.3, 0.6, 1.0)
    """How far apart two images are that count as different: root mean square over pixels in [-1, 1], so that 2 is all
    of the way from black to white; the kernel is the mean over them. A width of images as vectors is this many times
    the root of their number of pixels and colours: the published 1, 2, 4, 8 and 16 of 32 x 32 pixels are 1/32 to
    16/32. Choose without looking at private images."""

    def __post_init__(self) -> None:
        if not self.length_scales or not all(NARROWEST <= one <= WIDEST for one in self.length_scales):
            raise ValueError(
                f"kernel.length_scales is {self.length_scales}: give numbers from {NARROWEST:g} to {WIDEST:g}, "
                "0.3, 0.6 and 1.0 are usual"
            )


@dataclass(frozen=True)
class Kernel:
    """The kernel of images of one size."""

    lengths: tuple[float, ...]
    """Widths, as distances between vectors."""

    @staticmethod
    def of(config: KernelConfig, shape: tuple[int, int, int]) -> Kernel:
        """For images of this shape."""
        return Kernel(tuple(one * math.sqrt(math.prod(shape)) for one in config.length_scales))

    @property
    def steepest(self) -> float:
        """The variance of one partial derivative of a Gaussian process with this kernel: the mean of 1 / l^2."""
        return sum(1 / one**2 for one in self.lengths) / len(self.lengths)

    def weighted(self, squared: Tensor, power: int) -> Tensor:
        """Of squared distances |a - x|^2 the mean of exp(-squared / (2 l^2)) / l^power: with 0 the kernel, with 2 the
        factor of x - a in the gradient of k(a, x) by a."""
        total = torch.zeros_like(squared)
        for one in self.lengths:
            total += torch.exp(squared * (-0.5 / one**2)) / one**power
        return total / len(self.lengths)

    def log_mean(self, squared: Tensor) -> Tensor:
        """The logarithm of the kernel's mean over the last dimension; also where the kernel itself rounds to 0."""
        every = torch.stack([squared * (-0.5 / one**2) for one in self.lengths])
        count = len(self.lengths) * squared.shape[-1]
        return every.logsumexp(-1).logsumexp(0) - math.log(count)


def squared_distances(a_BP: Tensor, x_NP: Tensor) -> Tensor:
    """(..., B, N), none below 0."""
    product = a_BP @ x_NP.transpose(-1, -2)
    own_B1, own_1N = a_BP.square().sum(-1)[..., :, None], x_NP.square().sum(-1)[..., None, :]
    return product.mul_(-2).add_(own_B1).add_(own_1N).clamp_(min=0)


def as_vectors(images_NHWC: NDArray[np.uint8]) -> Tensor:
    """Pixels in [-1, 1], float64 (N, pixels)."""
    flat = torch.from_numpy(np.ascontiguousarray(images_NHWC)).flatten(1)
    return flat.double().mul_(2 / 255).sub_(1)
