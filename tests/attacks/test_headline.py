"""The headline: one variant named before, beside membership dealt out at random."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysyn.attacks import lira
from raysyn.attacks.headline import headline, permuted
from raysyn.attacks.variants import VARIANTS, Variant
from raysyn.attacks.verdict import auc
from raysyn.attacks.whose import IMAGES


def test_the_null_is_what_dealing_out_membership_within_classes_gives() -> None:
    """Against every way to deal it out: two classes, 3 of 5 members in one, 1 of 4 in the other; ties among scores."""
    scores = np.array([3.0, 1, 2, 5, 1, 0, 4, 4, 7])
    labels, members = np.repeat((0, 1), (5, 4)), np.array([1, 0, 1, 0, 1, 0, 0, 1, 0], bool)
    areas = []
    for first in np.ndindex(*(2,) * 5):
        for second in np.ndindex(*(2,) * 4):
            if sum(first) == 3 and sum(second) == 1:
                dealt = np.array([*first, *second], bool)
                areas.append(auc(scores[dealt], scores[~dealt]).value)
    found = permuted(scores, members, labels, 0)
    assert len(areas) == 40
    assert found["mean"] == pytest.approx(np.mean(areas), abs=5 * np.std(areas) / 400**0.5)
    assert min(areas) <= found["low"] < np.mean(areas) < found["high"] <= max(areas)
    truth = np.mean(np.array(areas) >= auc(scores[members], scores[~members]).value - 1e-9)
    assert found["share_as_high"] == pytest.approx(truth, abs=5 * (truth * (1 - truth) / 400) ** 0.5 + 1 / 400)


def test_a_mix_of_classes_that_differs_shows_in_the_null() -> None:
    """Scores that tell the class and nothing else, members 95:5 and others 1:1: area and null are high."""
    rng = np.random.default_rng(0)
    labels = np.repeat((0, 1, 0, 1), (285, 15, 150, 150))
    members, scores = np.arange(600) < 300, rng.normal(size=600) - 3.0 * labels
    area, null = auc(scores[members], scores[~members]), permuted(scores, members, labels, 0)
    assert area.low > 0.65 and null["low"] < area.value < null["high"]
    assert permuted(scores, members, np.zeros(600, np.int64), 0)["high"] < 0.56, "without classes it would seem a leak"


def test_chance_is_called_chance_as_often_as_it_says() -> None:
    """Of 200 attacks that know nothing one in twenty is in the highest twentieth; misses by chance once in 500."""
    rng, found = np.random.default_rng(1), []
    for seed in range(200):
        labels, members = rng.integers(0, 3, 60), rng.random(60) < 0.5
        found.append(permuted(rng.normal(size=60) + labels, members, labels, seed)["share_as_high"] <= 0.05)
    assert stats.binom.ppf(1e-3, 200, 0.05) <= sum(found) <= stats.binom.ppf(1 - 1e-3, 200, 0.05)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_headline_is_the_variant_named_whatever_comes_out(variant: Variant) -> None:
    rng = np.random.default_rng(0)
    inside = lira.half_design(8, 200, 0)
    shadows = rng.normal(size=(8, 200, 3)) + 2.0 * inside[:, :, None] * np.array([1.0, 0.5, 0.0])
    members = np.arange(200) < 100
    target = rng.normal(size=(200, 3)) + 2.0 * members[:, None] * np.array([1.0, 0.5, 0.0])
    told = headline(shadows, inside, target, members, np.zeros(200, np.int64), variant, 2, 0, IMAGES)
    whole = lira.attack(shadows[:, :, :2], inside, target[:, :2], members)["variants"][str(variant)]
    assert told["variant"] == str(variant) and told["auc"] == whole["auc"] and told["tpr"] == whole["tpr"]
    assert told["by_views"][1]["auc"] == told["auc"] and len(told["by_views"]) == 3
    one = lira.attack(shadows[:, :, :1], inside, target[:, :1], members)["variants"][str(variant)]
    assert told["by_views"][0]["auc"] == one["auc"]
    assert told["null"]["high"] < told["auc"]["value"] and told["null"]["share_as_high"] == pytest.approx(1 / 401)
