"""Which settings of the attack on a classifier go together."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from raysyn.methods.lira.config import Config, TargetConfig
from raysyn.train.fast import FastConfig, FastRecipe
from raysyn.train.own_recipe import OwnRecipe
from raysyn.train.recipe import RecipeConfig

FUNCTION = {"recipe_function": "mine:fit"}
NETWORK = {"target": TargetConfig(model="nets:build")}
BOTH = {"target": TargetConfig(model="nets:build", checkpoint="net.pt")}
NORMALISED = {"target": TargetConfig(mean=(0.5,), std=(0.2,))}
FAST = {"recipe_kind": "fast"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (FAST | FUNCTION, r"recipe\.function is given with recipe fast"),
        (FAST | NETWORK, r"target\.model is given with recipe fast"),
        (FAST | NORMALISED, r"target\.mean is given with recipe fast"),
        (FUNCTION | NETWORK, r"recipe\.function is mine:fit, .* target\.model is nets:build"),
    ],
)
def test_what_would_not_be_heeded_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Config(**given)


def names(group: str, config: type) -> set[str]:
    return {f"{group}.{one.name}" for one in fields(config)}


OF_RECIPE = names("recipe", RecipeConfig) - {"recipe.flip", "recipe.shift"}
OF_FAST, OF_NETWORK = names("fast", FastConfig), {"classifier.blocks", "classifier.width"}


@pytest.mark.parametrize(
    ("given", "kind", "unread"),
    [
        ({}, RecipeConfig, OF_FAST),
        (NETWORK | NORMALISED, RecipeConfig, OF_FAST),
        (FAST, FastRecipe, OF_RECIPE | OF_NETWORK),
        (FUNCTION, OwnRecipe, OF_RECIPE | OF_NETWORK | OF_FAST),
        (FUNCTION | NORMALISED, OwnRecipe, OF_RECIPE | OF_NETWORK | OF_FAST),
        (FUNCTION | BOTH, OwnRecipe, OF_RECIPE | OF_FAST),
    ],
)
def test_every_setting_that_nothing_reads_is_told(given: dict[str, Any], kind: type, unread: set[str]) -> None:
    config = Config(**given)
    assert isinstance(config.taught(), kind) and set(config.unread()) == unread
    assert config.stacks() == (kind is RecipeConfig and config.target.model is None)
