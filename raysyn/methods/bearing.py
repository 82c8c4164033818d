"""How much noise a one-shot question must have so that it costs no more than a small part of a budget."""

from __future__ import annotations

import math

from raysyn.privacy.cost import Budget, Cost, calibrate

SHARE = 0.2
"""Of a budget, as a sum of 1 / noise_multiplier^2, for a question that only prepares DP-SGD."""


def bearable_noise(budget: Budget, n: int, rounds: int, share: float = SHARE) -> float:
    """The noise multiplier with which `rounds` answers of all `n` images cost `share` of what is left of the budget
    beside the stages that are part of it.

    Squares of answers' inverse noise add up under Gaussian noise, as epsilons do not. ValueError where the budget
    promises nothing for so many images, or bears no answer at all.
    """
    one = Cost(mechanism="one question", noise_multiplier=None, sampling_rate=1.0, steps=1)
    before = list(budget.fixed().values())
    whole = calibrate(budget.epsilon, budget.delta_for(n), budget.accountant, before, one).noise_multiplier
    assert whole is not None
    return whole * math.sqrt(rounds / share)
