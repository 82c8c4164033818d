"""How long classifiers by the recipe and the membership attack on them will take: what KR and LiRA share."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch

from raysyn.attacks import control
from raysyn.attacks.shadows import STACKS, TRIAL_STEPS, Architecture, AttackConfig, ShadowSpeed, confidences
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.outlook import Stage, made_up
from raysyn.train.memory import at_once
from raysyn.train.outlook import Stopwatch, one_thread, seconds
from raysyn.train.recipe import RecipeConfig, fit, one_hot


@dataclass(frozen=True)
class RecipePace:
    """What one worker does here."""

    step_s: float
    """Seconds of a training step on a batch."""
    ask_s: float
    """Seconds of asking about one image."""
    batch_size: int

    def training(self, images: int, epochs: int, valid: int = 0) -> float:
        """Seconds of so many epochs on `images`, with a look at validation images after each."""
        return epochs * (math.ceil(images / self.batch_size) * self.step_s + valid * self.ask_s)


@one_thread()
def recipe_pace(network: Architecture, recipe: RecipeConfig, like: Images) -> RecipePace:
    """From a few steps on made-up images, of a smaller batch where images are large."""
    few = max(2, at_once(min(recipe.batch_size, 128), like.shape))
    images, clock = made_up(like, few), Stopwatch()
    examples = one_hot(images.images_NHWC, images.labels_N, images.classes)
    brief = replace(recipe, epochs=4, batch_size=few)
    with torch.random.fork_rng():
        model = network.build(like.shape[2], like.classes)
        fit(clock, [model], lambda epoch, m: examples, few, brief, [0])
        model = model.to(best_device()).eval()
    alone = {name: view for name, view in recipe.views().items() if name == next(iter(recipe.views()))}
    asked_s = seconds(lambda: confidences(model, images, alone)) / few
    return RecipePace(clock.step_s() * recipe.batch_size / few, asked_s, recipe.batch_size)


def attack_stage(
    pace: RecipePace, config: AttackConfig, recipe: RecipeConfig, speed: ShadowSpeed, *, members: int, others: int,
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
    if speed.stack is None:
        models = sum(size for size in STACKS if size <= config.shadow_models)
        trial_s = 2 * TRIAL_STEPS * models * pace.step_s
    spent = asked_s + targets * views_s + trial_s + config.shadow_models * shadow_s + control.MODELS * control_s
    return Stage("attack", spent, trial_s + shadow_s + control_s)
