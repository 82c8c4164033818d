"""What --dry-run shows of a leaderboard: its runs, and about how long each of them and all together will take."""

from __future__ import annotations

import os
from dataclasses import replace
from io import StringIO
from typing import Any

from raysyn.compute.doorway import Machines
from raysyn.methods import catalogue
from raysyn.methods.leaderboard.config import Config, Run, runs
from raysyn.methods.outlook import total
from raysyn.screen.console import Console, duration


def show_outlook(console: Console, config: Config, machines: Machines) -> None:
    """The runs with their times. Each method and preset is measured once, by its first run: budgets and seeds change
    little. Where there are further flags for all runs they are not, because only a run's own command line reads those.
    """
    units = runs(config)
    if config.more:
        console.say("\n".join(unit.name for unit in units))
        console.say(
            "How long they take is not estimated with --more, which each run reads for itself: "
            f"`raysyn {units[0].method} {units[0].preset} {config.more} --dry-run` tells it of one."
        )
        return
    spent: dict[tuple[str, str], float | str] = {}
    for unit in units:
        if (unit.method, unit.preset) not in spent:
            console.say(f"{unit.method} {unit.preset}: measuring")
            spent[unit.method, unit.preset] = run_seconds(unit)
    each = [(unit, spent[unit.method, unit.preset]) for unit in units]
    known = [seconds for _, seconds in each if isinstance(seconds, float)]
    count = machines.workers or os.cpu_count() or 1
    rows = [(unit.name, "-" if isinstance(seconds, str) else duration(seconds)) for unit, seconds in each]
    rows.append(("all", duration(sum(known)) + ("" if len(known) == len(each) else ", and what is not known")))
    console.plan_table([{"run": name, "one CPU": told} for name, told in rows], title="Outlook")
    here = max(sum(known) / count, max(known, default=0.0))
    console.say(
        f"Measured on made-up images on this machine; each run has one CPU. On {count} at a time: {duration(here)}."
    )
    for (method, preset), why in spent.items():
        if isinstance(why, str):
            console.say(f"{method} {preset} is not estimated: {why}")


def run_seconds(unit: Run) -> float | str:
    """Of one run by the outlook of its method, or the sentence that says why there is none."""
    entry = catalogue.find(unit.method)
    method, preset = entry.method(), entry.presets()[unit.preset]
    if getattr(method, "outlook", None) is None:
        return "its method has no outlook"
    config: Any = replace(preset, seed=unit.seed)
    if unit.epsilon is not None:
        config = replace(config, budget=replace(config.budget, epsilon=unit.epsilon))
    try:
        prepared = method.prepare(config)
        with Console(StringIO()) as unseen:
            stages = method.outlook(unseen, config, prepared, replace(entry.machines(), address="here"))
    except ValueError as error:
        return str(error)
    return total(stages) if stages else "its method tells no stages"
