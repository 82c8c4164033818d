"""The attack that every run can have: of the released images alone, by their distances to private and held-out ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysyn.attacks import nearest
from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.privacy import units
from raysyn.report.meaning import rounded_down

STAGE = "distances"


def attack_by_distances(
    setting: Setting, synthetic: Images, most: int, members: Images | None = None
) -> dict[str, Any]:  # fmt: skip
    """What joins a report's `attacks`: {"found": [the record], "distances": what else was measured}; nothing where
    `most` is 0. `members` are the training images, if not all of them were learned from.

    A look at private images after the release, like all that judges: for the report, which stays inside.
    """
    if not most:
        return {}
    dataset, seed = setting.dataset, setting.config.seed
    delta = setting.plan.delta if isinstance(setting, PrivateSetting) else None
    name = f"{STAGE}-{digest([most, delta])}"
    shared = (synthetic, present(dataset.train) if members is None else members, dataset.test, most, seed, delta)
    (told,) = setting.folder.stage(name, lambda: setting.compute.map(measure, [None], name=name, shared=shared))
    record = told["found"]
    if record is None:
        setting.console.stage(STAGE, f"left out: {told['reason']}")
        return {STAGE: {"reason": told["reason"]}}
    ahead, epsilon = record["advantage"]["value"], record["epsilon"]["value"]
    shown = (
        "too few to say" if ahead is None else f"advantage {100 * ahead:.1f} points, ε at least {rounded_down(epsilon)}"
    )
    setting.console.stage(STAGE, f"an attack that sees the released images: {shown}")
    return {"found": [record], STAGE: {name: told[name] for name in ("closer", "released")}}


def present(private: Images) -> Images:
    """Those who took part: canaries that a coin left out are no members."""
    if private.absent_U is None:
        return private
    return private.select(units.images_of(private, np.arange(private.units)))


def measure(_: None, shared: tuple[Images, Images, Images, int, int, float | None]) -> dict[str, Any]:
    """`nearest.attack` as the one unit of a fan-out."""
    return nearest.attack(*shared)
