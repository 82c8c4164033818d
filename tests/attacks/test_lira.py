"""LiRA on cases with a known answer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from raysyn.attacks import gaussians, lira
from raysyn.attacks.variants import VARIANTS, Lira, Variant
from raysyn.attacks.verdict import auc


def world(shift_N: np.ndarray, models: int, seed: int = 0, queries: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Shadow confidences N(mu_n + shift_n if trained on, 1) of examples that differ far more than models do."""
    random, examples = np.random.default_rng(seed), len(shift_N)
    inside_MN = lira.half_design(models, examples, seed)
    mean_MN = random.normal(0, 10, examples) + inside_MN * shift_N
    return mean_MN[:, :, None] + random.normal(size=(models, examples, queries)), inside_MN


def areas_of_each(shadow_MNQ: np.ndarray, inside_MN: np.ndarray, variant: Variant) -> list[float]:
    """With every model as the target of the others."""
    judged = lira.each_as_target(shadow_MNQ, inside_MN, variant)
    return [auc(one.score_UQ[one.members_U, -1], one.score_UQ[~one.members_U, -1]).value for one in judged]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_auc_equals_the_closed_form(variant: Variant) -> None:
    """With "in" one standard deviation above "out", AUC = Phi(1 / sqrt 2), whatever the example's own level."""
    confidences, inside = world(np.ones(4000), 400)
    result = lira.attack(confidences[2:], inside[2:], confidences[0], inside[0])["variants"][str(variant)]
    assert result["auc"]["low"] < stats.norm.cdf(1 / np.sqrt(2)) < result["auc"]["high"]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_trap_26_null_members_and_others_alike_give_chance(variant: Variant) -> None:
    confidences, inside = world(np.zeros(2000), 16, queries=2)
    result = lira.attack(confidences[2:], inside[2:], confidences[0], inside[0])["variants"][str(variant)]
    assert result["auc"]["low"] < 0.5 < result["auc"]["high"]
    # Not its interval: the threshold hangs on ten non-members, which the exact interval for members knows nothing of.
    assert result["tpr"]["0.01"]["value"] < 0.03


@pytest.mark.parametrize("models", [6, 8, 16])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_trap_26_null_holds_on_average_over_all_targets(variant: Variant, models: int) -> None:
    """With few models too: how many of them saw an image must not tell whether the target did. Five standard errors."""
    areas = [area for seed in range(6) for area in areas_of_each(*world(np.zeros(800), models, seed), variant)]
    assert abs(np.mean(areas) - 0.5) < 5 * np.std(areas) / len(areas) ** 0.5


def test_a_memorising_model_is_caught() -> None:
    confidences, inside = world(np.full(500, 8.0), 16)
    result = lira.attack(confidences[2:], inside[2:], confidences[0], inside[0])
    best = result["variants"][result["best"]]
    assert best["auc"]["value"] > 0.99 and best["tpr"]["0.01"]["value"] > 0.95


