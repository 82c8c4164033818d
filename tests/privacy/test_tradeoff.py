"""Limits of attacks against the closed form of Gaussian answers and against figures of Google's accountant."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from exact_curves import gaussian_log_delta
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from raysyn.methods.dp_feta.config import Config, plan
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.privacy import prv
from raysyn.privacy.cost import Budget, Cost, epsilon
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.tradeoff import FALSE_ALARMS, RAREST, of, tradeoff


def sgm(noise_multiplier: float, sampling_rate: float = 1.0, steps: int = 1) -> Cost:
    return Cost(mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=steps)


@settings(max_examples=25, deadline=None)
@given(mu=st.floats(math.log(0.01), math.log(8.0)).map(math.exp), steps=st.integers(1, 500))
def test_gaussian_answers_meet_the_closed_form(mu: float, steps: int) -> None:
    """Dong, Roth and Su 2022: of answers with a shift of mu, the best attack finds Phi(Phi^-1(F) + mu)."""
    limits = tradeoff([sgm(math.sqrt(steps) / mu, steps=steps)], (*FALSE_ALARMS, 0.5))
    for share, found in limits.found.items():
        exact = float(norm.cdf(norm.ppf(share) + mu))
        assert exact - 1e-12 <= found <= exact * 1.005 + 1e-5
    assert norm.cdf(mu / 2) <= limits.right <= norm.cdf(mu / 2) * 1.001 + 1e-5


LARGER = replace(
    PRESETS["quick"], finetune=SGDConfig(batch_size=256, epochs=20),
    budget=Budget(epsilon=10, delta=1 / (1_498 * math.log(1_498))),
)  # fmt: skip


@pytest.mark.parametrize(
    ("config", "n", "found", "right"),
    [
        (LARGER, 1_498, (0.138, 0.353, 0.726), 0.824),
        (PRESETS["paper-mnist-eps10"], 60_000, (0.108, 0.314, 0.709), 0.819),
        (PRESETS["paper-mnist-eps1"], 60_000, (0.002, 0.019, 0.150), 0.549),
    ],
)
def test_plans_meet_googles_figures(config: Config, n: int, found: tuple[float, ...], right: float) -> None:
    """dp-accounting 0.6.0 on the same plans: the curve of the composed PLDs by get_delta_for_epsilon."""
    limits = tradeoff(list(plan(config, n, 10).stages.values()))
    assert [limits.found[share] for share in FALSE_ALARMS] == pytest.approx(found, abs=0.0015)
    assert limits.right == pytest.approx(right, abs=0.0015)


def test_more_answers_leave_more_to_an_attacker_and_none_leaves_guessing() -> None:
    assert tradeoff([]).found == {share: share for share in FALSE_ALARMS} and tradeoff([]).right == 0.5
    one, two = (tradeoff([sgm(3.0, 0.2, steps)]) for steps in (20, 40))
    assert all(share < one.found[share] < two.found[share] < 1 for share in FALSE_ALARMS) and one.right < two.right


def test_where_the_grid_says_nothing_rdp_does(monkeypatch: pytest.MonkeyPatch) -> None:
    both = tradeoff([sgm(2.0, 0.5, 11)])
    monkeypatch.setattr(prv, "can_say", lambda kinds, delta: False)
    alone = tradeoff([sgm(2.0, 0.5, 11), sgm(2.0, 0.3, 1)])
    assert all(both.found[share] < alone.found[share] < 1 for share in FALSE_ALARMS)
    assert set(tradeoff([sgm(1e-4)]).found.values()) == {1.0}


def test_shares_are_shares() -> None:
    assert tradeoff([sgm(1.0)], (0.0, 1.0)).found[1.0] == 1.0
    with pytest.raises(ValueError, match="false_alarms"):
        tradeoff([sgm(1.0)], (1.5,))


GOLDEN = [(13.2, (0.92, 0.25, 0.099, (0.00224, 0.0188, 0.150))), (1.85, (9.31, 1.91, 0.640, (0.109, 0.316, 0.710)))]
"""Noise multipliers of DP-SGD beside five answers at noise 5 and rate 0.1, delta 1e-5, by dp-accounting's PLD: epsilon,
mu, advantage, members found at FALSE_ALARMS."""


@pytest.mark.parametrize(("noise", "golden"), GOLDEN)
def test_a_published_plan_meets_googles_figures(noise: float, golden: tuple[float, float, float, tuple[float]]) -> None:
    costs = [sgm(5.0, 0.1, 5), sgm(noise, 4096 / 60_000, 2197)]
    curve = of(costs)
    found = (epsilon(costs, 1e-5, "prv"), curve.gaussian(), curve.advantage())
    assert found == pytest.approx(golden[:3], rel=0.03)
    assert 1 - curve.missed(FALSE_ALARMS) == pytest.approx(golden[3], rel=0.03)


KINDS = (
    [(2.0, 0.05, 30)], [(0.5, 1.0, 1)], [(10.0, 0.5, 300), (1.0, 0.001, 30)], [(0.4, 0.001, 1)], [(1.0, 0.5, 300)],
    [(60.0, 0.1, 5)],
)  # fmt: skip
"""(noise multiplier, sampling rate, steps): from hardly anything to everything."""
SHARES = np.concatenate([[0.0], np.geomspace(1e-6, 1, 150)])


@pytest.mark.parametrize("kinds", KINDS)
def test_a_curve_is_convex_and_between_guessing_and_certainty(kinds: list[tuple[float, float, int]]) -> None:
    curve = of([sgm(*kind) for kind in kinds])
    missed = curve.missed(SHARES)
    assert ((missed >= 0) & (missed <= 1 - SHARES + 1e-12)).all() and (np.diff(missed) <= 1e-12).all()
    part = (SHARES[1:-1] - SHARES[:-2]) / (SHARES[2:] - SHARES[:-2])
    assert (missed[1:-1] <= (1 - part) * missed[:-2] + part * missed[2:] + 1e-12).all()
    # What is read off the curve is no less than what each point of it gives.
    for prior in (0.5, 0.01, 0.9):
        right = prior * (1 - missed) + (1 - prior) * (1 - SHARES)
        assert max(prior, 1 - prior, right.max()) - 1e-9 <= curve.right(prior) <= 1
    mu = curve.gaussian()
    if mu is not None:
        seen = (SHARES >= RAREST) & (missed >= RAREST)
        assert (norm.sf(mu - norm.isf(SHARES[seen])) <= missed[seen] + 1e-12).all()
    # delta at epsilon is where the line of that slope meets the axis.
    for at in (0.0, 0.5, 2.0):
        assert (1 - curve.delta(at) - math.exp(at) * SHARES <= missed + 1e-9).all()


@pytest.mark.parametrize("mu", [0.01, 0.3, 1.0, 4.0, 7.0])
@pytest.mark.parametrize("prior", [0.5, 0.01])
def test_one_gaussian_answer_is_met_exactly(mu: float, prior: float) -> None:
    curve = of([sgm(1 / mu)])
    assert mu <= (found := curve.gaussian() or math.nan) <= mu * 1.01 + 5e-4
    # Likelihood ratios above (1 - prior) / prior are called members.
    least = math.log((1 - prior) / prior) / mu + mu / 2
    right = prior * norm.sf(least - mu) + (1 - prior) * norm.cdf(least)
    assert right - 1e-12 <= curve.right(prior) <= right * 1.002 + 1e-6 and found > 0
    assert curve.delta(mu) == pytest.approx(math.exp(gaussian_log_delta(mu, mu)), rel=0.02, abs=1e-6)


def test_without_a_bound_there_is_no_mu_and_without_an_answer_it_is_none_at_all() -> None:
    nothing, everything = of([]), of([sgm(1e-4)])
    assert (nothing.gaussian(), nothing.advantage(), nothing.right(0.01), nothing.delta(0.0)) == (0, 0, 0.99, 0)
    assert (everything.gaussian(), everything.advantage(), everything.right(0.01)) == (None, 1, 1)
    assert of([sgm(0.05)]).gaussian() is None, "all but one in a million are found"
