"""What a private answer costs, and how much noise a budget leaves: pure arithmetic, no data."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NamedTuple

from raysyn.privacy import prv, rdp
from raysyn.privacy.rdp import Kind
from raysyn.privacy.rounding import product_rounded_up, rounded_down, rounded_up

COUNTING = "noisy class counts"
FLAGS = {COUNTING: "--classes.noisy-counts"}
"""Which flag asks for what, where no setting of the budget or of a stage does."""
ADD_REMOVE = "add/remove one image, the number of images held fixed (a removed image counts as blank)"
"""What is proved: the number of images is public, so a neighbour has as many, one of which contributes nothing."""
ADD_REMOVE_PERSON = (
    "add/remove one person with all their images, the number of persons held fixed (a removed person counts as blank)"
)
"""The same where persons are named: see `units.py`. How many images there are is then nobody's to know: it is a sum of
what is each person's own."""
UNITS = {ADD_REMOVE: "image", ADD_REMOVE_PERSON: "person"}
"""What is proved, and what it is about in a word."""
COUNTED = "the number of training images"  # in refusals, where `units.planned` does not know better
FEWEST, MUCH = 100, 0.1
"""Images that the default delta asks for; the part of 1/n from which on delta is worth a warning."""
SMALL_BATCH = 64
"""No smaller one is advised, as far as there are so many: noise is added at every step."""
ROUGH = 0.03
"""Relative error of a first look at a price."""
LEAST_NOISE, MOST_NOISE = 1e-12, 1e9
"""Less than that is none, and float64 cannot price it, nor more."""
LEAST_RATE, MOST_STEPS = 1e-12, 10**9
"""Far beyond any run, and still priced in seconds and in memory that there is."""
SMALLEST_NOISE, LARGEST_NOISE = 0.05, 1e5
"""Where `calibrate` stops to look for a noise multiplier."""


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The privacy promise of a whole run."""

    epsilon: float = 10.0
    """Total (epsilon, delta) budget of all stages together; smaller promises more."""
    delta: float | None = None
    """Failure probability of the promise, below 1/n for n training images (or persons, where named); by default the
    smaller of 1/(n ln n) and 1/(10 n), for 100 or more."""
    accountant: Literal["prv", "rdp"] = "prv"
    """`prv` (numerical, tight; the smaller of its bound and RDP's) or `rdp` (Renyi, as in most papers; needs about
    8 % more noise)."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epsilon) and self.epsilon > 0):
            raise ValueError(f"budget.epsilon is {self.epsilon}: give a finite number above 0")
        if self.delta is not None:
            _check_delta(self.delta)
        _check_accountant(self.accountant)

    def fixed(self) -> Mapping[str, Cost]:
        """Stages that are part of it, whatever else is planned, at prices that do not depend on that."""
        return {}

    def delta_for(self, n: int, unit: str = "image") -> float:
        """The delta in force for `n` images, or others of this unit, which is public; by default at most MUCH of 1/n.

        ValueError where it promises nothing: with 1/n or more, publishing one of them outright is allowed.
        """
        if self.delta is None:
            if n < FEWEST:
                raise ValueError(
                    f"the data has {n} {unit}s, too few for the default delta 1/(10 n) to promise much (at least "
                    f"{FEWEST}): name a smaller one, such as --budget.delta {0.01 / max(n, 1):.0e}"
                )
            return min(1.0 / (n * math.log(n)), math.nextafter(1.0 / (10 * n), 0.0))
        if self.delta * n >= 1:
            raise ValueError(
                f"budget.delta is {self.delta:g}, but there are {n:,} {unit}s, and with 1/n or more the promise holds "
                f"for publishing one of them outright: give --budget.delta below {rounded_down(1 / n, 2)}, such as "
                f"{0.01 / n:.0e}"
            )
        return self.delta


