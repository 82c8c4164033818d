"""Noisy numbers of images per class, for drawing the classes of synthetic images in about these shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import COUNTING, Budget, Cost
from raysyn.privacy.ledger import Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum

COUNTS = "counts"
"""The stage of a plan."""


@dataclass(frozen=True, kw_only=True)
class BudgetWithCounts(Budget):
    """A budget of which the counts of classes are a part, whatever else it is for."""

    counts_std: float
    """Standard deviation of the noise, in images; where persons are named, in persons."""

    def fixed(self) -> Mapping[str, Cost]:
        return {COUNTS: cost(self.counts_std)}


def cost(std: float) -> Cost:
    """Of the one answer: an image is in one class, so that the sensitivity is 1 and the multiplier the deviation."""
    return Cost(
        mechanism=COUNTING, noise_multiplier=std, sampling_rate=1.0, steps=1,
        note="adding or removing an image changes the count of one class by one",
    )  # fmt: skip


def class_counts(private: Images, price: Cost, stream: Stream) -> Release[Floats]:
    """The number of images of each class with noise, (K,); of persons, in parts by the classes of their images.

    Guarantee: one Gaussian answer. Adding or removing an image changes one entry by 1, and so the whole by an L2 norm
    of 1; a person changes it by the mean of such vectors, whose norm is 1 at most, and 1 if all are of one class. An
    empty class is answered with noise alone.
    """
    assert price.noise_multiplier is not None
    units.check(price, private)
    exact = np.bincount(private.labels_N, units.weights(private), private.classes).astype(np.float64)
    noise = stream.normal(0, "counts", private.classes)
    return Release(noisy_sum([exact], 1.0, price.noise_multiplier, noise), price)
