"""What the best possible attack can reach against what was paid for: the whole privacy curve, as a few figures.

An (epsilon, delta) pair is one point of a curve delta(epsilon) that holds as a whole. Whatever somebody computes from
the answers, let P be the chance to say "it was among them" of an image that was, and F of one that was not. Then, for
every epsilon >= 0, P <= exp(epsilon) F + delta(epsilon), and 1 - F <= exp(epsilon) (1 - P) + delta(epsilon).

So each pair of the curve is two straight lines below which the share of missed members, 1 - P, cannot fall as F grows;
the trade-off curve (Dong, Roth and Su 2022) is the highest of all of them: convex, and falling. Whatever is computed
here from lines that are upper bounds of delta bounds every attack, whichever lines are looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from raysyn.privacy import prv, rdp
from raysyn.privacy.cost import Cost, kinds_of
from raysyn.privacy.losses import Array
from raysyn.privacy.rdp import Kind

FALSE_ALARMS = (0.001, 0.01, 0.1)
"""Share of images wrongly called members, at which attacks are compared."""
PRIORS = (0.5, 0.01)
"""How likely an attacker thinks that an image is among them, before the release."""
RAREST = 1e-6
"""False alarms, and members missed, down to which a Gaussian answer is held against the curve."""
MOST_MU, STEEPEST = 37.0, 700.0
"""Beyond them float64 holds no normal tail, and no exp(epsilon)."""
FINELY = 50_000
"""Points between which a Gaussian's curve is bounded."""


@dataclass(frozen=True)
class Tradeoff:
    """Upper bounds for every attack on one image, by one who knows all the others."""

    found: dict[float, float]
    """Most members found, a share, at each share of false alarms."""
    right: float
    """Most right guesses, a share, where the image was a member or not with even odds."""


def tradeoff(costs: Sequence[Cost], false_alarms: Sequence[float] = FALSE_ALARMS) -> Tradeoff:
    """The limits of attacks on everything that was paid for; without costs, those of guessing.

    Raises ValueError for mixed adjacencies, an uncalibrated cost, and a share of false alarms outside of [0, 1].
    """
    curve = of(costs)
    found = {share: share for share in false_alarms}
    if curve.pairs:
        found = {share: 1 - missed for share, missed in zip(found, curve.missed(false_alarms).tolist(), strict=True)}
    return Tradeoff(found, curve.right(0.5))


def of(costs: Sequence[Cost]) -> Curve:
    """The trade-off curve of everything that was paid for; without costs, that of guessing. ValueError for mixed
    adjacencies and an uncalibrated cost."""
    return _of(kinds_of(costs))


class _Lines(NamedTuple):
    """delta(epsilon), ascending in epsilon, for one of two neighbours: upper bounds."""

    epsilons: Array
    deltas: Array

    def turns(self) -> Array:
        """Where each line gives way to the one before it, descending: the slope is -exp(epsilon)."""
        if len(self.epsilons) < 2:
            return np.zeros(0)
        falls = -np.diff(self.deltas) / np.diff(np.exp(self.epsilons))
        return np.minimum.accumulate(falls)  # but for rounding they descend as they are


