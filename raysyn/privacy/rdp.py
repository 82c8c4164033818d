"""Renyi differential privacy of Poisson-subsampled Gaussian answers: an upper bound by a few formulas, no grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

Kind = tuple[float, float, int]
"""(sampling rate, noise multiplier, steps) of answers that are alike."""

# Opacus' own orders, so that no answer here is worse than Opacus'; finer ones near 1 for large epsilon; and
# large ones without which cheap queries would look expensive.
_FEW = np.array([1.01, 1.02, 1.05, *(1 + tenth / 10.0 for tenth in range(1, 100)), *range(12, 64)])
_MANY = np.unique(np.geomspace(64, 20_000, 60).round())
ORDERS = np.concatenate([_FEW, _MANY])


def epsilon(kinds: Sequence[Kind], delta: float) -> float:
    """The best of many orders (Mironov et al. 2019; conversion of Balle et al. 2020)."""
    return max(0.0, float(np.min(_epsilons(kinds, delta))))


def delta(kinds: Sequence[Kind], epsilon: float) -> float:
    """Delta at `epsilon`, by the same conversion."""
    log_delta = (ORDERS - 1) * (divergence(kinds) - epsilon + np.log1p(-1 / ORDERS)) - np.log(ORDERS)
    return math.exp(min(0.0, float(np.min(log_delta))))


def best_order(kinds: Sequence[Kind], delta: float) -> float:
    """The order that gives `epsilon`."""
    return float(ORDERS[np.argmin(_epsilons(kinds, delta))])


def best_order_at(kinds: Sequence[Kind], epsilon: float) -> float:
    """The order whose tail bound is the smallest at `epsilon`."""
    return float(ORDERS[np.argmin((ORDERS - 1) * (divergence(kinds) - epsilon))])


def reach(kinds: Sequence[Kind], probability: float) -> float:
    """A privacy loss that is exceeded with at most this probability, in either direction (Chernoff's bound)."""
    return max(0.0, float(np.min(divergence(kinds) - math.log(probability) / (ORDERS - 1))))


def divergence(kinds: Sequence[Kind]) -> NDArray[np.float64]:
    """Renyi divergence at ORDERS of all kinds composed.

    Removing a record is priced, which is never the cheaper direction (Mironov et al. 2019, theorem 5).
    """
    # What may be missing of the logarithm of a sum, which the order above 1 divides: rounding, and of fractional orders
    # the end of a series that Opacus cuts at 1e-13.
    missing = np.where(np.round(ORDERS) == ORDERS, 2e-14, 1e-12)
    rounding = sum(steps for rate, _, steps in kinds if rate < 1) * (missing / (ORDERS - 1) + 4e-15)
    return rounding + sum((steps * _of_one(rate, noise) for rate, noise, steps in kinds), np.zeros(len(ORDERS)))


def _epsilons(kinds: Sequence[Kind], delta: float) -> NDArray[np.float64]:
    return divergence(kinds) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1) + np.log1p(-1 / ORDERS)


@lru_cache(maxsize=4096)
def _of_one(q: float, noise: float) -> NDArray[np.float64]:
    """RDP of one step at ORDERS."""
    few = _opacus_rdp().compute_rdp(q=q, noise_multiplier=noise, steps=1, orders=list(_FEW))
    many = [order / (2 * noise**2) if q == 1.0 else _of_integer(q, noise, order) for order in _MANY]
    return np.concatenate([few, many])


@cache
def _opacus_rdp() -> ModuleType:
    """Opacus' formulas, its file `accountants/analysis/rdp.py` alone: all of Opacus takes seconds to import."""
    folders, spec = None, None
    for name in ("opacus", "accountants", "analysis", "rdp"):
        spec = PathFinder.find_spec(name, folders)
        if spec is None:
            raise ModuleNotFoundError(f"Opacus has no formulas for Renyi privacy here: {name} is not found")
        folders = spec.submodule_search_locations
    assert spec is not None and spec.loader is not None
    spec.loader.exec_module(module := module_from_spec(spec))
    return module


def _of_integer(q: float, noise: float, order: float) -> float:
    from scipy.special import gammaln, logsumexp

    # Mironov et al. 2019, section 3.3. Opacus' binomial coefficients overflow beyond order 1,029.
    i = np.arange(order + 1.0)
    log_binomial = gammaln(order + 1) - gammaln(i + 1) - gammaln(order - i + 1)
    log_weights = log_binomial + i * math.log(q) + (order - i) * math.log1p(-q)
    return float(logsumexp(log_weights + (i * i - i) / (2 * noise**2))) / (order - 1)
