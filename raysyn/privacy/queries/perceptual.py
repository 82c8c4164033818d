"""Noisy sums of what a public network sees in the private images, class by class: its features, and their squares
(DP-MEPF, Harder et al., 2022).

Let phi(x) be an image's features and psi(x) their squares, each scaled to L2 norm 1, whatever the image shows
(`models/perceptual.py`); what the network has learned, it has from public images. Two answers are sold, at most:

    means    the sum of (phi(x), c) in the block of class y, and 0 in the blocks of all others, where the constant
             c = count_share counts the image: of norm at most sqrt(1 + c^2) over all blocks as one vector.
    squares  the same of psi(x), without a count: of norm at most 1.

Adding or removing an image moves each by what it adds, and so by at most `sensitivity`; each with Gaussian noise of
noise_multiplier * sensitivity on each number is one Gaussian answer. Both are of all images; neither depends on the
other, and the plan composes them. The published code has noise for 2/n of means and 1/n of mean squares, for images
that are replaced, which is another promise; of mean squares it is too little for that one, as vectors of norm 1 without
a number below 0 may be orthogonal, and are then sqrt(2) apart. Here an image comes or goes. n is public and the same
for both neighbours. Where persons are named, a person adds the mean of what their images would, which is no longer
(`units.py`), whatever classes these are in. Who is absent adds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost, calibrate
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum

MEANS, SQUARES = "means", "squares"
"""The two stages of a plan."""
Sums = Mapping[str, Floats]
"""By stage (K, F), exact: not to leave."""


@dataclass(frozen=True, kw_only=True)
class FeatureMomentsConfig:
    """How moments of the features are asked for."""

    squares_share: float = 0.5
    """Share of the budget (of the sum of 1 / noise_multiplier^2) spent on mean squares of the features; 0 asks for
    their means alone."""
    count_share: float = 0.1
    """Of the largest norm of features, how long the constant beside them is that counts images: unbalanced classes are
    divided by their noisy counts, for 0.5 % more noise; 0 takes all classes as equally large."""

    def __post_init__(self) -> None:
        # Noise multipliers are found to 0.01 %: less than a hundredth could be less than nothing.
        if self.squares_share != 0 and not 0.01 <= self.squares_share <= 0.99:
            raise ValueError(
                f"moments.squares_share is {self.squares_share}: give a share from 0.01 to 0.99, or 0 for none"
            )
        if not 0 <= self.count_share < math.inf:
            raise ValueError(f"moments.count_share is {self.count_share}: give 0 or more, 0.1 is usual")

    def stages(self) -> tuple[str, ...]:
        """What is asked."""
        return (MEANS, SQUARES) if self.squares_share else (MEANS,)

    def constant(self, stage: str) -> float:
        """The constant that counts images in this answer, 0 for none."""
        return self.count_share if stage == MEANS else 0.0


def costs(config: FeatureMomentsConfig, noise_multiplier: float) -> dict[str, Cost]:
    """Prices of what is asked, that together are as private as one Gaussian answer with this noise: of two,
    1 / noise_multiplier^2 adds up."""
    note = "one vector over all classes: adding or removing an image moves the block of its class"
    means = Cost(
        mechanism="noisy mean features", noise_multiplier=noise_multiplier, sampling_rate=1.0, steps=1, note=note
    )
    if not config.squares_share:
        return {MEANS: means}
    shares = {MEANS: 1 - config.squares_share, SQUARES: config.squares_share}
    names = {MEANS: means.mechanism, SQUARES: "noisy mean squared features"}
    return {
        stage: replace(means, mechanism=names[stage], noise_multiplier=noise_multiplier / math.sqrt(share))
        for stage, share in shares.items()
    }


def plan(config: FeatureMomentsConfig, budget: Budget, n: int) -> Plan:
    """Price what is asked of `n` private images, at most what the budget's own stages leave of it; ValueError where it
    promises nothing."""
    whole = Cost(mechanism="noisy mean features", noise_multiplier=None, sampling_rate=1.0, steps=1)
    before = list(budget.fixed().values())
    both = calibrate(budget.epsilon, budget.delta_for(n), budget.accountant, before, whole).noise_multiplier
    assert both is not None
    *first, (last, price) = costs(config, both).items()
    return Plan.within(budget, n, last, price, dict(first))


def sensitivity(config: FeatureMomentsConfig, stage: str) -> float:
    """Of an answer: features of norm at most 1 beside the constant."""
    return math.sqrt(1 + config.constant(stage) ** 2)


def class_sums(
    rows: Iterable[Sequence[Floats]], labels_N: NDArray[np.int64], weights_N: Floats, classes: int,
    config: FeatureMomentsConfig,
) -> dict[str, Floats]:  # fmt: skip
    """What images add to each answer, by stage (K, F), and last of the means what they count: exact, not to leave.

    Args: the images' features in blocks, one (B, F) for each of `config.stages`, of norm at most 1; their classes; and
    what each counts, by `units.weights` of all private images, not of these alone.
    """
    sums, at = dict[str, Floats](), 0
    for block in rows:
        some = slice(at, at + len(block[0]))
        labels_B, weights_B, at = labels_N[some], weights_N[some], some.stop
        for stage, rows_BF in zip(config.stages(), block, strict=True):
            constant = config.constant(stage)
            total_KF = sums.setdefault(stage, np.zeros((classes, rows_BF.shape[1] + bool(constant))))
            for label in np.unique(labels_B):
                mine = labels_B == label
                # Not a matrix product, whose rounding depends on the number of threads.
                total_F = np.einsum("b,bf->f", weights_B[mine], rows_BF[mine])
                total_KF[label] += np.append(total_F, [weights_B[mine].sum() * constant] * bool(constant))
    return sums


def noisy_sums(
    private: Images, stage: str, shards: Sequence[Sums], config: FeatureMomentsConfig, price: Cost, stream: Stream
) -> Release[Floats]:
    """One of the two answers, from the `class_sums` of parts of the private images: (K, F), of the means with one
    number more, the noisy count times count_share, unless this is 0.

    Guarantee: one Gaussian answer of `sensitivity`, see above. An empty class is answered with noise alone.
    """
    units.check(price, private)
    assert price.noise_multiplier is not None
    size = shards[0][stage].shape[1]
    answer_KF = np.stack(
        [
            noisy_sum(
                (shard[stage][label] for shard in shards), sensitivity(config, stage), price.noise_multiplier,
                stream.normal(0, f"features/{stage}/class {label}", size),
            )
            for label in range(private.classes)
        ]
    )  # fmt: skip
    return Release(answer_KF, price)
