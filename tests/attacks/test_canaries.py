"""Scores of canaries are the likelihood ratio, and thresholds are what they are called."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysyn.attacks import canaries


@pytest.mark.parametrize("rate", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.2, 1.5, 30.0])
def test_the_score_is_the_logarithm_of_the_ratio_of_densities(rate: float, noise: float) -> None:
    answers_TM = np.random.default_rng(0).normal(0.3, noise, (4, 6))
    there, gone = (stats.norm.pdf(answers_TM, mean, noise) for mean in (1.0, 0.0))
    expected = np.log((1 - rate) + rate * there / gone).sum(0)
    assert canaries.log_likelihood_ratio(answers_TM, rate, noise) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("size", [1e6, -1e6])
def test_no_answer_overflows_the_score(size: float) -> None:
    found = canaries.log_likelihood_ratio(np.full((2, 1), size), 0.25, 0.1)
    assert np.isfinite(found).all() and np.sign(found[0]) == np.sign(size)


def test_an_answer_that_is_no_number_has_no_ratio() -> None:
    found = canaries.log_likelihood_ratio(np.array([[0.7, 0.7], [np.nan, 0.1]]), 0.25, 1.0)
    assert np.isnan(found).tolist() == [True, False]


def test_answers_without_noise_are_counted() -> None:
    answers_TM = np.array([[1.0, 0.3, 1 + 1e-6], [1 - 1e-6, 1.1, 0.0], [0.999, 1.001, 1.0]])
    assert canaries.exactly(answers_TM, 1.0).tolist() == [2, 0, 2]


@pytest.mark.parametrize(("rate", "steps"), [(1.0, 1), (0.25, 8)])
def test_thresholds_are_exceeded_as_often_as_they_are_for(rate: float, steps: int) -> None:
    fixed = canaries.thresholds(rate, 1.2, steps)
    gone = canaries.answers(rate, 1.2, steps, np.zeros(20_000, bool), seed=1)
    share = (canaries.log_likelihood_ratio(gone, rate, 1.2)[:, None] > fixed).mean(0)
    spread = np.sqrt(np.array(canaries.ALARMS) / 20_000)
    assert (np.abs(share - canaries.ALARMS) < 5 * spread).all()


@pytest.mark.parametrize(
    ("steps", "noise", "usual"), [(1, 1.0, 0), (200, 0.5, 0), (1_000, 1.0, 0), (10_000, 1.0, 1), (50_000, 1.0, 3)]
)
def test_exact_answers_of_a_long_run_are_no_proof(steps: int, noise: float, usual: int) -> None:
    """Of noise alone more come to one canary in 50 at most."""
    assert canaries.surely(np.arange(usual + 3), noise, steps).tolist() == [0.0] * (usual + 1) + [1e4, 2e4]
    hits_M = np.random.default_rng(0).poisson(steps * 2 * canaries.ROUNDING * stats.norm.pdf(0) / noise, 200_000)
    assert (canaries.surely(hits_M, noise, steps) > 0).mean() < 0.021
    # Where noise is missing, there are as many as steps that the canary took part in.
    assert canaries.surely(np.array([max(1, steps // 200)]), noise, steps)[0] > 0


def test_a_long_run_is_told_by_its_likelihoods() -> None:
    """Twenty thousand steps, of which in one for each second canary an answer is exact by chance, there or not."""
    rate, noise, steps = 0.00316, 1.0, 20_000
    there_M = np.arange(600) % 2 == 0
    answers_TM = np.concatenate([canaries.answers(rate, noise, steps // 10, there_M, seed) for seed in range(10)])
    likely_M = canaries.log_likelihood_ratio(answers_TM, rate, noise)
    exact_M = canaries.exactly(answers_TM, 1.0)
    told_M = likely_M + canaries.surely(exact_M, noise, steps)
    areas = [stats.mannwhitneyu(one[there_M], one[~there_M]).statistic / 300**2 for one in (likely_M, told_M)]
    assert exact_M.max() > 0 and areas[0] > 0.6 and abs(areas[0] - areas[1]) < 0.01


def test_coins_are_fair() -> None:
    assert canaries.toss((np.arange(1000) + 0.5) / 1000).sum() == 500
