"""The noisy mean embedding: one sum over all images of their random features, each beside its class (DP-MERF, Harder
et al., 2021, of Fourier features; DP-NTK, Yang et al., 2023, of tangent features).

Let phi(x) be an image's features, of L2 norm at most 1 whatever it shows (`data/fourier.py`: of each wave a cosine c
and a sine s, c^2 + s^2 = 1, divided by the root of the number of waves; `data/tangent.py`: the gradient of a network's
output by its weights, divided by its own norm, which is never 0). An image x of class y adds the vector
f(x, y) = (phi(x), c) in the block of class y and 0 in the blocks of all others, where the constant c = count_share
counts it. So |f(x, y)|^2 <= 1 + c^2 over all blocks as one vector. Adding or removing an image moves the sum by
f(x, y), and so by at most `sensitivity`, and the sum with Gaussian noise of noise_multiplier * sensitivity on each
number is one Gaussian answer. No clipping is needed.

n, by which sums are divided to be means, is public and the same for both neighbours, as in all of raysyn's answers; the
published sensitivity 2/n is of replacing an image, which is another promise. Where persons are named, a person adds the
mean of what their images would, which is no longer (`units.py`), whatever classes these are in. Who is absent adds
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum

BLOCK = 256
"""Images whose features are made at once: part of the sum's rounding, so a constant."""
EMBEDDING = "embedding"
"""The stage of a plan."""


class Features(Protocol):
    """What is summed: vectors of L2 norm at most 1, whatever an image shows, that nothing private shapes."""

    @property
    def size(self) -> int: ...

    def total(self, images_NHWC: NDArray[np.uint8], weights_N: Floats) -> Floats: ...


@dataclass(frozen=True, kw_only=True)
class EmbeddingConfig:
    """How the mean embedding is asked for."""

    count_share: float = 0.1
    """Of the largest norm of features, how long the constant beside them is that counts images: unbalanced classes are
    divided by their noisy counts, for 0.5 % more noise; 0 takes all classes as equally large."""

    def __post_init__(self) -> None:
        if not 0 <= self.count_share < math.inf:
            raise ValueError(f"embedding.count_share is {self.count_share}: give 0 or more, 0.1 is usual")


def cost(noise_multiplier: float | None) -> Cost:
    """The price of the question: noise beside its `sensitivity`, None for as much as a budget leaves."""
    note = "one vector over all classes: adding or removing an image moves the block of its class"
    return Cost(
        mechanism="noisy mean embedding", noise_multiplier=noise_multiplier, sampling_rate=1.0, steps=1, note=note
    )


def plan(budget: Budget, n: int) -> Plan:
    """Price the question to `n` private images, at most what the budget's own stages leave of it; ValueError where it
    promises nothing."""
    return Plan.within(budget, n, EMBEDDING, cost(None))


def sensitivity(config: EmbeddingConfig) -> float:
    """Of `embedding_sums`: features of norm at most 1 beside the constant."""
    return math.sqrt(1 + config.count_share**2)


def embedding_sums(
    private: Images, features: Features, config: EmbeddingConfig, price: Cost, stream: Stream
) -> Release[Floats]:
    """Noisy sums of the features of each class, and last their noisy number times count_share: (K, features + 1), where
    count_share is 0 without it.

    Guarantee: one Gaussian answer of `sensitivity`, see above. An empty class is answered with noise alone.
    """
    units.check(price, private)
    weights_N = units.weights(private)
    constant = [config.count_share] if config.count_share else []

    def parts(members_M: NDArray[np.int64]) -> Iterator[Floats]:
        for at in range(0, len(members_M), BLOCK):
            some_B = members_M[at : at + BLOCK]
            weights_B = weights_N[some_B]
            total_F = features.total(private.images_NHWC[some_B], weights_B)
            yield np.append(total_F, [weights_B.sum() * value for value in constant])

    size = features.size + len(constant)
    assert price.noise_multiplier is not None
    answer_KF = np.stack(
        [
            noisy_sum(
                parts(np.flatnonzero(private.labels_N == label)), sensitivity(config), price.noise_multiplier,
                stream.normal(0, f"embedding/class {label}", size),
            )
            for label in range(private.classes)
        ]
    )  # fmt: skip
    return Release(answer_KF, price)
