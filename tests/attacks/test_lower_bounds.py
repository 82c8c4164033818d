"""Lower bounds hold as often as they say, on mechanisms that are exactly what was claimed, and show what is not."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import ndtr, ndtri

from raysyn.attacks import lower_bounds
from raysyn.attacks.lower_bounds import Floats, Mask

REPEATS, MOST = 200, 18
"""What 5 % of so many exceed once in 400 times."""
THRESHOLDS = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)


def missed(mu: float, alarms: Floats) -> Floats:
    return ndtr(ndtri(1 - np.asarray(alarms)) - mu)


def gaussian(games: int, mu: float, seed: int, noise: float = 1.0) -> tuple[Floats, Mask]:
    """Scores and coins of canaries in a Gaussian answer: exactly mu, with noise 1."""
    random = np.random.default_rng(seed)
    coins = random.random(games) < 0.5
    return mu * coins + noise * random.standard_normal(games), coins


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_a_claim_that_is_exact_is_refuted_no_more_often_than_the_confidence_says(mu: float) -> None:
    curve, area = partial(missed, mu), float(ndtr(mu / math.sqrt(2)))
    wrong = np.zeros(3, int)
    for seed in range(REPEATS):
        scores, coins = gaussian(400, mu, seed)
        wrong += [
            lower_bounds.excess(scores, coins, THRESHOLDS, curve, 0.95).value > 0,
            lower_bounds.area_at_least(scores, coins, 0.95) > area,
            lower_bounds.gaussian_mu(scores, coins, THRESHOLDS, 0.95) > mu,
        ]
    assert (wrong <= MOST).all(), wrong


@pytest.mark.parametrize("mu", [0.0, 1.0])
def test_bounds_of_one_run_exceed_the_truth_no_more_often_than_they_say(mu: float) -> None:
    """With mu 0 nothing was learned, and the bound is of 0."""
    delta, wrong = 1e-3, np.zeros(2, int)
    truth = lower_bounds.epsilon_of(mu, delta)
    for seed in range(REPEATS // 2):
        epsilon, found = lower_bounds.in_one_run(*gaussian(200, mu, seed), delta, 0.95, (0.25,))
        wrong += [epsilon > truth, found > mu]
    assert (wrong <= 11).all(), wrong


@pytest.mark.parametrize(("noise", "by_curve", "by_area"), [(1.0, False, False), (0.8, True, True), (0.5, True, True)])
def test_noise_that_is_too_small_is_seen_by_the_whole_curve_and_by_the_area(
    noise: float, by_curve: bool, by_area: bool
) -> None:
    """Of 20,480 games of epsilon 4 at delta 1e-5, as a design of 20 runs of 1,024 canaries has them."""
    mu = 10**0.5 / 3.4253
    scores, coins = gaussian(20_480, mu, 0, noise)
    over = lower_bounds.excess(scores, coins, (0, 0.3, 0.6, 1.0, 1.5, 2.0), partial(missed, mu), 0.95)
    assert (over.value > 0) == by_curve and over.found > over.false_alarms
    assert (lower_bounds.area_at_least(scores, coins, 0.95) > ndtr(mu / math.sqrt(2))) == by_area


def test_epsilon_and_delta_alone_are_too_slack_for_half_the_noise_and_a_curve_is_tighter() -> None:
    mu = 10**0.5 / 3.4253
    epsilon, found = lower_bounds.in_one_run(*gaussian(20_480, mu, 0, 0.5), 1e-5, 0.95)
    assert 2 < epsilon < 4 < lower_bounds.epsilon_of(found, 1e-5) < lower_bounds.epsilon_of(2 * mu, 1e-5)


def as_published(games: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """Steinke, Nasr and Jagielski 2023, appendix: the p-value, term by term."""
    each = 1 / (1 + math.exp(-epsilon))
    most = total = 0.0
    for i in range(1, right + 1):
        total += stats.binom.pmf(right - i, guesses, each)
        most = max(most, total / i)
    return min(1.0, stats.binom.sf(right - 1, guesses, each) + 2 * games * delta * most)


@pytest.mark.parametrize(("games", "guesses", "right"), [(10, 10, 10), (100, 20, 15), (1000, 100, 81), (50, 50, 0)])
@pytest.mark.parametrize("delta", [0.0, 1e-5, 1e-3])
def test_the_chance_of_right_guesses_is_as_published(games: int, guesses: int, right: int, delta: float) -> None:
    for epsilon in (0.0, 0.5, 3.0):
        found = lower_bounds.chance(games, guesses, right, epsilon, delta)
        assert found == pytest.approx(as_published(games, guesses, right, epsilon, delta), rel=1e-9)


@pytest.mark.parametrize("guesses", [5, 20, 300])
def test_all_right_without_delta_is_a_power(guesses: int) -> None:
    each = 0.05 ** (1 / guesses)
    found = lower_bounds.epsilon_at_least(1000, guesses, guesses, 0.0, 0.95)
    assert found == pytest.approx(max(0.0, math.log(each / (1 - each))), abs=2e-3)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("games", [1, 2, 17, 200])
@pytest.mark.parametrize("level", [0.05, 1e-3])
def test_what_independent_games_reach_is_never_called_improbable(mu: float, games: int, level: float) -> None:
    """Of guesses about a Gaussian answer, a binomial number is right. One run may also be of an algorithm that gives
    away everything or nothing, so that with a large mu little is refused."""
    tails = stats.binom.sf(np.arange(games + 1) - 1, games, ndtr(mu / 2))
    said = [
        lower_bounds.improbable(games, games, right, lower_bounds.gaussian_alarms(mu), level)
        for right in range(games + 1)
    ]
    assert all(tail < level for tail, no in zip(tails, said, strict=True) if no)
    assert said[-1] or games < 200 or mu > 1


@pytest.mark.parametrize("p", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("games", [3, 50, 400])
def test_games_of_one_run_may_all_be_won_together(p: float, games: int) -> None:
    """Of an algorithm that gives away everything with the chance p, and else nothing: (0, p)-private. Guesses are all
    right more often than p, and no bound may deny it; but not much more often."""

    def alarms_of(found: float) -> float:
        return max(0.0, found - p)

    each = stats.binom(games, 0.5)
    for right in (games // 2, games - 1, games):
        tail = p + (1 - p) * each.sf(right - 1)
        assert not lower_bounds.improbable(games, games, right, alarms_of, 0.999 * tail)
    assert lower_bounds.improbable(games, games, games, alarms_of, min(0.99, 3 * p + 0.3)) or games < 50


@pytest.mark.parametrize("games", range(1, 6))
def test_few_canaries_are_each_guessed_about_once_at_most(games: int) -> None:
    scores = np.arange(float(games))
    assert lower_bounds.in_one_run(scores, scores > games / 2, 1e-5, 0.5) >= (0, 0)


def test_more_right_guesses_than_guesses_are_no_count() -> None:
    with pytest.raises(ValueError, match=r"^5 right of 4 guesses about 9 canaries: give no more than there are$"):
        lower_bounds.improbable(9, 4, 5, lower_bounds.gaussian_alarms(1.0), 0.05)


@pytest.mark.parametrize("mu", [0.05, 0.5, 1.0, 4.0])
def test_a_gaussian_answers_area_and_epsilon(mu: float) -> None:
    exact = float(ndtr(mu / math.sqrt(2)))
    assert exact <= lower_bounds.area_of(partial(missed, mu)) <= exact + 1e-4
    epsilon = lower_bounds.epsilon_of(mu, 1e-5)
    delta = ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon) * ndtr(-mu / 2 - epsilon / mu)
    assert delta == pytest.approx(1e-5, rel=1e-6) or epsilon == 0


def test_pairs_are_of_one_that_was_in_and_one_that_was_not_and_a_tie_counts_half() -> None:
    coins: NDArray[np.bool_] = np.array([True, False, True, False, True, False, True])
    scores = np.array([2.0, 1.0, 1.0, 1.0, 0.0, 5.0, 9.0])
    assert lower_bounds.paired(scores, coins) == (1.5, 3)


def test_one_side_alone_proves_nothing() -> None:
    scores, gone = np.arange(5.0), np.zeros(5, bool)
    for coins in (gone, ~gone):
        assert lower_bounds.area_at_least(scores, coins, 0.95) == 0
        assert lower_bounds.excess(scores, coins, [2.5], partial(missed, 0.0), 0.95).value <= 0
