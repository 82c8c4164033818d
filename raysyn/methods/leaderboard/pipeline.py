"""Methods, presets, epsilons and seeds beside each other: every run is one durable unit, and one table tells of all."""

from __future__ import annotations

import csv
import ctypes
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from raysyn.compute.doorway import Compute
from raysyn.methods.common import Connect, apart
from raysyn.methods.leaderboard.config import NAME, Config, Run, runs
from raysyn.methods.leaderboard.outlook import show_outlook
from raysyn.methods.leaderboard.together import beside, finished, in_row, together
from raysyn.methods.method import Command
from raysyn.report.choices import chosen, of_leaderboard
from raysyn.report.release import declare
from raysyn.runs.folder import REPORT_JSON, RunFolder
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import REACH, Store, read_bytes, under, write_atomically
from raysyn.screen.console import Console


def run_job(run: Run, shared: Mapping[str, str]) -> dict[str, Any]:
    """One unit: the method as a process of its own, on one CPU and without Ray, in a run folder of its own, which a
    second attempt continues. Its report.json, as it is."""
    _check_reach(shared)
    out = under(shared["out"], "runs", run.name)
    # -P: a file where the leaderboard was started must not come before a module of Python's.
    command = [sys.executable, "-P", "-m", "raysyn", run.method, run.preset, *shlex.split(shared["more"])]
    command += ["--seed", str(run.seed), "--on.address", "here", "--out", out]
    if shared["among"]:
        command += ["--chosen-among", shared["among"]]
    if run.epsilon is not None:
        command += ["--budget.epsilon", repr(run.epsilon)]
    # As many threads as the unit has CPUs, and no way into the cluster around it.
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    package = str(Path(__file__).parents[3])
    paths = os.pathsep.join([package, *filter(None, [own.get("PYTHONPATH")])])
    done = subprocess.run(
        command, env=own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths}, capture_output=True, text=True,
        preexec_fn=_die_with_parent,
    )  # fmt: skip
    if done.returncode == -signal.SIGKILL:
        # Nobody but the system, short of memory, does that.
        raise MemoryError(f"{shlex.join(command)}: killed by the system, which was short of memory")
    if done.returncode:
        raise RuntimeError(
            f"{shlex.join(command)}: exit status {done.returncode}\n{done.stderr.strip() or done.stdout.strip()}"
        )
    report, began = (json.loads(read_bytes(out, name)) for name in (REPORT_JSON, RUN_JSON))
    # PIGAN's seed divides the images, which are the same ones nevertheless.
    return {**report, "data_fingerprint": began.get("source_fingerprint", began["data_fingerprint"])}


def _check_reach(shared: Mapping[str, str]) -> None:
    """ValueError where this node does not see the driver's folder: a run here would be paid for and lost."""
    store = Store(shared["out"])
    if REACH not in store or store[REACH] != shared["board"]:
        raise ValueError(
            f"--out {shared['out'].rpartition('/internal')[0]} is not what the driver sees on the node of process "
            f"{os.getpid()}: give one that every node reaches, or a URI"
        )


_LIBC = ctypes.CDLL(None)
"""Loaded here: nothing may be loaded between fork and exec."""


def _die_with_parent() -> None:
    """In the child: one that outlived its worker would keep the run folder, and its memory (Linux)."""
    pr_set_pdeathsig = 1
    with suppress(AttributeError):
        _LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)


@dataclass(frozen=True)
class Board:
    """All that `run` is given."""

    config: Config
    compute: Compute
    folder: RunFolder
    console: Console


class Leaderboard:
    """A comparison, as the command line starts it."""

    def begin(self, command: Command, console: Console, connect: Connect, stack: ExitStack) -> Board:
        """The folder and the machines; ValueError, in one sentence, where either cannot be had."""
        if command.dry_run:
            show_outlook(console, command.config, command.machines)
            raise SystemExit(0)
        # More methods, epsilons and seeds extend a comparison; other flags for all of them make another one.
        known = {"more": command.config.more}
        opened = RunFolder.open(command.out, method=NAME, preset=command.preset, config=known, data_fingerprint="")
        folder = stack.enter_context(opened)

        def show(*told: Any) -> None:
            folder.tick()
            console.show(*told)

        compute = stack.enter_context(connect(apart(command.machines, folder), folder.storage, show))
        return Board(command.config, compute, folder, console)

    def run(self, board: Board) -> list[dict[str, Any]]:
        """See `run`."""
        return run(board)


