"""The privacy loss of one answer on a Poisson sample: what `prv` puts on a grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysyn.privacy import rdp
from raysyn.privacy.rdp import Kind

Array = NDArray[np.float64]
Direction = Literal["removed", "added"]
"""Of two neighbours, which one the answers came from: the one that lacks the record may tell more or less."""


class Law:
    """Of one record that comes or goes; `group.Group` is that of several."""

    def reach(self, kinds: Sequence[Kind], probability: float) -> float:
        """A loss of all kinds composed that is exceeded with at most this probability, in either direction."""
        return rdp.reach(kinds, probability)

    def log_beyond(self, kinds: Sequence[Kind], loss: float) -> float:
        """Logarithm of a bound of the probability that all kinds composed have a larger loss."""
        return rdp.log_beyond(kinds, loss)

    def lowest(self, rate: float) -> float:
        """The loss below which none occurs with the record there, for a rate below 1."""
        return math.log1p(-rate)

    def tails(self, losses: Array, rate: float, noise: float, direction: Direction) -> tuple[Array, Array]:
        """Probabilities of a loss of one step at most, and above."""
        return _tails(losses, rate, noise, direction)

    def moments(self, rate: float, noise: float, direction: Direction) -> tuple[float, float, float]:
        """Mean, variance and mean size of the loss of one step."""
        return _moments(rate, noise, direction)


ONE = Law()


def _tails(losses: Array, rate: float, noise: float, direction: Direction) -> tuple[Array, Array]:
    from scipy.special import ndtr

    z = noise * _inverse(losses if direction == "removed" else -losses, rate)
    with_, without = z - 0.5 / noise, z + 0.5 / noise
    if direction == "added":
        return ndtr(-without), ndtr(without)
    return (
        rate * ndtr(with_) + (1 - rate) * ndtr(without),
        rate * ndtr(-with_) + (1 - rate) * ndtr(-without),
    )


def _inverse(losses: Array, rate: float) -> Array:
    """The u of each loss log(1 - rate + rate exp(u)); -inf for losses that do not occur."""
    if rate == 1:
        return losses
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        near = np.log1p(np.maximum(np.expm1(losses) / rate, -1.0))
        far = losses - math.log(rate) + np.log1p(np.maximum(-(1 - rate) * np.exp(-losses), -1.0))
    return np.where(np.abs(losses) < 1.0, near, far)


@lru_cache(maxsize=4096)
def _moments(rate: float, noise: float, direction: Direction) -> tuple[float, float, float]:
    """Mean, variance and mean size of the loss of one step.

    By the trapezoid rule, which is exact to rounding for such functions: analytic, and as good as 0 at both ends.
    """
    step = min(1 / 40, noise / 4)
    z = np.arange(-13 / step, 13 / step + 1) * step
    density = np.exp(-z * z / 2) * (step / math.sqrt(2 * math.pi))
    without = _loss(z / noise - 0.5 / noise**2, rate)
    if direction == "added":
        pairs = [(density, -without)]
    else:
        pairs = [(density * rate, _loss(z / noise + 0.5 / noise**2, rate)), (density * (1 - rate), without)]
    mean = sum(float(np.sum(weights * losses)) for weights, losses in pairs)
    variance = sum(float(np.sum(weights * (losses - mean) ** 2)) for weights, losses in pairs)
    return mean, variance, sum(float(np.sum(weights * np.abs(losses))) for weights, losses in pairs)


def _loss(u: Array, rate: float) -> Array:
    """log(1 - rate + rate exp(u)), precise where it is small and where it is large."""
    if rate == 1:
        return u
    near = np.log1p(rate * np.expm1(np.minimum(u, 1.0)))
    far = np.logaddexp(math.log1p(-rate), math.log(rate) + u)
    return np.where((u < 1.0) & ((u > -0.5) | (rate < 0.5)), near, far)
