"""Noisy means: two questions to the private images, then one Gaussian per class. The floor of all other methods.

Reads downwards: both questions are priced, the means are asked for, then how images differ from them, then images are
drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from raysyn.data.images import Images
from raysyn.methods.asking import ask_in_stages, story
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted, mix_of
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of
from raysyn.methods.ends import finish, look, uncharged
from raysyn.methods.method import Method, Prepared
from raysyn.methods.moments import Shape, class_means, draw_chunk, gaussians, read_means
from raysyn.methods.network import Network
from raysyn.methods.noisy_means.config import NAME, Config
from raysyn.methods.noisy_means.outlook import check_memory, show_outlook
from raysyn.methods.synthesis import Drawing, judging, synthesise
from raysyn.models.class_gaussians import ClassGaussians
from raysyn.privacy.mechanisms import Mechanism
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.report.report import Report
from raysyn.screen.words import so_many


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, and the price of both questions."""
    dataset = look(NAME, config)
    return Prepared(dataset=dataset, plan=moments.planned(config.moments, budget_of(config), dataset.train))


def run(setting: PrivateSetting) -> Report:
    """Ask, pay, and make everything else of the answers; a finished stage is stored and never repeated."""
    config, private, plan, shape = (
        setting.config.moments,
        setting.dataset.train,
        setting.plan,
        setting.dataset.train.shape,
    )
    asked = [stage for stage in plan.stages if stage != COUNTS]
    judged = [*judging(setting.config.eval), *audited(setting)]
    setting.console.begin([*asked, *counted(setting.config), "synthesise", *judged])

    # What the images of each class have in common, and how they differ from that.
    fitted = ask_in_stages(setting, config)

    # From here on every released byte is post-processing of what the ledger was paid for.
    used, mix = directions(fitted), mix_of(setting.config)
    synthetic = synthesise(setting, drawn_from(fitted, shape))
    done = story(config, plan, private)
    done.append(f"Drew {len(synthetic):,} images, {mix}, each mean plus up to {so_many(used, 'direction')}.")
    return finish(setting, NAME, synthetic, central=class_means(fitted, private), done=done)


def directions(fitted: ClassGaussians) -> int:
    """In how many directions images of a class differ at most."""
    return int(np.count_nonzero(np.abs(fitted.directions_KFR).sum(axis=(0, 1))))


def drawn_from(fitted: ClassGaussians, shape: Shape) -> Drawing:
    """Images from a Gaussian of each class."""
    told = f"drawn from a Gaussian per class, of up to {so_many(directions(fitted), 'direction')}"
    return Drawing(draw_chunk, (fitted, shape), told)


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """The same from the answers that were paid for."""
    plan = moments.plan(config.moments, budget_of(config), n, like.classes, like.shape)
    means = read_means(answer(MEANS).numpy(), config.moments, plan, n, like.shape)
    spread = answer(SPREAD).numpy() if SPREAD in plan.stages else None
    return drawn_from(gaussians(means, spread, config.moments, plan, n, like.shape), like.shape)


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    return {stage: answer(stage) for stage in (MEANS, *([SPREAD] if config.moments.spread_frequencies else []))}


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    return {MEANS: config.moments, SPREAD: config.moments, COUNTS: None}


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, drawing=drawing, audited=True, mechanisms=mechanisms,
    network=Network(("moments", "budget", "classes", "synthetic", "seed"), parts),
)  # fmt: skip
