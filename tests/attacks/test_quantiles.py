"""Membership by quantile regression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysyn.attacks import quantiles
from raysyn.attacks.pool import make_pool
from raysyn.attacks.verdict import area
from raysyn.attacks.whose import Whose
from raysyn.compute.local import Local
from raysyn.data.images import Images


def bright(rng: np.random.Generator, count: int) -> tuple[Images, np.ndarray]:
    """Images of one grey each, and that grey in [0, 1]."""
    grey_N = rng.integers(0, 256, count)
    pixels = np.broadcast_to(grey_N[:, None, None, None], (count, 8, 8, 1)).astype(np.uint8)
    return Images(pixels, np.zeros(count, np.int64), ("a", "b")), grey_N / 255


def areas(rng: np.random.Generator, gain: float, seed: int) -> tuple[float, float]:
    """Areas by regression and by one threshold for all, where confidence follows brightness and members gain."""
    images, grey_N = bright(rng, 600)
    role_N = np.arange(600) % 3
    said_N = 8 * grey_N + 0.5 * rng.standard_normal(600) + gain * (role_N == 0)
    score_N = quantiles.regress("t", (images, role_N == 1, {"t": said_N}, seed)).numpy()
    return area(score_N[role_N == 0], score_N[role_N == 2]), area(said_N[role_N == 0], said_N[role_N == 2])


def test_it_beats_one_threshold_for_all_where_difficulty_varies_by_image() -> None:
    regressed, threshold = areas(np.random.default_rng(0), 1.0, 0)
    assert regressed > threshold + 0.1


def test_nothing_is_found_where_members_gain_nothing() -> None:
    """The mean of 4 areas of 200 against 200 deviates by 0.029 / sqrt(4); 3.3 of these are left in 1 of 1,000."""
    found = [areas(np.random.default_rng(repeat), 0.0, repeat)[0] for repeat in range(4)]
    assert abs(np.mean(found) - 0.5) < 3.3 * 0.029 / np.sqrt(4)


@pytest.mark.parametrize("each", [None, 2])
def test_non_members_to_learn_from_are_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: int | None
) -> None:
    """A perfect attack on all others reads 1, for target and controls, though those learned from score highest."""
    rng = np.random.default_rng(0)
    sides = []
    for count in (60, 80):
        pixels, labels = rng.integers(0, 256, (count, 8, 8, 1), dtype=np.uint8), np.arange(count) // 2 % 2
        persons_N = None if each is None else np.arange(count) // each
        sides.append(Images(pixels, labels, ("a", "b"), persons_N))
    pool = make_pool(*sides, None, 0)
    members_N, known = pool.members_N, list[np.ndarray]()
    inside_MN = np.stack([members_N & (np.arange(len(members_N)) // 2 % 2 == half) for half in (0, 1)])

    def regress(name: str, shared: Any) -> torch.Tensor:
        known.append(shared[1])
        return torch.from_numpy(shared[2][name] + 2.0 * shared[1])

    monkeypatch.setattr(quantiles, "regress", regress)
    said_N = members_N.astype(float)
    found = quantiles.attack(Local(tmp_path), pool, {"it": said_N}, np.stack([said_N, said_N]), inside_MN, 0)
    (judged, record), whose = found["it"], Whose.of(pool.images)
    assert judged["auc"]["value"] == judged["control"]["value"] == 1 and not (known[0] & members_N).any()
    fitted, others = int(known[0].sum()), int((~members_N).sum())
    assert judged["fitted_on"] == fitted == pytest.approx(others / 2, abs=2)
    assert judged["others"] == record["others"] == whose.one_each(~members_N & ~known[0]).sum()


def test_what_is_said_of_judged_images_changes_nothing_that_is_learned() -> None:
    images, grey_N = bright(np.random.default_rng(0), 60)
    fitted_N, said_N = np.arange(60) % 3 == 1, 8 * grey_N
    moved_N = np.where(fitted_N, said_N, said_N + 5)
    one, other = (quantiles.regress("t", (images, fitted_N, {"t": said}, 0)).numpy() for said in (said_N, moved_N))
    assert (one[fitted_N] == other[fitted_N]).all() and (one[~fitted_N] < other[~fitted_N]).all()


@pytest.mark.parametrize("each", [(1,), (3,), (1, 5, 2)])
def test_who_says_when_to_stop_is_nobody_who_was_learned_from(each: tuple[int, ...]) -> None:
    persons_N = np.repeat(np.arange(40), np.resize(each, 40))
    whose = Whose(None if each == (1,) else np.random.default_rng(0).permutation(persons_N))
    held, learned = quantiles._held_out(whose, len(persons_N), np.random.default_rng(0))
    person_N = np.arange(40) if whose.persons_N is None else whose.persons_N
    assert sorted([*held, *learned]) == list(range(len(persons_N)))
    assert len(set(person_N[held])) == 8 and not set(person_N[held]) & set(person_N[learned])


@pytest.mark.parametrize("persons", [38, 42])
def test_too_few_persons_are_too_few_however_many_images_they_have(tmp_path: Path, persons: int) -> None:
    rng, numbers_N = np.random.default_rng(0), np.repeat(np.arange(persons), 3)
    sides = [
        Images(rng.integers(0, 256, (len(numbers_N), 8, 8, 1), dtype=np.uint8), numbers_N % 2, ("a", "b"), numbers_N)
        for _ in range(2)
    ]
    pool = make_pool(*sides, None, 0)
    said_MN = rng.standard_normal((3, len(pool.images)))
    own = pool.images.persons_N
    assert own is not None
    inside_MN = np.stack([pool.members_N & (own % 2 == half) for half in (0, 1)])
    told = (Local(tmp_path), pool, {"it": said_MN[0]}, said_MN[1:], inside_MN, 0)
    assert bool(quantiles.attack(*told)) == (persons // 2 >= quantiles.FEWEST)