@dataclass(frozen=True)
class Curve:
    """Lower bounds of the share of members that an attack misses, by its share of false alarms: convex, falling."""

    pairs: tuple[tuple[_Lines, _Lines], ...]
    """(removed, added) by each accountant. All hold, and so does the highest."""

    def missed(self, false_alarms: Sequence[float] | Array) -> Array:
        """The least share of members missed at each share of false alarms. ValueError outside of [0, 1]."""
        alarms = np.asarray(false_alarms, np.float64)
        if not ((alarms >= 0) & (alarms <= 1)).all():
            raise ValueError(f"false_alarms are {false_alarms}: give shares from 0 to 1")
        if not self.pairs:
            return 1 - alarms
        least = np.zeros(len(alarms))
        for removed, added in self.pairs:
            for bound in (_few(removed, alarms), _many(added, alarms)):
                np.maximum(least, bound, out=least)
        return least

    def right(self, prior: float) -> float:
        """The most that an attacker is right about one image that was a member with this probability, by the best test.

        Of each line the best point is one of its corners in the unit square; the lowest of these bounds all.
        """
        best = max(prior, 1 - prior) if not self.pairs else 1.0
        for removed, added in self.pairs:
            rest, shrink = 1 - removed.deltas, np.exp(-removed.epsilons)
            silent = prior * removed.deltas + (1 - prior)
            all_found = prior + (1 - prior) * (1 - rest * shrink)
            best = min(best, float(np.min(np.maximum(silent, all_found), initial=1.0)))
            rest, shrink = 1 - added.deltas, np.exp(-added.epsilons)
            silent = prior * (1 - rest * shrink) + (1 - prior)
            all_found = prior + (1 - prior) * added.deltas
            best = min(best, float(np.min(np.maximum(silent, all_found), initial=1.0)))
        return best

    def advantage(self) -> float:
        """The most that members found can exceed false alarms: the total variation distance."""
        return max(0.0, 2 * self.right(0.5) - 1)

    def gaussian(self) -> float | None:
        """mu, such that telling this run's answers apart with and without an image is no easier than telling a normal
        number around 0 from one around mu (both of variance 1), for every test of RAREST false alarms or more that
        misses RAREST of the members or more; None where no such mu bounds it.

        Between two points the curve is at least what it is at the second, and a Gaussian's at most what it is at the
        first: mu is rounded up by that.
        """
        from scipy.special import ndtri

        if not self.pairs:
            return 0.0
        end = -float(ndtri(RAREST))
        alarms = np.exp(_log_ndtr(np.linspace(-end, end, FINELY)))
        missed = self.missed(alarms)
        rare = int(np.searchsorted(-missed, -RAREST, side="right"))
        if not rare or (last := min(rare, FINELY - 1)) < 1 or missed[last] <= 0:
            return None
        mu = float(np.max(-ndtri(missed[1 : last + 1]) - ndtri(alarms[:last])))
        return max(0.0, mu) if mu <= MOST_MU else None

    def delta(self, epsilon: float) -> float:
        """delta at `epsilon`, for both neighbours: an upper bound to about 1e-8."""
        if not self.pairs:
            return 0.0
        return min(max(_at(lines, epsilon) for lines in pair) for pair in self.pairs)


def _few(removed: _Lines, alarms: Array) -> Array:
    """1 - P >= 1 - delta - exp(epsilon) F, by the line that is the highest."""
    if not len(removed.epsilons):
        return np.zeros(len(alarms))
    at = np.searchsorted(-removed.turns(), -alarms)
    return 1 - removed.deltas[at] - np.exp(removed.epsilons[at]) * alarms


def _many(added: _Lines, alarms: Array) -> Array:
    """1 - P >= exp(-epsilon) (1 - delta - F), the same."""
    if not len(added.epsilons):
        return np.zeros(len(alarms))
    places = 1 - added.deltas[:-1] - np.exp(added.epsilons[:-1]) * added.turns()
    at = np.searchsorted(np.maximum.accumulate(places), alarms)
    return np.exp(-added.epsilons[at]) * (1 - added.deltas[at] - alarms)


def _at(lines: _Lines, epsilon: float) -> float:
    """delta at the last epsilon that is no larger."""
    at = int(np.searchsorted(lines.epsilons, epsilon, side="right")) - 1
    return float(lines.deltas[at]) if at >= 0 else 1.0


def _log_ndtr(z: Array) -> Array:
    from scipy.special import log_ndtr

    return np.asarray(log_ndtr(z))


@lru_cache(maxsize=16)
def _of(kinds: tuple[Kind, ...]) -> Curve:
    if not kinds:
        return Curve(())
    by_prv = [_steep(*prv.profile(kinds, direction)) for direction in prv.directions(kinds)]
    by_rdp = _by_rdp(kinds)
    return Curve(((by_prv[0], by_prv[-1]), (by_rdp, by_rdp)))


def _by_rdp(kinds: tuple[Kind, ...]) -> _Lines:
    """One that holds for both."""
    epsilons = np.concatenate([[0.0], np.geomspace(1e-4, STEEPEST, 2000)])
    return _Lines(epsilons, rdp.deltas(kinds, epsilons))


def _steep(epsilons: Array, deltas: Array) -> _Lines:
    end = int(np.searchsorted(epsilons, STEEPEST))
    return _Lines(epsilons[:end], deltas[:end])
