"""The record of an attack: bounds that hold as often as they say, and figures by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from raysyn.attacks.found import CUTS, SEES, _cuts, _thinned, advantage, found, shown_epsilon
from raysyn.attacks.verdict import clopper_pearson, verdict

REPEATS = 200
KEYS = ["attack", "sees", "unit", "members", "others", "auc", "advantage", "tpr", "epsilon", "roc", "note"]


@pytest.mark.parametrize(("members", "others", "tied"), [(300, 300, False), (40, 500, True), (500, 40, False)])
def test_scores_that_say_nothing_show_no_epsilon_and_no_advantage(members: int, others: int, tied: bool) -> None:
    shown = missed = 0
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        inside, outside = rng.normal(size=members), rng.normal(size=others)
        if tied:
            inside, outside = inside.round(), outside.round()
        shown += shown_epsilon(inside, outside, 0.0) > 0
        ahead = advantage(inside, outside)
        missed += not ahead.low <= 0 <= ahead.high
    assert shown <= 0.05 * REPEATS and missed <= 0.05 * REPEATS


def test_bounds_are_of_the_truth_where_scores_tell_something() -> None:
    """Answers of a coin that lies with the chance 1 / (1 + e): epsilon is 1, the advantage (e - 1) / (e + 1)."""
    right, above, missed = math.e / (1 + math.e), 0, 0
    for seed in range(REPEATS):
        rng = np.random.default_rng(seed)
        inside, outside = ((rng.random(n) < share).astype(np.float64) for n, share in ((2000, right), (400, 1 - right)))
        above += shown_epsilon(inside, outside, 0.0) > 1
        ahead = advantage(inside, outside)
        missed += not ahead.low <= 2 * right - 1 <= ahead.high
    assert above <= 0.05 * REPEATS and missed <= 0.05 * REPEATS
    assert shown_epsilon(inside, outside, 0.0) > 0.5


@pytest.mark.parametrize("delta", [None, 0.0, 1e-5, 0.1])
def test_what_is_told_without_an_error(delta: float | None) -> None:
    """Of 40 a side 20 are measured: all caught, no false alarm."""
    record = found("Told", SEES[0], np.ones(40), np.zeros(40), unit="person", delta=delta, note="A note.")
    assert list(record) == KEYS and json.loads(json.dumps(record)) == record
    caught = 0.025 ** (1 / 20)
    assert record["epsilon"]["value"] == pytest.approx(math.log((caught - (delta or 0)) / (1 - caught)))
    assert (record["epsilon"]["confidence"], record["epsilon"]["delta"]) == (0.95, delta or 0.0)
    least = 2 * 0.0125 ** (1 / 20) - 1
    assert record["advantage"] == pytest.approx({"value": 1, "low": least, "high": 1})
    assert (record["members"], record["others"], record["unit"], record["note"]) == (40, 40, "person", "A note.")
    plain = verdict(np.ones(40), np.zeros(40))
    assert all(record[name] == plain[name] for name in ("auc", "tpr", "roc"))


def test_few_who_are_surely_caught_show_more_than_the_threshold_of_the_advantage() -> None:
    """A tenth of the members stand out, of all others none: 100 of 1,000 and 0 of 1,000 are measured."""
    inside = np.r_[np.full(200, 5.0), np.zeros(1800)]
    rng = np.random.default_rng(0)
    bound = shown_epsilon(inside, np.zeros(2000), 0.0)
    hits = round(1000 * advantage(inside, np.zeros(2000)).value)
    few, none = clopper_pearson(hits, 1000).low, clopper_pearson(0, 1000).high
    assert bound == pytest.approx(math.log(few / none)) and bound > 2.5
    noise = rng.normal(scale=0.01, size=(2, 2000))
    assert 2 < shown_epsilon(inside + noise[0], noise[1], 0.0) <= bound + 0.3
    assert shown_epsilon(-np.zeros(2000), -inside, 0.0) == pytest.approx(bound, abs=0.3), "missed where few are"


@pytest.mark.parametrize(("members", "others"), [(1, 1), (1, 9), (9, 1), (2, 2), (3, 2)])
def test_few_scores_are_a_record_too(members: int, others: int) -> None:
    record = found("Few", SEES[1], np.arange(members, dtype=np.float64) + 9, np.arange(float(others)))
    halved = min(members, others) > 1
    assert (record["epsilon"]["value"] is not None) == (record["advantage"]["value"] is not None) == halved
    assert not halved or record["epsilon"]["value"] == 0


def test_endless_scores_and_neighbours_without_a_number_between_them_are_told_apart() -> None:
    levels = np.array([-np.inf, -1e308, 0.0, 5e-324, 1.0, np.nextafter(1.0, 2), 1e308, np.inf])
    cuts = _cuts(levels[::2], levels[1::2])
    above = [(levels > cut).sum() for cut in cuts]
    # Nothing is above the first but what is above every number: the lowest is no number.
    assert above[0] == 7 and above[1:] == [*range(7, -1, -1)]
    assert not np.isnan(cuts).any()


@pytest.mark.parametrize("size", [2, 30, 5_000])
def test_thresholds_are_few_and_among_them_are_those_without_an_error_on_a_side(size: int) -> None:
    rng = np.random.default_rng(size)
    inside, outside = rng.normal(1, 1, size), rng.normal(0, 1, 2 * size)
    cuts = _thinned(_cuts(inside, outside), inside, outside)
    alarms, missed = (outside[:, None] > cuts).sum(0), (inside[:, None] <= cuts).sum(0)
    assert len(cuts) <= CUTS and 0 in alarms and 0 in missed
    silent, least = np.sort(inside[inside > outside.max()]), inside.min()
    assert (inside > cuts[alarms == 0].min()).sum() == len(silent)
    assert (outside > cuts[missed == 0].max()).sum() == (outside >= least).sum()


def test_order_of_the_scores_is_no_choice() -> None:
    """Sorted scores: halves by place would be of different kinds."""
    rng = np.random.default_rng(0)
    inside, outside = np.sort(rng.normal(0.5, 1, 4000)), np.sort(rng.normal(0, 1, 4000))
    best = 2 * stats.norm.cdf(0.25) - 1
    assert advantage(inside, outside).value == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize(
    ("sees", "members", "said"),
    [
        ("everything", [1.0], "sees is 'everything': give one of 'released images', "),
        (SEES[0], [], "members has the shape"),
        (SEES[0], [np.nan], "members holds 1 scores that are not numbers"),
    ],
)
def test_what_is_no_record(sees: str, members: list[float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        found("None", sees, members, [0.0])
