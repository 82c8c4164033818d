"""Prices against the paper, against closed forms and against Opacus called directly."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import scipy.fft
from exact_curves import gaussian_epsilon
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opacus.accountants import PRVAccountant, RDPAccountant

from raysyn.methods.dp_feta.presets import PRESETS as DP_FETA
from raysyn.methods.dp_imgsyn.presets import PRESETS as DP_IMGSYN
from raysyn.methods.pigan.presets import PRESETS as PIGAN
from raysyn.methods.privimage.presets import PRESETS as PRIVIMAGE
from raysyn.privacy import prv, rdp
from raysyn.privacy.cost import Budget, Cost, calibrate, delta, delta_beside, epsilon, kinds_of, priced, sgd_schedule
from raysyn.privacy.rounding import rounded_up
from raysyn.privacy.sgd_config import SGDConfig


def sgm(noise_multiplier: float | None, sampling_rate: float = 1.0, steps: int = 1, **more: str) -> Cost:
    return Cost(mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=sampling_rate, steps=steps, **more)


SGD = sgm(None, *sgd_schedule(60_000, 4_096, 150))


def test_trap_29_schedule_is_the_papers() -> None:
    """DP-FETA, Table VIII: batch 4,096 and 2.2K iterations; 150 epochs of 60,000 images."""
    assert sgd_schedule(60_000, 4_096, 150) == (4_096 / 60_000, 2_197)
    assert sgd_schedule(100, 100, 1) == (1.0, 1)
    with pytest.raises(ValueError, match="batch_size is 101"):
        sgd_schedule(100, 101, 1)
    with pytest.raises(ValueError, match="epochs"):
        sgd_schedule(100, 10, 0)


@pytest.mark.parametrize(("n", "fits"), [(1_600, 200), (501, 64), (40, 40)])
def test_a_batch_above_the_images_is_refused_by_its_flag_with_one_that_is_taken(n: int, fits: int) -> None:
    words = f"^finetune.batch_size is 4096: give 1 to {n}, the number of training images, as in --finetune.batch-size "
    with pytest.raises(ValueError, match=f"{words}{fits}$"):
        SGDConfig().cost(n, "finetune")
    assert SGDConfig(batch_size=fits).cost(n, "finetune").sampling_rate == fits / n
    with pytest.raises(ValueError, match=r"^batch_size is 4096: give 1 to 40, the number of training images$"):
        SGDConfig().cost(40)


@pytest.mark.parametrize(
    ("images", "wanted"), [(0, 12.8), (50, 13.2), (500, 16.1), (750, 19.1), (1000, 24.4), (1250, 40.0)]
)
def test_calibration_meets_table_v(images: int, wanted: float) -> None:
    """DP-FETA, Table V: epsilon 1, delta 1e-5, RDP, ten classes, queries at rate 0.1 with multiplier 5."""
    queries = [sgm(5.0, 0.1, images // 10)] if images else []
    found = calibrate(1.0, 1e-5, "rdp", queries, SGD)
    assert found.noise_multiplier == pytest.approx(wanted, rel=0.04)
    assert epsilon([*queries, found], 1e-5, "rdp") <= 1.0


def test_calibration_with_prv_meets_appendix_c3() -> None:
    queries = [sgm(5.0, 0.1, 5)]
    found = calibrate(1.0, 1e-5, "prv", queries, SGD)
    assert found.noise_multiplier == pytest.approx(12.2, rel=0.04)
    assert found.noise_multiplier is not None
    assert epsilon([*queries, found], 1e-5, "prv") <= 1.0
    # 0.01 % less noise would already overspend: the search is tight as well as safe.
    less = replace(found, noise_multiplier=found.noise_multiplier * (1 - 1e-4))
    assert epsilon([*queries, less], 1e-5, "prv") > 1.0


@pytest.mark.parametrize(
    ("cost", "delta", "wanted"),
    [
        (sgm(5.0, 0.1, 5), 1e-5, 0.19),
        (sgm(5.0, 0.109, 5), 1.7e-6, 0.24),
        (sgm(5.0, 0.109, 50), 1.7e-6, 0.71),
        (sgm(10.0, 0.0657, 250), 1e-6, 0.46),
        (sgm(10.0, 0.04, 250), 1e-6, 0.27),
        (sgm(14.6, 1 / 14, 2_100), 1.67e-6, 1.0),
        (sgm(1.99, 1 / 14, 2_100), 1.67e-6, 10.0),
    ],
)
def test_known_settings(cost: Cost, delta: float, wanted: float) -> None:
    assert epsilon([cost], delta, "rdp") == pytest.approx(wanted, rel=0.04)
    assert epsilon([cost], delta, "prv") < wanted * 1.02


def _opacus(accountant: type[RDPAccountant] | type[PRVAccountant], *costs: Cost, delta: float) -> float:
    direct = accountant()
    direct.history = [(c.noise_multiplier, c.sampling_rate, c.steps) for c in costs]
    return float(direct.get_epsilon(delta))


MIXES = [
    [sgm(13.0, 0.0683, 2_197)],
    [sgm(5.0, 0.1, 5), sgm(13.0, 0.0683, 2_197)],
    [sgm(5.0, 0.1, 5), sgm(3.0, 0.5, 10), sgm(2.0, 0.02, 50)],
]


@pytest.mark.filterwarnings("ignore:Optimal order is the largest alpha")
@pytest.mark.parametrize("costs", MIXES)
def test_equals_opacus_called_directly(costs: list[Cost]) -> None:
    assert epsilon(costs, 1e-5, "rdp") == pytest.approx(_opacus(RDPAccountant, *costs, delta=1e-5), rel=1e-3)
    ours = epsilon(costs, 1e-5, "prv")
    # Opacus' fixed grid error is 0.01.
    assert ours <= _opacus(PRVAccountant, *costs, delta=1e-5) + 1e-4
    assert ours == pytest.approx(_opacus(PRVAccountant, *costs, delta=1e-5), abs=0.01)


def test_no_order_that_opacus_tries_is_left_out() -> None:
    """They are written out there, so that pricing alone waits for Opacus."""
    assert set(RDPAccountant.DEFAULT_ALPHAS) <= set(rdp.ORDERS)


def exact_divergence(rate: float, noise: float, order: float) -> mpmath.mpf:
    """Of one subsampled answer, to 30 digits (Mironov et al. 2019, section 3.3): the series of an integer order, for
    others the integral that it comes from, x in standard deviations."""
    with mpmath.workdps(30):
        q, sigma, alpha = mpmath.mpf(rate), mpmath.mpf(noise), mpmath.mpf(order)
        if order.is_integer():
            i = range(int(order) + 1)
            terms = (
                mpmath.binomial(alpha, k) * q**k * (1 - q) ** (alpha - k) * mpmath.exp((k * k - k) / (2 * sigma**2))
                for k in i
            )
            return mpmath.log(mpmath.fsum(terms)) / (alpha - 1)

        def beyond_one(x: mpmath.mpf) -> mpmath.mpf:
            ratio = 1 + q * mpmath.expm1(x / sigma - 1 / (2 * sigma**2))
            return mpmath.npdf(x) * (ratio**alpha - 1)

        middle = alpha / sigma
        found = mpmath.quad(beyond_one, sorted({-40, -10, -3, 0, 3, 10, middle, middle + 5, middle + 12, middle + 40}))
        return mpmath.log1p(found) / (alpha - 1)


@settings(max_examples=20, deadline=None, derandomize=True, database=None)
@given(
    rate=st.floats(-9, -0.01).map(lambda log: 10.0**log),
    noise=st.floats(-1, 2).map(lambda log: 10.0**log),
    order=st.sampled_from(rdp._FEW.tolist()),
)
@example(rate=0.4999999, noise=50.0, order=1.02)
@example(rate=0.5, noise=100.0, order=1.01)
@example(rate=0.9, noise=0.1, order=63.0)
def test_no_order_is_cheaper_than_it_is_exactly_nor_much_dearer(rate: float, noise: float, order: float) -> None:
    """By no more than twice what is added for rounding."""
    found = rdp.divergence([(rate, noise, 1)], np.flatnonzero(order == rdp.ORDERS))[0]
    wanted = exact_divergence(rate, noise, order)
    added = (1e-12 if order % 1 else 1e-13) / (order - 1) + 4e-15 + 1e-14 * found
    assert wanted <= found <= wanted + 2 * added


def test_what_has_no_price_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    rdp._found.cache_clear()
    monkeypatch.setattr(rdp, "_log_of_sum", lambda *told: math.nan)
    with pytest.raises(ArithmeticError, match=r"no price is found at order \S+ for rate 0\.125 and noise"):
        epsilon([sgm(1.5, 0.125, 3)], 1e-5, "rdp")
    rdp._found.cache_clear()


@pytest.mark.parametrize("kinds", [kinds_of(mix) for mix in MIXES] + [
    ((1.0, 5.0, 1),), ((1.0, 484.0, 1), (0.1, 0.9, 500)), ((1e-4, 0.4, 10**5),), ((0.3, 0.25, 3), (0.02, 40.0, 10**4)),
])  # fmt: skip
def test_orders_that_are_not_computed_would_give_no_better_bound(kinds: tuple[rdp.Kind, ...]) -> None:
    """To the last bit what all orders give, of which a part is computed."""
    rdp._found.cache_clear()
    told = []
    for at in (1e-12, 1e-5, 1e-2):
        order, found = rdp.best_order(kinds, at), rdp.epsilon(kinds, at)
        told.append((at, order, found, rdp.reach(kinds, at), rdp.delta(kinds, found)))
    computed = [int((~np.isnan(rdp._found(rate, noise))).sum()) for rate, noise, _ in kinds]
    assert max(computed) < len(rdp.ORDERS) / 2
    all_of_them, orders = rdp.divergence(kinds), rdp.ORDERS
    for at, order, found, reached, back in told:
        by_order = all_of_them - (math.log(at) + np.log(orders)) / (orders - 1) + np.log1p(-1 / orders)
        assert found == max(0.0, by_order.min()) and order == orders[by_order.argmin()]
        assert reached == max(0.0, (all_of_them - math.log(at) / (orders - 1)).min())
        logs = (orders - 1) * (all_of_them - found + np.log1p(-1 / orders)) - np.log(orders)
        assert back == math.exp(min(0.0, logs.min())) == rdp.deltas(kinds, np.array([found, 1.0]))[0]


@pytest.mark.parametrize("noise_multiplier", [0.7, 1.0, 5.0, 50.0, 484.0])
def test_one_shot_queries_are_priced_exactly(noise_multiplier: float) -> None:
    exact = gaussian_epsilon(1 / noise_multiplier, 1e-5)
    assert exact <= epsilon([sgm(noise_multiplier)], 1e-5, "prv") <= exact * 1.003
    assert exact <= epsilon([sgm(noise_multiplier)], 1e-5, "rdp") <= exact * 1.25
    # k answers with multiplier s are one answer with s / sqrt(k).
    composed = epsilon([sgm(4 * noise_multiplier, steps=7), sgm(4 * noise_multiplier, steps=9)], 1e-5, "prv")
    assert exact <= composed <= exact * 1.003


@pytest.mark.parametrize("costs", MIXES[:2])
def test_the_dearer_direction_is_priced(costs: list[Cost], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two neighbours, either may be the one with the record; both are composed."""
    whole, kinds = epsilon(costs, 1e-5, "prv"), kinds_of(costs)
    alone = {}
    for direction in ("removed", "added"):
        monkeypatch.setattr(prv, "directions", lambda kinds, only=direction: (only,))
        alone[direction] = prv.delta(kinds, whole)
    assert alone["added"] < alone["removed"] <= 1e-5
    # Were adding the dearer one, its price would be the price.
    monkeypatch.undo()
    right = prv._Sum.epsilon
    count = iter((0.0, 0.0, 1.0))
    monkeypatch.setattr(prv._Sum, "epsilon", lambda self, delta: right(self, delta) + next(count))
    assert prv.epsilon(kinds, 1e-5) == pytest.approx(whole + 1, rel=0.01)


