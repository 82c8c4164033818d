"""What a promise means to whom it is made: limits of every attack, each as figures and as a sentence without formulas.

All of it follows from the rows of the ledger. Figures are rounded so that none of them flatters.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Any

from raysyn.privacy import cost as price
from raysyn.privacy import tradeoff
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost, unit_of
from raysyn.privacy.group import epsilon_of_group
from raysyn.report.figures import COLOURS, Line, chart
from raysyn.runs.may_leave import ALARMS
from raysyn.screen.words import rounded_down, rounded_up

_EPSILONS = [float(f"{digit}e{power}") for power in range(-4, 6) for digit in (1, 2, 5)]
PLAIN_DELTA = 1e-7
"""Below it delta is computed anew for each epsilon: the curve of all of them is not that exact."""
GROUPS = (2, 4, 8)
"""Images of one person, where images are promised for."""
LAST_BITS = 1e-9
"""Another machine may compute them otherwise."""


def attack_limits(costs: Sequence[Cost]) -> dict[str, Any]:
    """What no attack on what these costs paid for can pass: figures, which are rounded up, and a sentence of them."""
    adjacency = costs[0].adjacency if costs else ADD_REMOVE
    limits = tradeoff.tradeoff(costs)
    found = {f"{share:g}": _up_to_4_digits(most) for share, most in limits.found.items()}
    figures = {"most_found_at_false_alarms": found, "most_right_guesses": _up_to_4_digits(limits.right)}
    return {"sentence": attack_sentence(figures, adjacency), **figures}


def attack_sentence(figures: Mapping[str, Any], adjacency: str = ADD_REMOVE) -> str:
    """The figures of `attack_limits` in words."""
    found, unit = figures["most_found_at_false_alarms"], unit_of(adjacency)
    return (
        f"Whatever the attack, it finds on average at most {_listed(found.values())} of the private {unit}s at "
        f"{_listed(map(float, found))} of false alarms (others that it takes for private ones), and wins at most "
        f"{_listed([figures['most_right_guesses']])} of bets at even odds on whether one {unit} was among them."
    )


def meaning(costs: Sequence[Cost], epsilon: float, delta: float) -> dict[str, Any]:
    """The block of a certificate: figures of everything that was paid for, each part with its sentence. `epsilon` at
    `delta` is what is promised."""
    return told(figures(costs, epsilon, delta), costs[0].adjacency)


def figures(costs: Sequence[Cost], epsilon: float, delta: float) -> dict[str, Any]:
    """`meaning` without its sentences."""
    return deepcopy(_figures(tuple(costs), epsilon, delta))


@lru_cache(maxsize=64)
def _figures(costs: tuple[Cost, ...], epsilon: float, delta: float) -> dict[str, Any]:
    # The report, the certificate and its check ask for the same.
    curve = tradeoff.of(costs)
    missed = curve.missed([float(share) for share in ALARMS]).tolist()
    mu = curve.gaussian()
    known: dict[str, Any] = {
        "trade_off": {"least_missed_at_false_alarms": dict(zip(ALARMS, map(_down_to_4_digits, missed), strict=True))},
        "advantage": {"most": _up_to_4_digits(curve.advantage())},
        "best_guess": {
            "most_right_at_prior": {f"{prior:g}": _up_to_4_digits(curve.right(prior)) for prior in tradeoff.PRIORS}
        },
        "deltas": {
            "at": [{"epsilon": one, "delta": _up(_delta(curve, costs, one))} for one in epsilons_beside(epsilon)]
        },
        "gaussian": {"mu": None if mu is None else _up(mu)},
    }
    if costs[0].adjacency != ADD_REMOVE_PERSON:
        together = {f"{k}": epsilon_of_group(costs, k, delta) for k in GROUPS}
        known["several_images"] = {"epsilon_with": {k: _up(one) for k, one in together.items()}}
    return known


def told(known: Mapping[str, Any], adjacency: str) -> dict[str, Any]:
    """The parts of `figures`, each behind a sentence of it."""
    return {name: {"sentence": SENTENCES[name](part, adjacency), **part} for name, part in known.items()}


def epsilons_beside(epsilon: float) -> list[float]:
    """Five round ones, which compare releases, up to about what is promised: beyond it delta says little. Of the usual
    10, of which a run may leave a little, they are 0.5, 1, 2, 5 and 10."""
    end = max(5, bisect_right(_EPSILONS, 1.1 * epsilon))
    return _EPSILONS[end - 5 : end]


def _delta(curve: tradeoff.Curve, costs: Sequence[Cost], epsilon: float) -> float:
    found = curve.delta(epsilon)
    return found if found > PLAIN_DELTA else min(found, price.delta(costs, epsilon))


def _trade_off(part: Mapping[str, Any], adjacency: str) -> str:
    missed = part["least_missed_at_false_alarms"]
    asked = [f"{share:g}" for share in tradeoff.FALSE_ALARMS]
    return (
        f"Who wants to miss fewer of the private {unit_of(adjacency)}s has to raise more false alarms: with "
        f"{_listed(map(float, asked))} of them, the best attack that there can be still misses on average at least "
        f"{_listed((missed[share] for share in asked), rounded_down)} of the private ones."
    )


def _advantage(part: Mapping[str, Any], adjacency: str) -> str:
    return (
        f"The share of private {unit_of(adjacency)}s that an attack finds is at most "
        f"{rounded_up(round(100 * part['most'], 9))} points above its share of false alarms: 0 is guessing, 100 is "
        "knowing."
    )


def _best_guess(part: Mapping[str, Any], adjacency: str) -> str:
    even, rare = (part["most_right_at_prior"][f"{prior:g}"] for prior in tradeoff.PRIORS)
    whose = "one person with all their images" if adjacency == ADD_REMOVE_PERSON else "one image"
    return (
        f"Somebody who thinks it as likely as not that {whose} was among them, and sees all of this, is right at most "
        f"{_of_100(even)} times in 100, where guessing is right 50 times; somebody who thinks it 1 % likely, at most "
        f"{_of_100(rare)} times, where always saying no is right 99 times."
    )


def _deltas(part: Mapping[str, Any], _: str) -> str:
    most = {f"{one['epsilon']:g}": one["delta"] for one in part["at"]}
    promised, empty = [at for at in most if most[at] < 1], [at for at in most if most[at] >= 1]
    told = []
    if promised:
        told += [f"at epsilon {_joined(promised)} delta is at most {_joined(rounded_up(most[at]) for at in promised)}"]
    if empty:
        told += [f"at epsilon {_joined(empty)} nothing is promised"]
    return (
        "Epsilon and delta are one pair of many that all hold: the probability of any outcome changes by at most a "
        f"factor e^epsilon plus delta, and the smaller the one, the larger the other; {', '.join(told)}."
    )


def _gaussian(part: Mapping[str, Any], adjacency: str) -> str:
    mu, unit, rare = part["mu"], unit_of(adjacency), f"{1 / tradeoff.RAREST:,.0f}"
    if mu is None:
        return (
            f"No mu is given: within what is looked at (one error in {rare}) the best attack may find all of the "
            f"private {unit}s."
        )
    return (
        f"All of this together tells no more about one {unit} than a single noisy number that is {rounded_up(mu)} "
        f"higher where the {unit} was among them, and whose noise has a standard deviation of 1 (Gaussian differential "
        f"privacy with mu = {rounded_up(mu)}, for attacks with one false alarm, and one missed, in {rare} or more)."
    )


def _several_images(part: Mapping[str, Any], _: str) -> str:
    most = part["epsilon_with"]
    promised, endless = [k for k in most if most[k] is not None], [k for k in most if most[k] is None]
    told = []
    if promised:
        epsilons = _joined((rounded_up(most[k]) for k in promised), "or")
        told += [f"with {_joined(promised, 'or')} images epsilon is {epsilons}"]
    if endless:
        told += [f"with {_joined(endless, 'or')} images epsilon is more than can be said"]
    return (
        "All of this is about one image. Of somebody with several among them more is told: at the same delta, "
        f"{', '.join(told)}."
    )


CAPTION = (
    "No attack gets below the line of the best attack, on average, whoever makes it and whatever else they know, at "
    "the points that certificate.json names. Between two of them the limit lies below the straight line: from 0.1 % of "
    "false alarms on by at most about 1.3 points, from 0.0001 % on by about 5."
)
"""Of the picture."""


def picture(privacy: Mapping[str, Any]) -> dict[str, str] | None:
    """The trade-off curve of a report's `privacy`, as a data URI, and what is said below it; None without a
    guarantee."""
    if privacy["guarantee"] == "none":
        return None
    missed = privacy["meaning"]["trade_off"]["least_missed_at_false_alarms"]
    alarms = [float(share) for share in missed]
    alone = corners(privacy["epsilon"], privacy["delta"])
    lines = {
        "the best attack": Line(alarms, list(missed.values()), "-"),
        "what epsilon and delta alone would allow": Line([x for x, _ in alone], [y for _, y in alone], ":"),
        "guessing": Line([0, 1], [1, 0], "--", COLOURS[-1]),
    }
    return {"drawn": chart(lines, x="false alarms (type I error)", y="members missed (type II error)"), "said": CAPTION}


def corners(epsilon: float, delta: float) -> list[tuple[float, float]]:
    """Those of the trade-off curve that one pair alone would allow: (false alarms, members missed)."""
    knee = (1 - delta) / (1 + math.exp(min(epsilon, 700)))
    return [(0.0, 1 - delta), (knee, knee), (1 - delta, 0.0), (1.0, 0.0)]


SENTENCES = {
    "trade_off": _trade_off, "advantage": _advantage, "best_guess": _best_guess, "deltas": _deltas,
    "gaussian": _gaussian, "several_images": _several_images,
}  # fmt: skip
"""By the parts of a certificate's `meaning`."""


def _up_to_4_digits(share: float) -> float:
    return min(1.0, math.ceil(share * 1e4 - 1e-6) / 1e4)


def _down_to_4_digits(share: float) -> float:
    return max(0.0, math.floor(share * 1e4 + 1e-11) / 1e4)


def _up(value: float) -> float | None:
    """Four significant digits; None for what is endless."""
    return None if math.isinf(value) else float(rounded_up(value * (1 - LAST_BITS), 4))


def _of_100(share: float) -> str:
    return rounded_up(round(100 * share, 9), 4)


def _listed(shares: Iterable[float], rounded: Any = None) -> str:
    return _joined(f"{(rounded or rounded_up)(round(100 * share, 9))} %" for share in shares)


def _joined(words: Iterable[str], last_with: str = "and") -> str:
    *some, last = words
    return f"{', '.join(some)} {last_with} {last}" if some else last
