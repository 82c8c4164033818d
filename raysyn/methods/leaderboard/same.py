"""Runs of a leaderboard that are the same run: a value that is the preset's own makes no other one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from raysyn.methods.leaderboard.config import Run
from raysyn.methods.varied import Alternative, spelled

Read = Callable[[str, Sequence[str]], Any]
"""read(method, words): the `cli.Command` that this command line gives; ValueError, in one sentence, for a wrong one."""


def known_as(units: Sequence[Run], read: Read, out: str, begun: Collection[str]) -> list[Run]:
    """Each run under the name of the same one without the values that change nothing, so that it is paid for once; one
    whose folder is among `begun` under its own name goes on there."""
    idle: dict[tuple[Any, ...], tuple[Alternative, ...]] = {}
    known = []
    for unit in units:
        kind = (unit.method, unit.preset, unit.varied)
        if kind not in idle:
            idle[kind] = _idle(unit, read, out)
        known.append(unit if unit.name in begun else replace(unit, as_is=idle[kind]))
    return known


def _idle(unit: Run, read: Read, out: str) -> tuple[Alternative, ...]:
    """What of `varied` can be left out without a change of what is asked."""
    idle: tuple[Alternative, ...] = ()
    for one in unit.varied:
        left = tuple(other for other in unit.varied if other not in (*idle, one))
        try:
            same = _asked(replace(unit, varied=left), read, out) == _asked(unit, read, out)
        except ValueError:  # what is wrong in a run is told where all of them are checked
            continue
        idle += (one,) if same else ()
    return idle


def _asked(unit: Run, read: Read, out: str) -> Any:
    return read(unit.method, [*unit.words, "--out", out])


def refuse_same(units: Sequence[Run], commands: Mapping[str, Any]) -> None:
    """ValueError, in one sentence, where two of these runs ask for the same, as by a value that is spelled in two
    ways: the second would be a copy of the first, paid for again."""
    for at, unit in enumerate(units):
        for before in units[:at]:
            if (before.method, before.preset) == (unit.method, unit.preset) and (
                before.name == unit.name or commands[before.name] == commands[unit.name]
            ):
                first, second = ("; ".join(map(spelled, one.varied)) or "no flag" for one in (before, unit))
                raise ValueError(
                    f"vary has {first!r} and {second!r}, which are the same run of {unit.method} {unit.preset}: give "
                    "one of them"
                )
