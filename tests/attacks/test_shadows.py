"""The sweep of shadow models around its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raysyn.attacks import shadows
from raysyn.attacks.membership import attack
from raysyn.attacks.shadows import AttackConfig, ShadowSpeed
from raysyn.data import DataConfig, load
from raysyn.local import Local
from raysyn.models.resnet import ResNetConfig
from raysyn.train.recipe import RecipeConfig


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
    config = AttackConfig(shadow_models=4, design="half", queries=18)
    recipe = RecipeConfig(epochs=2, batch_size=50, learning_rate=0.1)
    torch.manual_seed(0)
    targets = {"untrained": network.build(1, 10).state_dict()}
    found = attack(Local(tmp_path), targets, members, others, config, network, recipe, 0, ShadowSpeed(stack=2))
    for name, variant in found["attacks"]["untrained"]["variants"].items():
        assert variant["auc"]["low"] < 0.5 < variant["auc"]["high"], name
    twice = shadows.make_pool(members, members, None, 0)
    asked = shadows.confidences(network.build(1, 10), twice.images, 18)
    assert np.array_equal(asked[twice.members_N], asked[~twice.members_N])


@pytest.mark.parametrize(("design", "models"), [("half", 2), ("half", 3), ("split", 8)])
def test_too_few_shadow_models_are_refused_before_any_is_trained(design: Any, models: int) -> None:
    digits = load(DataConfig(limit=300))
    with pytest.raises(ValueError, match=rf"attack\.shadow_models is {models}: of .* images some"):
        shadows.check_enough(AttackConfig(shadow_models=models, design=design), digits.train, digits.test, 0)
    for enough in (AttackConfig(shadow_models=4, design="half"), AttackConfig(), AttackConfig(shadow_models=0)):
        shadows.check_enough(enough, digits.train, digits.test, 0)
