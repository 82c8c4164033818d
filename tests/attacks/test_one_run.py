"""The audit of one run by its own units: nothing is found where nothing was learned, and copies are."""

from __future__ import annotations

import numpy as np
import pytest

from raysyn.attacks import one_run
from raysyn.attacks.one_run import Canaries

RANDOM = np.random.default_rng(0)


def pictures(count: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, 6, 6, 1), dtype=np.uint8)


def drawn(units: int, count: int, seed: int = 0) -> Canaries:
    random = np.random.default_rng(seed)
    return Canaries.drawn(random.random(units), random.random(count))


@pytest.mark.parametrize(("units", "count"), [(100, 0), (4999, 0), (5000, 50), (60_000, 600), (10**6, 1000)])
def test_how_many_there_are_by_default(units: int, count: int) -> None:
    assert one_run.how_many(units) == count


def test_canaries_are_any_units_and_half_of_them_are_in() -> None:
    often, there = np.zeros(40), 0
    for seed in range(300):
        found = drawn(40, 10, seed)
        assert (np.diff(found.units_M) > 0).all() and len(found.units_M) == 10
        given = found.takes_part(40)
        assert given.sum() == 30 + found.there_M.sum() and given[found.units_M].tolist() == found.there_M.tolist()
        often[found.units_M] += 1
        there += int(found.there_M.sum())
    assert often.min() > 40 and often.max() < 115 and abs(there - 1500) < 5 * 750**0.5


def test_more_canaries_than_units_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^audit.canaries is 5, but there are 4 units: give fewer$"):
        drawn(4, 5)


def test_from_images_of_others_nothing_is_shown() -> None:
    """Whoever was in: at most 5 % of the audits show anything."""
    wrong = 0
    for seed in range(100):
        found = drawn(400, 60, seed)
        scores = one_run.from_images(pictures(60), pictures(50), pictures(20))
        wrong += one_run.shown(scores, found.there_M, 1e-5).epsilon > 0
    assert wrong <= 11


@pytest.mark.parametrize("by", ["images", "losses"])
def test_what_was_learned_by_heart_is_shown_and_refutes_a_claim(by: str) -> None:
    found, canaries = drawn(2000, 300), pictures(300)
    if by == "images":
        near = np.clip(canaries[found.there_M].astype(int) + RANDOM.integers(-20, 20, (6, 6, 1)), 0, 255)
        scores = one_run.from_images(canaries, np.concatenate([pictures(100), near.astype(np.uint8)]), pictures(100))
    else:
        size = np.array([0.1, 1.0, 10.0])[:, None]
        scores = one_run.from_losses(size * (RANDOM.normal(3, 1, (300, 3, 50)) - 2.0 * found.there_M[:, None, None]))
    shown = one_run.shown(scores, found.there_M, 1e-5)
    assert 2 < shown.epsilon <= shown.gaussian and shown.refutes(1.0) and not shown.refutes(20.0)
    assert shown.told(1.0).startswith("claimed ε at most 1, but shown: at least ") and "is wrong" in shown.told(1.0)
    assert shown.told(20.0).endswith("with 95% confidence, by 300 canaries")


def test_near_is_judged_by_images_that_were_out() -> None:
    """A picture like many others is near to what is released also when it was not there."""
    plain, odd = np.full((1, 6, 6, 1), 100, np.uint8), pictures(1)
    released = np.concatenate([plain + 3, np.clip(odd.astype(int) + 40, 0, 255).astype(np.uint8)])
    out = np.concatenate([plain + 2, plain + 4, plain + 3])
    usual, remembered = one_run.from_images(np.concatenate([plain, odd]), released, out)
    assert remembered > usual + 0.5


def test_a_level_of_large_losses_counts_no_more_than_one_of_small_ones() -> None:
    losses = RANDOM.normal(0, 1, (50, 4, 3))
    scores = one_run.from_losses(losses)
    assert one_run.from_losses(losses * np.array([1e-3, 1, 50, 1e4])[:, None] + 7) == pytest.approx(scores)
    assert one_run.from_losses(np.zeros((5, 2, 2))).tolist() == [0.0] * 5


def test_a_persons_score_is_that_of_the_surest_image() -> None:
    assert one_run.of_units(np.array([1.0, -2.0, 5.0, 0.5]), np.array([0, 1, 0, 1]), 2).tolist() == [5.0, 0.5]


def test_there_is_something_to_compare_with() -> None:
    with pytest.raises(ValueError, match=r"^there are no images to compare canaries with: give at least one$"):
        one_run.from_images(pictures(2), pictures(0), pictures(2))
