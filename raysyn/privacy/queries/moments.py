"""Noisy moments of each class: its mean image, and how its images differ from it, each a sum with Gaussian noise.

Both are asked of the lowest spatial frequencies of an image, which are a fixed orthonormal basis: taking an image into
it changes no norm, and what is left out makes norms smaller. Why each sensitivity holds stands beside its function;
where persons are named, they add the mean of what their images would (`units.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysyn.data.frequencies import to_frequencies
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost, calibrate
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum

BLOCK = 512
"""Images transformed at once: part of the sum's rounding, so a constant."""
CLEAR = 0.05
"""Noise in a class' spread, as the largest of its directions and in parts of the clipped norm's square, up to which
each class is asked for its own. On KMNIST (3,000 images) and PneumoniaMNIST, own spreads lost 2 points of accuracy at
0.18, were as good as a common one at 0.07, and gained 1 to 4 at 0.025 to 0.036."""
MEANS, SPREAD = "means", "spread"
"""The two stages of a plan."""
HALF, TENTH = 0.5, 0.1
"""Of the budget for the spread, where each class is asked for its own, and where one is asked of all. Of 1,000 images
of KMNIST and PneumoniaMNIST at epsilon 1 (and 3), five (four) seeds, mean of an MLP and logistic regression, a tenth
has 42.2 and 79.1 % (53.9 and 85.5), a quarter 39.8 and 80.3 (51.4 and 84.9), half 35.1 and 77.0 (48.4 and 84.5)."""


@dataclass(frozen=True, kw_only=True)
class MomentsConfig:
    """Which moments of the private images to buy, and how the budget is shared between them."""

    frequencies: int = 256
    """Lowest spatial frequencies of each channel that class means are made of; at most one per pixel."""
    spread_frequencies: int = 64
    """The same for how images of a class differ from its mean; 0 asks for means alone."""
    spread_share: float | None = None
    """Share of the budget (of the sum of 1 / noise_multiplier^2) spent on the spread; by default half, and a tenth
    where n, classes and budget leave too much noise in a spread for each class."""
    spread_norm: float = 0.25
    """Differences from the mean are scaled down to at most this root mean square over pixels, where 1 is all of the
    way from black to white."""
    spread_per_class: bool | None = None
    """A spread for each class, or one for all of them; by default for each where n, classes and budget make it clear
    enough."""
    count_share: float = 0.1
    """Share of the largest norm spent on noisy class counts, which give means of unbalanced classes their right
    contrast for 0.5 % more noise; 0 takes all classes as equally large."""

    def __post_init__(self) -> None:
        if self.frequencies < 1:
            raise ValueError(f"moments.frequencies is {self.frequencies}: give at least 1")
        if not 0 <= self.spread_frequencies <= self.frequencies:
            raise ValueError(
                f"moments.spread_frequencies is {self.spread_frequencies}: give 0 to moments.frequencies, "
                f"{self.frequencies}"
            )
        # Noise multipliers are found to 0.01 %: less than a hundredth could be less than nothing.
        if self.spread_share is not None and not 0.01 <= self.spread_share <= 0.99:
            raise ValueError(
                f"moments.spread_share is {self.spread_share}: give a share from 0.01 to 0.99 (no spread at all is "
                "moments.spread_frequencies 0)"
            )
        if not 0 < self.spread_norm < math.inf:
            raise ValueError(f"moments.spread_norm is {self.spread_norm}: give a number above 0, 0.25 is usual")
        if not 0 <= self.count_share < math.inf:
            raise ValueError(f"moments.count_share is {self.count_share}: give 0 or more, 0.1 is usual")


def costs(config: MomentsConfig, noise_multiplier: float) -> dict[str, Cost]:
    """Prices of both questions, or of the first alone where there is no other, that together are as private as one
    Gaussian answer with this noise: of two, 1 / noise_multiplier^2 adds up, in halves where no share is said."""
    share = HALF if config.spread_share is None else config.spread_share
    parallel = "a question to disjoint classes is one step: adding or removing an image touches one class"
    means = Cost(
        mechanism="noisy class means", noise_multiplier=noise_multiplier, sampling_rate=1.0, steps=1, note=parallel
    )
    if config.spread_frequencies == 0:
        return {MEANS: means}
    one = "one step: adding or removing an image touches one class, or where it is asked for all at once, the only sum"
    spread = Cost(
        mechanism="noisy spread within classes", noise_multiplier=noise_multiplier / math.sqrt(share),
        sampling_rate=1.0, steps=1, note=one,
    )  # fmt: skip
    first = replace(means, noise_multiplier=noise_multiplier / math.sqrt(1 - share))
    return {MEANS: first, SPREAD: spread}


