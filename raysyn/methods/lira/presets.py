"""LiRA: named settings."""

from __future__ import annotations

from raysyn.attacks.shadows import AttackConfig
from raysyn.methods.lira.config import Config
from raysyn.methods.machines import OnAttacked
from raysyn.models.resnet import ResNetConfig
from raysyn.train.fast import FastConfig
from raysyn.train.recipe import RecipeConfig

PRESETS: dict[str, Config] = {
    "quick": Config(
        classifier=ResNetConfig(width=8),
        recipe=RecipeConfig(epochs=20, batch_size=64, learning_rate=0.2, trivial_augment=False, mixup=0.0),
        fast=FastConfig(widths=(16, 32, 32)),
        attack=AttackConfig(shadow_models=8, design="half"),
    ),
    "knowledge-recycling": Config(attack=AttackConfig(shadow_models=256)),
}

MACHINES = OnAttacked()
