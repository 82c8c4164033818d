"""LiRA: what its report says."""

from __future__ import annotations

from raysyn.methods.lira.config import Config


def story(config: Config, members: int, unit: str) -> list[str]:
    """One plain sentence per stage; the attack is about images or persons."""
    first = f"Read the attacked classifier from {config.target.checkpoint}."
    if config.target.checkpoint is None:
        first = f"Trained the attacked classifier on the {members:,} training images."
    each = "each image" if unit == "image" else "all images of each person"
    return [
        first,
        f"Trained {config.attack.shadow_models} shadow models {_how(config)}, each on half of a pool of training and "
        f"test {unit}s.",
        f"Compared the classifier's confidence in {each} with that of shadow models that were, and were not, "
        "trained on it.",
        "Did the same to two control models, each trained alike on half of the members, and the members it never saw: "
        "what the attack reads where nothing is remembered.",
    ]


def _how(config: Config) -> str:
    if config.recipe_function is not None:
        return f"by {config.recipe_function}"
    if config.recipe_kind == "fast":
        return f"by the fast recipe (its own network, {config.fast.epochs} epochs)"
    return f"for {config.recipe.epochs} epochs"
