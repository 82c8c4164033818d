"""One run attacked by its own units: some took part by fair coins, and are guessed about afterwards.

Canaries are units of the private set, the run is the one that is released, and what is guessed from is what others see,
its images, or could have seen, its weights. Games of one run may depend on each other, so that bounds are those of
`lower_bounds` for one run. What is guessed from knows no coin: scores are held against images that were surely out.

How many guesses are made is fixed beforehand (GUESSES); each number of them, of each attack, has an equal part of the
error, so that all bounds of a run hold together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import canaries, lower_bounds
from raysyn.attacks.canaries import Floats, Mask
from raysyn.attacks.verdict import CONFIDENCE
from raysyn.data.images import Images
from raysyn.train.near import Look, nearest

FROM, PART, MOST = 5000, 0.01, 1000
"""Units from which on a run has canaries unless told otherwise; of how many of them; at most so many."""
NEIGHBOURS = 3
"""Images that were surely out, by whose mean distance it is judged how near is near."""
NEAR = 0.01
"""Of a usual distance: what is nearer than that is a copy, and no likelier one the nearer it is."""
GUESSES = ((1 / 16, False), (1 / 4, False), (1 / 4, True), (1.0, True))
"""About which share of the canaries, the surest first; whether half of the guesses are "out", of the lowest scores, or
all of them "in"."""


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
        return Canaries(np.sort(np.argsort(order_U, kind="stable")[: len(coins_M)]), canaries.toss(coins_M))

    def absent(self, units: int) -> Mask:
        """Of all units, who the run leaves out."""
        absent_U = np.zeros(units, bool)
        absent_U[self.units_M[~self.there_M]] = True
        return absent_U


def by_distance(look: Look, own: Images, released: Images, out: Images) -> Floats:
    """By the released images alone: how near the nearest one of its class is to each canary of its `own`, beside how
    near images of its class are that were surely `out`. What is like many others is near to something also when it was
    not there. A class that one of the others has no image of is compared with all of them. ValueError where there are
    none."""
    if not len(released) or not len(out):
        raise ValueError("there are no images to compare canaries with: give at least one")
    nearest_N, usual_N = np.empty(len(own)), np.empty(len(own))
    for label in np.unique(own.labels_N):
        mine = np.flatnonzero(own.labels_N == label)
        for found_N, others, count in ((nearest_N, released, 1), (usual_N, out, NEIGHBOURS)):
            like = np.flatnonzero(others.labels_N == label)
            among = others.select(like) if len(like) else others
            far_NC = nearest(own.select(mine), among, look, count=min(count, len(among))).far
            found_N[mine] = far_NC.double().mean(1).cpu().numpy()
    least = NEAR * float(np.median(usual_N))
    return np.log(np.maximum(usual_N, 1e-12) + least) - np.log(np.maximum(nearest_N, 1e-12) + least)


def by_losses(losses_NL: Floats, out_OL: Floats, own: Images, out: Images) -> Floats:
    """By the weights: losses of each canary at L noise levels, beside the mean at the level of images of its class that
    were surely out, in standard deviations of these, so that a level of large losses counts no more than another."""
    mean_L, std_L = out_OL.mean(axis=0), out_OL.std(axis=0)
    usual_KL = np.tile(mean_L, (own.classes, 1))
    for label in np.unique(out.labels_N):
        usual_KL[label] = out_OL[out.labels_N == label].mean(axis=0)
    away_NL = usual_KL[own.labels_N] - losses_NL
    return np.mean(away_NL / np.where(std_L > 0, std_L, 1.0), axis=1)


def of_units(scores_N: Floats, whose_N: NDArray[np.int64], units: int, surest: bool) -> Floats:
    """Of persons, who were in with all images: the score of their surest one, or the mean over all, (units,)."""
    if not surest:
        return np.bincount(whose_N, scores_N, units) / np.bincount(whose_N, minlength=units)
    best_M = np.full(units, -np.inf)
    np.maximum.at(best_M, whose_N, scores_N)
    return best_M


@dataclass(frozen=True)
class Claim:
    """What a run says of itself."""

    epsilon: float
    delta: float
    mu: float | None
    """Of a Gaussian answer whose trade-off curve lies below the run's, for errors of `RAREST` and more; None where
    there is none."""


RAREST = 1e-6
"""Of `Claim.mu`."""


@dataclass(frozen=True)
class Shown:
    """What one attack on one run shows."""

    guesses: int
    right: int
    """Of those guesses that show most."""
    epsilon: float
    """At least this, whatever the algorithm: the larger of what Steinke et al. 2023 and Mahloujifar et al. 2024 show of
    (epsilon, delta)."""
    gaussian: float
    """At least this, if the run is Gaussian private: Mahloujifar et al. 2024, which is tighter."""
    refuted: bool
    """Whether the claim cannot be: its epsilon, or its whole trade-off curve by `Claim.mu`."""


def shown(scores_M: Floats, there_M: Mask, claim: Claim, attacks: int = 1, confidence: float = CONFIDENCE) -> Shown:
    """Lower bounds from guesses by these scores, of which a run has so many `attacks`: all hold with `confidence`."""
    order, games = np.argsort(-scores_M, kind="stable"), len(scores_M)
    level = 1 - (1 - confidence) / (attacks * len(GUESSES))
    found, refuted = [(0.0, 0.0, 0, 0)], False
    for share, both in GUESSES:
        guesses, right = _guessed(there_M[order], share, both)
        told = games, guesses, right
        epsilon = lower_bounds.of_one_run(*told, claim.delta, level)
        mu = lower_bounds.mu_at_least(*told, level)
        found.append((epsilon, lower_bounds.epsilon_of(mu, claim.delta), guesses, right))
        refuted |= epsilon > claim.epsilon
        if claim.mu is not None:
            refuted |= lower_bounds.improbable(*told, _claimed(claim.mu), 1 - level)
    epsilon, _, guesses, right = max(found)
    return Shown(guesses, right, epsilon, max(gaussian for _, gaussian, *_ in found), refuted)


def _guessed(sorted_M: Mask, share: float, both: bool) -> tuple[int, int]:
    """(guesses, right ones), of coins in the order of falling scores. Equal scores are in the order of their units,
    which is no coin's."""
    count = int(len(sorted_M) * share)
    if not both:
        return count, int(sorted_M[:count].sum())
    half = count // 2
    return 2 * half, int(sorted_M[:half].sum() + (~sorted_M[len(sorted_M) - half :]).sum())


def _claimed(mu: float) -> lower_bounds.Alarms:
    """The least false alarms at which a share of members is found, as claimed: below RAREST the curve may be lower than
    the Gaussian's, by no more than that."""
    curve = lower_bounds.gaussian_alarms(mu)

    def alarms_of(found: float) -> float:
        return max(0.0, curve(found - RAREST) - RAREST) if found > RAREST else 0.0

    return alarms_of


def largest(found: Sequence[Shown]) -> Shown:
    """The attack that shows most."""
    return max(found, key=lambda one: (one.refuted, one.epsilon, one.gaussian))
