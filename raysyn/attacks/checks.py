"""Can these images be attacked like this? Asked before the first stage, because attacks come last."""

from __future__ import annotations

from raysyn.attacks.shadows import AttackConfig
from raysyn.attacks.teaching import Recipe


def check_classes(config: AttackConfig, classes: int, mend: str) -> None:
    """ValueError, with its `mend`, where LiRA is asked for and there is nothing for a classifier to be unsure about."""
    if config.shadow_models and classes < 2:
        raise ValueError(
            f"attack.shadow_models is {config.shadow_models}, but there is one class, of which every classifier is "
            f"equally sure, so that LiRA sees nothing: {mend}"
        )


def check_views(config: AttackConfig, recipe: Recipe) -> None:
    """ValueError where more views of an image are to be averaged than training by the recipe gives."""
    if config.shadow_models:
        config.averaged(recipe)
