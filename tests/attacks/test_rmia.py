"""RMIA, and the loss alone, on cases with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit
from test_lira import world

from raysyn.attacks import lira, rmia
from raysyn.attacks.gaussians import TooFewModels
from raysyn.attacks.variants import BESIDE, EVERY, Loss, Rmia, Variant
from raysyn.attacks.verdict import auc
from raysyn.attacks.whose import IMAGES, Whose

ONLINE, OFFLINE = Rmia(online=True), Rmia(online=False)
WHOSE = {"images": IMAGES, "persons": Whose(np.repeat(np.arange(8), 3))}


def ratio(shadow_M: np.ndarray, inside_M: np.ndarray, target: float, variant: Rmia) -> float:
    """Of one image in one view, as the paper has it."""
    given = expit(shadow_M)
    out = given[~inside_M & ~np.isnan(given)].mean()
    seen = given[inside_M].mean() if variant.online else variant.a * out + 1 - variant.a
    return float(expit(target) / ((seen + out) / 2))


@pytest.mark.parametrize("whose", WHOSE)
@pytest.mark.parametrize("variant", [ONLINE, OFFLINE, Rmia(False, 0.9)], ids=repr)
def test_it_equals_a_slow_loop(variant: Rmia, whose: str) -> None:
    shadow_MNQ, inside_MN = world(np.ones(24), 10, queries=2)
    shadow_MNQ = shadow_MNQ / 4
    shadow_MNQ[3, ~inside_MN[3] & (np.arange(24) < 6)] = np.nan
    target_NQ = np.random.default_rng(1).normal(size=(24, 2))
    views = [
        [np.log(ratio(shadow_MNQ[:, n, q], inside_MN[:, n], target_NQ[n, q], variant)) for n in range(24)]
        for q in (0, 1)
    ]
    expected_UQ = WHOSE[whose].joined(np.stack([views[0], np.mean(views, 0)], 1))
    found_UQ = lira.by_views(shadow_MNQ, inside_MN, target_NQ, variant, WHOSE[whose])
    np.testing.assert_allclose(found_UQ, expected_UQ, rtol=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 2.0])
@pytest.mark.parametrize("variant", [ONLINE, OFFLINE], ids=repr)
def test_the_order_is_that_of_the_share_of_others_that_an_image_is_above(variant: Rmia, gamma: float) -> None:
    """The paper's score, of images that are none of the others themselves, whatever gamma is."""
    shadow_MNQ, inside_MN = world(np.ones(60), 10)
    shadow_MNQ = shadow_MNQ / 4
    target_N, others_N = np.random.default_rng(1).normal(size=60), np.arange(60) >= 30
    each = [ratio(shadow_MNQ[:, n, 0], inside_MN[:, n], target_N[n], variant) for n in range(60)]
    shares = [
        np.mean([each[x] / each[z] >= gamma for z in np.flatnonzero(others_N)]) for x in np.flatnonzero(~others_N)
    ]
    found_N = lira.scores(shadow_MNQ, inside_MN, target_N[:, None], variant)[~others_N]
    assert (np.diff(np.array(shares)[np.argsort(found_N)]) >= 0).all()


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
        expected = lira.by_views(*told, variant)
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


@pytest.mark.parametrize("variant", BESIDE, ids=str)
def test_above_all_of_the_others_are_as_many_as_chance_puts_there(variant: Variant) -> None:
    """Averaged over five views, of 20 others, where nothing is remembered: one in 21, within four standard errors."""
    found = []
    for seed in range(150):
        shadow_MNQ, inside_MN = world(np.zeros(120), 9, seed, queries=5)
        members_N = np.arange(120) >= 20
        score_N = lira.scores(shadow_MNQ[1:] / 5, inside_MN[1:], shadow_MNQ[0] / 5, variant)
        found.append((score_N[members_N] > score_N[~members_N].max()).mean())
    assert abs(np.mean(found) - 1 / 21) < 4 * np.std(found) / len(found) ** 0.5


@pytest.mark.parametrize("value", [800.0, 40.0, 0.0, -800.0])
@pytest.mark.parametrize("variant", EVERY, ids=str)
def test_equal_confidences_tell_nothing_and_stay_finite(value: float, variant: Variant) -> None:
    told = (np.full((8, 20, 1), value), lira.half_design(8, 20, 0), np.full((20, 1), value))
    score_U = lira.scores(*told, variant)
    assert np.isfinite(score_U).all()
    assert auc(score_U[10:], score_U[:10]).value == pytest.approx(0.5, abs=1e-9)


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


@pytest.mark.parametrize("error", [ValueError, RuntimeError, TooFewModels])
def test_only_too_few_models_leave_the_usual_parameter(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake elsewhere is no reason to go on."""

    def area(*_: object) -> float:
        raise error("of a test")

    monkeypatch.setattr(lira, "area", area)
    shadows = world(np.zeros(8), 8)
    if error is TooFewModels:
        assert Rmia(False, rmia.USUAL_A) in lira.with_chosen_a(*shadows)
    else:
        with pytest.raises(error, match="of a test"):
            lira.with_chosen_a(*shadows)


def test_too_few_models_are_refused() -> None:
    values, inside_MN = np.zeros((2, 1, 1)), np.zeros((2, 1), bool)
    with pytest.raises(ValueError, match="only 0 shadow models were trained on some example, 1 are needed"):
        lira.scores(values, inside_MN, values[0], ONLINE)
    assert np.isfinite(lira.scores(values, inside_MN, values[0], OFFLINE)).all()
