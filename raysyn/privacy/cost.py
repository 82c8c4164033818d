"""What a private answer costs, and how much noise a budget leaves: pure arithmetic, no data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from opacus.accountants import RDPAccountant
from opacus.accountants.analysis import prv as opacus_prv
from opacus.accountants.analysis import rdp as opacus_rdp
from scipy.fft import next_fast_len
from scipy.optimize import brentq
from scipy.special import gammaln, logsumexp, ndtr

ADD_REMOVE = "add/remove one image"
PRV_LIMIT = 200.0
"""Largest epsilon priced by PRV: its grid grows with epsilon, and such a promise means nothing anyway."""
SMALLEST_NOISE, LARGEST_NOISE = 0.05, 1e5
"""Where `calibrate` stops to look for a noise multiplier."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The privacy promise of a whole run."""

    epsilon: float = 10.0
    """Total (epsilon, delta) budget of all stages together; smaller promises more."""
    delta: float | None = None
    """Failure probability of the promise; by default 1/(n ln n) for n training images."""
    accountant: Literal["prv", "rdp"] = "prv"
    """`prv` (numerical, tight) or `rdp` (Renyi, as in most papers; needs about 8 % more noise)."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"budget.epsilon is {self.epsilon}: give a finite number above 0")
        if self.delta is not None:
            _check_delta(self.delta)
        _check_accountant(self.accountant)

    def delta_for(self, n: int) -> float:
        """The delta in force for `n` training images; n counts as public."""
        if self.delta is not None:
            return self.delta
        if n < 3:
            raise ValueError(f"the data has {n} images, too few for the default delta: set --budget.delta")
        return 1.0 / (n * math.log(n))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The price of one release: `steps` Poisson-subsampled Gaussian answers (SGM, Mironov et al. 2019).

    Each answer sums contributions of L2 norm at most S over a Poisson sample and adds noise of standard
    deviation noise_multiplier * S. A one-shot query on all records is sampling_rate 1, steps 1.

    A round of per-class queries is one step whatever the number of classes: adding or removing one image
    touches one class only (parallel composition). This needs label-preserving add/remove adjacency; changing
    a label would touch two classes. Class sizes are not released by this.
    """

    mechanism: str
    """What is released, in words a reader of the certificate understands."""
    noise_multiplier: float | None
    """Noise standard deviation divided by the L2 sensitivity; None until `calibrate` fills it in."""
    sampling_rate: float
    """Probability in (0, 1] that a record takes part in one step."""
    steps: int
    """Number of noisy answers, each with its own Poisson sample."""
    adjacency: str = ADD_REMOVE
    """Which two data sets the promise calls neighbours; costs with different ones do not compose."""
    note: str = ""
    """Why the price is right where that is not plain, e.g. parallel composition over classes."""

    def __post_init__(self) -> None:
        if self.noise_multiplier is not None and not 0 < self.noise_multiplier < math.inf:
            raise ValueError(f"{self.mechanism}: noise_multiplier is {self.noise_multiplier}, give more than 0")
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"{self.mechanism}: sampling_rate is {self.sampling_rate}, give one in (0, 1]")
        if self.steps < 1:
            raise ValueError(f"{self.mechanism}: steps is {self.steps}, give at least 1")


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"budget.delta is {delta}: give a probability between 0 and 1, usually below 1/n")


def _check_same_adjacency(costs: Sequence[Cost]) -> None:
    found = sorted({cost.adjacency for cost in costs})
    if len(found) > 1:
        raise ValueError(f"adjacency is mixed, {found}: such costs do not compose, state one for all")


def _check_accountant(accountant: str) -> None:
    if accountant not in ("prv", "rdp"):
        raise ValueError(f"budget.accountant is {accountant!r}: choose prv or rdp")


def epsilon(costs: Sequence[Cost], delta: float, accountant: str) -> float:
    """Epsilon of all `costs` composed, at `delta`; 0 for no costs.

    `rdp` takes the best of many orders (Mironov et al. 2019; conversion of Balle et al. 2020). `prv` is the
    upper end of a numerical bound (Gopi et al. 2021); it adds its grid's error to its estimate: 1 % of
    epsilon but at least 1e-4 and, from epsilon 1 on, 0.01 or 0.2 % of epsilon.
    Raises ValueError for mixed adjacencies, an uncalibrated cost, or an epsilon beyond what `prv` can price.
    """
    _check_delta(delta)
    _check_accountant(accountant)
    _check_same_adjacency(costs)
    for cost in costs:
        if cost.noise_multiplier is None:
            raise ValueError(f"noise_multiplier of {cost.mechanism} is not set: calibrate it first")
    spent = _epsilon(tuple(costs), delta, accountant)
    if math.isinf(spent):
        raise ValueError(f"budget.accountant prv prices epsilon up to {PRV_LIMIT:g}: add noise or use rdp")
    return spent


