"""Votes for candidates: sensitivity, noise, price, who votes for whom, and that rounds know noisy counts alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from raysyn.data.images import Images
from raysyn.privacy import cost, units
from raysyn.privacy.cost import Budget
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import votes as query
from raysyn.privacy.queries.votes import VOTES, VotesConfig, ballots, nearest, plan, votes

KEY = bytes(range(32))
CLASSES, EACH = 3, 5


def private(n: int = 30, persons: bool = False, absent: Sequence[int] = ()) -> Images:
    rng = np.random.default_rng(0)
    labels = rng.integers(CLASSES - 1, size=n)  # the last class is empty
    whose = rng.permutation(np.concatenate((np.arange(n // 3), rng.integers(n // 3, size=n - n // 3))))
    found = Images(
        rng.integers(0, 256, (n, 6, 5, 1), np.uint8), labels, ("a", "b", "c"), whose if persons else None
    )  # fmt: skip
    out = np.zeros(found.units, bool)
    out[list(absent)] = True
    return replace(found, absent_U=out if len(absent) else None)


CANDIDATES = np.random.default_rng(1).integers(0, 256, (CLASSES, EACH, 6, 5, 1), np.uint8)


def exact(images: Images, shards: int = 1) -> list[np.ndarray]:
    weights = units.weights(images)
    return [
        ballots(images.images_NHWC[part], images.labels_N[part], weights[part], CANDIDATES, 0.7)
        for part in np.array_split(np.arange(len(images)), shards)
    ]


def price_of(images: Images, noise: float = 2.0, rounds: int = 3) -> cost.Cost:
    return units.priced(replace(VotesConfig(rounds=rounds).cost(), noise_multiplier=noise), images)


@pytest.mark.parametrize("persons", [False, True])
def test_removing_any_unit_moves_the_answer_of_each_round_by_one_at_most(persons: bool) -> None:
    """Every unit in turn, from the answers as they leave: an image by 1, a person by the mean of their votes."""
    images = private(persons=persons)

    def answer(who: Images) -> np.ndarray:
        return votes(who, price_of(who), Stream(KEY, VOTES), (CLASSES, EACH), lambda *_: exact(who, 2)).value

    whole, moves = answer(images), []
    for gone in range(images.units):
        apart = whole - answer(private(persons=persons, absent=[gone]))
        moves.append(np.linalg.norm(apart.reshape(3, -1), axis=1))
        mine = np.flatnonzero(np.arange(len(images)) == gone if not persons else images.persons_N == gone)
        if len(mine) == 1 or not persons:
            assert moves[-1] == pytest.approx(1.0)
    assert np.max(moves) <= 1 + 1e-9 and (not persons or np.min(moves) < 0.99)


def test_a_person_whose_images_agree_moves_it_by_one_however_many_they_are() -> None:
    rng = np.random.default_rng(2)
    one = rng.integers(0, 256, (1, 6, 5, 1), np.uint8)
    album = Images(one.repeat(9, axis=0), np.zeros(9, np.int64), ("a", "b", "c"), np.array([0] * 8 + [1]))
    assert exact(album)[0].max() == pytest.approx(2.0) and np.count_nonzero(exact(album)[0]) == 1


def test_noise_is_drawn_anew_for_every_round_and_every_bin_of_one_variance() -> None:
    """4,500 draws, of an empty class too: a wrong test fails once in a million."""
    images, drawn = private(), []
    counted = exact(images)
    for secret in range(20):
        stream = Stream(bytes([secret] * 32), VOTES)
        found = votes(images, price_of(images, rounds=15), stream, (CLASSES, EACH), lambda *_: counted)
        drawn.append(found.value - counted[0])
    noise = np.stack(drawn) / 2.0
    law = stats.chi2(noise.size)
    assert law.ppf(5e-7) < float((noise**2).sum()) < law.ppf(1 - 5e-7)
    assert abs(np.corrcoef(noise[:, 0].ravel(), noise[:, 1].ravel())[0, 1]) < 5 / math.sqrt(noise[:, 0].size)
    assert len(np.unique(noise)) == noise.size


@pytest.mark.parametrize(("rounds", "noise"), [(1, 4.0), (4, 8.0), (9, 1.5)])
def test_the_price_is_that_of_one_gaussian_answer_with_less_noise(rounds: int, noise: float) -> None:
    """The exact curve of the Gaussian mechanism (Balle and Wang, 2018) with multiplier noise / sqrt(rounds)."""
    mu, asked = math.sqrt(rounds) / noise, replace(VotesConfig(rounds=rounds).cost(), noise_multiplier=noise)
    found = cost.epsilon([asked], 1e-5, "prv")
    golden = stats.norm.cdf(mu / 2 - found / mu) - math.exp(found) * stats.norm.cdf(-mu / 2 - found / mu)
    assert golden <= 1e-5 and golden == pytest.approx(1e-5, rel=0.05)


def test_the_plan_spends_the_budget_and_more_rounds_have_more_noise() -> None:
    few, many = (plan(VotesConfig(rounds=rounds), Budget(epsilon=1.0, delta=1e-5), 60_000) for rounds in (1, 4))
    assert 0.99 < few.epsilon() <= 1 and many.noise(VOTES) == pytest.approx(2 * few.noise(VOTES), rel=1e-3)


def test_candidates_of_a_round_are_made_of_noisy_counts_alone_and_cannot_change_them() -> None:
    images, seen = private(), []

    def count(step: int, answered: Sequence[np.ndarray]) -> list[np.ndarray]:
        seen.append([one.copy() for one in answered])
        for one in answered:
            one[:] = 0.0
        return exact(images)

    found = votes(images, price_of(images), Stream(KEY, VOTES), (CLASSES, EACH), count).value
    assert [len(one) for one in seen] == [0, 1, 2]
    assert all(np.array_equal(seen[2][step], found[step]) for step in range(2))


@pytest.mark.parametrize("blur", [0.0, 1.3])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_nearest_candidate_is_that_of_a_slow_search(
    blur: float, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query, "BLOCK", 7)
    rng = np.random.default_rng(3)
    images, candidates = (rng.integers(0, 256, (n, 6, 5, channels), np.uint8) for n in (40, 23))
    far = np.arange(18)[:, None] - np.arange(18)
    shares = np.exp(-(far**2) / (2 * blur**2)) if blur else np.eye(18)

    def slow(one: np.ndarray) -> np.ndarray:
        """Its mirror images lie around it; every pixel gives to all."""
        wide = np.pad(one / 255.0, ((6, 6), (5, 5), (0, 0)), "symmetric")
        for axis, size in ((0, 18), (1, 15)):
            wide = np.moveaxis(np.tensordot(shares[:size, :size], wide, (1, axis)), 0, axis)
        return wide[6:12, 5:10]

    seen, offered = (np.stack([slow(one) for one in some]) for some in (images, candidates))
    slowly = ((seen[:, None] - offered) ** 2).sum((2, 3, 4))
    found = nearest(images, candidates, blur)
    best = np.min(slowly, axis=1)
    # How a blur ends beyond three of its widths is nobody's question.
    np.testing.assert_allclose(slowly[np.arange(40), found], best, rtol=0.01)
    assert (found == slowly.argmin(1)).mean() > (0.99 if not blur else 0.9)


@pytest.mark.parametrize("blur", [0.0, 1.0])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 40])
def test_no_vote_depends_on_other_images(count: int, blur: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where candidates are equal or next to it, and blocks of images begin and end elsewhere."""
    monkeypatch.setattr(query, "BLOCK", 8)
    rng = np.random.default_rng(4)
    images, candidates = (rng.integers(0, 256, (n, 9, 7, 1), np.uint8) for n in (count, 12))
    equal = np.concatenate([candidates, candidates[::-1], candidates ^ (rng.random(candidates.shape) < 0.02)])
    chosen = nearest(images, equal, blur)
    for without in range(count):
        others = np.delete(images, without, 0)
        np.testing.assert_array_equal(nearest(others, equal, blur), np.delete(chosen, without))
    assert not ((chosen >= 12) & (chosen < 24)).any(), "of equal ones the first"
    half = query.blurred(images, blur)
    assert half.dtype == torch.float64 and (2 * half).frac().abs().max() == 0, "whole numbers are exact in any order"


