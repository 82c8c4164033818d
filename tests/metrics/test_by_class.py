"""Intervals, confusion and failures of classes, each beside a slow or an exact reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from raysyn.metrics.by_class import COMMON, MOST_CONFUSED, alike, by_class, confusion, difference, share_of, wilson


@pytest.mark.parametrize(("right", "count"), [(0, 5), (3, 10), (50, 50), (123, 456)])
def test_wilson_is_scipys(right: int, count: int) -> None:
    known = stats.binomtest(right, count).proportion_ci(0.95, "wilson")
    assert wilson(right / count, count) == pytest.approx((known.low, known.high), abs=1e-6)


def test_the_interval_of_a_difference_holds_what_it_promises() -> None:
    """Of pairs with a known difference about 95 % of the intervals hold it; without pairing they would be wider."""
    rng, held, widths, true = np.random.default_rng(0), 0, [], 0.8 - stats_mean()
    for _ in range(400):
        hard = rng.random(60)
        one, other = (hard < 0.8) * 1.0, (hard + rng.normal(0, 0.1, 60) < 0.7) * 1.0
        found = difference(one, other)
        held += found["low"] <= true <= found["high"]
        widths.append(found["high"] - found["low"])
    assert 0.92 <= held / 400 <= 0.99 and np.mean(widths) < 0.25


def stats_mean() -> float:
    """P(U + N < 0.7), U uniform and N of deviation 0.1."""
    u = (np.arange(100_000) + 0.5) / 100_000
    return float(stats.norm.cdf((0.7 - u) / 0.1).mean())


def test_where_all_agree_the_interval_does_not_vanish() -> None:
    found = difference(np.zeros(3), np.ones(3))
    assert found["value"] == -1 and -1 <= found["low"] < found["high"] < 0
    same = difference(np.ones(3), np.ones(3))
    assert same["low"] < 0 == same["value"] < same["high"]


def test_confusion_counts_every_answer() -> None:
    rng = np.random.default_rng(1)
    labels, said = rng.integers(4, size=50), rng.integers(4, size=(3, 50))
    slow = np.zeros((4, 4), int)
    for one in said:
        for label, answer in zip(labels, one, strict=True):
            slow[label, answer] += 1
    assert np.array_equal(confusion(said, labels, 4), slow)


def test_failed_are_those_at_chance_and_those_below_the_floor() -> None:
    labels = np.repeat([0, 1, 2], 60)
    good, part = labels.copy(), labels.copy()
    good[:45] = 1  # a quarter of class 0 is left
    part[60:80] = 2  # two thirds of class 1
    said = {"synthetic": np.stack([np.where(labels == 0, good, part)]), "real": labels[None], "floor": labels[None]}
    found = by_class(said, labels, ("a", "b", "c"))
    assert found["accuracy"] == [0.25, pytest.approx(2 / 3), 1.0] and found["accuracy_floor"] == [1.0] * 3
    assert found["failed"] == [
        {"class": "a", "index": 0, "why": ["chance", "floor"], "real_too": False},
        {"class": "b", "index": 1, "why": ["floor"], "real_too": False},
    ]
    assert found["mistakes"][0] == {"class": "a", "taken_for": "b", "share": 0.75}


def test_a_class_without_test_images_is_told_nothing_of() -> None:
    found = by_class({"synthetic": np.array([[0, 2]])}, np.array([0, 0]), ("a", "b", "c"))
    assert found["accuracy"] == [0.5, None, None] and found["accuracy_low"][1] is None
    assert [one["class"] for one in found["failed"]] == ["a"] and found["failed"][0]["real_too"] is None


def test_of_many_classes_only_the_most_frequent_mistakes_are_told() -> None:
    labels = np.arange(MOST_CONFUSED + 1)
    found = by_class({"synthetic": np.roll(labels, 1)[None]}, labels, tuple(map(str, labels)))
    assert "confusion" not in found and len(found["mistakes"]) == COMMON


def test_few_test_images_that_are_named_rightly_are_no_guessing() -> None:
    labels = np.array([0] * 40 + [1] * 3)
    found = by_class({"synthetic": labels[None], "real": labels[None]}, labels, ("usual", "rare"))
    assert found["failed"] == [{"class": "rare", "index": 1, "why": ["few"], "real_too": False}]


@pytest.mark.parametrize(
    ("named", "of", "classes", "why"),
    [
        (0, 3, 10, "few"), (0, 14, 10, "few"), (0, 16, 10, "chance"), (10, 100, 10, "chance"), (13, 100, 10, "few"),
        (20, 100, 10, None), (50, 100, 2, "chance"), (1, 4, 2, "few"), (0, 20, 100, "few"), (1, 400, 100, "chance"),
    ],
)  # fmt: skip
def test_guessing_is_said_where_the_interval_leaves_no_room_for_more(
    named: int, of: int, classes: int, why: str | None
) -> None:
    """Of three images none is named rightly by half of those who name every second one rightly."""
    labels, answers = np.zeros(of, int), np.r_[np.zeros(named, int), np.ones(of - named, int)]
    found = by_class({"synthetic": answers[None], "real": answers[None]}, labels, tuple(map(str, range(classes))))
    assert [one["why"] for one in found["failed"]] == ([] if why is None else [[why]])
    assert all(one["real_too"] == (why == "chance") for one in found["failed"])


@pytest.mark.parametrize("images", [range(1, 21), (5, 15, 10), (2,) * 19 + (200,)], ids=["some", "few", "one has most"])
def test_intervals_over_persons_hold_what_they_promise(images: Sequence[int]) -> None:
    """Persons with an accuracy each; of images alone too few intervals hold it. Where one person has most of the images
    an interval is of few persons indeed, and holds a little less often."""
    rng, held, persons = np.random.default_rng(0), {"shares": 0, "apart": 0, "images alone": 0}, len(images)
    for _ in range(400):
        whose = np.repeat(np.arange(persons), images)
        person_P = rng.beta(2, 1, persons)
        one = rng.random(len(whose)) < person_P[whose]
        low, high = share_of(one * 1.0, whose)
        held["shares"] += low <= 2 / 3 <= high
        low, high = share_of(one * 1.0)
        held["images alone"] += low <= 2 / 3 <= high
        worse = rng.random(len(whose)) < rng.beta(1, 1, persons)[whose]
        found = difference(one * 1.0, worse * 1.0, whose)
        held["apart"] += found["low"] <= 2 / 3 - 1 / 2 <= found["high"]
    assert min(held["shares"], held["apart"]) >= 0.87 * 400 > 0.8 * 400 > held["images alone"], held


def test_images_of_a_person_count_from_each_alone_to_all_as_one() -> None:
    whose = np.repeat(np.arange(10), 4)
    values = np.arange(10)[whose] % 2 * 1.0
    few = (stats.t.ppf(0.975, 9) / stats.norm.ppf(0.975)) ** 2
    assert alike(values, None) == alike(values, np.arange(40)) == 1 and alike(values, np.zeros(40, int)) == 40
    assert alike(np.ones(40), whose) == pytest.approx(4 * few)  # there is nothing to tell it by
    assert alike(np.tile([0.0, 1.0], 20), whose) == pytest.approx(few)
    # By leaving out each person in turn.
    means = [np.delete(values, np.flatnonzero(whose == one)).mean() for one in range(10)]
    jackknife = np.square(np.array(means) - np.mean(means)).sum() * 9 / 10
    assert alike(values, whose) == pytest.approx(few * jackknife / (values.var() / 40), rel=1e-6)