@settings(max_examples=6, deadline=None)
@given(
    noise=st.floats(0.5, 200.0),
    rate=st.floats(0.001, 1.0),
    steps=st.integers(1, 300),
    delta=st.sampled_from([1e-9, 1e-5, 1e-2]),
)
def test_prv_is_tighter_than_rdp_and_both_fall_with_noise(noise: float, rate: float, steps: int, delta: float) -> None:
    cost, quieter = sgm(noise, rate, steps), sgm(noise * 1.5, rate, steps)
    by_rdp = epsilon([cost], delta, "rdp")
    assert epsilon([quieter], delta, "rdp") <= by_rdp
    if by_rdp < 5:
        by_prv = epsilon([cost], delta, "prv")
        assert epsilon([quieter], delta, "prv") <= by_prv * 1.001 + 1e-9
        assert by_prv <= by_rdp


@pytest.mark.parametrize(
    ("accountant", "budget"), [("rdp", 0.05), ("rdp", 3.0), ("rdp", 1e3), ("prv", 0.05), ("prv", 10.0)]
)
def test_calibration_never_overspends(accountant: str, budget: float) -> None:
    fixed = [sgm(200.0)]
    found = calibrate(budget, 1e-6, accountant, fixed, sgm(None, 0.05, 50))
    assert budget * 0.999 <= epsilon([*fixed, found], 1e-6, accountant) <= budget


