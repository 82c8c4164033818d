"""One run of any method attacked by its own units: some take part by a coin, and are guessed about afterwards.

This is the honest weak audit (Steinke, Nasr and Jagielski 2023): canaries are natural units of the private set, the
run is the one that is released, and what is guessed from is what others see (its images) or could see (its weights).
Games of one run may depend on each other, so the bounds are those of `lower_bounds.in_one_run`. Canaries and what is
found of them stay inside: who was in is the run's secret.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.attacks import canaries, lower_bounds
from raysyn.attacks.canaries import Floats, Mask
from raysyn.attacks.verdict import CONFIDENCE

FROM, PART, MOST = 5000, 0.01, 1000
"""Units from which on a run has canaries unless told otherwise; of how many of them; at most so many."""
NEIGHBOURS = 3
"""Images that were surely out, by whose mean distance it is judged how near is near."""
ROWS = 256
"""Canaries whose distances are held at a time."""
Pixels = NDArray[np.uint8]


def how_many(units: int) -> int:
    """Canaries by default: 1 % of large sets, of small ones none, as each costs half a unit."""
    return min(MOST, round(PART * units)) if units >= FROM else 0


@dataclass(frozen=True, eq=False)
class Canaries:
    """Who may be in a run, and who is."""

    units_M: NDArray[np.int64]
    """Which units they are, ascending."""
    there_M: Mask
    """Who takes part in the run."""

    @staticmethod
    def drawn(order_U: Floats, coins_M: Floats) -> Canaries:
        """As many as there are coins, of all units the ones with the smallest numbers. Both arrays are uniform in (0,
        1) and of the run's secret, so that nobody else can tell who is a canary, and who of them is in."""
        if len(coins_M) > len(order_U):
            raise ValueError(f"audit.canaries is {len(coins_M)}, but there are {len(order_U)} units: give fewer")
        return Canaries(np.sort(np.argsort(order_U, kind="stable")[: len(coins_M)]), canaries.toss(coins_M))

    def takes_part(self, units: int) -> Mask:
        """Of all units, who the run is given."""
        given_U = np.ones(units, bool)
        given_U[self.units_M[~self.there_M]] = False
        return given_U


def from_images(canaries_MHWC: Pixels, released_NHWC: Pixels, out_RHWC: Pixels) -> Floats:
    """By the released images alone: how near the nearest one is to each canary, beside how near images are to it that
    were surely out (test images). What is like many others is near to something also when it was not there."""
    nearest_M = _nearest(canaries_MHWC, released_NHWC, 1)
    usual_M = _nearest(canaries_MHWC, out_RHWC, min(NEIGHBOURS, len(out_RHWC)))
    # A released copy of a canary is at distance 0.
    return np.log(usual_M + 1.0) - np.log(nearest_M + 1.0)


def _nearest(some_MHWC: Pixels, others_NHWC: Pixels, count: int) -> Floats:
    """Mean Euclidean distance to the `count` nearest others, in steps of 1/255."""
    if not len(others_NHWC):
        raise ValueError("there are no images to compare canaries with: give at least one")
    some, others = (torch.from_numpy(one).flatten(1).float() for one in (some_MHWC, others_NHWC))
    parts = [torch.cdist(rows, others).topk(count, largest=False).values.mean(1) for rows in some.split(ROWS)]
    return torch.cat(parts).double().numpy()


def from_losses(losses_MLD: Floats) -> Floats:
    """By the released weights: losses of each canary at L noise levels, D draws each. A level counts by how many of its
    canaries' usual differences the loss lies below what is usual there, as losses at high noise are larger and say
    less."""
    mean_ML = losses_MLD.mean(axis=2)
    away_ML = np.median(mean_ML, axis=0) - mean_ML
    usual_L = np.median(np.abs(away_ML), axis=0)
    return np.mean(away_ML / np.where(usual_L > 0, usual_L, 1.0), axis=1)


def of_units(scores_I: Floats, whose_I: NDArray[np.int64], units: int) -> Floats:
    """Of persons, who were in with all images: the score of their surest one, (units,)."""
    best_M = np.full(units, -np.inf)
    np.maximum.at(best_M, whose_I, scores_I)
    return best_M


@dataclass(frozen=True)
class Shown:
    """What one run shows, beside what it claims."""

    canaries: int
    epsilon: float
    """At least this, whatever the algorithm: Steinke et al. 2023."""
    gaussian: float
    """At least this, if the run is Gaussian private: Mahloujifar et al. 2024, which is tighter."""
    delta: float
    confidence: float

    def refutes(self, claimed: float) -> bool:
        """Whether a claim of this epsilon, at the same delta, cannot be."""
        return self.epsilon > claimed

    def told(self, claimed: float) -> str:
        """In a sentence, for the report."""
        least = (
            f"shown: at least {self.epsilon:.2g}, with {self.confidence:.0%} confidence, by {self.canaries:,} canaries"
        )
        if self.refutes(claimed):
            return f"claimed ε at most {claimed:.3g}, but {least}: the claim is wrong, so hand nothing on and report it"
        return f"claimed ε at most {claimed:.3g}; {least}"


def shown(scores_M: Floats, there_M: Mask, delta: float, confidence: float = CONFIDENCE) -> Shown:
    """Lower bounds of epsilon from guesses by these scores."""
    epsilon, mu = lower_bounds.in_one_run(scores_M, there_M, delta, confidence)
    return Shown(len(scores_M), epsilon, lower_bounds.epsilon_of(mu, delta), delta, confidence)
