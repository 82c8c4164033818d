"""The attack that every run can have: of the released images alone, by their distances to private and held-out ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from raysyn.attacks import nearest
from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.privacy import units
from raysyn.report.attackers import CLOSEST, guessing
from raysyn.report.pictures import pairs_sheet, png_bytes
from raysyn.runs.storage import write_atomically
from raysyn.screen.words import rounded_down

STAGE = "distances"


def attack_by_distances(
    setting: Setting, synthetic: Images, most: int, members: Images | None = None
) -> dict[str, Any]:  # fmt: skip
    """What joins a report's `attacks`: {"found": [the record], "distances": what else was measured}; nothing where
    `most` is 0. `members` are the training images, if not all of them were learned from.

    A look at private images after the release, like all that judges: for the report, which stays inside.
    """
    # What an earlier report showed is not left where nobody is told of it.
    (setting.folder.internal / CLOSEST).unlink(missing_ok=True)
    if not most:
        return {}
    dataset, seed = setting.dataset, setting.config.seed
    delta = setting.plan.delta if isinstance(setting, PrivateSetting) else None
    name = f"{STAGE}-{digest([most, delta, nearest.CLOSEST, nearest.LEFT])}"
    members = present(dataset.train) if members is None else members
    shared = (synthetic, members, dataset.test, most, seed, delta)
    (told,) = setting.folder.stage(name, lambda: setting.compute.map(measure, [None], name=name, shared=shared))
    record = told["found"]
    if record is None:
        setting.console.stage(STAGE, f"left out: {told['reason']}")
        return {STAGE: {"reason": told["reason"]}}
    ahead, epsilon, shown = record["advantage"], record["epsilon"]["value"], "too few to say"
    if ahead["value"] is not None:
        within = f"95 %: {100 * ahead['low']:.1f} to {100 * ahead['high']:.1f}"
        shown = f"advantage {100 * ahead['value']:.1f} points ({within}){guessing(ahead)}"
        shown += f", ε at least {rounded_down(epsilon)}"
    if nearest.differs(told["control"]):
        shown += "; training and test images seem to differ by more than membership (see the report)"
    setting.console.stage(STAGE, f"an attack that sees the released images: {shown}")
    measured = {name: told[name] for name in ("closer", "released", "control") if told[name] is not None}
    if told["closest"]["released"]:
        measured["closest"] = draw_closest(setting, synthetic, members, told["closest"])
    return {"found": [record], STAGE: measured}


def draw_closest(setting: Setting, synthetic: Images, members: Images, pairs: Mapping[str, Any]) -> dict[str, Any]:
    """Write the closest pairs, each a released image and its nearest private one, to a file beside the page that shows
    it: whoever takes the page away does not take private images with it, and --seal, if there is one, erases them."""
    sides = [synthetic.images_NHWC[pairs["released"]], members.select(np.array(pairs["private"])).images_NHWC]
    sheet = pairs_sheet(*sides)
    write_atomically(setting.folder.internal / CLOSEST, png_bytes(sheet), 0o600)
    return {"distances": pairs["distances"], "file": f"internal/{CLOSEST}"}


def present(private: Images) -> Images:
    """Those who took part: canaries that a coin left out are no members."""
    if private.absent_U is None:
        return private
    return private.select(units.images_of(private, np.arange(private.units)))


def measure(_: None, shared: tuple[Images, Images, Images, int, int, float | None]) -> dict[str, Any]:
    """`nearest.attack` as the one unit of a fan-out."""
    return nearest.attack(*shared)
