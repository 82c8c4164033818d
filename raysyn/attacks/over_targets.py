"""What an attack with many targets found: means over targets, with intervals that tell how much these differ.

Units of one target share its randomness, so that they are no independent trials, and intervals that take them for such
are too narrow. Targets come in pairs that share out all units; pairs are taken for independent (their attackers have
most shadow runs in common, which tests show to matter little), and Student's t tells the mean of so many. Where targets
agree by chance it would be too sure: no interval is narrower than that of independent trials.

Thresholds are chosen on the other pairs, by places in the order of a target's own scores, so that no figure is
flattered by its choice. Epsilon follows from members caught, P, and false alarms, F, both means over targets:
P <= exp(epsilon) F + delta, and 1 - F <= exp(epsilon) (1 - P) + delta.

Shapes: M targets, P pairs of them, U units, C thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks.found import found
from raysyn.attacks.verdict import CONFIDENCE, Interval, area, as_bound, auc, clopper_pearson, precisions

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]
CUTS = np.append(np.linspace(0.02, 0.98, 49), (0.99, 0.995, 0.999))
"""Thresholds, as places in the order of a target's scores."""


def record(
    attack: str, sees: str, scores_MU: Values, inside_MU: Mask, *, unit: str = "image", delta: float | None = None,
    note: str = "",
) -> dict[str, Any]:  # fmt: skip
    """`found.found` of many targets: beside its keys `targets`, how many there were. Members and others are those of
    one target, in the mean."""
    places_MU = places(scores_MU)
    pooled = found(attack, sees, places_MU[inside_MU], places_MU[~inside_MU], unit=unit, delta=delta, note=note)
    caught_MC, alarms_MC = _rates(places_MU, inside_MU)
    tpr = {rate: _low_rate(float(rate), told, places_MU, inside_MU) for rate, told in pooled["tpr"].items()}
    targets = len(scores_MU)
    return {
        **pooled,
        "members": round(int(inside_MU.sum()) / targets),
        "others": round(int((~inside_MU).sum()) / targets),
        "targets": targets,
        "auc": _auc(places_MU, inside_MU).as_dict(),
        "advantage": _advantage(caught_MC, alarms_MC, places_MU, inside_MU).as_dict(),
        "tpr": tpr,
        "epsilon": {
            "value": _epsilon(caught_MC, alarms_MC, inside_MU, delta or 0.0),
            "confidence": CONFIDENCE,
            "delta": delta or 0.0,
        },
    }


def places(scores_MU: Values) -> Values:
    """Of every score its place in the order of its target's, from 0 to 1; equal ones share theirs."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy.stats import rankdata

    ranked: Values = (rankdata(scores_MU, axis=1) - 0.5) / scores_MU.shape[1]
    return ranked


def exposed(scores_MU: Values, inside_MU: Mask) -> Values:
    """(U,): of each unit the share of non-members that lie below it, in the mean over targets that had it."""
    below_MU = np.empty_like(scores_MU)
    for below_U, score_U, inside_U in zip(below_MU, scores_MU, inside_MU, strict=True):
        others = np.sort(score_U[~inside_U])
        both = [np.searchsorted(others, score_U, side) for side in ("left", "right")]
        below_U[:] = sum(both) / (2 * len(others))
    mean_U: Values = np.where(inside_MU, below_MU, 0.0).sum(0) / inside_MU.sum(0)
    return mean_U


def over_pairs(each_M: Values, least: Interval, within: tuple[float, float]) -> Interval:
    """The mean over targets with Student's interval over pairs of them, never narrower than the interval `least` is
    about its value."""
    value, reach = float(each_M.mean()), _reach(each_M)
    below, above = max(reach, least.value - least.low), max(reach, least.high - least.value)
    return Interval(value, max(within[0], value - below), min(within[1], value + above))


def _reach(each_M: Values, part: float = (1 - CONFIDENCE) / 2) -> float:
    """How far Student's bounds of the mean lie from it, each wrong in this part of the cases."""
    from scipy import stats

    pairs_P = each_M.reshape(-1, 2).mean(1)
    return float(stats.t.ppf(1 - part, len(pairs_P) - 1) * pairs_P.std(ddof=1)) / math.sqrt(len(pairs_P))


def _sides(score_U: Values, inside_U: Mask) -> tuple[Values, Values]:
    return score_U[inside_U], score_U[~inside_U]


def _auc(places_MU: Values, inside_MU: Mask) -> Interval:
    each_M = np.array([area(*_sides(*one)) for one in zip(places_MU, inside_MU, strict=True)])
    return over_pairs(each_M, auc(places_MU[inside_MU], places_MU[~inside_MU]), (0.0, 1.0))


def _low_rate(rate: float, told: dict[str, Any], places_MU: Values, inside_MU: Mask) -> dict[str, Any]:
    """`verdict.low_rate` of the mean over targets, by thresholds that the other pairs tell, with an interval over
    pairs; not measurable where one target has too few others."""
    targets = range(len(places_MU))
    found = {**told, "bound": _at_none(places_MU, inside_MU)}
    if not told["measurable"] or (~inside_MU).sum(1).min() * rate < 1:
        nothing = dict.fromkeys(("value", "low", "high"))
        return {**found, **nothing, "measurable": False, "ppv": precisions(nothing, rate)}
    others = [_but(np.where(inside_MU, np.nan, places_MU), run) for run in targets]
    cuts = [np.nanquantile(one, 1 - rate) for one in others]
    caught_M, alarms_M = (
        np.array([(places_MU[run][sides[run]] > cuts[run]).mean() for run in targets])
        for sides in (inside_MU, ~inside_MU)
    )
    value = float(caught_M.mean())
    within = {"value": value, "low": min(told["low"], value), "high": max(told["high"], value)}
    widened = {"value": value, **_widened(within, _reach(caught_M - alarms_M))}
    return {**found, **widened, "ppv": precisions(widened, rate)}


