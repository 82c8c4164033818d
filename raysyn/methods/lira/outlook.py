"""What --dry-run shows of LiRA, and what a run holds in memory."""

from __future__ import annotations

from dataclasses import replace

from raysyn.attacks.pool import make_pool
from raysyn.attacks.shadows import time_stacks
from raysyn.methods.gan_needs import taught_need
from raysyn.methods.lira.config import Config
from raysyn.methods.machines import OnAttacked
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, refuse_too_large
from raysyn.screen.console import Console
from raysyn.train.memory import Need, at_once


def check_memory(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> None:
    """ValueError, in one sentence with a mend that fits, where a classifier has no place in this machine's memory."""
    train, batch = prepared.dataset.train, config.recipe.batch_size
    if config.target.model is None:

        def needs(one: Config, shape: Shape, _: OnAttacked) -> list[Need]:
            return [taught_need("a shadow model", one.architecture(), shape, train.classes, batch)]

        refuse_too_large(console, config, train.shape, needs, machines)


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> None:
    """What --dry-run shows: what there is to train, and how long it would take one worker of this machine."""
    dataset = prepared.dataset
    pool = make_pool(dataset.train, dataset.test, config.attack.images, config.seed)
    batch = config.recipe.batch_size
    few = max(2, at_once(batch, dataset.train.shape))
    brief = replace(config.recipe, batch_size=few)
    step_s = (
        time_stacks([1], (pool.images, config.attack, config.architecture(), brief, config.seed))["1"] * batch / few
    )
    left_out = sum(sum(side.values()) for side in pool.left_out.values())
    images = {"shadow models": config.attack.shadow_models * len(pool.images) / 2}
    images["control models"] = int(pool.members_N.sum())
    if config.target.checkpoint is None:
        images = {"target": len(dataset.train), **images}
    column = "hours of one worker with one CPU or GPU"
    steps = {stage: config.recipe.epochs * count / config.recipe.batch_size for stage, count in images.items()}
    console.plan_table(
        [{"stage": stage, column: round(count * step_s / 3600, 3)} for stage, count in steps.items()],
        title=f"Plan for {dataset.name}: {int(pool.members_N.sum()):,} members and {int((~pool.members_N).sum()):,} "
        "non-members",
        caption=f"{config.attack.shadow_models} shadow models, one at a time; from a few measured steps. "
        f"{left_out:,} images are left out: both sides get one mix of classes, and no image lies on both.",
    )
