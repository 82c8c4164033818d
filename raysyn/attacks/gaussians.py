"""Gaussians of what shadow models say of each example and view, fitted from sums over models.

Shapes: M shadow models, N examples, Q queries (views) of each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Confidences = NDArray[np.float64]
Mask = NDArray[np.bool_]
Signal = Callable[[Confidences], Confidences]
SMALLEST_STD = 1e-6
"""Saturated confidences may agree in every shadow model; their likelihoods must stay finite."""


class TooFewModels(ValueError):
    """Some example has too few shadow models on a side."""


class Gaussians(NamedTuple):
    mean_NQ: Confidences
    std_NQ: Confidences

    def log_density(self, x_NQ: Confidences) -> Confidences:
        return -np.log(self.std_NQ) - ((x_NQ - self.mean_NQ) / self.std_NQ) ** 2 / 2


class Moments(NamedTuple):
    """Sums over models, per example and view, of confidences less `centre_NQ`: squares far from zero cancel badly."""

    count_NQ: NDArray[np.int64]
    sum_NQ: Confidences
    squares_NQ: Confidences
    centre_NQ: Confidences

    def without(self, other: Moments) -> Moments:
        count_NQ, sum_NQ = self.count_NQ - other.count_NQ, self.sum_NQ - other.sum_NQ
        return Moments(count_NQ, sum_NQ, self.squares_NQ - other.squares_NQ, self.centre_NQ)

    def only(self, chosen_N: Mask) -> Moments:
        count_NQ, sum_NQ = self.count_NQ[chosen_N], self.sum_NQ[chosen_N]
        return Moments(count_NQ, sum_NQ, self.squares_NQ[chosen_N], self.centre_NQ[chosen_N])

    def mean(self) -> Confidences:
        return self.centre_NQ + self.sum_NQ / np.maximum(1, self.count_NQ)

    def means(self, did: str) -> Confidences:
        """`mean`; TooFewModels where some example has none."""
        self._check(1, did)
        return self.mean()

    def _check(self, needed: int, did: str) -> None:
        if (least := int(self.count_NQ.min())) < needed:
            raise TooFewModels(
                f"only {least} shadow models {did} some example, {needed} are needed: train more of them"
            )

    def gaussians(self, per_example: bool, did: str) -> Gaussians:
        """Mean per example and view; standard deviation per example and view, or one per view pooled over examples."""
        self._check(2 if per_example else 1, did)
        squares_NQ = np.maximum(0.0, self.squares_NQ - self.sum_NQ**2 / self.count_NQ)
        if per_example:
            variance = squares_NQ / (self.count_NQ - 1)
        else:
            # Deviations from each example's own mean: how much examples differ says nothing about membership.
            degrees_Q = np.maximum(1, (self.count_NQ - 1).sum(0))
            variance = np.broadcast_to(squares_NQ.sum(0) / degrees_Q, squares_NQ.shape)
        return Gaussians(self.mean(), np.maximum(np.sqrt(variance), SMALLEST_STD))


def moments(
    shadow_MNQ: Confidences, side_MN: Mask, centre_NQ: Confidences, signal: Signal = lambda confidence: confidence
) -> Moments:
    """Of `signal` of the confidences of models on one side of each example."""
    count_NQ = np.zeros(shadow_MNQ.shape[1:], np.int64)
    sum_NQ, squares_NQ = np.zeros((2, *shadow_MNQ.shape[1:]))
    # One after the other: of hundreds of models at once, every step in between would take gigabytes.
    for shadow_NQ, side_N in zip(shadow_MNQ, side_MN, strict=True):
        counted_NQ = side_N[:, None] & ~np.isnan(shadow_NQ)
        values_NQ = np.where(counted_NQ, signal(shadow_NQ) - centre_NQ, 0.0)
        count_NQ += counted_NQ
        sum_NQ += values_NQ
        squares_NQ += values_NQ**2
    return Moments(count_NQ, sum_NQ, squares_NQ, centre_NQ)


def centred(shadow_MNQ: Confidences, side_MN: Mask, signal: Signal = lambda confidence: confidence) -> Moments:
    """`moments` about their own mean."""
    centre_NQ = moments(shadow_MNQ, side_MN, np.zeros(shadow_MNQ.shape[1:]), signal).mean()
    return moments(shadow_MNQ, side_MN, centre_NQ, signal)
