"""Renyi differential privacy of Poisson-subsampled Gaussian answers: an upper bound by a few formulas, no grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Kind = tuple[float, float, int]
"""(sampling rate, noise multiplier, steps) of answers that are alike."""

# Opacus' own orders, so that no answer here is worse than Opacus'; finer ones near 1 for large epsilon; and
# large ones without which cheap queries would look expensive.
_FEW = np.array([1.01, 1.02, 1.05, *(1 + tenth / 10.0 for tenth in range(1, 100)), *range(12, 64)])
_MANY = np.unique(np.geomspace(64, 20_000, 60).round())
ORDERS = np.concatenate([_FEW, _MANY])
_FIRST = np.searchsorted(ORDERS, (1.01, 3.0, 12.0, 64.0, 20_000.0))
"""Places of the orders that are always computed."""


def epsilon(kinds: Sequence[Kind], delta: float) -> float:
    """The best of many orders (Mironov et al. 2019; conversion of Balle et al. 2020)."""
    return max(0.0, _least(kinds, _conversion(delta))[0])


def delta(kinds: Sequence[Kind], epsilon: float) -> float:
    """Delta at `epsilon`, by the same conversion."""
    least, _ = _least(kinds, lambda spent: (ORDERS - 1) * (spent - epsilon + np.log1p(-1 / ORDERS)) - np.log(ORDERS))
    return math.exp(min(0.0, least))


def deltas(kinds: Sequence[Kind], epsilons: Array) -> Array:
    """The same at many of them, by every order that is the best of one of them."""
    spent, known = np.full(len(ORDERS), -np.inf), np.zeros(len(ORDERS), bool)
    missing, by_epsilon = np.unique([*_FIRST, *_known(kinds)]), np.empty((len(epsilons), len(ORDERS)))
    while len(missing):
        spent[missing], known[missing] = divergence(kinds, missing), True
        # In one place: a new one for each step takes as long as all that is computed.
        np.subtract(np.where(known, spent, _floor(spent, known)), epsilons[:, None], out=by_epsilon)
        by_epsilon += np.log1p(-1 / ORDERS)
        by_epsilon *= ORDERS - 1
        by_epsilon -= np.log(ORDERS)
        best = np.unique(by_epsilon.argmin(axis=1))
        missing = best[~known[best]]
    return np.array([math.exp(min(0.0, least)) for least in by_epsilon.min(axis=1).tolist()])


def best_order(kinds: Sequence[Kind], delta: float) -> float:
    """The order that gives `epsilon`."""
    return _least(kinds, _conversion(delta))[1]


def best_order_at(kinds: Sequence[Kind], epsilon: float) -> float:
    """The order whose tail bound is the smallest at `epsilon`."""
    return _least(kinds, lambda spent: (ORDERS - 1) * (spent - epsilon))[1]


def reach(kinds: Sequence[Kind], probability: float) -> float:
    """A privacy loss that is exceeded with at most this probability, in either direction (Chernoff's bound)."""
    return max(0.0, _least(kinds, lambda spent: spent - math.log(probability) / (ORDERS - 1))[0])


def log_beyond(kinds: Sequence[Kind], loss: float) -> float:
    """Logarithm of the probability, at most, that a privacy loss is larger: the other way round."""
    return min(0.0, _least(kinds, lambda spent: (ORDERS - 1) * (spent - loss))[0])


def divergence(kinds: Sequence[Kind], places: Array | None = None) -> Array:
    """Renyi divergence at ORDERS, or at those `places` of them, of all kinds composed.

    Removing a record is priced, which is never the cheaper direction (Mironov et al. 2019, theorem 5).
    """
    at = np.arange(len(ORDERS)) if places is None else places
    orders = ORDERS[at]
    # What may be missing of the logarithm of a sum, which the order above 1 divides: rounding (4e-14 at most where it
    # was held against 40 digits), and of fractional orders the end of a series that is cut at 1e-13.
    missing = np.where(np.round(orders) == orders, 1e-13, 1e-12)
    rounding = sum(steps for rate, _, steps in kinds if rate < 1) * (missing / (orders - 1) + 4e-15)
    found = sum((steps * _of_one(rate, noise, at) for rate, noise, steps in kinds), np.zeros(len(at)))
    return rounding + (1 + 1e-14) * found  # the last digits of large numbers


def _conversion(delta: float) -> Callable[[Array], Array]:
    return lambda spent: spent - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1) + np.log1p(-1 / ORDERS)


def _least(kinds: Sequence[Kind], bound: Callable[[Array], Array]) -> tuple[float, float]:
    """The least of `bound(divergence at ORDERS)`, which rises with the divergence of each order, and its order.

    Each order gives a bound, so that none is needed for the guarantee. Most are known to give no better one before
    they are computed, which is slow: see `_floor`.
    """
    known = np.zeros(len(ORDERS), bool)
    known[[*_FIRST, *_known(kinds)]] = True
    spent = np.full(len(ORDERS), -np.inf)
    spent[known] = divergence(kinds, np.flatnonzero(known))
    while True:
        at = int(np.argmin(bounds := bound(np.where(known, spent, _floor(spent, known)))))
        if known[at]:
            return float(bounds[at]), float(ORDERS[at])
        spent[at], known[at] = divergence(kinds, np.array([at]))[0], True