def test_online_beats_offline_and_fixed_variance_wins_with_few_models() -> None:
    """Published order at 16 models (reference tables): shifts that vary in sign leave offline little to see."""
    shift = np.random.default_rng(1).choice([-1.0, 2.0], 4000)
    confidences, inside = world(shift, 16)
    areas = {variant: np.mean(areas_of_each(confidences[:, :1500], inside[:, :1500], variant)) for variant in VARIANTS}
    fixed, own = areas[Lira(True, False)], areas[Lira(True, True)]
    assert fixed > own > areas[Lira(False, False)] > 0.5


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_views_that_training_gave_tell_more_and_others_less(variant: Variant) -> None:
    """Four views that training left a trace in, then four in which it left none; `test_shadows.py` has networks."""
    trace = np.repeat((1.0, 0.0), 4)
    confidences, inside = world(np.zeros(2000), 64, queries=8)
    confidences += inside[:, :, None] * trace
    score_NQ = lira.by_views(confidences[2:], inside[2:], confidences[0], variant)
    areas = [auc(score[inside[0]], score[~inside[0]]).value for score in score_NQ.T]
    assert areas[3] > areas[0] + 0.1
    assert all(after > before for before, after in itertools.pairwise(areas[:4]))
    if not variant.online:
        # Online weighs a view by what it tells: one that tells nothing takes little away.
        assert areas[7] < areas[3] - 0.05


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("design", ["half", "split"])
def test_each_as_target_equals_an_attack_without_its_own_models(design: str, variant: Variant) -> None:
    """Against the obvious: the others' confidences alone, fitted anew for every target."""
    rng, models = np.random.default_rng(0), 30
    roles = lira.split_design(models, 60, 0)
    inside = lira.half_design(models, 60, 0) if design == "half" else roles == lira.TRAIN
    confidences = 1e3 + rng.normal(size=(models, 60, 2)) + inside[:, :, None]
    if design == "split":
        confidences[roles == lira.VALIDATION] = np.nan
    for target, judged in enumerate(lira.each_as_target(confidences, inside, variant)):
        partner = target ^ 1 if design == "half" else target
        rest = [model for model in range(models) if model not in (target, partner)]
        known = ~np.isnan(confidences[target]).any(1)
        expected = lira.by_views(
            confidences[rest][:, known], inside[rest][:, known], confidences[target][known], variant
        )
        np.testing.assert_allclose(judged.score_UQ, expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_array_equal(judged.members_U, inside[target][known])


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 40), st.integers(1, 30), st.integers(0, 5))
def test_half_design_is_balanced_and_grows(models: int, examples: int, seed: int) -> None:
    design = lira.half_design(models, examples, seed)
    assert design.shape == (models, examples)
    assert set(design[: models // 2 * 2].sum(0)) == {models // 2}
    for more in (1, 2, 15):
        np.testing.assert_array_equal(lira.half_design(models + more, examples, seed)[:models], design)


def test_split_design_has_the_papers_shares_and_grows() -> None:
    design = lira.split_design(6, 100, 3)
    for row in design:
        assert np.bincount(row).tolist() == [50, 10, 40]
    assert len({row.tobytes() for row in design}) == 6
    np.testing.assert_array_equal(lira.split_design(9, 100, 3)[:6], design)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(2, 9), st.integers(0, 5))
def test_designs_share_out_every_class(labels: list[int], models: int, seed: int) -> None:
    """A model that knows more of a class would be surer of it, and that would pass for memory."""
    labels_N = np.array(labels)
    half = lira.half_design(models, len(labels), seed, labels_N)
    split = lira.split_design(models, len(labels), seed, labels_N)
    for label in set(labels):
        own = labels_N == label
        assert (np.abs(half[:, own].sum(1) - own.sum() / 2) <= 0.5).all()
        for role, share in enumerate(lira.SPLIT):
            assert (np.abs((split[:, own] == role).sum(1) - share * own.sum()) <= 1.5).all()
    assert set(half[: models // 2 * 2].sum(0)) == {models // 2}
    np.testing.assert_array_equal(lira.half_design(models + 3, len(labels), seed, labels_N)[:models], half)
    np.testing.assert_array_equal(lira.split_design(models + 3, len(labels), seed, labels_N)[:models], split)


def test_roles_in_a_class_fall_to_chance() -> None:
    """Every image has every role in its share of the models; five standard deviations of 2,000."""
    labels_N = np.array([0, 0, 0, 1, 1, 2])
    split = lira.split_design(2000, 6, 0, labels_N)
    half = lira.half_design(2000, 6, 0, labels_N)[::2]
    for role, share in enumerate(lira.SPLIT):
        assert (np.abs((split == role).mean(0) - share) < 5 * (share * (1 - share) / 2000) ** 0.5).all()
    assert (np.abs(half.mean(0) - 0.5) < 5 * 0.5 / 1000**0.5).all()
    assert len({row.tobytes() for row in half}) > 8


def test_examples_seen_in_another_role_count_on_neither_side() -> None:
    confidences, inside = world(np.ones(300), 32)
    design = lira.split_design(32, 300, 0)
    cut = np.where((design == lira.VALIDATION)[:, :, None], np.nan, confidences)
    fixed = Lira(online=True, per_example=False)
    result = lira.scores(cut, inside, confidences[0], fixed)
    assert np.isfinite(result).all()
    example = 7
    keep = design[:, example] != lira.VALIDATION
    alone = gaussians.centred(confidences[keep][:, [example]], inside[keep][:, [example]])
    assert gaussians.centred(cut, inside).mean()[example] == pytest.approx(alone.mean()[0])


@settings(deadline=None)
@given(st.lists(st.floats(-30, 30), min_size=2, max_size=5), st.data())
def test_confidence_is_the_logit_of_the_true_class(logits: list[float], data: st.DataObject) -> None:
    label = data.draw(st.integers(0, len(logits) - 1))
    p = torch.softmax(torch.tensor([logits], dtype=torch.float64), 1)[0]
    rest = sum(float(value) for index, value in enumerate(p) if index != label)
    found = lira.confidence(np.array([logits]), np.array([label]))
    assert found[0] == pytest.approx(np.log(float(p[label])) - np.log(rest), abs=1e-6)


def test_confidence_stays_finite_and_takes_views() -> None:
    extreme = np.array([[1e4, -1e4, 0.0]], np.float32)
    assert lira.confidence(extreme, np.array([0])) == pytest.approx([1e4])
    views = np.random.default_rng(0).normal(size=(5, 3, 4))
    labels = np.array([0, 1, 2, 3, 0])
    whole = lira.confidence(views, labels)
    np.testing.assert_allclose(whole[:, 1], lira.confidence(views[:, 1], labels))
    with pytest.raises(ValueError, match="the model has 1 class"):
        lira.confidence(np.zeros((2, 1)), np.zeros(2, np.int64))


def test_saturated_confidences_stay_finite() -> None:
    inside = lira.half_design(8, 20, 0)
    for variant in VARIANTS:
        assert np.isfinite(lira.scores(np.ones((8, 20, 1)), inside, np.ones((20, 1)), variant)).all()


def test_too_few_models_are_refused() -> None:
    inside = np.array([[True], [False], [False]])
    values = np.zeros((3, 1, 1))
    with pytest.raises(ValueError, match="only 1 shadow models were trained on some example, 2 are needed"):
        lira.scores(values, inside, values[0], Lira(True, True))
    with pytest.raises(ValueError, match="0 shadow models: give at least 2"):
        lira.half_design(0, 3, 0)
