"""What the attack reads where nothing is remembered: 1/2 if the sides differ in nothing but membership, else not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from raysyn.attacks import control, lira, teaching
from raysyn.attacks.membership import attack
from raysyn.attacks.pool import make_pool
from raysyn.attacks.shadows import AttackConfig, ShadowSpeed, Sweep
from raysyn.attacks.variants import Lira
from raysyn.attacks.whose import IMAGES
from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods.attack_report import headline_sentence, side_warnings
from raysyn.models.resnet import ResNetConfig
from raysyn.train.recipe import RecipeConfig

NETWORK = ResNetConfig(blocks=1, width=4)
RECIPE = RecipeConfig(epochs=6, batch_size=25, learning_rate=0.1, trivial_augment=False, mixup=0.0)


def sides(negative: bool) -> tuple[Images, Images]:
    """Digits divided at random; `negative`: those for testing are negatives."""
    digits = load(DataConfig()).train
    order = np.random.default_rng(0).permutation(len(digits))
    train, test = digits.select(order[:250]), digits.select(order[250:450])
    if negative:
        test = Images(255 - test.images_NHWC, test.labels_N, test.class_names)
    return train, test


@pytest.mark.parametrize(
    "negative",
    [pytest.param(True, id="negatives"), pytest.param(False, id="one source", marks=pytest.mark.slow)],
)
def test_sides_that_differ_by_more_than_membership_are_told_though_nothing_is_remembered(
    negative: bool, tmp_path: Path
) -> None:
    """The null, which deals out membership at random, sees nothing of it. By chance the second case warns once in 20
    seeds."""
    train, test = sides(negative)
    config = AttackConfig(shadow_models=6, design="half")
    torch.manual_seed(0)
    targets = {"it": NETWORK.build(1, 10).state_dict()}
    found = attack(Local(tmp_path), targets, train, test, config, NETWORK, RECIPE, 0, ShadowSpeed(stack=1))
    told = found["attacks"]["it"]
    assert told["headline"]["control"] == told["variants"][told["headline"]["variant"]]["control"]
    warnings = side_warnings(found["attacks"])
    assert f"give {told['headline']['control']['value']:.3f} (" in headline_sentence(told, 6, 0.5)
    print(told["headline"]["control"])
    assert told["headline"]["null"]["low"] < 0.5 < told["headline"]["null"]["high"]
    if negative:
        assert told["headline"]["control"]["low"] > 0.5
        assert len(warnings) == 1 and "the headline is no measure of memory" in warnings[0]
    else:
        assert warnings == []


def test_no_member_is_judged_by_a_control_model_that_saw_it_and_models_are_trained_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, seen = make_pool(*sides(False), None, 0), []
    fit = teaching.fit

    def noted(worker: object, networks: object, feed: object, size: int, *rest: object) -> object:
        seen.append({image.numpy().tobytes() for image in feed(0, 0).images_NHWC})  # type: ignore[operator]
        return fit(worker, networks, feed, size, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(teaching, "fit", noted)
    asked, inside = control.answers(Local(tmp_path), pool, NETWORK, RECIPE, 0)
    assert asked.shape[:2] == inside.shape == (2, len(pool.images))
    assert not inside[:, ~pool.members_N].any() and (inside[:, pool.members_N].sum(0) == 1).all()
    prints = np.array([image.tobytes() for image in pool.images.images_NHWC], object)
    assert [set(prints[own]) for own in inside] == seen
    again, _ = control.answers(Local(tmp_path), pool, NETWORK, RECIPE, 0)
    assert len(seen) == 2 and np.array_equal(asked, again)


def test_exchangeable_sides_are_warned_of_as_seldom_as_the_interval_says() -> None:
    """Five in a hundred; 300 controls of models that know nothing of either side; fails by chance once in 10^3."""
    variant, warned = Lira(online=True, per_example=False), 0
    members = np.arange(160) < 90
    for seed in range(300):
        random = np.random.default_rng(seed)
        hard = random.normal(size=160)
        inside = lira.half_design(6, 160, seed)
        shadows = Sweep((hard + random.normal(size=(6, 160)) + inside)[:, :, None], inside)
        halves = np.zeros((2, 160), bool)
        halves[0, :45], halves[1, 45:90] = True, True
        asked = (hard + random.normal(size=(2, 160)) + 5 * halves)[:, :, None]
        warned += control.differs(control.control(shadows, asked, halves, members, variant, IMAGES))
    assert stats.binom.ppf(5e-4, 300, 0.03) <= warned <= stats.binom.ppf(1 - 5e-4, 300, 0.06), warned


def test_control_models_are_the_same_alone_and_together(tmp_path: Path) -> None:
    """Of persons, whose halves may have unlike numbers of images."""
    train, test = sides(False)
    whose_N = np.repeat(np.arange(20), [60, 60, 2, 2, 2, *[8] * 15])[: len(train)]
    named = Images(train.images_NHWC[: len(whose_N)], train.labels_N[: len(whose_N)], train.class_names, whose_N)
    others = Images(test.images_NHWC, test.labels_N, test.class_names, np.arange(len(test)))
    pool = make_pool(named, others, None, 0)
    answers = [control.answers(Local(tmp_path / str(n)), pool, NETWORK, RECIPE, 0, stack=n) for n in (1, 2)]
    halves = answers[0][1].sum(1)
    steps = {-(-int(half) // RECIPE.batch_size) for half in halves}
    assert len(steps) == 2, "or a model would have as many steps whoever it is trained with"
    np.testing.assert_array_equal(answers[0][1], answers[1][1])
    # Rounding grows in training; by its neighbour's number of steps a model would be 6 and more elsewhere.
    np.testing.assert_allclose(answers[0][0], answers[1][0], atol=0.5)
