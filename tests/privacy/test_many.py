"""Very many answers of different kinds: priced in a second, and never below what they cost."""

from __future__ import annotations

import time

import numpy as np
import pytest

from raysyn.privacy.cost import ROUGH, Cost, priced
from raysyn.privacy.many import MANY, composed, fewer

DELTA = 1e-5


def cost(noise: float, rate: float = 1.0, steps: int = 1) -> Cost:
    return Cost(mechanism="m", noise_multiplier=noise, sampling_rate=rate, steps=steps)


@pytest.mark.parametrize("rates", [(1.0,), (0.02,), (1.0, 0.02, 0.05)])
def test_many_kinds_are_priced_coarsely_and_still_from_above(rates: tuple[float, ...]) -> None:
    draws = np.random.default_rng(0)
    costs = [
        cost(noise, rates[at % len(rates)], 300 if rates[at % len(rates)] < 1 else 1)
        for at, noise in enumerate(draws.uniform(6, 14, MANY + 5))
    ]
    whole, found = priced(costs, DELTA, "prv", ROUGH), composed(costs, DELTA)
    assert 0.93 * whole.epsilon <= found.epsilon <= 1.05 * whole.epsilon
    few = fewer([(one.sampling_rate, one.noise_multiplier or 0.0, one.steps) for one in costs])
    assert len(few) <= MANY and sum(steps for rate, _, steps in few if rate < 1) == sum(
        one.steps for one in costs if one.sampling_rate < 1
    )


def test_fewer_kinds_are_no_weaker() -> None:
    """Every sampled answer becomes one of its rate with as little noise or less; whole ones add up exactly."""
    kinds = [(0.02, 5 + at / 37, 2) for at in range(200)] + [(1.0, 20.0 + at, 1) for at in range(50)]
    few = fewer(kinds)
    (whole,) = [one for one in few if one[0] == 1]
    assert 1 / whole[1] ** 2 == pytest.approx(sum(1 / noise**2 for rate, noise, _ in kinds if rate == 1))
    # The n smallest noises after are at most the n smallest before, for every n.
    before = sorted(noise for rate, noise, steps in kinds for _ in range(steps) if rate < 1)
    after = sorted(noise for rate, noise, steps in few for _ in range(steps) if rate < 1)
    assert len(before) == len(after) and all(new <= old for new, old in zip(after, before, strict=True))
    assert min(after) == min(before) and all(new > 0.9 * old for new, old in zip(after, before, strict=True))


def test_a_thousand_runs_are_priced_in_about_a_second() -> None:
    draws = np.random.default_rng(0)
    costs = [cost(noise, 0.02, 2_000) for noise in draws.uniform(4, 9, 1_000)] + [
        cost(20 + at / 50) for at in range(2_000)
    ]
    begun = time.process_time()
    assert composed(costs, DELTA).epsilon > 0
    assert time.process_time() - begun < 5
