"""What one attack found, as a record that all attacks share: of it reports are made, whoever ran the attack.

Epsilon is a lower bound from members caught (P) and false alarms (F) above one threshold, which is chosen on one half
of the members and of the others, drawn at random, and measured on the other halves: from P <= exp(epsilon) F + delta,
and from 1 - F <= exp(epsilon) (1 - P) + delta. P and F are held by Clopper and Pearson's bounds, each of which is wrong
in half of the 5 %, so that numbers of members and of others need not be equal, nor large.

That confidence is exact for games that are independent of each other. The members of one run share its randomness:
of an algorithm that gives away everything once in a thousand runs and else nothing the bound is wrong once in a
thousand times more. A bound that holds for that too needs members whom coins chose (`lower_bounds.in_one_run`). And an
attack can only show what membership does where members and others differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks import lower_bounds
from raysyn.attacks.verdict import CONFIDENCE, Interval, Scores, clopper_pearson, verdict

RELEASED, WEIGHTS, ANSWERS = "released images", "weights (never released)", "the model's answers"
OPEN_WEIGHTS = "weights (of the release)"
SEES = (RELEASED, WEIGHTS, OPEN_WEIGHTS, ANSWERS)
"""What an attack may look at."""
FEWEST = 2
"""Scores of a side, of which one chooses the threshold and one is measured."""
CUTS = 100
"""Thresholds, at most, among which that of epsilon is chosen."""


def found(
    attack: str, sees: str, members: Sequence[float] | Scores, others: Sequence[float] | Scores, *,
    unit: str = "image", delta: float | None = None, note: str = "",
) -> dict[str, Any]:  # fmt: skip
    """A record for report.json, from one score per member and one per other, higher meaning "rather a member".

    Args:
        attack: its name, as a table begins with it; `note` is a sentence about it.
        sees: one of SEES.
        unit: what a score is of, "image" or "person".
        delta: at which epsilon is shown, 0 where nothing is given.

    Returns:
        {attack, sees, unit, members, others: counts, auc: {value, low, high}, advantage: {value, low, high} (see
        `advantage`), tpr: {false-positive rate: `verdict.low_rate`}, epsilon: {value, confidence, delta}, roc: {fpr,
        tpr}, note}. Where a side has a single score, which cannot be halved, advantage's figures and epsilon's value
        are None.
    Raises ValueError for an empty side, a score that is not a number, and for what an attack cannot see.
    """
    if sees not in SEES:
        raise ValueError(f"sees is {sees!r}: give one of {', '.join(map(repr, SEES))}")
    told, delta = verdict(members, others), delta or 0.0
    inside, outside = np.asarray(members, np.float64), np.asarray(others, np.float64)
    ahead, epsilon = dict[str, float | None](dict.fromkeys(("value", "low", "high"))), None
    if min(len(inside), len(outside)) >= FEWEST:
        ahead = {**advantage(inside, outside).as_dict()}
        epsilon = shown_epsilon(inside, outside, delta)
    return {
        "attack": attack,
        "sees": sees,
        "unit": unit,
        **{name: told[name] for name in ("members", "others", "auc")},
        "advantage": ahead,
        "tpr": told["tpr"],
        "epsilon": {"value": epsilon, "confidence": CONFIDENCE, "delta": delta},
        "roc": told["roc"],
        "note": note,
    }


def advantage(members: Scores, others: Scores) -> Interval:
    """Members caught less false alarms, as shares, above the threshold that is best on one half, measured on the other
    half: not flattered by the choice. Both rates share the 5 % of the interval (Clopper and Pearson), which is never
    too narrow."""
    (some, few), (inside, outside) = _halves(members, others)
    cuts = _cuts(some, few)
    cut = cuts[np.argmax(_share_above(cuts, some) - _share_above(cuts, few))]
    within = 1 - (1 - CONFIDENCE) / 2
    caught, alarms = (clopper_pearson(int((side > cut).sum()), len(side), within) for side in (inside, outside))
    return Interval(caught.value - alarms.value, caught.low - alarms.high, caught.high - alarms.low)


def shown_epsilon(members: Scores, others: Scores, delta: float, confidence: float = CONFIDENCE) -> float:
    """The lower bound of epsilon at `delta`, 0 where nothing is shown; see above."""
    (some, few), measured = _halves(members, others)
    cuts = _thinned(_cuts(some, few), some, few)
    cut = cuts[np.argmax(lower_bounds.epsilons_by_rates(*_games(some, few), cuts, delta, confidence))]
    (epsilon,) = lower_bounds.epsilons_by_rates(*_games(*measured), [cut], delta, confidence)
    return max(0.0, float(epsilon))


def _halves(members: Scores, others: Scores) -> tuple[tuple[Scores, Scores], tuple[Scores, Scores]]:
    """(members, others) that choose, and those that are measured: at random, for scores may come in any order."""
    mixed = [np.random.default_rng(side).permutation(scores) for side, scores in enumerate((members, others))]
    (some, inside), (few, outside) = (np.split(scores, [len(scores) // 2]) for scores in mixed)
    return (some, few), (inside, outside)


def _cuts(members: Scores, others: Scores) -> Scores:
    """Thresholds, ascending: below all scores, in the middle between any two neighbours, and above all."""
    levels = np.unique(np.concatenate((members, others)))
    low, high = levels[:-1], levels[1:]
    with np.errstate(invalid="ignore", over="ignore"):
        middle = low / 2 + high / 2
    # Of neighbours with no number between them, or one of which is endless, the lower.
    return np.concatenate(([-np.inf], np.where((middle < high) & np.isfinite(middle), middle, low), levels[-1:]))


def _thinned(cuts: Scores, members: Scores, others: Scores) -> Scores:
    """At most CUTS of them, dense where few others are above and where few members are below: there epsilon shows."""
    alarms = np.round(_share_above(cuts, others) * len(others))
    missed = np.round((1 - _share_above(cuts, members)) * len(members))
    # Of as many false alarms the threshold that catches most, the first; of as many missed the one of fewest alarms.
    by_alarms = np.searchsorted(-alarms, -_few(len(others)), "left")
    by_missed = np.searchsorted(missed, _few(len(members)), "right") - 1
    return cuts[np.unique(np.concatenate((by_alarms, by_missed)).clip(0, len(cuts) - 1))]


def _few(most: int) -> Scores:
    """0 and whole numbers up to `most`, in even ratios."""
    return np.unique(np.append(0, np.geomspace(1, most, CUTS // 2 - 1).round()))


def _share_above(cuts: Scores, scores: Scores) -> Scores:
    return 1 - np.searchsorted(np.sort(scores), cuts, "right") / len(scores)


def _games(members: Scores, others: Scores) -> tuple[Scores, NDArray[np.bool_]]:
    """(scores, whether each was in), as lower bounds are asked."""
    return np.concatenate((members, others)), np.arange(len(members) + len(others)) < len(members)