METHOD = Leaderboard()


def run(board: Board) -> list[dict[str, Any]]:
    """Finish every run, and write table.html and table.csv; its rows."""
    config, folder = board.config, board.folder
    units = runs(config)
    names = beside(folder.storage, [one.name for one in units])
    shared = {
        "out": folder.storage, "board": folder.run_id, "more": config.more,
        "among": of_leaderboard(len(names)) if len(names) > 1 else "",
    }  # fmt: skip
    if shared["among"]:
        # Before any further result that one could choose by: what earlier runs are chosen among has grown too.
        for name in names:
            declare(under(folder.storage, "runs", name), chosen(shared["among"]))
    Store(folder.storage)[REACH] = folder.run_id
    found = board.compute.map(run_job, units, name="runs", shared=shared, keys=[one.name for one in units])
    totals = together(finished(folder.storage, names))
    rows = [row | in_row(totals.get(row["data"])) for row in table(units, found)]
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    page = Environment(
        loader=PackageLoader("raysyn.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("leaderboard.html.j2")
    told = [total.told() for total in totals.values()]
    shown = page.render(rows=rows, runs=len(units), among=len(names), told=told)
    write_atomically(folder.internal / "table.html", shown)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder.internal / "table.csv", text.getvalue())
    folder.push()
    for sentence in told:
        board.console.say(sentence)
    board.console.say(f"Table (stays inside): {folder.shown(folder.internal / 'table.html')}, table.csv")
    return rows


def table(units: Sequence[Run], found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row per method, preset and epsilon, over its seeds; accuracies as shares, None where there is none."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for unit, report in zip(units, found, strict=True):
        same = groups.setdefault((unit.method, unit.preset, unit.epsilon), [])
        if same and any(same[0][told] != report[told] for told in ("dataset", "data_fingerprint")):
            raise ValueError(f"{unit.name} ran on other images than the runs beside it: choose another --out")
        same.append(report)
    rows = []
    for (method, preset, asked), reports in groups.items():
        reached = [[one["accuracy"] for one in report["metrics"]["utility"].values()] for report in reports]
        spent = [sum(stage[clock] for stage in report["timings"].values()) for clock in ("wall_s", "cpu_s")
                 for report in reports]  # fmt: skip
        privacy = [report["privacy"] for report in reports]
        rows.append(
            {
                "method": method, "preset": preset, "data": reports[0]["dataset"]["name"],
                "guarantee": privacy[0]["guarantee"], "epsilon_asked": asked,
                # Every run of a row kept its promise: the weakest of them is theirs.
                "epsilon": max(one["epsilon"] for one in privacy) if asked is not None else None,
                "delta": max(one["delta"] for one in privacy) if asked is not None else None,
                "runs": len(reports),
                **spread("mean_classifier", [mean(some) for some in reached if some]),
                **spread("best_classifier", [max(some) for some in reached if some]),
                **yardsticks([report["metrics"] for report in reports]),
                "wall_s": mean(spent[: len(reports)]), "cpu_s": mean(spent[len(reports) :]),
                "device": ", ".join(sorted({str(report["environment"].get("device", "cpu")) for report in reports})),
            }
        )  # fmt: skip
    return rows


def yardsticks(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What the mean classifier stands beside, over runs that know it: what it learns from the floor's images and from
    real ones, and the share of the largest class of the test images."""
    known = {
        "floor": [(one.get("utility_mean") or {}).get("accuracy_floor") for one in metrics],
        "real_images": [(one.get("utility_mean") or {}).get("accuracy_real_data") for one in metrics],
        "largest_class": [(one.get("utility_guessing") or {}).get("largest_class") for one in metrics],
    }
    return {name: mean(some) if (some := [one for one in values if one is not None]) else None
            for name, values in known.items()}  # fmt: skip


def spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """{name: mean, name_std: of the sample} of some values, None where there are too few."""
    return {name: mean(values) if values else None, f"{name}_std": stdev(values) if len(values) > 1 else None}