def delta_beside(delta: float, n: int, unit: str = "image") -> str:
    """How much of 1/n a delta is, for n of this unit, in a sentence, with a warning where that is much."""
    part = f"delta is {product_rounded_up(delta, n, 2)} of 1/n"
    if delta * n <= MUCH:
        return part
    return (
        f"{part}, which is much: drawing lots and publishing each {unit} with probability delta would keep the promise"
    )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The price of one release: `steps` Poisson-subsampled Gaussian answers (SGM, Mironov et al. 2019).

    Each answer sums contributions of L2 norm at most S over a Poisson sample and adds noise of standard
    deviation noise_multiplier * S. A one-shot query on all records is sampling_rate 1, steps 1.

    A round of per-class queries is one step whatever the number of classes: adding or removing one image
    touches one class only (parallel composition). This needs label-preserving add/remove adjacency; changing
    a label would touch two classes. Class sizes are not released by this. A person with images of several classes
    touches as many: why that costs no more either stands in `units.py`.
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
        if self.noise_multiplier is not None and not LEAST_NOISE <= self.noise_multiplier <= MOST_NOISE:
            raise ValueError(
                f"{self.mechanism}: noise_multiplier is {self.noise_multiplier}, give one of {LEAST_NOISE:g} to "
                f"{MOST_NOISE:g}"
            )
        if not LEAST_RATE <= self.sampling_rate <= 1:
            raise ValueError(
                f"{self.mechanism}: sampling_rate is {self.sampling_rate}, give one of {LEAST_RATE:g} to 1"
            )
        if not 1 <= self.steps <= MOST_STEPS:
            raise ValueError(f"{self.mechanism}: steps is {self.steps}, give 1 to {MOST_STEPS:,}")


def same_price(one: Cost, other: Cost) -> bool:
    """Whether both promise the same, whatever words are said of them. Another machine may compute the last bits of the
    noise otherwise."""
    if (one.sampling_rate, one.steps, one.adjacency) != (other.sampling_rate, other.steps, other.adjacency):
        return False
    return math.isclose(one.noise_multiplier or 0.0, other.noise_multiplier or 0.0, rel_tol=1e-9)


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


class Priced(NamedTuple):
    """An epsilon, and the accountant that gave it."""

    epsilon: float
    by: str


def priced(costs: Sequence[Cost], delta: float, accountant: str, fine: float = prv.FINE) -> Priced:
    """Epsilon of all `costs` composed, at `delta`, and whose bound it is; 0 for no costs. `fine` is the grid of PRV.

    `rdp` takes the best of many orders (Mironov et al. 2019; conversion of Balle et al. 2020). `prv` composes the
    losses numerically (after Gopi et al. 2021) and is mostly 0.2 % above the exact value. Both are upper bounds,
    rounding included, so with `prv` the smaller of the two is returned: RDP's where the numbers are so extreme that the
    grid, which may not grow without end, is too coarse.
    Raises ValueError for mixed adjacencies and for an uncalibrated cost.
    """
    _check_delta(delta)
    _check_accountant(accountant)
    return _priced(kinds_of(costs), delta, accountant, fine)


def epsilon(costs: Sequence[Cost], delta: float, accountant: str) -> float:
    """The epsilon of `priced`."""
    return priced(costs, delta, accountant).epsilon


def delta(costs: Sequence[Cost], epsilon: float) -> float:
    """Delta of all `costs` composed, at `epsilon`: an upper bound, the smaller of PRV's and RDP's; 0 for no costs.

    Raises ValueError as `priced` does, and for an epsilon below 0.
    """
    if not 0 <= epsilon < math.inf:
        raise ValueError(f"epsilon is {epsilon}: give a finite number of at least 0")
    kinds = kinds_of(costs)
    return min(prv.delta(kinds, epsilon), rdp.delta(kinds, epsilon)) if kinds else 0.0


def unit_of(adjacency: str) -> str:
    """What it is about, in a word."""
    return UNITS.get(adjacency, "image")


class Overspent(ValueError):
    """A budget is too small for what it shall pay."""


