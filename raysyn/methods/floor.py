"""The floor: what the simplest honest release would give for the same budget, judged beside a run's images.

It stays inside, like all that judges: it is part of no release, and sealing erases it.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.methods.asking import ask
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.moments import draw_chunk
from raysyn.privacy.cost import FEWEST, Budget, Overspent
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.report.verdict import FLOOR_WITHOUT_PROMISE


def floor_images(setting: Setting, count: int) -> Images | None:
    """`count` images as `noisy_means` would release them, classes in turn, for the budget of this run. None, and the
    console says so, where that is too small for one answer: a run that has been paid for must not fail here."""
    private = setting.dataset.train

    def made() -> dict[str, torch.Tensor]:
        try:
            plan = moments.planned(MomentsConfig(), budget(setting), private)
        except Overspent:
            return {}
        return {"images": make(setting, plan, count)}

    stored = setting.folder.stage(f"floor-{count}", made)
    if not stored:
        setting.console.stage("floor", "left out: no noise that can be priced is enough for this budget")
        return None
    told = f"what noisy_means would have released for ε {budget(setting).epsilon:g}, to compare with"
    setting.console.stage("floor", told)
    return Images(stored["images"].numpy(), np.arange(count) % private.classes, private.class_names)


def budget(setting: Setting) -> Budget:
    """That of the run, or for one that promises nothing a usual one."""
    if isinstance(setting, PrivateSetting):
        plan, accountant = setting.plan, cast(Literal["prv", "rdp"], setting.plan.accountant)
        return Budget(epsilon=plan.epsilon_budget, delta=plan.delta, accountant=accountant)
    return usual(setting.dataset.train.units)


def usual(n: int) -> Budget:
    """Of the floor beside what promises nothing."""
    return Budget(epsilon=FLOOR_WITHOUT_PROMISE, delta=None if n >= FEWEST else 0.01 / n)


def make(setting: Setting, plan: Plan, count: int) -> torch.Tensor:
    """The two questions and the images, uint8 (count, H, W, C), with noise that no other question of the run has."""
    return drawn(setting.dataset.train, plan, count, setting.folder.secret, "floor", setting.config.seed)


def drawn(private: Images, plan: Plan, count: int, secret: bytes, name: str, seed: int) -> torch.Tensor:
    """The same of any images: no two questions to them may share `secret` and `name`."""
    fitted = ask(private, MomentsConfig(), plan, secret, lambda _, question: question().value, f"{name}/")
    return draw_chunk((seed, np.arange(count) % private.classes), (fitted, private.shape))