def _at_none(places_MU: Values, inside_MU: Mask) -> dict[str, Any]:
    """`verdict.low_rate`'s bound: members caught above every non-member of their own target, in the mean; places are of
    one target, so that above those of another is nothing. With its interval over pairs, never narrower than that of one
    target: where none has caught any, all of them may have had the same luck."""
    caught_M = np.array([
        (inside > outside.max()).mean()
        for inside, outside in (_sides(*one) for one in zip(places_MU, inside_MU, strict=True))
    ])  # fmt: skip
    members, others = (int(side.sum(1).min()) for side in (inside_MU, ~inside_MU))
    value = float(caught_M.mean())
    one = clopper_pearson(round(value * members), members)
    surely = {"value": value, **_widened({"value": value, "low": one.low, "high": one.high}, _reach(caught_M))}
    return as_bound(surely, clopper_pearson(0, others).high)


def _widened(figure: Mapping[str, float], reach: float) -> dict[str, float]:
    """{low, high}: no nearer to the value than `reach`."""
    low, high = min(figure["low"], figure["value"] - reach), max(figure["high"], figure["value"] + reach)
    return {"low": max(0.0, low), "high": min(1.0, high)}


def _rates(places_MU: Values, inside_MU: Mask) -> tuple[Values, Values]:
    """(M, C): members caught and false alarms above each threshold."""
    above = [
        np.stack([[(side > cut).mean() for cut in CUTS] for side in sides])
        for sides in zip(*(_sides(*one) for one in zip(places_MU, inside_MU, strict=True)), strict=True)
    ]
    return above[0], above[1]


def _advantage(caught_MC: Values, alarms_MC: Values, places_MU: Values, inside_MU: Mask) -> Interval:
    """Members caught less false alarms, above the threshold that is best on the other pairs."""
    ahead_MC = caught_MC - alarms_MC
    cuts_M = [int(_but(ahead_MC, run).mean(0).argmax()) for run in range(len(ahead_MC))]
    each_M = ahead_MC[np.arange(len(ahead_MC)), cuts_M]
    within = 1 - (1 - CONFIDENCE) / 2
    sides = [(places_MU > CUTS[cuts_M][:, None])[side] for side in (inside_MU, ~inside_MU)]
    caught, alarms = (clopper_pearson(int(side.sum()), len(side), within) for side in sides)
    least = Interval(caught.value - alarms.value, caught.low - alarms.high, caught.high - alarms.low)
    return over_pairs(each_M, least, (-1.0, 1.0))


def _but(values_MX: Values, run: int) -> Values:
    """Without a target and its partner."""
    return np.delete(values_MX, (run // 2 * 2, run // 2 * 2 + 1), axis=0)


def _epsilon(caught_MC: Values, alarms_MC: Values, inside_MU: Mask, delta: float) -> float:
    """The lower bound, 0 where nothing is shown: where few others are above the threshold, or where few members are
    below it, whichever shows more."""
    counts = int(inside_MU.sum()), int((~inside_MU).sum())
    few = _at_few(caught_MC, alarms_MC, counts, delta)
    return max(0.0, few, _at_few(1 - alarms_MC, 1 - caught_MC, counts[::-1], delta))


def _at_few(caught_MC: Values, alarms_MC: Values, counts: Sequence[int], delta: float) -> float:
    """Epsilon from few false alarms: each target by the threshold that shows most on the other pairs, held as if they
    were one target, so that no threshold is chosen for a few lucky units."""
    # Two tails, and in each two rates, share the 5 %: all one-sided.
    part, runs = (1 - CONFIDENCE) / 4, len(caught_MC)
    each = np.empty((2, runs))
    for run in range(runs):
        rates = _but(caught_MC, run).mean(0), _but(alarms_MC, run).mean(0)
        best = int(_shown(*_bounds(*rates, [max(1, one // runs) for one in counts], part), delta).argmax())
        each[:, run] = caught_MC[run, best], alarms_MC[run, best]
    low, high = _bounds(each[0].mean(keepdims=True), each[1].mean(keepdims=True), counts, part)
    low = np.minimum(low, each[0].mean() - _reach(each[0], part)).clip(0.0, 1.0)
    high = np.maximum(high, each[1].mean() + _reach(each[1], part)).clip(0.0, 1.0)
    return float(_shown(low, high, delta)[0])


def _bounds(caught_C: Values, alarms_C: Values, counts: Sequence[int], part: float) -> tuple[Values, Values]:
    """Members caught at least, and false alarms at most (Clopper and Pearson), each wrong in this part of the cases."""
    from scipy import stats

    hits_C, false_C = (np.round(rate * count) for rate, count in zip((caught_C, alarms_C), counts, strict=True))
    low_C = np.where(hits_C > 0, stats.beta.ppf(part, np.maximum(hits_C, 1), counts[0] - hits_C + 1), 0.0)
    left_C = counts[1] - false_C
    high_C = np.where(left_C > 0, stats.beta.ppf(1 - part, false_C + 1, np.maximum(left_C, 1)), 1.0)
    return low_C, high_C


def _shown(caught_C: Values, alarms_C: Values, delta: float) -> Values:
    """(C,): the epsilon that such rates show; far below 0 where they show nothing."""
    return np.log(np.maximum(caught_C - delta, 1e-12)) - np.log(np.maximum(alarms_C, 1e-12))