def calibrate(budget_epsilon: float, delta: float, accountant: str, fixed: Sequence[Cost], flexible: Cost) -> Cost:
    """`flexible` with the smallest noise multiplier, to 0.01 %, that keeps everything within the budget.

    The result never overspends: epsilon([*fixed, result]) <= budget_epsilon. Multipliers below 0.05 are not
    tried. Raises Overspent, a ValueError, where the fixed costs leave nothing.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy.optimize import brentq

    if not (math.isfinite(budget_epsilon) and budget_epsilon > 0):
        raise ValueError(f"budget.epsilon is {budget_epsilon}: give a finite number above 0")

    _check_same_adjacency([*fixed, flexible])
    if epsilon(fixed, delta, accountant) >= budget_epsilon:
        raise Overspent(_overspent(budget_epsilon, delta, accountant, fixed, flexible))

    def excess(log_noise: float) -> float:
        kinds = kinds_of((*fixed, replace(flexible, noise_multiplier=math.exp(log_noise))))
        # A coarse price tells a guess that is far off; only near the budget is it worth a fine one.
        spent = _priced(kinds, delta, accountant, ROUGH).epsilon
        if abs(math.log(max(spent, 1e-9) / budget_epsilon)) < 4 * ROUGH:
            spent = _priced(kinds, delta, accountant).epsilon
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


def sgd_schedule(n: int, batch_size: int, epochs: float, group: str = "") -> tuple[float, int]:
    """(q, steps) of DP-SGD with an expected batch size: q = batch_size / n and round(epochs / q) steps. ValueError
    names the `group` of flags that the two are in.

    This is the convention that meets the DP-FETA paper's Table V: 4,096 of 60,000 for 150 epochs is 2,197
    steps, its "2.2K". The public code instead rounds n / batch_size up first: 2,250 steps at q = 1/15.
    """
    within = f"{group}." if group else ""
    if not 0 < batch_size <= n:
        # A part of them, so that there is more than a step or two in an epoch; of few, all.
        mend = f", as in --{group}.batch-size {min(n, max(SMALL_BATCH, n // 8))}" if group else ""
        raise ValueError(f"{within}batch_size is {batch_size}: give 1 to {n}, {COUNTED}{mend}")
    if not 0 < epochs < math.inf:
        raise ValueError(f"{within}epochs is {epochs}: give a number above 0")
    sampling_rate = batch_size / n
    return sampling_rate, max(1, round(epochs / sampling_rate))


def _overspent(budget: float, delta: float, accountant: str, fixed: Sequence[Cost], flexible: Cost) -> str:
    alone = [f"{cost.mechanism} {rounded_up(epsilon([cost], delta, accountant))}" for cost in fixed]
    if not alone:
        return f"budget.epsilon is {budget:g}, too small for any {flexible.mechanism} here: raise it"
    asked = "".join(f" ({flag})" for name, flag in FLAGS.items() if name in {cost.mechanism for cost in fixed})
    return (
        f"budget.epsilon is {budget:g}, but the queries before {flexible.mechanism} spend "
        f"{rounded_up(epsilon(fixed, delta, accountant))} ({', '.join(alone)}): "
        f"raise --budget.epsilon, or ask less or with more noise{asked}"
    )


def kinds_of(costs: Sequence[Cost]) -> tuple[Kind, ...]:
    """What is composed, like answers together, in an order of its own: the same costs always give the same bits.

    Raises ValueError for mixed adjacencies and for a cost that is not calibrated.
    """
    _check_same_adjacency(costs)
    steps: dict[tuple[float, float], int] = {}
    for cost in costs:
        if cost.noise_multiplier is None:
            raise ValueError(f"noise_multiplier of {cost.mechanism} is not set: calibrate it first")
        alike = (cost.sampling_rate, cost.noise_multiplier)
        steps[alike] = steps.get(alike, 0) + cost.steps
    return tuple((rate, noise, steps[rate, noise]) for rate, noise in sorted(steps))


@lru_cache(maxsize=1024)
def _priced(kinds: tuple[Kind, ...], delta: float, accountant: str, fine: float = prv.FINE) -> Priced:
    if not kinds:
        return Priced(0.0, accountant)
    by_rdp = rdp.epsilon(kinds, delta)
    if accountant == "prv" and (by_prv := prv.epsilon(kinds, delta, fine)) <= by_rdp:
        return Priced(by_prv, "prv")
    return Priced(by_rdp, "rdp")
