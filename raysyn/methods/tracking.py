"""What a tracker of experiments is told of a run (`--track`)."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path, PurePosixPath

from raysyn.compute.doorway import Outside
from raysyn.privacy.ledger import Plan
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import local_folder, without_password
from raysyn.screen import trackers
from raysyn.screen.console import Console
from raysyn.screen.trackers import Kind, Show, tracked
from raysyn.screen.words import rounded_up


def check(kind: Kind, out: str) -> None:
    """ValueError, in one sentence, for a tracker that cannot be had for a run in `out`."""
    trackers.check(kind)
    if kind == "tensorboard" and local_folder(out) is None:
        raise ValueError(
            f"track is tensorboard, which writes files, but --out {without_password(out)} is an object store: give "
            "mlflow, or leave it out"
        )


def followed(
    kind: Kind, folder: RunFolder, out: str, method: str, plan: Plan | None, show: Show, console: Console
) -> AbstractContextManager[Show]:
    """`show` that tells a tracker of this kind, too."""
    outside = Outside(None if plan is None else frozenset(plan.stages)).told
    about = facts(method, folder.preset, plan)
    return tracked(kind, folder.internal, name_of(out) or method, about, show, console.say, outside)


def name_of(out: str) -> str:
    """The last part of a run folder's path or URI, without what may be secret or no file's name."""
    here: Path | None = local_folder(out)
    last = here.resolve().name if here is not None else PurePosixPath(without_password(out).partition("?")[0]).name
    return re.sub(r"[^\w.-]", "_", last)


def facts(method: str, preset: str, plan: Plan | None) -> dict[str, str]:
    """What a run is: what is known before the first image is touched."""
    about = {"method": method, "preset": preset}
    if plan is None:
        return about | {"guarantee": "none"}
    spent = plan.priced()
    about |= {"epsilon": rounded_up(spent.epsilon, 4), "epsilon_budget": f"{plan.epsilon_budget:g}"}
    about |= {"delta": rounded_up(plan.delta), "accountant": spent.by}
    for row in plan.rows():
        numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
        about |= {f"{row['stage']}.{name}": _figure(name, value) for name, value in numbers.items()}
    return about


def _figure(name: str, value: float) -> str:
    return rounded_up(value, 6) if name.startswith("epsilon") else f"{value:.6g}"