def test_overspent_budgets_are_explained() -> None:
    with pytest.raises(ValueError, match="ask less or with more noise") as raised:
        calibrate(0.1, 1e-5, "rdp", [sgm(5.0, 0.1, 55)], SGD)
    spent = epsilon([sgm(5.0, 0.1, 55)], 1e-5, "rdp")
    said = rounded_up(spent)
    assert float(f"{spent:.3g}") < spent <= float(said), "to nearest it would be below"
    assert f"spend {said} (test {said})" in str(raised.value)
    assert "--budget.epsilon" in str(raised.value)
    with pytest.raises(ValueError, match="too small"):
        calibrate(1e-6, 1e-5, "rdp", [], SGD)


def test_trap_15_mixed_adjacencies_do_not_compose() -> None:
    other = sgm(5.0, adjacency="replace one image")
    for attempt in (
        lambda: epsilon([sgm(5.0), other], 1e-5, "rdp"),
        lambda: calibrate(1.0, 1e-5, "rdp", [other], sgm(None)),
    ):
        with pytest.raises(ValueError, match="adjacency is mixed"):
            attempt()
    assert epsilon([other], 1e-5, "rdp") == epsilon([sgm(5.0)], 1e-5, "rdp")


@pytest.mark.parametrize(
    "bad",
    [
        lambda: sgm(0.0),
        lambda: sgm(math.inf),
        lambda: sgm(1.0, 0.0),
        lambda: sgm(1.0, 1.1),
        lambda: sgm(1.0, 0.1, 0),
        lambda: sgm(1e200),
        lambda: sgm(math.nan),
        lambda: sgm(1.0, 1e-300),
        lambda: sgm(1.0, math.nan),
        lambda: sgm(1.0, 0.1, 10**22),
        lambda: Budget(epsilon=0.0),
        lambda: Budget(epsilon=math.inf),
        lambda: Budget(delta=0.0),
        lambda: Budget(delta=1.0),
        lambda: delta([sgm(1.0)], -0.1),
        lambda: epsilon([], 0.0, "rdp"),
        lambda: epsilon([], 1e-5, "moments"),
        lambda: epsilon([sgm(None)], 1e-5, "rdp"),
        lambda: calibrate(math.nan, 1e-5, "rdp", [], SGD),
    ],
)
def test_bad_values_are_refused(bad) -> None:
    with pytest.raises(ValueError):
        bad()


