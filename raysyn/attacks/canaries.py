"""Canaries: records whose place in a noisy sum is their own, so that one run of a mechanism is many games.

A canary's contribution is a vector of the largest norm allowed, orthogonal to all others': whether it was there shows
in one number of each answer, in which nothing else is but noise. Where a fair coin has put it in or left it out, the
best guess is by the likelihood ratio, which is the score here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
REFERENCE, NUMBERS = 50_000, 10_000_000
"""Draws of the mechanism as it was claimed to be, of which thresholds are made, and numbers of all of them at most."""
ROUNDING = 2e-5
"""Of sums of float32, in parts of what a canary adds."""
SURE, SILENT = 1e4, 100.0
"""What an answer without noise adds to a score where it is the canary, or takes from it where it is nothing: more than
any likelihood does."""
BY_CHANCE = 0.02
"""The share of canaries that may have such an answer although there is noise: in up to some thousand steps one is
proof."""
ALARMS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.6, 0.9)
"""Shares of false alarms that thresholds are set for, as the mechanism was claimed to be."""


def toss(uniform_M: Floats) -> Mask:
    """Fair coins from numbers in (0, 1), which are the run's secret's."""
    return uniform_M < 0.5


def log_likelihood_ratio(answers_TM: Floats, rate: float, noise_std: float) -> Floats:
    """Of each canary, how much likelier its numbers are if it was there, as a logarithm, (M,).

    answers_TM: of each step what the noisy sum holds of it, in units of what it adds when it takes part, which it does
    with the chance `rate`. Where an answer is no number, there is no ratio.
    """
    told = (answers_TM - 0.5) / noise_std**2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.logaddexp(np.log1p(-rate), np.log(rate) + told)
    return np.asarray(ratios.sum(axis=0))


def exactly(answers_TM: Floats, value: float) -> NDArray[np.int64]:
    """In how many steps the noisy sum holds this number and no noise, up to rounding, (M,). With noise that comes once
    in many thousand steps, and as often to one who was not there."""
    return np.asarray((np.abs(answers_TM - value) < ROUNDING).sum(axis=0))


def surely(exact_M: NDArray[np.int64], noise_std: float, steps: int) -> Floats:
    """What so many exact answers add to scores, (M,): nothing for as many as noise brings about in so many steps,
    which in a long run would drown what likelihoods tell."""
    from scipy import stats

    usual = stats.poisson.isf(BY_CHANCE, steps * 2 * ROUNDING / (noise_std * np.sqrt(2 * np.pi)))
    return SURE * np.maximum(0.0, exact_M - usual)


def answers(rate: float, noise_std: float, steps: int, there_M: Mask, seed: int) -> Floats:
    """What the mechanism that was claimed would answer, (T, M): Poisson samples, Gaussian noise."""
    random = np.random.default_rng(seed)
    taking = random.random((steps, len(there_M))) < rate
    return taking * there_M + noise_std * random.standard_normal((steps, len(there_M)))


def thresholds(rate: float, noise_std: float, steps: int, alarms: Sequence[float] = ALARMS) -> Floats:
    """Scores that are exceeded with these chances by a canary that was not there, as claimed. They depend on nothing
    that is measured, and how exact they are changes no bound."""
    gone = np.zeros(min(REFERENCE, NUMBERS // steps), bool)
    scores = log_likelihood_ratio(answers(rate, noise_std, steps, gone, 0), rate, noise_std)
    return np.quantile(scores, 1 - np.asarray(alarms))
