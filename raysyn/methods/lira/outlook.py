"""What --dry-run shows of LiRA, and what a run holds in memory."""

from __future__ import annotations

import math
from dataclasses import replace

from raysyn.attacks import control
from raysyn.attacks.pool import Pool, make_pool
from raysyn.attacks.whose import Whose
from raysyn.methods.attack_outlook import attack_stage, recipe_pace
from raysyn.methods.gan_needs import taught_need
from raysyn.methods.lira.config import Config
from raysyn.methods.machines import OnAttacked
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, refuse_too_large
from raysyn.methods.outlook import Stage, alone, show, start_up
from raysyn.screen.console import Console
from raysyn.train.fast import FastRecipe
from raysyn.train.memory import Need
from raysyn.train.own_recipe import OwnRecipe


def check_memory(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> None:
    """ValueError, in one sentence with a mend that fits, where a classifier has no place in this machine's memory."""
    train, recipe, batch = prepared.dataset.train, config.taught(), config.recipe.batch_size
    if isinstance(recipe, FastRecipe):
        # Of the target, and of half of a pool of both sides.
        parts = (len(train), (len(train) + len(prepared.dataset.test)) // 2)
        batch = max(math.ceil(part / recipe.config.steps(part)) for part in parts)
    if config.target.model is None and not isinstance(recipe, OwnRecipe):

        def needs(one: Config, shape: Shape, _: OnAttacked) -> list[Need]:
            return [taught_need("a shadow model", one.architecture(), shape, train.classes, batch)]

        refuse_too_large(console, config, train.shape, needs, machines)


def stages(config: Config, prepared: Prepared, machines: OnAttacked) -> list[Stage]:
    """Every stage of a run, from moments' measurements that read no image."""
    dataset, inside = prepared.dataset, _pool(config, prepared).members_N
    network, recipe = config.architecture(), config.taught()
    pace, found = recipe_pace(network, recipe, dataset.train), [start_up(machines)]
    if config.target.checkpoint is None:
        found.append(alone("target", pace.training(len(dataset.train), recipe.epochs)))
    speed = machines.shadows if config.stacks() else replace(machines.shadows, stack=1)
    sizes = {"members": int(inside.sum()), "others": int((~inside).sum()), "test": len(dataset.test), "targets": 1}
    return [*found, attack_stage(pace, config.attack, recipe, speed, **sizes)]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> list[Stage]:
    """The stages as a table, which are answered too: what there is to train, and how long it would take."""
    pool, found = _pool(config, prepared), stages(config, prepared, machines)
    left_out = sum(sum(side.values()) for side in pool.left_out.values())
    members, others, whose = pool.members_N, ~pool.members_N, Whose.of(pool.images)
    persons = "" if whose.word == "image" else (
        f", of {int(whose.one_each(members).sum()):,} and {int(whose.one_each(others).sum()):,} persons"
    )  # fmt: skip
    show(
        console, found, machines,
        title=f"Plan for {prepared.dataset.name}: {int(members.sum()):,} members and {int(others.sum()):,} "
        f"non-members{persons}",
        caption=f"{config.attack.shadow_models} shadow models, one at a time, and {control.MODELS} control models. "
        f"{left_out:,} images are left out: both sides get one mix of classes, and no image lies on both.",
    )  # fmt: skip
    return found


def _pool(config: Config, prepared: Prepared) -> Pool:
    return make_pool(prepared.dataset.train, prepared.dataset.test, config.attack.images, config.seed)