def test_the_smaller_of_two_bounds_is_returned_and_named() -> None:
    ordinary, extreme = [sgm(12.0, 0.07, 2000)], [sgm(1e-4)]
    assert priced(ordinary, 1e-5, "prv") == (epsilon(ordinary, 1e-5, "prv"), "prv")
    assert priced(ordinary, 1e-5, "rdp") == (epsilon(ordinary, 1e-5, "rdp"), "rdp")
    assert priced(extreme, 1e-5, "prv") == priced(extreme, 1e-5, "rdp") == (epsilon(extreme, 1e-5, "rdp"), "rdp")
    assert priced([sgm(1.0)], 1e-250, "prv").by == "rdp"
    # One refused an epsilon of more than 200 before.
    assert 200 < epsilon([sgm(0.05)], 1e-5, "prv") < epsilon([sgm(0.05)], 1e-5, "rdp")


def test_the_order_of_costs_and_how_alike_ones_are_cut_changes_no_bit() -> None:
    one, other = sgm(5.0, 0.1, 20), sgm(13.0, 0.05, 300)
    cut = [replace(other, steps=100), one, replace(other, steps=200)]
    assert epsilon([one, other], 1e-5, "prv") == epsilon([other, one], 1e-5, "prv") == epsilon(cut, 1e-5, "prv")


