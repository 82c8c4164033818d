"""How long classifiers by the recipe and the membership attack on them will take: what KR and LiRA share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from raysyn.attacks import control
from raysyn.attacks.shadows import STACKS, AttackConfig, ShadowSpeed, confidences, trial_steps
from raysyn.attacks.teaching import Architecture, Recipe, teach
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.outlook import Stage, made_up
from raysyn.train.fast import FastRecipe
from raysyn.train.memory import at_once
from raysyn.train.outlook import Stopwatch, now, one_thread, seconds
from raysyn.train.own_recipe import TRIED_ON, OwnRecipe
from raysyn.train.recipe import RecipeConfig


@dataclass(frozen=True)
class RecipePace:
    """What one worker does here."""

    step_s: float
    """Seconds of a training step on a batch."""
    ask_s: float
    """Seconds of asking about one image."""
    batch_size: int
    start_s: float = 0.0
    """Seconds of a training whatever it learns from."""

    def training(self, images: int, epochs: int, valid: int = 0) -> float:
        """Seconds of so many epochs on `images`, with a look at validation images after each."""
        return self.start_s + epochs * (math.ceil(images / self.batch_size) * self.step_s + valid * self.ask_s)


@one_thread()
def recipe_pace(network: Architecture, recipe: Recipe, like: Images) -> RecipePace:
    """From a few steps on made-up images, of a smaller batch where images are large; of a training of the user's, which
    nobody knows, from all of it on a few images and on four times as many, as if each one more took as long."""
    few = max(2, at_once(min(recipe.batch_size if isinstance(recipe, RecipeConfig) else 128, 128), like.shape))
    if isinstance(recipe, OwnRecipe):
        few = max(TRIED_ON, few // 2)
    images, clock = made_up(like, few), Stopwatch()
    brief = recipe
    if isinstance(recipe, RecipeConfig):
        brief = replace(recipe, epochs=4, batch_size=few)
    elif isinstance(recipe, FastRecipe):
        brief = replace(recipe, config=replace(recipe.config, epochs=4, batch_size=few))
    with torch.random.fork_rng():
        started = now()
        (model,) = teach(clock, network, brief, [images], few, [0], [0])
        model, spent = model.to(best_device()).eval(), now() - started
        if isinstance(recipe, OwnRecipe):
            started = now()
            teach(clock, network, recipe, [made_up(like, 4 * few)], 4 * few, [0], [0])
            each_s = max(0.0, now() - started - spent) / (3 * few)
    alone = {name: view for name, view in recipe.views().items() if name == next(iter(recipe.views()))}
    asked_s = seconds(lambda: confidences(model, images, alone)) / few
    if isinstance(recipe, RecipeConfig):
        return RecipePace(clock.step_s() * recipe.batch_size / few, asked_s, recipe.batch_size)
    if isinstance(recipe, OwnRecipe):
        return RecipePace(each_s, asked_s, 1, start_s=max(0.0, spent - few * each_s))
    return RecipePace(clock.step_s() / few, asked_s, 1)


def attack_stage(
    pace: RecipePace, config: AttackConfig, recipe: Recipe, speed: ShadowSpeed, *, members: int, others: int,
    test: int, targets: int,
) -> Stage:  # fmt: skip
    """Of `membership.attack` on a pool of `members` and `others`: asking targets, shadow and control models."""
    asked_s = targets * test * pace.ask_s
    if not config.shadow_models:
        return Stage("attack", asked_s, asked_s / targets)
    pool = members + others
    views_s = pool * len(recipe.views()) * pace.ask_s
    shadow_s = pace.training(pool // 2, recipe.epochs) + views_s
    control_s = pace.training(math.ceil(members / control.MODELS), recipe.epochs) + views_s
    trial_s = 0.0
    if speed.stack is None and isinstance(recipe, RecipeConfig):
        models = sum(size for size in STACKS if size <= config.shadow_models)
        trial_s = 2 * trial_steps(config, pool // 2, recipe) * models * pace.step_s
    spent = asked_s + targets * views_s + trial_s + config.shadow_models * shadow_s + control.MODELS * control_s
    return Stage("attack", spent, trial_s + shadow_s + control_s)
