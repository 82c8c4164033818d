"""Several images of one person: against closed forms, one image's own price, and a published table."""

from __future__ import annotations

import math

import numpy as np
import pytest
from exact_curves import gaussian_epsilon

from raysyn.privacy import group, losses, prv, rdp
from raysyn.privacy.cost import Cost, epsilon, kinds_of, sgd_schedule
from raysyn.privacy.group import Group, epsilon_of_group

DELTA = 1 / (5_000 * math.log(5_000))


def sgm(noise_multiplier: float, sampling_rate: float = 1.0, steps: int = 1, adjacency: str = "one") -> Cost:
    return Cost(
        mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=steps,
        adjacency=adjacency,
    )  # fmt: skip


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("steps", [1, 40])
def test_without_sampling_images_are_one_shift(k: int, steps: int) -> None:
    exact = gaussian_epsilon(k * math.sqrt(steps) / 9.0, DELTA)
    assert exact <= epsilon_of_group([sgm(9.0, steps=steps)], k, DELTA) <= exact * 1.01 + 1e-3


@pytest.mark.parametrize(
    "costs",
    [[sgm(0.81, 0.0512, 391)], [sgm(12.1, 0.0683, 2197)], [sgm(5.0, 0.1, 5), sgm(1.3, 0.05, 200)], [sgm(0.5, 1e-3, 9)]],
)
def test_a_group_of_one_costs_what_an_image_does_and_each_further_one_more(costs: list[Cost]) -> None:
    alone = epsilon(costs, 1e-5, "prv")
    found = [epsilon_of_group(costs, k, 1e-5) for k in (1, 2, 3, 8)]
    assert found[0] == pytest.approx(alone, rel=0.015, abs=1e-3)
    assert found == sorted(found) and found[1] > 1.3 * found[0]


def test_patients_of_5000_scans_meet_googles_figures() -> None:
    """dp-accounting's PLD of the mixture of Gaussians, sampled image by image, for epsilon 9.98."""
    rate, steps = sgd_schedule(5_000, 256, 20)
    costs = [sgm(0.8128, rate, steps)]
    assert epsilon(costs, DELTA, "prv") == pytest.approx(9.98, rel=0.005)
    assert [epsilon_of_group(costs, k, DELTA) for k in (2, 4, 8)] == pytest.approx([23.4, 58.3, 157], rel=0.01)


@pytest.mark.parametrize(("rate", "noise", "k"), [(0.05, 0.8, 1), (0.05, 0.8, 8), (0.5, 3.0, 2), (1.0, 2.0, 4)])
def test_a_loss_is_found_where_it_is(rate: float, noise: float, k: int) -> None:
    z = np.linspace(-20, 30, 501)
    loss, slope = group._loss_and_slope(z, rate, noise, k)
    steep = slope > 1e-3
    assert np.allclose(group._inverse(loss, rate, noise, k)[steep], z[steep], atol=1e-9)
    if rate < 1:
        assert group._inverse(np.array([k * math.log1p(-rate) - 0.1]), rate, noise, k)[0] == -math.inf


@pytest.mark.parametrize(("rate", "noise"), [(0.05, 0.8), (0.3, 4.0), (1e-4, 1.0)])
def test_of_one_image_all_parts_are_those_of_the_law_of_one(rate: float, noise: float) -> None:
    law, at = Group(1), np.array([-0.04, -1e-5, 1e-6, 0.01, 2.0])
    for direction in ("removed", "added"):
        assert np.allclose(law.moments(rate, noise, direction)[:2], losses._moments(rate, noise, direction)[:2])
        for one, other in zip(
            law.tails(at, rate, noise, direction), losses.ONE.tails(at, rate, noise, direction), strict=True
        ):
            assert np.allclose(one, other, rtol=1e-9, atol=1e-12)
    places = [int(np.argmin(np.abs(rdp.ORDERS - order))) for order in group.ORDERS]
    # Beyond it, all images at every step bound it.
    same = np.isclose(rdp.ORDERS[places], group.ORDERS) & (group.ORDERS < 3000)
    known = rdp.divergence([(rate, noise, 7)], np.array(places))
    assert np.allclose(law.divergence([(rate, noise, 7)])[same], known[same], rtol=1e-6, atol=1e-9)
    assert law.lowest(rate) == pytest.approx(losses.ONE.lowest(rate))


@pytest.mark.parametrize("cost", [sgm(1e-3, 0.3, 10), sgm(0.5, 0.999999, 20)])
def test_the_strangest_prices_end_soon(cost: Cost) -> None:
    found = [epsilon_of_group([cost], k, 1e-5) for k in (2, 8)]
    assert 0 <= found[0] <= found[1] < math.inf


@pytest.mark.parametrize(("noise", "rate", "steps", "k"), [(0.25, 0.005, 300, 8), (0.1, 0.02, 40, 4), (0.3, 0.2, 4, 8)])
def test_with_little_noise_it_is_about_the_largest_loss_that_is_met(
    noise: float, rate: float, steps: int, k: int
) -> None:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2000, steps)) + rng.binomial(k, rate, (2000, steps)) / noise
    met = group._loss_and_slope(z.ravel(), rate, noise, k)[0].reshape(z.shape).sum(axis=1)
    assert np.quantile(met, 0.99) < epsilon_of_group([sgm(noise, rate, steps)], k, 1e-5) < 1.5 * met.max()


@pytest.mark.parametrize("cost", [sgm(1e4, 0.01, 10), sgm(3e4, 1.0, 1), sgm(3e3, 1e-3, 100), sgm(1e6, 0.3, 9999)])
def test_what_is_next_to_nothing_is_not_made_finer(cost: Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(prv, "refined")
    assert all(0 <= epsilon_of_group([cost], k, 1e-5) < group.LITTLE for k in (2, 8))


def test_what_nothing_can_be_said_of() -> None:
    assert epsilon_of_group([], 4, 1e-5) == 0 and epsilon_of_group([sgm(1e-4)], 2, 1e-5) == math.inf
    assert not prv.can_say(kinds_of([sgm(1e-4)]), 1e-5)
    with pytest.raises(ValueError, match="k is 0"):
        epsilon_of_group([sgm(1.0)], 0, 1e-5)
    with pytest.raises(ValueError, match="adjacency"):
        epsilon_of_group([sgm(1.0), sgm(1.0, adjacency="two")], 2, 1e-5)