def test_a_tiny_budget_over_many_steps_is_calibrated_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epsilon 0.02 over 46,875 steps did not end in 300 s."""
    asked = list[int]()
    next_fast_len = scipy.fft.next_fast_len
    monkeypatch.setattr(
        scipy.fft, "next_fast_len", lambda points, real: asked.append(points) or next_fast_len(points, real)
    )  # fmt: skip
    found = calibrate(0.02, 1e-7, "prv", [], sgm(None, 0.001, 46_875))
    assert 0.01998 < epsilon([found], 1e-7, "prv") <= 0.02
    assert max(asked) <= prv.MOST_POINTS and sum(asked) < 60e6


SIZES = {
    "mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000, "celeba": 162_770, "celeba32": 202_599,
    "celeba64": 202_599, "camelyon": 302_436, "celeba_hair": 90_000, "celeba_gender": 162_770, "imagenette": 9_469,
}  # fmt: skip


@pytest.mark.parametrize("presets", [DP_FETA, PRIVIMAGE, DP_IMGSYN], ids=["dp_feta", "privimage", "dp_imgsyn"])
def test_every_paper_preset_has_a_delta_below_one_in_n(presets: dict) -> None:
    names = [name for name in presets if name.startswith("paper-")]
    assert len(names) >= 8
    for name in names:
        n = SIZES[name.split("-")[1]]
        assert presets[name].budget.delta_for(n) * n < 1
    members = {"paper-fashion_mnist": 7_000, "paper-cifar10": 6_000}
    assert all(PIGAN[name].budget.delta_for(n) * n < 1 for name, n in members.items())


@pytest.mark.parametrize(("given", "n"), [(0.9, 1_498), (1e-5, 100_000), (1e-5, 150_000), (0.5, 2), (0.2, 5)])
def test_a_delta_that_promises_nothing_is_refused_with_one_that_does(given: float, n: int) -> None:
    with pytest.raises(
        ValueError, match=r"^budget.delta is .* publishing one of them outright: give --budget.delta"
    ) as no:
        Budget(delta=given).delta_for(n)
    below, suggested = map(float, str(no.value).rpartition("below ")[2].split(", such as "))
    assert 0.9 / n < below <= 1 / n
    assert Budget(delta=suggested).delta_for(n) == suggested and suggested * n < 0.1


@pytest.mark.parametrize("n", [1, 3, 10, 99])
def test_the_default_delta_wants_a_hundred_images(n: int) -> None:
    with pytest.raises(ValueError, match=r"too few for the default delta .* --budget\.delta"):
        Budget().delta_for(n)
    assert Budget(delta=0.5 / n).delta_for(n) == 0.5 / n
    assert Budget().delta_for(100) < 1 / 100


@pytest.mark.parametrize("n", [100, 101, 999, 1498, 3000, 22_026, 22_027, 60_000, 10**6])
def test_the_default_delta_is_never_said_to_be_much(n: int) -> None:
    delta = Budget().delta_for(n)
    assert Fraction(delta) <= Fraction(1, 10 * n) and delta <= 1 / (n * math.log(n))
    assert delta == pytest.approx(min(1 / (10 * n), 1 / (n * math.log(n))), rel=1e-15)
    assert delta_beside(delta, n).removeprefix("delta is ").removesuffix(" of 1/n").replace(".", "").isdigit()


def test_a_delta_near_one_in_n_is_warned_of() -> None:
    assert delta_beside(1e-5, 60_000).startswith("delta is 0.6 of 1/n, which is much: ")
    assert delta_beside(1e-7, 60_000) == "delta is 0.006 of 1/n"
    # Never less than it is: 0.1249, of a delta by default.
    assert delta_beside(1 / (3_000 * math.log(3_000)), 3_000).startswith("delta is 0.13 of 1/n, which is much: ")


def test_budget_defaults() -> None:
    assert Budget().delta_for(60_000) == pytest.approx(1 / (60_000 * math.log(60_000)))
    assert Budget(delta=1e-5).delta_for(1) == 1e-5
    assert epsilon([], 1e-5, "prv") == 0.0
