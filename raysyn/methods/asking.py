"""The two questions for noisy moments, asked in one way for all: noisy means, the floor, and DP-FETA's warm-up."""

from __future__ import annotations

from collections.abc import Callable

import torch

from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting
from raysyn.methods.moments import gaussians, read_means
from raysyn.models.class_gaussians import ClassGaussians, Floats
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.moments import MEANS, SPREAD, MomentsConfig
from raysyn.screen.words import of_each, so_many

Paid = Callable[[str, Callable[[], Release[Floats]]], Floats]
"""paid(stage, question): the answer of a question, once it is paid for as this stage of the plan."""


def ask(
    private: Images, config: MomentsConfig, plan: Plan, secret: bytes, paid: Paid, prefix: str = ""
) -> ClassGaussians:
    """What images are drawn from, of both answers, or of the first where `plan` has no other: no more than these are
    read of `private`. No two questions may share `secret` and `prefix`, of which their noise is made."""
    n, shape = private.units, private.shape

    def means_asked() -> Release[Floats]:
        return moments.class_sums(private, config, plan.stages[MEANS], Stream(secret, prefix + MEANS))

    means, spread = read_means(paid(MEANS, means_asked), config, plan, n, shape), None

    def spread_asked() -> Release[Floats]:
        stream = Stream(secret, prefix + SPREAD)
        own = of_each_class(config, plan, private)
        return moments.spread_sums(private, means.means_KF, config, plan.stages[SPREAD], stream, own=own)

    if SPREAD in plan.stages:
        spread = paid(SPREAD, spread_asked)
    return gaussians(means, spread, config, plan, n, shape)


def of_each_class(config: MomentsConfig, plan: Plan, private: Images) -> bool:
    """Whether each class is asked how its images differ, or all together; of number, shape and classes alone."""
    return moments.per_class(config, plan.stages[SPREAD], private.units, private.classes, private.shape)


def ask_in_stages(setting: PrivateSetting, config: MomentsConfig) -> ClassGaussians:
    """`ask` as stages of a run: each answer is paid for, stored, and never asked for again."""
    private, ledger = setting.dataset.train, setting.ledger
    said = {MEANS: so_many(private.classes, "noisy class mean")}
    if SPREAD in setting.plan.stages:
        said[SPREAD] = f"how images differ from them, for {_whose(config, setting.plan, private)}"

    def paid(stage: str, question: Callable[[], Release[Floats]]) -> Floats:
        answer: torch.Tensor = setting.folder.stage(
            stage, lambda: torch.from_numpy(ledger.pay(stage, question()))
        )  # fmt: skip
        setting.console.stage(stage, f"{said[stage]}, {setting.spent()}")
        found: Floats = answer.numpy()
        return found

    return ask(private, config, setting.plan, setting.folder.secret, paid)


def story(config: MomentsConfig, plan: Plan, private: Images) -> list[str]:
    """One plain sentence per question, for the report."""
    told = [f"Asked for the noisy mean of {of_each(private.classes, 'class')}."]
    if SPREAD in plan.stages:
        told.append(f"Asked how images differ from the mean of their class, for {_whose(config, plan, private)}.")
    return told


def _whose(config: MomentsConfig, plan: Plan, private: Images) -> str:
    return "each class" if of_each_class(config, plan, private) else "all classes together"
