"""The numerical accountant against closed forms, against Google's, and at its edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.fft
from exact_curves import gaussian_epsilon, gaussian_log_delta, one_step_log_delta
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from raysyn.privacy import losses, prv, rdp
from raysyn.privacy.rdp import Kind

MIX: list[Kind] = [(0.1, 5.0, 5), (0.5, 3.0, 10), (0.02, 2.0, 50)]


def logs(low: float, high: float) -> Any:
    return st.floats(math.log(low), math.log(high)).map(math.exp)


@pytest.mark.parametrize(
    ("steps", "noise", "delta", "wanted"),
    [
        (10**6, 2000.0, 1e-10, 3.0994),
        (10**5, 300.0, 1e-11, 7.3109),
        (10**4, 100.0, 1e-11, 6.9018),
        (10**5, 1000.0, 1e-12, 2.1324),
        (1, 5000.0, 1e-5, 2.5113e-4),
        (1, 0.05, 1e-14, 352.166),
        (100, 1.0, 1e-60, 213.381),
    ],
)
def test_rounding_is_in_the_error_budget(steps: int, noise: float, delta: float, wanted: float) -> None:
    """Exact values by Balle and Wang 2018; a grid that forgets its rounding gives 3.07 for the first one."""
    exact = gaussian_epsilon(math.sqrt(steps) / noise, delta)
    assert exact == pytest.approx(wanted, rel=1e-4)
    assert exact <= prv.epsilon([(1.0, noise, steps)], delta) <= exact * 1.003


def test_where_rounding_may_be_all_of_delta_nothing_is_said() -> None:
    """Without the tilt, that is so: rounding of the transform is then beside a mass of 1, not beside the tail."""
    kinds, delta = [(1.0, 100.0, 10**4)], 1e-11
    plain, tilted = (prv._Sum(kinds, "removed", delta * 1e-4, 0.01, tilt) for tilt in (0.0, 6.0))
    assert plain.epsilon(delta) == math.inf and plain.epsilon(1e-6) < tilted.epsilon(delta) < 7.0


@pytest.mark.parametrize(
    ("kind", "delta", "below"),
    [((1e-4, 0.4, 10**5), 1e-6, 7.50), pytest.param((1e-5, 0.35, 10**6), 1e-9, 11.80, marks=pytest.mark.slow)],
)
def test_losses_narrower_than_the_grid_keep_their_mean(kind: Kind, delta: float, below: float) -> None:
    """Where hardly anybody takes part, all steps without the record fall on one point of the grid, and only the shift
    that keeps means tells their sum: without it 7.3835 and 11.6400, with its sign turned 7.2391."""
    assert below <= prv.epsilon([kind], delta) <= 1.01 * below
    # What is below is below the truth: delta there is more than was asked for (an inversion of the moment generating
    # function at 7.3835 gives 1.234e-6, at 11.6400 1.29e-9).
    assert prv.delta([kind], below) >= delta


def test_every_improbable_event_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five parts of delta are set aside, which no comparison of figures would show: they are 5e-4 of it."""
    one = prv._Sum([(0.1, 2.0, 10)], "removed", 1e-9, 1e-3, 0.0)
    losses = np.array([0.0, 1.0, 2.0])
    monkeypatch.setattr(one, "_tail", lambda least: (losses, np.array([1e-5, 1e-6 - 4e-9, 1e-8])))
    monkeypatch.setattr(one, "_slack", 0.0)
    assert one.epsilon(1e-6) > 1.0, "4e-9 less than delta is not enough"
    assert one.delta(1.0) == pytest.approx(1e-6 + 1e-9, rel=1e-12)
    assert one.profile()[1] == pytest.approx([1e-5 + 5e-9, 1e-6 + 1e-9, 1.5e-8], rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(steps=logs(1, 3000), mu=logs(1e-3, 30.0), delta=logs(1e-14, 1e-2))
def test_never_below_the_exact_value(steps: float, mu: float, delta: float) -> None:
    steps = round(steps)
    kinds = [(1.0, math.sqrt(steps) / mu, steps)]
    exact = gaussian_epsilon(math.sqrt(steps) / kinds[0][1], delta)
    assert exact <= prv.epsilon(kinds, delta) <= exact * 1.02 + delta / 1000
    assert exact <= rdp.epsilon(kinds, delta)


@settings(max_examples=8, deadline=None)
@given(rate=logs(3e-3, 0.999), noise=logs(0.5, 20.0), delta=logs(1e-14, 1e-2))
def test_one_sampled_step_is_priced_in_both_directions(rate: float, noise: float, delta: float) -> None:
    kinds = [(rate, noise, 1)]
    found = prv.epsilon(kinds, delta)
    if found == 0:
        return
    exact = max(one_step_log_delta(rate, noise, found, direction) for direction in ("removed", "added"))
    assert exact <= math.log(delta) + 1e-9
    at_found = prv.delta(kinds, found)
    assert at_found == 0 or math.log(at_found) >= exact - 1e-9


@pytest.mark.parametrize(
    ("kind", "delta", "fully"),
    [
        ((0.011305787489104475, 5.489940375532717, 1), 1e-20, 0.0796),
        ((0.00019445854394417583, 3.2472095663219647, 1), 1e-22, 0.1439),
        ((0.000696272413860893, 2.068773501884805, 3), 2.8e-22, 0.3801),
        ((0.0007699948755766689, 5.058497769792492, 300), 6.9e-13, 0.0167),
    ],
)
def test_at_tiny_deltas_the_full_tilt_counts_where_it_is_the_smaller_bound(
    kind: Kind, delta: float, fully: float
) -> None:
    """The tilt that keeps small what is wrapped around leaves rounding 30 % or more of epsilon there."""
    found = prv.epsilon([kind], delta)
    assert 0 < found <= 1.005 * fully
    rate, noise, steps = kind
    if steps == 1:
        exact = max(one_step_log_delta(rate, noise, found, direction) for direction in ("removed", "added"))
        assert exact <= math.log(delta)


@pytest.mark.parametrize(
    ("kinds", "delta", "interval", "theirs"),
    [
        ([(0.0683, 1.76, 2197)], 1e-5, 1e-5, 10.003),
        ([(0.0683, 12.1, 2197)], 1e-5, 1e-5, 0.990596),
        (MIX, 1e-5, 1e-5, 2.39007),
        ([(1e-4, 40.0, 100_000)], 1e-9, 1e-7, 0.00346218),
        ([(0.01, 100.0, 46_875)], 1e-7, 1e-6, 0.0889399),
        ([(0.01, 0.5, 1000)], 1e-9, 1e-4, 21.4655),
        ([(0.3, 15.0, 10_000)], 1e-9, 1e-5, 13.5646),
        ([(1e-3, 0.6, 1)], 1e-4, 1e-5, 0.0153686),
    ],
)
def test_agrees_with_googles_accountant(kinds: list[Kind], delta: float, interval: float, theirs: float) -> None:
    """dp-accounting 0.6.0, an upper bound too: privacy_loss_distribution.from_gaussian_mechanism(noise,
    sampling_prob=rate, value_discretization_interval=interval, use_connect_dots=True).self_compose(steps), kinds
    joined by compose, get_epsilon_for_delta(delta). Its own grid costs less than 0.2 % at these intervals."""
    assert theirs * 0.998 <= prv.epsilon(kinds, delta) <= theirs * 1.004


@pytest.mark.parametrize(
    ("kinds", "delta"),
    [
        ([(1e-4, 40.0, 100_000)], 1e-9),
        ([(1e-4, 0.5, 10)], 1e-5),
        ([(1e-6, 5.0, 10**8)], 1e-9),
    ],
)
def test_the_grid_is_bounded(kinds: list[Kind], delta: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first case once asked for 61 million points. Few of them must do for tiny epsilon over many steps."""
    asked = list[int]()

    def noted(points: int, real: bool) -> int:
        asked.append(points)
        return next_fast_len(points, real)

    next_fast_len = scipy.fft.next_fast_len
    monkeypatch.setattr(scipy.fft, "next_fast_len", noted)
    assert 0 < prv.epsilon(kinds, delta) <= rdp.epsilon(kinds, delta) * 1.01
    assert len(asked) <= 8 and max(asked) <= prv.MOST_POINTS


def test_where_nothing_can_be_said_it_says_so() -> None:
    assert prv.epsilon([(1.0, 1e-4, 1)], 1e-5) == math.inf and prv.delta([(1.0, 1e-4, 1)], 1.0) == 1.0
    assert prv.epsilon([(1.0, 1.0, 1)], 1e-250) == math.inf
    assert len(prv.profile([(1.0, 1e-4, 1)], "removed")[0]) == 0


@pytest.mark.parametrize("kinds", [MIX, [(0.2, 1.5, 40)], [(1.0, 8.0, 30)]])
def test_epsilon_falls_with_delta_and_with_noise(kinds: list[Kind]) -> None:
    by_delta = [prv.epsilon(kinds, 10.0**power) for power in range(-14, 0)]
    assert all(np.diff(by_delta) < 0)
    by_noise = [prv.epsilon([(q, noise * more, k) for q, noise, k in kinds], 1e-7) for more in (1, 1.01, 1.1, 2, 20)]
    assert all(np.diff(by_noise) < 0)


@settings(max_examples=25, deadline=None)
@given(steps=st.integers(1, 3000), mu=logs(0.01, 10.0), at=st.floats(0.0, 1.0))
def test_delta_is_a_tight_upper_bound(steps: int, mu: float, at: float) -> None:
    kinds = [(1.0, math.sqrt(steps) / mu, steps)]
    epsilon = at * gaussian_epsilon(mu, 1e-12)
    exact, found = math.exp(gaussian_log_delta(math.sqrt(steps) / kinds[0][1], epsilon)), prv.delta(kinds, epsilon)
    assert exact <= found <= min(exact * 1.05, rdp.delta(kinds, epsilon) * 1.05)


def test_delta_and_epsilon_belong_together() -> None:
    for delta in (1e-3, 1e-8, 1e-12):
        assert 0.9 * delta < prv.delta(MIX, prv.epsilon(MIX, delta)) <= delta


@pytest.mark.parametrize("direction", ["removed", "added"])
@pytest.mark.parametrize(("rate", "noise"), [(0.1, 1.3), (0.999, 0.4), (1e-4, 3.0), (1.0, 2.0)])
def test_moments_are_those_of_the_loss(rate: float, noise: float, direction: losses.Direction) -> None:
    """An error of the mean would be multiplied by the number of steps."""

    def density(x: float) -> float:
        with_ = rate if direction == "removed" else 0.0
        return float(with_ * norm.pdf(x, 1, noise) + (1 - with_) * norm.pdf(x, 0, noise))

    def loss(x: float) -> float:
        ratio = math.log(1 - rate + rate * math.exp((x - 0.5) / noise**2)) if rate < 1 else (x - 0.5) / noise**2
        return ratio if direction == "removed" else -ratio

    ends = {"epsabs": 1e-15, "epsrel": 1e-12, "limit": 500, "points": [0.0, 0.5, 1.0]}
    mean = quad(lambda x: loss(x) * density(x), -12 * noise, 1 + 12 * noise, **ends)[0]
    second = quad(lambda x: loss(x) ** 2 * density(x), -12 * noise, 1 + 12 * noise, **ends)[0]
    found, variance, _ = losses._moments(rate, noise, direction)
    assert found == pytest.approx(mean, rel=1e-6, abs=1e-13) and found > 0
    assert variance == pytest.approx(second - mean**2, rel=1e-6)