def planned(config: MomentsConfig, budget: Budget, private: Images) -> Plan:
    """`plan` for these images, or their persons."""
    return units.planned(private, lambda n: plan(config, budget, n, private.classes, private.shape))


def plan(config: MomentsConfig, budget: Budget, n: int, classes: int, shape: tuple[int, int, int]) -> Plan:
    """Price both questions to `n` private images (or persons), at most what the budget's own stages leave of it;
    ValueError where it promises nothing."""
    whole = Cost(mechanism="noisy class means", noise_multiplier=None, sampling_rate=1.0, steps=1)
    before = list(budget.fixed().values())
    both = calibrate(budget.epsilon, budget.delta_for(n), budget.accountant, before, whole).noise_multiplier
    assert both is not None
    *first, last = costs(settled(config, both, n, classes, shape), both).items()
    return Plan.within(budget, n, *last, dict(first))


def settled(
    config: MomentsConfig, noise_multiplier: float, n: int, classes: int, shape: tuple[int, int, int]
) -> MomentsConfig:
    """With its `spread_share` as a number, which follows from what is public; noise_multiplier: of both together."""
    if config.spread_share is not None or config.spread_frequencies == 0:
        return config
    half = replace(config, spread_share=HALF)
    clear = is_clear(half, costs(half, noise_multiplier)[SPREAD], n, classes, shape)
    return half if clear else replace(config, spread_share=TENTH)


def mean_norm(shape: tuple[int, int, int]) -> float:
    """The largest norm of an image of `shape` around medium grey: all of it black and white."""
    return math.sqrt(math.prod(shape)) / 2


def mean_sensitivity(config: MomentsConfig, shape: tuple[int, int, int]) -> float:
    """Of `class_sums`: frequencies of norm at most `mean_norm`, beside a constant of count_share of it."""
    return mean_norm(shape) * math.sqrt(1 + config.count_share**2)


def class_sums(private: Images, config: MomentsConfig, price: Cost, stream: Stream) -> Release[Floats]:
    """Noisy sums of each class' images as frequencies, and last their noisy number, (K, C * frequencies + 1), where
    count_share is 0 without it.

    Guarantee: one Gaussian answer per class, of one step together. An image adds to its class alone its frequencies,
    scaled down to `mean_norm` should rounding have made them longer, and the constant; so the answer changes by at most
    `mean_sensitivity` when it comes or goes. An empty class is answered with noise alone. A person with images of
    several classes adds to all of these answers together, as one vector, the mean of such: no more.
    """
    units.check(price, private)
    weights_N, largest = units.weights(private), mean_norm(private.shape)
    constant = [config.count_share * largest] if config.count_share else []

    def parts(members_M: NDArray[np.int64]) -> Iterator[Floats]:
        for some_B, rows_BF in _blocks(private, members_M, config.frequencies):
            weights_B = weights_N[some_B]
            clipped_BF = _within(rows_BF, largest) * weights_B[:, None]
            yield np.append(clipped_BF.sum(axis=0), [weights_B.sum() * value for value in constant])

    size = private.shape[2] * kept(private.shape, config.frequencies) + len(constant)
    assert price.noise_multiplier is not None
    answer_KF = np.stack(
        [
            noisy_sum(
                parts(np.flatnonzero(private.labels_N == label)), mean_sensitivity(config, private.shape),
                price.noise_multiplier, stream.normal(0, f"moments/means/class {label}", size),
            )
            for label in range(private.classes)
        ]
    )  # fmt: skip
    return Release(answer_KF, price)