def _known(kinds: Sequence[Kind]) -> Array:
    """Places of the orders that have been computed for all of them."""
    return np.flatnonzero(~np.isnan(sum((_found(rate, noise) for rate, noise, _ in kinds), np.zeros(len(ORDERS)))))


def _floor(spent: Array, known: Array) -> Array:
    """What the divergence is at least at ORDERS, given it at the `known` ones, the first and the last among them.

    It does not fall from one order to the next, and times order - 1 it is convex (van Erven and Harremoes 2014,
    theorem 3 and corollary 2): beyond two known orders it lies above the line through them.
    """
    at = np.flatnonzero(known)
    orders, heights = ORDERS[at], (ORDERS[at] - 1) * spent[at]
    slopes = np.diff(heights) / np.diff(orders)
    below = np.searchsorted(at, np.arange(len(ORDERS)), side="right") - 1  # place of the last known order
    before, after = np.maximum(below - 1, 0), np.minimum(below + 1, len(slopes) - 1)
    rising = heights[before + 1] + slopes[before] * (ORDERS - orders[before + 1])
    falling = heights[after] - slopes[after] * (orders[after] - ORDERS)
    lines = np.fmax(
        np.where(below > 0, rising, -np.inf), np.where(below < len(slopes) - 1, falling, -np.inf)
    )  # fmt: skip
    # Rounding is far less than this.
    return np.fmax(np.maximum.accumulate(spent), lines / (ORDERS - 1)) * (1 - 1e-6) - 1e-6


def _of_one(q: float, noise: float, places: Array) -> Array:
    """RDP of one step at these places of ORDERS."""
    found = _found(q, noise)
    for at in places:
        if np.isnan(found[at]):
            order = float(ORDERS[at])
            subsampled = _of_integer if order.is_integer() else _of_fraction
            found[at] = order / (2 * noise**2) if q == 1.0 else subsampled(q, noise, order)
            if np.isnan(found[at]):
                # To `max` it would be less than any price.
                raise ArithmeticError(f"no price is found at order {order:g} for rate {q} and noise multiplier {noise}")
    return found[places]


@lru_cache(maxsize=4096)
def _found(q: float, noise: float) -> Array:
    """RDP of one step at ORDERS, as far as it was asked for; the others are no numbers."""
    return np.full(len(ORDERS), np.nan)


def _of_integer(q: float, noise: float, order: float) -> float:
    from scipy.special import binom, gammaln

    # Mironov et al. 2019, section 3.3. Binomial coefficients overflow beyond order 1,029; below, their logarithms are
    # more exact than differences of far larger ones.
    i = np.arange(order + 1.0)
    if order <= 1_000:
        log_binomial = np.log(binom(order, i))
    else:
        log_binomial = gammaln(order + 1) - gammaln(i + 1) - gammaln(order - i + 1)
    log_weights = log_binomial + i * math.log(q) + (order - i) * math.log1p(-q)
    return _log_of_sum(log_weights + (i * i - i) / (2 * noise**2)) / (order - 1)


def _of_fraction(q: float, noise: float, order: float) -> float:
    from scipy.special import binom, log_ndtr

    # As above: an integral on either side of z0, each a series whose signs alternate in the end, cut where Opacus' are,
    # at the first term that is below exp(-30) on both sides. Theirs are added term by term, thousands of them where
    # there is much noise; these are computed in blocks.
    z0 = noise**2 * math.log(1 / q - 1) + 0.5
    found, signs, begin, size = np.empty((2, 0)), np.empty(0), 0, 64
    while not (small := ~(found.max(axis=0) >= -30)).any():  # what is no number ends it too
        i = np.arange(begin, begin + size, dtype=float)
        j, coefficients = order - i, binom(order, i)
        logs = np.log(np.abs(coefficients))
        left = i * math.log(q) + j * math.log1p(-q) + (i * i - i) / (2 * noise**2) + log_ndtr((z0 - i) / noise)
        right = j * math.log(q) + i * math.log1p(-q) + (j * j - j) / (2 * noise**2) + log_ndtr((j - z0) / noise)
        found = np.concatenate([found, [logs + left, logs + right]], axis=1)
        signs = np.concatenate([signs, np.sign(coefficients)])
        begin, size = begin + size, 2 * size
    end = int(small.argmax()) + 1
    return _log_of_sum(found[:, :end], signs[:end]) / (order - 1)


def _log_of_sum(logs: Array, signs: Array | float = 1.0) -> float:
    """log(sum(signs * exp(logs))); SciPy's `logsumexp` does much else, and is most of the time of a price."""
    most = logs.max()
    return float(most + np.log((signs * np.exp(logs - most)).sum()))
