"""What the scores of a membership attack prove: ROC, AUC, rates at low false-positive rate, intervals, AOP.

Every attack hands over one score per member and one per non-member, higher meaning "rather a member". Ties are
treated as a coin would: nothing here depends on the order of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
CONFIDENCE = 0.95
LOW_RATES = (0.01, 0.001)
PRIORS = (0.01, 0.1, 0.5)
"""Shares of all who might be asked about that are members."""
ROC_POINTS = 400
FEW = 50
"""Scores of a side below which an interval of normal law is too narrow."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float]:
        return {"value": self.value, "low": self.low, "high": self.high}


def verdict(members: Sequence[float] | Scores, others: Sequence[float] | Scores) -> dict[str, Any]:
    """All figures of one attack, as plain values for report.json.

    Args:
        members: (M,) scores of images that the model was trained on; finite.
        others: (N,) scores of images that it was not.

    Returns:
        {members, others: counts, auc, balanced_accuracy: {value, low, high}, tpr: {false-positive rate: `low_rate`},
        roc: {fpr, tpr}}.
    Raises ValueError for an empty side or a score that is not a number.
    """
    inside, outside = _checked(members, "members"), _checked(others, "others")
    fpr, tpr = roc(inside, outside)
    return {
        "members": len(inside),
        "others": len(outside),
        "auc": auc(inside, outside).as_dict(),
        "balanced_accuracy": balanced_accuracy(inside, outside),
        "tpr": {f"{rate:g}": low_rate(rate, inside, outside) for rate in LOW_RATES},
        "roc": _thinned(fpr, tpr),
    }


def roc(members: Scores, others: Scores) -> tuple[Scores, Scores]:
    """False and true positive rates of every threshold "score >= t", from (0, 0) to (1, 1)."""
    scores = np.concatenate((members, others))
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate((np.ones(len(members)), np.zeros(len(others))))[order]
    # One point per distinct score: equal scores are accepted together.
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)
    tp, fp = np.cumsum(hits)[last], np.cumsum(1 - hits)[last]
    return np.concatenate(([0.0], fp / len(others))), np.concatenate(([0.0], tp / len(members)))


def auc(members: Scores, others: Scores) -> Interval:
    """Chance that a member scores above a non-member, a tie counting half; interval after DeLong et al. (1988), with
    that of `from_pairs` where a side has few scores, or that alone where the variance is 0 or a side has one."""
    return mean_auc([(members, others)])


def area(members: Scores, others: Scores) -> float:
    """`auc` without its interval."""
    return float(_placements(members, others).mean())


def mean_auc(attacks: Sequence[tuple[Scores, Scores]]) -> Interval:
    """Mean of the areas of several attacks, each (members, others), with its interval as `auc` has it: no member is in
    two attacks; the same non-members, in the same order, are in all."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy import special

    above = [_placements(members, others) for members, others in attacks]
    value = float(np.mean([part.mean() for part in above]))
    fewest = min(min(len(members), len(others)) for members, others in attacks)
    below_N = np.mean([placed(others, members) for members, others in attacks], 0)
    variance = 0.0
    if fewest > 1:
        # Sorted, so that not even the rounding of sums depends on the order.
        variance = float(np.sort(below_N).var(ddof=1)) / len(below_N)
        variance += sum(float(part.var(ddof=1)) / len(part) for part in above) / len(attacks) ** 2
    # What rounding leaves of 0 is 0.
    if variance < 1e-15:
        return from_pairs(value, fewest)
    reach = float(special.ndtri(0.5 + CONFIDENCE / 2)) * math.sqrt(variance)
    found = Interval(value, max(0.0, value - reach), min(1.0, value + reach))
    if fewest >= FEW or (fewest >= FEW // 2 and 0.15 < value < 0.85):
        return found
    # Of few, and more so near 1, DeLong's misses the truth up to six times too often, towards too much.
    wide = from_pairs(value, fewest)
    return Interval(value, min(found.low, wide.low), max(found.high, wide.high))


def from_pairs(value: float, pairs: float) -> Interval:
    """Clopper and Pearson's interval as if only so many pairs of a member and a non-member, no image in two, had been
    compared: all of them in order is no likelier than a ** pairs at the area a, so that 5 against 5 are no proof."""
    from scipy import special

    # Not stats.beta.ppf, which is the same function, thirty times as slow.
    tail, won = (1 - CONFIDENCE) / 2, value * pairs
    low = float(special.betaincinv(won, pairs - won + 1, tail)) if won > 0 else 0.0
    high = float(special.betaincinv(won + 1, pairs - won, 1 - tail)) if won < pairs else 1.0
    return Interval(value, low, high)


def tpr_at(rate: float, members: Scores, others: Scores) -> tuple[int, float]:
    """Members caught by the most generous threshold whose false-positive rate is at most `rate`; that rate."""
    fpr, tpr = roc(members, others)
    at = int(np.flatnonzero(fpr <= rate)[-1])
    return round(tpr[at] * len(members)), float(fpr[at])


def clopper_pearson(successes: int, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Exact interval of a rate (Clopper and Pearson 1934), never too narrow."""
    from scipy import special

    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes of {trials} trials: give 0 to trials, of at least 1")
    tail = (1 - confidence) / 2
    low = special.betaincinv(successes, trials - successes + 1, tail) if successes else 0.0
    high = special.betaincinv(successes + 1, trials - successes, 1 - tail) if successes < trials else 1.0
    return Interval(successes / trials, float(low), float(high))


