"""Limits of attacks against the closed form of Gaussian answers and against figures of Google's accountant."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from raysyn.methods.dp_feta.config import plan
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.privacy import prv
from raysyn.privacy.cost import Cost
from raysyn.privacy.tradeoff import FALSE_ALARMS, tradeoff


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


@pytest.mark.parametrize(
    ("preset", "n", "found", "right"),
    [
        ("quick", 1_498, (0.138, 0.353, 0.602), 0.824),
        ("paper-mnist-eps10", 60_000, (0.108, 0.314, 0.575), 0.819),
        ("paper-mnist-eps1", 60_000, (0.002, 0.019, 0.081), 0.549),
    ],
)
def test_presets_meet_googles_figures(preset: str, n: int, found: tuple[float, ...], right: float) -> None:
    """dp-accounting 0.6.0 on the same plans: the curve of the composed PLDs by get_delta_for_epsilon."""
    limits = tradeoff(list(plan(PRESETS[preset], n, 10).stages.values()))
    assert [limits.found[share] for share in FALSE_ALARMS] == pytest.approx(found, abs=0.0015)
    assert limits.right == pytest.approx(right, abs=0.0015)


def test_more_answers_leave_more_to_an_attacker_and_none_leaves_guessing() -> None:
    assert tradeoff([]).found == {share: share for share in FALSE_ALARMS} and tradeoff([]).right == 0.5
    one, two = (tradeoff([sgm(3.0, 0.2, steps)]) for steps in (20, 40))
    assert all(share < one.found[share] < two.found[share] < 1 for share in FALSE_ALARMS) and one.right < two.right


def test_where_the_grid_says_nothing_rdp_does(monkeypatch: pytest.MonkeyPatch) -> None:
    both = tradeoff([sgm(2.0, 0.5, 11)])
    monkeypatch.setattr(prv, "_can_say", lambda kinds, delta: False)
    alone = tradeoff([sgm(2.0, 0.5, 11), sgm(2.0, 0.3, 1)])
    assert all(both.found[share] < alone.found[share] < 1 for share in FALSE_ALARMS)
    assert set(tradeoff([sgm(1e-4)]).found.values()) == {1.0}


def test_shares_are_shares() -> None:
    assert tradeoff([sgm(1.0)], (0.0, 1.0)).found[1.0] == 1.0
    with pytest.raises(ValueError, match="false_alarms"):
        tradeoff([sgm(1.0)], (1.5,))
