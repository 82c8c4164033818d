"""What several images of one person cost together, where each image is a unit of its own: exact to a few per mille.

Of k images each takes part in a step by a coin of its own. With j of them in the sample the sum moves by at most j
times the sensitivity S, by the triangle inequality, so that the answer is no better told apart than N(0, noise^2) from
the mixture of N(j, noise^2) with the binomial weights of j of k (Choquette-Choo et al. 2024, "Privacy amplification for
matrix mechanisms", the mixture-of-Gaussians mechanism: larger sensitivities only part the two further). Without
sampling that is one shift by k. Steps compose as ever: the loss of a step is put on the grid of `prv`, and summed.

A person with k images or fewer is bound by k: fewer only move less.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from raysyn.privacy import prv
from raysyn.privacy.cost import Cost, kinds_of
from raysyn.privacy.losses import Array, Direction, Law
from raysyn.privacy.rdp import Kind

ORDERS = np.array(
    [1.0005, 1.001, 1.002, 1.005, 1.01, 1.02, 1.05, 1.1, 1.3, 1.6, 2, 2.7, 4, 6, 9, 14, 22, 36, 64, 128, 256, 512, 2048,
     8192, 20_000]
)  # fmt: skip
"""Of Renyi divergences, which only bound how far the grid has to reach and say how far to tilt it: those near 1 where
there is little noise, large ones where there is much."""
FINE = 0.004
"""Error of the grid, relative to epsilon."""
LITTLE = 1e-3
"""Below that epsilon the bound by Renyi divergences is good enough."""
EXACT = 4e-14
"""Error of a loss, relative to 1 and to itself: `_moments` says so to the grid."""
MOST = 200_000
"""Points of an integral."""
ENOUGH = 40.0
"""Standard deviations beyond which a normal number's density is nothing beside 1e-300."""


def epsilon_of_group(costs: Sequence[Cost], k: int, delta: float) -> float:
    """Upper bound of epsilon at `delta`, of everything that was paid for, for k images that come or go together; inf
    where nothing can be said.

    Raises ValueError for mixed adjacencies, an uncalibrated cost and fewer than one image.
    """
    if k < 1:
        raise ValueError(f"k is {k}: give the number of images, at least 1")
    return _epsilon(kinds_of(costs), k, delta)


@lru_cache(maxsize=64)
def _epsilon(kinds: tuple[Kind, ...], k: int, delta: float) -> float:
    if not kinds:
        return 0.0
    if not prv.can_say(kinds, delta):
        return math.inf
    law = Group(k)
    spent = law.divergence(kinds)
    bounds = spent - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1) + np.log1p(-1 / ORDERS)
    at = int(np.argmin(bounds))
    best = max(0.0, float(bounds[at]))
    if best < LITTLE:
        return best
    try:
        return min(best, prv.refined(kinds, delta, best, float(ORDERS[at]), FINE, law))
    except ArithmeticError:
        return best


@dataclass(frozen=True)
class Group(Law):
    """The loss of one step on a Poisson sample of k images of one person and of everybody else's."""

    k: int

    def reach(self, kinds: Sequence[Kind], probability: float) -> float:
        return float(np.min(self.divergence(kinds) - math.log(probability) / (ORDERS - 1)))

    def log_beyond(self, kinds: Sequence[Kind], loss: float) -> float:
        return min(0.0, float(np.min((ORDERS - 1) * (self.divergence(kinds) - loss))))

    def divergence(self, kinds: Sequence[Kind]) -> Array:
        """Renyi's, at ORDERS, of the direction in which it is the larger; rounded up."""
        return sum((steps * _divergence(rate, noise, self.k) for rate, noise, steps in kinds), np.zeros(len(ORDERS)))

    def lowest(self, rate: float) -> float:
        return self.k * math.log1p(-rate)

    def tails(self, losses: Array, rate: float, noise: float, direction: Direction) -> tuple[Array, Array]:
        from scipy.special import ndtr

        z = _inverse(losses if direction == "removed" else -losses, rate, noise, self.k)
        if direction == "added":
            return ndtr(-z), ndtr(z)
        parts = [(math.exp(log), j / noise) for j, log in _weights(rate, self.k)]
        below = sum((weight * ndtr(z - shift) for weight, shift in parts), np.zeros(len(z)))
        return below, sum((weight * ndtr(shift - z) for weight, shift in parts), np.zeros(len(z)))

    def moments(self, rate: float, noise: float, direction: Direction) -> tuple[float, float, float]:
        return _moments(rate, noise, direction, self.k)


@lru_cache(maxsize=256)
def _weights(rate: float, k: int) -> list[tuple[int, float]]:
    """(j, log of the probability that j of k images take part)."""
    if rate == 1.0:
        return [(k, 0.0)]
    take, leave = math.log(rate), math.log1p(-rate)
    return [(j, math.log(math.comb(k, j)) + j * take + (k - j) * leave) for j in range(k + 1)]