def test_absent_units_and_shards_change_nothing_else() -> None:
    images = private()
    np.testing.assert_array_equal(sum(exact(images, 4)), exact(images)[0])
    out = private(absent=range(10))
    rest = images.select(np.arange(10, 30))
    np.testing.assert_array_equal(exact(out)[0], exact(rest)[0])
    assert exact(images)[0][CLASSES - 1].sum() == 0


def test_a_price_of_other_units_buys_nothing() -> None:
    images, of_images = private(persons=True), price_of(private())
    with pytest.raises(ValueError, match="adjacency"):
        votes(images, of_images, Stream(KEY, VOTES), (CLASSES, EACH), lambda *_: exact(images))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (dict(rounds=0), "votes.rounds is 0"), (dict(candidates=1), "votes.candidates is 1"),
        (dict(threshold=-1.0), "votes.threshold is -1"), (dict(blur=-1.0), "votes.blur is -1"),
    ],
)  # fmt: skip
def test_bad_settings_cost_one_sentence(settings: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        VotesConfig(**settings)


def test_how_many_candidates_there_are_follows_from_what_is_public() -> None:
    config = VotesConfig()
    assert config.counted(60_000, 10, 8.4) > config.counted(60_000, 10, 20.0) > config.counted(1_500, 10, 8.4)
    assert config.counted(10, 10, 100.0) == query.FEWEST and config.counted(10**8, 2, 1.0) == query.MOST
    assert VotesConfig(candidates=77).counted(10, 10, 100.0) == 77
