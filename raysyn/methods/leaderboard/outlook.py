"""What --dry-run shows of a leaderboard: its runs, and about how long each of them and all together will take."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from io import StringIO
from itertools import chain
from typing import Any

from raysyn.compute.doorway import Machines
from raysyn.methods import catalogue
from raysyn.methods.leaderboard.config import JudgesConfig, Run, own_flags
from raysyn.methods.outlook import total
from raysyn.screen.console import Console, duration


def show_outlook(
    console: Console, units: Sequence[Run], configs: Mapping[str, Any], judges: JudgesConfig, machines: Machines,
    there: Collection[str] = (),
) -> None:  # fmt: skip
    """The runs with their times; `configs` by their names, and of those in `there`, which have ended, none. Each
    method, preset and setting is measured once, by its first run: budgets and seeds change little."""
    spent: dict[tuple[Any, ...], float | str] = {}
    for unit in (one for one in units if one.name not in there):
        if (kind := unit.row[:3]) not in spent:
            console.say(f"{' '.join([unit.method, unit.preset, *chain.from_iterable(unit.varied)])}: measuring")
            spent[kind] = run_seconds(unit, configs[unit.name])
    each = [(unit, 0.0 if unit.name in there else spent[unit.row[:3]]) for unit in units]
    known = [seconds for _, seconds in each if isinstance(seconds, float)]
    count = 1 if machines.address == "here" else machines.workers or os.cpu_count() or 1
    rows = [
        (unit.name, "has ended" if unit.name in there else "-" if isinstance(seconds, str) else duration(seconds))
        for unit, seconds in each
    ]
    rows.append(("all", duration(sum(known)) + ("" if len(known) == len(each) else ", and what is not known")))
    console.plan_table([{"run": name, "one CPU": told} for name, told in rows], title="Outlook")
    here = max(sum(known) / count, max(known, default=0.0))
    at_once = f" On {count} at a time: {duration(here)}." if count > 1 else ""
    console.say(f"Measured on made-up images on this machine; each run has one CPU.{at_once}")
    if judges.classifiers:
        console.say(f"The classifiers that judge all runs come on top: {', '.join(judges.classifiers)}.")
    told = dict.fromkeys((unit.method, unit.preset, seconds) for unit, seconds in each if isinstance(seconds, str))
    for method, preset, why in told:
        console.say(f"{method} {preset} is not estimated: {why}")


def run_seconds(unit: Run, config: Any) -> float | str:
    """Of one run by the outlook of its method, or the sentence that says why there is none."""
    entry = catalogue.find(unit.method)
    method = entry.method()
    if getattr(method, "outlook", None) is None:
        return "its method has no outlook"
    try:
        prepared = method.prepare(config)
        with Console(StringIO()) as unseen:
            stages = method.outlook(unseen, config, prepared, replace(entry.machines(), address="here"))
    except ValueError as error:
        return str(error) if unit.epsilon is None else own_flags(error)
    return total(stages) if stages else "its method tells no stages"
