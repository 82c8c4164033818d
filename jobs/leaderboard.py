"""Methods beside each other on Ray: `python jobs/leaderboard.py quick [--flags]`, alone or through `ray job submit`."""

import runpy
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from raysyn.methods.common import apart
from raysyn.methods.leaderboard import pipeline as leaderboard
from raysyn.methods.leaderboard.config import METHOD, PRESETS, On
from raysyn.methods.leaderboard.pipeline import Board
from raysyn.on_ray.cluster import connect
from raysyn.runs.folder import RunFolder
from raysyn.screen import cli
from raysyn.screen.console import Console

JOBS = Path(__file__).resolve().parent


def check(stack: ExitStack) -> Board:
    """Everything that can be wrong with the input, before the first run."""
    console = stack.enter_context(Console())
    command = cli.parse(PRESETS, description=leaderboard.SUMMARY, machines=On())
    units = leaderboard.runs(command.config)
    for method in command.config.methods:
        known = presets_of(method)
        for preset in command.config.presets:
            if preset not in known:
                raise ValueError(f"presets has {preset}, which {method} does not have: it has {', '.join(known)}")
    if command.dry_run:
        console.say("\n".join(unit.name for unit in units))
        raise SystemExit(0)
    # More methods, epsilons and seeds extend a comparison; other flags for all of them make another one.
    folder = stack.enter_context(
        RunFolder.open(
            command.out, method=METHOD, preset=command.preset, config={"more": command.config.more}, data_fingerprint=""
        )
    )

    def show(*told: Any) -> None:
        folder.tick()
        console.show(*told)

    compute = stack.enter_context(connect(apart(command.machines, folder), folder.storage, show))
    return Board(command.config, compute, folder, console, JOBS)


def presets_of(method: str) -> dict[str, Any]:
    """A job's presets by name."""
    job = runpy.run_path(str(JOBS / f"{method}.py"))
    presets: dict[str, Any] = job["PRESETS"] if "PRESETS" in job else job[method].PRESETS
    return presets


if __name__ == "__main__":
    sys.exit(cli.run_or_explain(check, leaderboard.run))