def _loss_and_slope(z: Array, rate: float, noise: float, k: int) -> tuple[Array, Array]:
    """log of the mixture's density over that of N(0, 1) at z, in standard deviations of the noise, and its derivative:
    the loss rises with z, and is convex in it."""
    parts = [(log - 0.5 * (j / noise) ** 2, j / noise) for j, log in _weights(rate, k)]
    most = np.max([at + shift * z for at, shift in parts], axis=0)
    above, rises = np.zeros(len(z)), np.zeros(len(z))
    for at, shift in parts:
        part = np.exp(at + shift * z - most)
        above += part
        rises += shift * part
    return most + np.log(above), rises / above


def _inverse(losses: Array, rate: float, noise: float, k: int) -> Array:
    """The z of each loss; -inf for those that do not occur."""
    found = np.full(len(losses), -np.inf)
    there = losses > (k * math.log1p(-rate) if rate < 1 else -math.inf)
    if not there.any():
        return found
    wanted = losses[there]
    # One mixed-in shift alone makes the loss at least k z / noise - k^2 / (2 noise^2) + k log(rate).
    high = max(0.0, float(wanted.max()) * noise / k - noise * math.log(rate)) + k / (2 * noise) + ENOUGH
    low = min(0.0, float(wanted.min()) * noise / k if rate == 1 else 0.0) - ENOUGH
    table = np.linspace(low, high, 20_000)
    z = np.interp(wanted, _loss_and_slope(table, rate, noise, k)[0], table)
    # Newton's method, which comes from above once it is there: further down than `low` no answer lies.
    for _ in range(30):
        loss, slope = _loss_and_slope(z, rate, noise, k)
        wrong = loss - wanted
        if ((np.abs(wrong) <= EXACT * (1 + np.abs(wanted))) | (z <= low)).all():
            found[there] = z
            return found
        z = np.clip(z - wrong / np.maximum(slope, 1e-300), low, high)
    raise ArithmeticError(f"no loss is found for rate {rate}, noise multiplier {noise} and {k} images")


def _trapezoid(logs: Array, step: float) -> float:
    """log of the integral of exp(logs) times the density of N(0, 1), which the caller has put in."""
    most = float(logs.max())
    return most + math.log(float(np.exp(logs - most).sum()) * step / math.sqrt(2 * math.pi))


@lru_cache(maxsize=256)
def _divergence(rate: float, noise: float, k: int) -> Array:
    """Of one step, at ORDERS.

    By the trapezoid rule, which is exact to rounding for such functions: analytic up to pi times the noise beside the
    real line, as good as 0 at both ends, and wider than two steps.
    """
    if rate == 1.0:
        return np.asarray(ORDERS * (k / noise) ** 2 / 2)
    found = []
    for order in ORDERS.tolist():
        step = min(1 / 40, noise / 4)
        if order * k / noise > MOST * step:
            # All images at every step: with so little noise it is hardly more.
            found.append(order * (k / noise) ** 2 / 2)
            continue
        z = np.arange(-13.0, 13.0 + order * k / noise, step)
        there = _trapezoid(order * _loss_and_slope(z, rate, noise, k)[0] - z * z / 2, step)
        # The other way the density never exceeds that of N(0, 1) by more than a constant, but may be narrow.
        step = min(step, 0.5 / math.sqrt(1 + (order - 1) * (k / noise) ** 2 / 4))
        z = np.arange(-13.0, 13.0, step)
        back = _trapezoid((1 - order) * _loss_and_slope(z, rate, noise, k)[0] - z * z / 2, step)
        found.append((max(there, back, 0.0) + 1e-12) / (order - 1))
    return np.array(found) * (1 + 1e-12)


@lru_cache(maxsize=256)
def _moments(rate: float, noise: float, direction: Direction, k: int) -> tuple[float, float, float]:
    """As `losses` has them of one record, by the same rule; the size is raised by what finding z may err."""
    step = min(1 / 40, noise / 4)
    z = np.arange(-13 / step, 13 / step + 1) * step
    density = np.exp(-z * z / 2) * (step / math.sqrt(2 * math.pi))
    parts = [(0.0, 0.0)] if direction == "added" else [(log, j / noise) for j, log in _weights(rate, k)]
    known = [(density * math.exp(log), _loss_and_slope(z + shift, rate, noise, k)[0]) for log, shift in parts]
    if direction == "added":
        known = [(weights, -loss) for weights, loss in known]
    mean = sum(float(np.sum(weights * loss)) for weights, loss in known)
    variance = sum(float(np.sum(weights * (loss - mean) ** 2)) for weights, loss in known)
    size = sum(float(np.sum(weights * np.abs(loss))) for weights, loss in known)
    return mean, variance, 2 * (size + (k / noise) ** 2 + 1)