class Overspent(ValueError):
    """A budget is too small for what it shall pay."""


def calibrate(budget_epsilon: float, delta: float, accountant: str, fixed: Sequence[Cost], flexible: Cost) -> Cost:
    """`flexible` with the smallest noise multiplier, to 0.01 %, that keeps everything within the budget.

    The result never overspends: epsilon([*fixed, result]) <= budget_epsilon. Multipliers below 0.05 are not
    tried. Raises Overspent, a ValueError, where the fixed costs leave nothing.
    """
    if not (math.isfinite(budget_epsilon) and budget_epsilon > 0):
        raise ValueError(f"budget.epsilon is {budget_epsilon}: give a finite number above 0")

    _check_same_adjacency([*fixed, flexible])
    if epsilon(fixed, delta, accountant) >= budget_epsilon:
        raise Overspent(_overspent(budget_epsilon, delta, accountant, fixed, flexible))

    def excess(log_noise: float) -> float:
        costs = (*fixed, replace(flexible, noise_multiplier=math.exp(log_noise)))
        # RDP alone tells a guess that is far off; PRV takes seconds there and is never so much lower.
        spent = _epsilon_rdp(costs, delta)
        if spent < 10 * budget_epsilon:
            spent = _epsilon(costs, delta, accountant)
        return math.log(min(max(spent, 1e-9), 1e9) / budget_epsilon)

    high = 0.0
    while excess(high) > 0:
        high += math.log(2)
        if high > math.log(LARGEST_NOISE):
            raise Overspent(_overspent(budget_epsilon, delta, accountant, fixed, flexible))
    low = high - math.log(2)
    while excess(low) <= 0:
        high, low = low, low - math.log(2)
        if low < math.log(SMALLEST_NOISE):
            return replace(flexible, noise_multiplier=math.exp(high))
    root = brentq(excess, low, high, xtol=2e-5)
    # The root may lie a hair on the wrong side; a promise must not be broken even by a hair.
    while excess(root) > 0:
        root += 2e-5
    return replace(flexible, noise_multiplier=math.exp(root))


def sgd_schedule(n: int, batch_size: int, epochs: float) -> tuple[float, int]:
    """(q, steps) of DP-SGD with an expected batch size: q = batch_size / n and round(epochs / q) steps.

    This is the convention that meets the DP-FETA paper's Table V: 4,096 of 60,000 for 150 epochs is 2,197
    steps, its "2.2K". The public code instead rounds n / batch_size up first: 2,250 steps at q = 1/15.
    """
    if not 0 < batch_size <= n:
        raise ValueError(f"batch_size is {batch_size}: give 1 to {n}, the number of training images")
    if not 0 < epochs < math.inf:
        raise ValueError(f"epochs is {epochs}: give a number above 0")
    sampling_rate = batch_size / n
    return sampling_rate, max(1, round(epochs / sampling_rate))


def _overspent(budget: float, delta: float, accountant: str, fixed: Sequence[Cost], flexible: Cost) -> str:
    alone = [f"{cost.mechanism} {epsilon([cost], delta, accountant):.3g}" for cost in fixed]
    if not alone:
        return f"budget.epsilon is {budget:g}, too small for any {flexible.mechanism} here: raise it"
    return (
        f"budget.epsilon is {budget:g}, but the queries before {flexible.mechanism} spend "
        f"{epsilon(fixed, delta, accountant):.3g} ({', '.join(alone)}): "
        "raise --budget.epsilon, or ask less or with more noise"
    )


