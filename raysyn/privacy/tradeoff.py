"""What the best possible attack can reach against what was paid for: the whole privacy curve, as a few figures.

An (epsilon, delta) pair is one point of a curve delta(epsilon) that holds as a whole. Whatever somebody computes from
the answers, let P be the chance to say "it was among them" of an image that was, and F of one that was not. Then, for
every epsilon >= 0, P <= exp(epsilon) F + delta(epsilon), and 1 - F <= exp(epsilon) (1 - P) + delta(epsilon).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from raysyn.privacy import prv, rdp
from raysyn.privacy.cost import Cost, kinds_of
from raysyn.privacy.prv import Array
from raysyn.privacy.rdp import Kind

FALSE_ALARMS = (0.001, 0.01, 0.05)
"""Share of images wrongly called members, at which attacks are compared."""


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
    if not all(0 <= share <= 1 for share in false_alarms):
        raise ValueError(f"false_alarms are {false_alarms}: give shares from 0 to 1")
    return _tradeoff(kinds_of(costs), tuple(false_alarms))


@lru_cache(maxsize=64)
def _tradeoff(kinds: tuple[Kind, ...], false_alarms: tuple[float, ...]) -> Tradeoff:
    if not kinds:
        return Tradeoff({share: share for share in false_alarms}, 0.5)
    # Both of the bounds hold, and so does the smaller one.
    pairs = [_by_prv(kinds), (by_rdp := _by_rdp(kinds), by_rdp)]
    found = {share: min(_found(share, *pair) for pair in pairs) for share in false_alarms}
    apart = min(_apart(curve) for pair in pairs for curve in pair)
    return Tradeoff(found, (1 + apart) / 2)


Curve = tuple[Array, Array]
"""(epsilons, deltas)."""


def _by_prv(kinds: tuple[Kind, ...]) -> tuple[Curve, Curve]:
    """The curves of removing an image and of adding one."""
    curves = [prv.profile(kinds, direction) for direction in prv.directions(kinds)]
    return curves[0], curves[-1]


def _by_rdp(kinds: tuple[Kind, ...]) -> Curve:
    """One that holds for both."""
    epsilons = np.concatenate([[0.0], np.geomspace(1e-4, 1e4, 2000)])
    return epsilons, rdp.deltas(kinds, epsilons)


def _found(false_alarms: float, removed: Curve, added: Curve) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        few = np.min(removed[1] + (np.exp(removed[0]) * false_alarms if false_alarms else 0.0), initial=1.0)
        many = np.min(1 - np.exp(-added[0]) * (1 - added[1] - false_alarms), initial=1.0)
    return float(min(few, many))


def _apart(curve: Curve) -> float:
    """Most that P - F can be: the total variation distance."""
    with np.errstate(over="ignore"):
        return float(np.min(curve[1] + np.expm1(curve[0]), initial=1.0))
