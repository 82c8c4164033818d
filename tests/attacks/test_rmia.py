"""RMIA, and the loss alone, on cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, ndtri
from scipy.stats import spearmanr
from test_lira import world

from raysyn.attacks import lira, rmia
from raysyn.attacks.variants import BESIDE, EVERY, Loss, Rmia, Variant
from raysyn.attacks.verdict import auc
from raysyn.attacks.whose import IMAGES, Whose

ONLINE, OFFLINE = Rmia(online=True), Rmia(online=False)
WHOSE = {"images": IMAGES, "persons": Whose(np.repeat(np.arange(8), 3))}


def slowly(
    shadow_MN: np.ndarray, inside_MN: np.ndarray, target_N: np.ndarray, others_N: np.ndarray, variant: Rmia,
    gamma: float, whose_N: np.ndarray,
) -> list[float]:  # fmt: skip
    """As the paper has it, image against image, in one view."""

    def ratio(n: int) -> float:
        given = expit(shadow_MN[:, n])
        out = given[~inside_MN[:, n] & ~np.isnan(given)].mean()
        seen = given[inside_MN[:, n]].mean() if variant.online else variant.a * out + 1 - variant.a
        return float(expit(target_N[n]) / ((seen + out) / 2))

    found = []
    for x in range(len(target_N)):
        against = [z for z in np.flatnonzero(others_N) if whose_N[z] != whose_N[x]]
        above = sum(ratio(x) / ratio(z) >= gamma for z in against)
        found.append(float(ndtri((above + expit(np.log(ratio(x)))) / (len(against) + 1))))
    return found


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("whose", WHOSE)
@pytest.mark.parametrize("variant", [ONLINE, OFFLINE, Rmia(False, 0.9)], ids=repr)
def test_it_equals_the_slow_double_loop(
    monkeypatch: pytest.MonkeyPatch, variant: Rmia, whose: str, gamma: float
) -> None:
    monkeypatch.setattr(rmia, "GAMMA", gamma)
    shadow_MNQ, inside_MN = world(np.ones(24), 10, queries=2)
    shadow_MNQ = shadow_MNQ / 4
    shadow_MNQ[3, ~inside_MN[3] & (np.arange(24) < 6)] = np.nan
    random = np.random.default_rng(1)
    target_NQ, others_N = random.normal(size=(24, 2)), np.arange(24) >= 15
    whose_N = np.arange(24) if WHOSE[whose].persons_N is None else WHOSE[whose].persons_N
    views = [slowly(shadow_MNQ[:, :, q], inside_MN, target_NQ[:, q], others_N, variant, gamma, whose_N) for q in (0, 1)]
    expected_UQ = WHOSE[whose].joined(np.stack([views[0], np.mean(views, 0)], 1))
    found_UQ = lira.by_views(shadow_MNQ, inside_MN, target_NQ, variant, WHOSE[whose], others_N)
    np.testing.assert_allclose(found_UQ, expected_UQ, rtol=1e-9)


@pytest.mark.parametrize("variant", BESIDE, ids=str)
@pytest.mark.parametrize("design", ["half", "split"])
def test_each_as_target_equals_an_attack_without_its_own_models(design: str, variant: Variant) -> None:
    models, roles = 20, lira.split_design(20, 40, 0)
    shadow_MNQ, inside_MN = world(np.ones(40), models, queries=2)
    if design == "split":
        inside_MN = roles == lira.TRAIN
        shadow_MNQ[roles == lira.VALIDATION] = np.nan
    for target, judged in enumerate(lira.each_as_target(shadow_MNQ, inside_MN, variant)):
        partner = target ^ 1 if design == "half" else target
        rest = [model for model in range(models) if model not in (target, partner)]
        known = ~np.isnan(shadow_MNQ[target]).any(1)
        told = (shadow_MNQ[rest][:, known], inside_MN[rest][:, known], shadow_MNQ[target][known])
        expected = lira.by_views(*told, variant, IMAGES, ~inside_MN[target][known])
        np.testing.assert_allclose(judged.score_UQ, expected, rtol=1e-6)


@pytest.mark.parametrize("models", [4, 8])
@pytest.mark.parametrize("variant", BESIDE, ids=str)
def test_null_holds_on_average_over_all_targets(variant: Variant, models: int) -> None:
    """Members and others alike: five standard errors; each interval as often as it says, but once in 10^4."""
    areas, covered = [], 0
    for seed in range(96 // models):
        shadow_MNQ, inside_MN = world(np.zeros(150), models, seed)
        for one in lira.each_as_target(shadow_MNQ / 5, inside_MN, variant):
            found = auc(one.score_UQ[one.members_U, 0], one.score_UQ[~one.members_U, 0])
            areas.append(found.value)
            covered += found.low <= 0.5 <= found.high
    assert abs(np.mean(areas) - 0.5) < 5 * np.std(areas) / len(areas) ** 0.5
    assert covered >= 0.85 * len(areas)


def test_a_model_that_remembers_is_caught_and_the_loss_alone_is_blind_to_hard_images() -> None:
    """Images that differ far more than membership does: levels over 20 logits, trained on +4."""
    shadow_MNQ, inside_MN = world(np.full(800, 4.0), 10)
    told = (shadow_MNQ[2:], inside_MN[2:], shadow_MNQ[0], inside_MN[0])
    area = {name: one["auc"] for name, one in lira.attack(*told)["variants"].items()}
    assert area["RMIA, online"]["low"] > 0.85
    assert area[str(OFFLINE)]["low"] > 0.55 and 0.5 < area[str(Loss())]["value"] < 0.65
    assert area["RMIA, online"]["low"] > area[str(Loss())]["high"]


def test_of_one_view_the_order_is_that_of_the_ratios_for_any_gamma_and_nobodys_own_share_counts() -> None:
    random = np.random.default_rng(0)
    ratio_N1, others_N = random.normal(size=(300, 1)), random.random(300) < 0.5
    for gamma in (1.0, 1.5):
        share_N = rmia.shares(ratio_N1, others_N, np.arange(300), gamma)[:, 0]
        assert ((share_N > 0) & (share_N < 1)).all()
        for side_N in (others_N, ~others_N):
            assert spearmanr(share_N[side_N], ratio_N1[side_N, 0]).statistic == pytest.approx(1)
    # At gamma 1 across the sides too: an image of the others is not below itself.
    share_N = rmia.shares(ratio_N1, others_N, np.arange(300), 1.0)[:, 0]
    assert (np.argsort(share_N) == np.argsort(ratio_N1[:, 0])).all()
    # Whoever comes in which place changes nothing.
    order = random.permutation(300)
    again_N = rmia.shares(ratio_N1[order], others_N[order], np.arange(300), 1.0)[:, 0]
    np.testing.assert_array_equal(again_N, share_N[order])


def test_saturated_confidences_tell_nothing_and_stay_finite() -> None:
    for value in (800.0, -800.0):
        for variant in EVERY:
            told = (np.full((8, 20, 1), value), lira.half_design(8, 20, 0), np.full((20, 1), value))
            score_U = lira.scores(*told, variant, IMAGES, np.arange(20) < 10)
            assert np.isfinite(score_U).all()
            assert auc(score_U[10:], score_U[:10]).value == pytest.approx(0.5, abs=0.5 * isinstance(variant, Rmia))


def test_the_parameter_is_chosen_on_shadow_models_and_usual_where_they_are_too_few() -> None:
    shadow_MNQ, inside_MN = world(np.full(200, 3.0), 8)

    def chosen(models: int) -> Rmia:
        every = lira.with_chosen_a(shadow_MNQ[:models], inside_MN[:models])
        found = every[[one.flag for one in every].index("rmia-offline")]
        assert isinstance(found, Rmia)
        return found

    best = chosen(8)
    assert best.a in rmia.TRIED_A and chosen(2).a == rmia.USUAL_A

    def area(a: float) -> float:
        found = lira.each_as_target(shadow_MNQ, inside_MN, Rmia(False, a))
        sides = [(one.score_UQ[one.members_U, 0], one.score_UQ[~one.members_U, 0]) for one in found]
        return float(np.mean([auc(*side).value for side in sides]))

    assert area(best.a) == max(map(area, rmia.TRIED_A))


def test_too_few_models_are_refused() -> None:
    values, inside_MN = np.zeros((2, 1, 1)), np.zeros((2, 1), bool)
    with pytest.raises(ValueError, match="only 0 shadow models were trained on some example, 1 are needed"):
        lira.scores(values, inside_MN, values[0], ONLINE)
    assert np.isfinite(lira.scores(values, inside_MN, values[0], OFFLINE)).all()