def balanced_accuracy(members: Scores, others: Scores) -> float:
    """Best mean of true positive and true negative rate over all thresholds; at least 1/2, optimistic if few."""
    fpr, tpr = roc(members, others)
    return float((1 + (tpr - fpr).max()) / 2)


def aop(accuracy: float, auc_value: float, weight: float = 2.0) -> float:
    """Accuracy Over Privacy: accuracy / (2 max(AUC, 1/2)) ** weight, in the unit of `accuracy`.

    Lomurno et al. 2023 ("Discriminative Adversarial Privacy"); Knowledge Recycling uses weight 2 (its table 2).
    """
    return accuracy / (2 * max(auc_value, 0.5)) ** weight


def low_rate(rate: float, members: Scores, others: Scores) -> dict[str, Any]:
    """The share of members caught at a false-positive rate of `rate`, as far as so many non-members tell.

    Returns {measurable, value, low, high, ppv: {prior: {value, low, high}}, bound}. The interval is that of
    the threshold that `rate` of all non-members there are would pass, which these ones tell only roughly. Below one
    false alarm among the non-members a rate cannot be measured, and a precision not without a false alarm: null then.
    `bound` is what can be said without one: members caught above every non-member {value, low, high};
    `false_positive_rate`, the most that this threshold's may be; `ppv`, the least that follows at each prior. Each
    limit holds with 97.5 %.
    """
    measurable = len(others) * rate >= 1 - 1e-9
    found = dict.fromkeys(("value", "low", "high"))
    if measurable:
        found = {"value": tpr_at(rate, members, others)[0] / len(members), **_interval_at(rate, members, others)}
    bound = _without_false_alarm(members, others)
    return {"measurable": measurable, **found, "ppv": precisions(found, rate), "bound": bound}


def precisions(found: Mapping[str, float | None], rate: float) -> dict[str, dict[str, float | None]]:
    """{prior: {value, low, high}} of a true-positive rate {value, low, high} at a false-positive rate."""
    return {
        f"{prior:g}": {key: None if one is None else ppv(one, rate, prior) for key, one in found.items()}
        for prior in PRIORS
    }


def _interval_at(rate: float, members: Scores, others: Scores) -> dict[str, float]:
    """{low, high} of the true-positive rate at the threshold that a share `rate` of all non-members exceeds.

    Two sources of error share the 5 %: order statistics of these non-members bracket the threshold (how many of them
    exceed it is binomial), and Clopper and Pearson count members beyond either end. Never too narrow, also with ties.
    """
    from scipy import stats

    part, falling = (1 - CONFIDENCE) / 4, np.sort(others)[::-1]
    surely, maybe = stats.binom.ppf([part, 1 - part], len(others), rate).astype(int)
    # Fewer than `surely` above it, or more than `maybe`, in `part` of the cases at most.
    highest = falling[surely - 1] if surely else np.inf
    lowest = falling[maybe] if maybe < len(others) else -np.inf
    above, upto = int((members > highest).sum()), int((members >= lowest).sum())
    within = 1 - 2 * part
    return {
        "low": clopper_pearson(above, len(members), within).low,
        "high": clopper_pearson(upto, len(members), within).high,
    }


def ppv(true_rate: float, false_rate: float, prior: float) -> float | None:
    """Of those accused, the share that are members, where a share `prior` of all are: a balanced test flatters."""
    accused = prior * true_rate + (1 - prior) * false_rate
    return prior * true_rate / accused if accused else None


def _without_false_alarm(members: Scores, others: Scores) -> dict[str, Any]:
    caught = clopper_pearson(int((members > others.max()).sum()), len(members))
    false_rate = clopper_pearson(0, len(others)).high
    return as_bound(caught.as_dict(), false_rate)


def as_bound(caught: Mapping[str, float], false_rate: float) -> dict[str, Any]:
    """`low_rate`'s bound, of members caught {value, low, high} above every non-member."""
    least = {f"{prior:g}": ppv(caught["low"], false_rate, prior) for prior in PRIORS}
    return {**caught, "false_positive_rate": false_rate, "ppv": least}


def _placements(these: Scores, those: Scores) -> Scores:
    """For each of `these`, the share of `those` below it, ties counting half."""
    # Sorted, so that not even the rounding of sums depends on the order.
    return placed(np.sort(these), those)


def placed(these: Scores, those: Scores) -> Scores:
    """`_placements` in the order of `these`."""
    those = np.sort(those)
    below, upto = np.searchsorted(those, these, "left"), np.searchsorted(those, these, "right")
    return (below + upto) / (2 * len(those))


def _thinned(fpr: Scores, tpr: Scores) -> dict[str, list[float]]:
    """At most ROC_POINTS points, (0, 0) and (1, 1) among them, dense at low rates, where attacks are judged.

    Of all points of one rate the highest; what is caught without a false alarm is the second point.
    """
    told = [0.0, *LOW_RATES]
    grid = np.geomspace(max(fpr[fpr > 0].min(), 1e-6), 1, ROC_POINTS - len(told) - 1)
    at = np.unique(np.append(np.searchsorted(fpr, [*told, *grid], "right") - 1, 0))
    return {"fpr": fpr[at].tolist(), "tpr": tpr[at].tolist()}


def _checked(scores: Sequence[float] | Scores, side: str) -> Scores:
    values = np.asarray(scores, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{side} has the shape {values.shape}: give at least one score per side, in one row")
    if np.isnan(values).any():
        raise ValueError(f"{side} holds {np.isnan(values).sum()} scores that are not numbers: mend the attack")
    return values
