"""Noise that is drawn anew everywhere passes; missing, larger and shared noise is named, also if a part is shared, and
noise that is not normal."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from raysyn.audits import residuals
from raysyn.audits.residuals import Noise

Change = Callable[[np.ndarray], object]
RUNS, STEPS, SIZE = 24, 6, 40
ALONE = np.random.default_rng(1).random((RUNS, SIZE)) < 0.5


def fresh(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((RUNS, STEPS, SIZE))


def said(values_GTD: np.ndarray, confidence: float = 0.999) -> str:
    return residuals.fault(Noise(values_GTD, ALONE), confidence)


def _set(*places: object, to: object = 0.0) -> Change:
    return lambda x: x.__setitem__(places, to)


def _half(x: np.ndarray, one: object, other: object) -> None:
    """Half of the variance of some numbers is that of others."""
    x[one] = np.sqrt(0.5) * x[one] + np.sqrt(0.5) * x[other]  # type: ignore[index]


ALL = slice(None)
AGAIN, MISSING = "noise is not drawn again: that of ", "noise is missing: "
NORMAL = "noise is not normal: "


def _uniform(x: np.ndarray) -> object:
    """Of the same variance, as the next two are."""
    return np.multiply(np.sqrt(12), stats.norm.cdf(x) - 0.5, out=x)


def _laplace(x: np.ndarray) -> object:
    return np.copyto(x, stats.laplace.ppf(stats.norm.cdf(x), scale=np.sqrt(0.5)))


def _cut(x: np.ndarray) -> object:
    """At two and a half deviations, which moves the distribution by 0.01 and takes its tails."""
    return np.copyto(x, stats.truncnorm.ppf(stats.norm.cdf(x), -2.5, 2.5) / stats.truncnorm.std(-2.5, 2.5))


def _few_large(x: np.ndarray) -> object:
    """Nine tenths on most, three times on the rest: too little where most are, of a variance above 1."""
    return np.multiply(x, np.where(np.random.default_rng(3).random(x.shape) < 0.05, 3.0, 0.9), out=x)


def _larger(change: Change) -> Change:
    """Of variance 1.2, or whatever it has, times 1.2."""
    return lambda x: (change(x), np.multiply(x, np.sqrt(1.2), out=x))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_set(ALL, 3), f"{MISSING}step 4 has 0.00"),
        (_set(ALL, ALL, 7), f"{MISSING}place 8 has 0.00"),
        (lambda x: np.multiply(x, 0.8, out=x), f"{MISSING}step"),
        (lambda x: np.multiply(x, 1.2, out=x), f"{residuals.LARGE}1.2"),
        (_uniform, f"{NORMAL}its distribution is 0.07"),
        (_laplace, f"{NORMAL}its distribution is 0.07"),
        (_cut, f"{NORMAL}0 of 2,"),
        (_larger(lambda x: x), f"{residuals.LARGE}1.1"),
        *((_larger(change), NORMAL) for change in (_uniform, _laplace, _few_large)),
        (_few_large, NORMAL),
        (lambda x: x.__setitem__((ALL, 3), x[:, 1]), f"{AGAIN}steps 2 and 4 "),
        (lambda x: x.__setitem__((ALL, 3), -x[:, 1]), f"{AGAIN}steps 2 and 4 "),
        (lambda x: x.__setitem__(ALL, x[:1]), f"{AGAIN}two runs "),
        (lambda x: x.__setitem__((ALL, ALL, 7), x[..., 30]), f"{AGAIN}places 8 and 31 "),
        (lambda x: x.__setitem__((..., slice(20, None)), x[..., :20]), f"{AGAIN}places"),
        (lambda x: _half(x, (ALL, 3), (ALL, 1)), f"{AGAIN}steps 2 and 4 "),
        (lambda x: _half(x, (..., slice(20, None)), (..., slice(20))), f"{AGAIN}places 20 apart"),
        (_set(0, 0, int(np.flatnonzero(ALONE[0])[0]), to=np.nan), residuals.NO_NUMBER),
    ],
)
def test_what_is_wrong_is_named(change: Change, what: str) -> None:
    values = fresh(0)
    change(values)
    assert said(values).startswith(what), said(values)


def test_only_places_with_noise_alone_count() -> None:
    values = fresh(0)
    values[np.broadcast_to(~ALONE[:, None], values.shape)] = np.nan
    assert said(values) == ""


def test_of_a_long_answer_some_places_are_looked_at() -> None:
    size = 3 * residuals.WIDEST
    values = np.random.default_rng(0).standard_normal((2, 8, size))
    values[..., size // 2 :] = values[..., : size // 2]
    found = residuals.fault(Noise(values, np.ones((2, size), bool)), 0.999)
    assert found.startswith(f"{AGAIN}places ") and "correlation +1.00" in found


@pytest.mark.parametrize(("one", "other"), [(0, 1), (3, 1990), (700, 1300), (1998, 1999)])
def test_any_two_of_many_steps_are_held_against_each_other_in_little_room(one: int, other: int) -> None:
    values = np.random.default_rng(0).standard_normal((1, 2000, 40))
    values[:, other] = -values[:, one]
    tracemalloc.start()
    found = residuals.fault(Noise(values, np.ones((1, 40), bool)), 0.999)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.startswith(f"{AGAIN}steps {one + 1} and {other + 1} ") and "correlation -1.00" in found
    # A table of all pairs has 32.
    assert peak < 20e6, peak


def test_numbers_of_many_steps_are_hardly_copied() -> None:
    """They are the most that an audit of a run of many steps has in memory."""
    values = np.random.default_rng(0).standard_normal((8, 2000, 100))
    alone = np.random.default_rng(1).random((8, 100)) < 0.8
    tracemalloc.start()
    assert residuals.fault(Noise(values, alone), 0.999) == ""
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3.5 * values.nbytes, peak / values.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(24, 6, 40), (500, 1, 2), (3, 8, 90), (1, 1, 1)])
def test_noise_that_is_as_claimed_is_hardly_ever_blamed(shape: tuple[int, int, int]) -> None:
    """Of 400, 5 % are 20; more than 34 come once in a thousand times."""
    wrong = 0
    for seed in range(400):
        random = np.random.default_rng(seed)
        alone = random.random((shape[0], shape[2])) < 0.7
        wrong += residuals.fault(Noise(random.standard_normal(shape), alone), 0.95) != ""
    assert wrong <= 34, wrong