def per_class(config: MomentsConfig, price: Cost, n: int, classes: int, shape: tuple[int, int, int]) -> bool:
    """Whether each class is asked for a spread of its own; depends on nothing but what is public."""
    if config.spread_per_class is not None or classes == 1:
        return bool(config.spread_per_class)
    return is_clear(config, price, n, classes, shape)


def is_clear(config: MomentsConfig, price: Cost, n: int, classes: int, shape: tuple[int, int, int]) -> bool:
    """Whether the noise of this price leaves enough to be seen of a spread for each class."""
    assert price.noise_multiplier is not None
    # Of a symmetric matrix of noise, the largest direction is 2 * noise_std * sqrt(size).
    directions = 2 * math.sqrt(shape[2] * kept(shape, config.spread_frequencies) / 2)
    return directions * price.noise_multiplier / (n / classes) <= CLEAR


def spread_sums(
    private: Images, means_KF: Floats, config: MomentsConfig, price: Cost, stream: Stream, *, own: bool
) -> Release[Floats]:
    """Noisy sums of r r^T, where r is how an image differs from `means_KF` of its class, which is paid for: for each
    class if `own`, else one, (K or 1, D, D) and symmetric, D = C * spread_frequencies, in units of `spread_norm`^2.

    Guarantee: one Gaussian answer per class, of one step together, or one. r is scaled down to norm 1, so that r r^T
    has Frobenius norm at most 1, which is what an image adds to one of the sums. A symmetric matrix is as long as the
    vector of its diagonal and, times sqrt(2), of what is above it: there the noise is added, with sensitivity 1. A
    person adds the mean of their images' r r^T, each of which stands in the sum of its class: to all sums together, as
    one vector, no more than 1.
    """
    units.check(price, private)
    weights_N = units.weights(private)
    count = kept(private.shape, config.spread_frequencies)
    unit = spread_unit(config, private.shape)
    size = private.shape[2] * count
    above = np.triu_indices(size)
    stretch = np.where(above[0] == above[1], 1.0, math.sqrt(2.0))

    def parts(members_M: NDArray[np.int64]) -> Iterator[Floats]:
        for some_B, rows_BF in _blocks(private, members_M, count):
            means_BD = _first(means_KF, private.shape[2], count)[private.labels_N[some_B]]
            away_BD = _within((rows_BF - means_BD) / unit, 1.0)
            # Not a matrix product, whose rounding depends on the number of threads.
            yield np.einsum("bi,bj->ij", away_BD * weights_N[some_B, None], away_BD)[above] * stretch

    members = [np.flatnonzero(private.labels_N == label) for label in range(private.classes)] if own else []
    assert price.noise_multiplier is not None
    sums = []
    for cell, chosen in enumerate(members or [np.arange(len(private))]):
        noise = stream.normal(0, f"moments/spread/{'class' if own else 'all'} {cell}", len(stretch))
        noisy = noisy_sum(parts(chosen), 1.0, price.noise_multiplier, noise) / stretch
        square_DD = np.zeros((size, size))
        square_DD[above] = noisy
        sums.append(square_DD + np.triu(square_DD, 1).T)
    return Release(np.stack(sums), price)


def spread_unit(config: MomentsConfig, shape: tuple[int, int, int]) -> float:
    """Norm to which differences from the mean are scaled down, in pixels of [0, 1]."""
    return config.spread_norm * math.sqrt(math.prod(shape))


def kept(shape: tuple[int, int, int], count: int) -> int:
    """Frequencies of a channel, of `count` that are asked for."""
    return min(count, shape[0] * shape[1])


def _first(rows_KF: Floats, channels: int, count: int) -> Floats:
    """The first `count` frequencies of each channel."""
    return rows_KF.reshape(len(rows_KF), channels, -1)[..., :count].reshape(len(rows_KF), -1)


def _blocks(private: Images, members_M: NDArray[np.int64], count: int) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Some of these images, and their frequencies."""
    for at in range(0, len(members_M), BLOCK):
        some_B = members_M[at : at + BLOCK]
        yield some_B, to_frequencies(private.images_NHWC[some_B], count)


def _within(rows_BF: Floats, norm: float) -> Floats:
    """Rows scaled down to at most this L2 norm."""
    return rows_BF * (norm / np.maximum(np.linalg.norm(rows_BF, axis=1), norm))[:, None]