@lru_cache(maxsize=256)
def _epsilon(costs: tuple[Cost, ...], delta: float, accountant: str) -> float:
    """Composed epsilon of calibrated costs; inf where PRV cannot price it."""
    if not costs:
        return 0.0
    by_rdp = _epsilon_rdp(costs, delta)
    if accountant == "rdp":
        return by_rdp
    if by_rdp > PRV_LIMIT:
        return math.inf
    # RDP is a valid upper bound, so it tells beforehand how fine the grid of PRV must be.
    return _epsilon_prv(costs, delta, eps_error=min(max(0.01 * by_rdp, 1e-4), max(0.01, 0.002 * by_rdp)))


# Opacus' own orders, so that no answer here is worse than Opacus'; finer ones near 1 for large epsilon; and
# large ones without which cheap queries would look expensive.
_FEW = np.array([1.01, 1.02, 1.05, *RDPAccountant.DEFAULT_ALPHAS])
_MANY = np.unique(np.geomspace(64, 20_000, 60).round())
_ORDERS = np.concatenate([_FEW, _MANY])


def _epsilon_rdp(costs: Sequence[Cost], delta: float) -> float:
    rdp = sum(cost.steps * _rdp(cost.sampling_rate, cost.noise_multiplier or 0.0) for cost in costs)
    spent = rdp - (math.log(delta) + np.log(_ORDERS)) / (_ORDERS - 1) + np.log1p(-1 / _ORDERS)
    return max(0.0, float(np.min(spent)))


@lru_cache(maxsize=4096)
def _rdp(q: float, noise: float) -> NDArray[np.float64]:
    """RDP of one step at _ORDERS."""
    few = opacus_rdp.compute_rdp(q=q, noise_multiplier=noise, steps=1, orders=list(_FEW))
    many = [order / (2 * noise**2) if q == 1.0 else _rdp_integer(q, noise, order) for order in _MANY]
    return np.concatenate([few, many])


def _rdp_integer(q: float, noise: float, order: float) -> float:
    # Mironov et al. 2019, section 3.3. Opacus' binomial coefficients overflow beyond order 1,029.
    i = np.arange(order + 1.0)
    log_binomial = gammaln(order + 1) - gammaln(i + 1) - gammaln(order - i + 1)
    log_weights = log_binomial + i * math.log(q) + (order - i) * math.log1p(-q)
    return float(logsumexp(log_weights + (i * i - i) / (2 * noise**2))) / (order - 1)


@dataclass(frozen=True)
class _PrivacyLoss:
    """Loss of one step, for Opacus' grid: exact at sampling_rate 1, where Opacus' class divides by zero."""

    sampling_rate: float
    noise_multiplier: float

    def cdf(self, t: NDArray[np.float64] | float) -> NDArray[np.float64]:
        q, noise = self.sampling_rate, self.noise_multiplier
        # The loss t belongs to the output z * noise**2 + 1/2; losses below log(1 - q) do not occur.
        inside = np.maximum(np.expm1(t) / q, -1.0)
        with np.errstate(divide="ignore"):
            z = np.log1p(inside)
        return q * ndtr(noise * z - 0.5 / noise) + (1 - q) * ndtr(noise * z + 0.5 / noise)


def _epsilon_prv(costs: Sequence[Cost], delta: float, eps_error: float) -> float:
    delta_error = delta / 1000
    steps = [cost.steps for cost in costs]
    losses = [_PrivacyLoss(cost.sampling_rate, cost.noise_multiplier or 0.0) for cost in costs]
    # Gopi et al. 2021, remark 5.6: the grid must hold the sum and every single loss but for delta_error.
    reach = _epsilon_rdp(costs, delta_error / 4)
    for cost in costs:
        reach = max(reach, _epsilon_rdp([replace(cost, steps=1)], delta_error / (8 * sum(steps))))
    reach = max(reach, eps_error) + 3
    mesh = eps_error / math.sqrt(sum(steps) * math.log(12 / delta_error) / 2)
    # A grid that reaches a little further has a length that FFTs like; other lengths take several times as long.
    half = next_fast_len(math.ceil(reach / mesh) + 1) - 1.5
    domain = opacus_prv.Domain.create_aligned(-half * mesh, half * mesh, mesh)
    truncated = [opacus_prv.TruncatedPrivacyRandomVariable(loss, domain.t_min, domain.t_max) for loss in losses]
    composed = opacus_prv.compose_heterogeneous([opacus_prv.discretize(t, domain) for t in truncated], steps)
    return float(max(0.0, composed.compute_epsilon(delta, delta_error, eps_error)[2]))
