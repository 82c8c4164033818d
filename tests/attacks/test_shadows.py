"""The sweep of shadow models around its training."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from raysyn.attacks import control, lira, rmia, shadows
from raysyn.attacks.membership import attack
from raysyn.attacks.shadows import AttackConfig, ShadowSpeed
from raysyn.attacks.variants import Lira, Rmia
from raysyn.attacks.verdict import auc
from raysyn.compute.local import Local
from raysyn.compute.worker import Alone
from raysyn.data.images import DataConfig, Images, load
from raysyn.models.resnet import ResNetConfig
from raysyn.train.fast import FastConfig, FastRecipe
from raysyn.train.own_recipe import OwnRecipe
from raysyn.train.recipe import RecipeConfig, fit, one_hot


@pytest.mark.parametrize(
    ("seconds", "stack"),
    [({"1": 1.0, "2": 0.8, "4": 0.5}, 4), ({"1": 1.0, "2": 0.97}, 1), ({"1": 1.0, "2": 0.5, "4": float("inf")}, 2)],
)
def test_the_fastest_stack_is_taken_where_it_is_worth_it_and_stands_for_a_larger_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], stack: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(shadows, "time_stacks", lambda sizes, shared: (asked.append(sizes), seconds)[1])
    for models in (4, 16):
        assert shadows.fastest_stack(Local(tmp_path), (), models, "sweep") == stack
    assert asked == [[1, 2, 4]]


def test_trap_26_members_and_others_are_asked_alike(tmp_path: Path) -> None:
    """Through all of the attack's own preprocessing: a network trained on neither side tells nothing, and the same
    image on both sides gets the same confidence in every view."""
    digits, network = load(DataConfig()).train, ResNetConfig(blocks=1, width=4)
    members, others = digits.select(slice(0, 600, 2)), digits.select(slice(1, 601, 2))
    config = AttackConfig(shadow_models=4, design="half", queries=5)
    recipe = RecipeConfig(epochs=2, batch_size=50, learning_rate=0.1)
    torch.manual_seed(0)
    targets = {"untrained": network.build(1, 10).state_dict()}
    found = attack(Local(tmp_path), targets, members, others, config, network, recipe, 0, ShadowSpeed(stack=2))
    for name, variant in found["attacks"]["untrained"]["variants"].items():
        assert variant["auc"]["low"] < 0.5 < variant["auc"]["high"], name
    twice = members.select(np.tile(np.arange(300), 2))
    views = RecipeConfig(flip=True, shift=4).views()
    asked = shadows.confidences(network.build(1, 10), twice, views)
    assert asked.shape == (600, 18) and np.array_equal(asked[:300], asked[300:])


def areas(folder: Path, recipe: RecipeConfig, views: list[str]) -> np.ndarray:
    """Area for each of 8 small networks on half of some 250 digits as the target, by the number of `views` averaged."""
    digits = load(DataConfig(limit=150))
    pool, config = shadows.make_pool(digits.train, digits.test, None, 0), AttackConfig(shadow_models=8, design="half")
    asked = {name: RecipeConfig(flip=True, shift=1).views()[name] for name in views}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecipeConfig, "views", lambda self: asked)
        network = ResNetConfig(blocks=1, width=4)
        found, _ = shadows.sweep(Local(folder), pool, config, network, recipe, 0, ShadowSpeed(stack=4))
    judged = lira.each_as_target(*found, Lira(online=True, per_example=False))
    return np.array([[auc(s[one.members_U], s[~one.members_U]).value for s in one.score_UQ.T] for one in judged])


@pytest.mark.slow
def test_a_view_tells_more_if_training_shows_it_and_less_if_not(tmp_path: Path) -> None:
    """What mirror images add, target by target, to networks that were mirrored in training, and take from those that
    were not: each surely (two standard errors)."""
    recipe = RecipeConfig(epochs=14, batch_size=20, learning_rate=0.1, trivial_augment=False, mixup=0.0)
    for flip in (True, False):
        found = areas(tmp_path / str(flip), replace(recipe, flip=flip), ["itself", "mirrored"])
        gain = (found[:, 1] - found[:, 0]) * (1 if flip else -1)
        print(flip, found.mean(0))
        assert gain.mean() > 2 * gain.std(ddof=1) / len(gain) ** 0.5, (flip, found)


def test_only_views_that_the_recipe_gives_are_averaged() -> None:
    plain = RecipeConfig(trivial_augment=False)
    fast, own = FastRecipe(config=FastConfig()), OwnRecipe.named("mine:fit")
    for recipe, default, most, *helps in (
        (plain, 1, 1, ("flip", 2), ("shift", 9)),
        (replace(plain, flip=True), 2, 2, ("shift", 18)),
        (replace(plain, shift=2), 9, 9, ("flip", 18)),
        (replace(plain, shift=2, flip=True), 18, 18),
        (RecipeConfig(), 1, 5, ("flip", 10), ("shift", 9)),
        (RecipeConfig(flip=True), 2, 10, ("shift", 18)),
        (fast, 1, 1, ("shift", 9)),
        (replace(fast, flip=True), 1, 1, ("shift", 9)),
        (replace(fast, shift=2), 9, 9),
        (own, 1, 1, ("flip", 2), ("shift", 9)),
        (replace(own, flip=True, shift=1), 18, 18),
    ):
        assert AttackConfig().averaged(recipe) == default
        assert [AttackConfig(queries=asked).averaged(recipe) for asked in (1, most)] == [1, most]
        for more in range(most + 1, shadows.QUERIES + 1):
            words = rf"queries is {more}, .* gives {most} views? .* at most {most}"
            with pytest.raises(ValueError, match=words) as caught:
                AttackConfig(queries=more).averaged(recipe)
            told = re.findall(r"--recipe\.(flip|shift) \((\d+)\)", str(caught.value))
            assert told == [(name, str(count)) for name, count in helps if count > most]


@pytest.mark.parametrize(
    ("design", "models", "named"),
    [
        ("half", 4, "online-global"),
        ("half", 63, "online-global"),
        ("half", 64, "online-per-example"),
        ("split", 64, "online-global"),
        ("split", 80, "online-per-example"),
        ("split", 256, "online-per-example"),
    ],
)
def test_the_headline_is_named_by_the_design_alone(design: Any, models: int, named: Any) -> None:
    config = AttackConfig(shadow_models=models, design=design)
    assert config.variant().flag == named
    for asked in get_args(shadows.Headline):
        assert replace(config, headline=asked).variant().flag == asked


def grey(counts: tuple[int, int], seed: int) -> Images:
    """Noise, dark in one class and bright in the other: told apart at once, and nothing in it to remember."""
    labels = np.repeat((0, 1), counts)
    noise = np.random.default_rng(seed).integers(0, 100, (len(labels), 8, 8, 1))
    return Images((noise + 100 * labels[:, None, None, None]).astype(np.uint8), labels, ("dark", "bright"))


def test_where_nothing_is_remembered_the_mix_of_classes_is_no_leak(tmp_path: Path) -> None:
    """95:5 for training and 1:1 for testing. By chance an area is off by 0.1, 3.5 standard errors, in one of 2,000."""
    train, test = grey((285, 15), 0), grey((150, 150), 1)
    network, recipe = ResNetConfig(blocks=1, width=4), RecipeConfig(epochs=3, batch_size=32, learning_rate=0.1)
    torch.manual_seed(0)
    model, examples = network.build(1, 2), one_hot(train.images_NHWC, train.labels_N, 2)
    (weights,) = fit(Alone(), [model], lambda epoch, m: examples, len(train), recipe, [0])
    config = AttackConfig(shadow_models=8, design="half")
    found = attack(Local(tmp_path), {"it": weights}, train, test, config, network, recipe, 0, ShadowSpeed(stack=4))
    told = found["attacks"]["it"]
    for name, variant in told["variants"].items():
        assert abs(variant["auc"]["value"] - 0.5) < 0.1, (name, variant["auc"])
    assert told["headline"]["null"]["mean"] == pytest.approx(0.5, abs=0.02)
    assert told["headline"]["variant"] == "online, global variance" and told["auc"] == told["headline"]["auc"]["value"]
    assert told["pool"]["members"]["kept"] == 298 and told["pool"]["others"]["kept"] == 157
    # Spread over the models on which RMIA's parameter was chosen: with the usual one.
    pool = shadows.make_pool(train, test, None, 0)
    (said_MNQ, inside_MN), _ = shadows.sweep(Local(tmp_path), pool, config, network, recipe, 0, ShadowSpeed(stack=4))
    judged = list(lira.each_as_target(said_MNQ, inside_MN, Rmia(False, rmia.USUAL_A)))
    areas = [lira.area(one.score_UQ[one.members_U, 0], one.score_UQ[~one.members_U, 0]) for one in judged]
    assert found["attacks"]["shadow_models"]["RMIA, offline"]["auc_mean"] == pytest.approx(np.mean(areas))
    assert told["rmia_a"] != rmia.USUAL_A, "or else nothing is tested"


@pytest.mark.parametrize(("design", "models"), [("half", 2), ("half", 3), ("split", 8)])
def test_too_few_shadow_models_are_refused_before_any_is_trained(design: Any, models: int) -> None:
    digits = load(DataConfig(limit=300))
    with pytest.raises(ValueError, match=rf"attack\.shadow_models is {models}: of .* images some"):
        shadows.check_enough(AttackConfig(shadow_models=models, design=design), digits.train, digits.test, 0)
    for enough in (AttackConfig(shadow_models=4, design="half"), AttackConfig(), AttackConfig(shadow_models=0)):
        shadows.check_enough(enough, digits.train, digits.test, 0)


@pytest.mark.parametrize("size", [8, 16])
@pytest.mark.parametrize("design", ["half", "split"])
@pytest.mark.parametrize("persons", [False, True])
def test_by_the_fast_recipe_so_many_members_do_that_every_half_can_be_learned_from(
    size: int, design: Any, persons: bool
) -> None:
    """Where a pixel is left, a batch of one image has nothing to be normalised by."""
    recipe, config = FastRecipe(config=FastConfig(epochs=1, widths=(2, 2, 2))), AttackConfig(design=design)
    network = recipe.network()

    def side(count: int, seed: int) -> Images:
        pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, 1), dtype=np.uint8)
        return Images(pixels, np.arange(count) % 2, ("a", "b"), np.arange(count) if persons else None)

    others = side(4, 1)
    for few in (2, 3):
        with pytest.raises(ValueError, match=r"attack: only [23] \w+s of the training side .* fast needs 4"):
            shadows.check_enough(config, side(few, 0), others, 0, recipe)
        shadows.check_enough(config, side(few, 0), others, 0, RecipeConfig())
    shadows.check_enough(config, side(4, 0), others, 0, recipe)
    pool = shadows.make_pool(side(4, 0), others, None, 0)
    for model in range(control.MODELS):
        control.train([model], (pool.images, pool.members_N, network, recipe, 0))
    shadows.train_shadows(range(2), (pool.images, config, network, recipe, 0))


@pytest.mark.parametrize(
    ("models", "images", "epochs", "steps"),
    [(8, 450, 16, 2), (64, 2_500, 16, 8), (64, 25_000, 100, 8), (16, 700, 16, 4)],
)
def test_a_trial_of_stacks_takes_a_twentieth_of_the_sweep_at_most(
    models: int, images: int, epochs: int, steps: int
) -> None:
    """But for two steps of each, one of them to warm up."""
    config = AttackConfig(shadow_models=models, design="half")
    recipe = RecipeConfig(epochs=epochs, batch_size=64)
    assert shadows.trial_steps(config, images, recipe) == steps
    whole, tried = models * epochs * -(-images // 64), 2 * steps * 15
    assert steps == 2 or tried <= shadows.TRIAL_SHARE * whole
