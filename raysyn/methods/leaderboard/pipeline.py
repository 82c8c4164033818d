"""Methods, presets, settings, epsilons and seeds beside each other: runs are durable units, the same classifiers judge
all of them, and one table tells of it."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from raysyn.compute.doorway import Compute
from raysyn.data.images import public_facts
from raysyn.data.public import look_beside
from raysyn.methods.canary_attack import Refuted
from raysyn.methods.common import Connect, apart, plain_name
from raysyn.methods.leaderboard.config import NAME, Config, Run, own_flags, publics, runs
from raysyn.methods.leaderboard.judging import verdicts
from raysyn.methods.leaderboard.outlook import show_outlook
from raysyn.methods.leaderboard.page import console_rows, csv_text, page, runs_text
from raysyn.methods.leaderboard.room import Room, check_room, enter_choices
from raysyn.methods.leaderboard.rows import as_judged, by_chance, by_soft_labels, other_features, table
from raysyn.methods.leaderboard.running import heard, run_job
from raysyn.methods.leaderboard.same import Read, known_as, refuse_same
from raysyn.methods.leaderboard.together import beside, finished, in_row, together
from raysyn.methods.method import Command
from raysyn.methods.varied import addressed
from raysyn.report import trade_off
from raysyn.report.choices import chosen, of_leaderboard
from raysyn.report.columns import NoFigure, named
from raysyn.report.refuted import by_canaries
from raysyn.report.release import declare
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import REACH, Store, under, write_atomically
from raysyn.screen.console import Console
from raysyn.screen.ended import Ended


def _reports(
    compute: Compute, units: Sequence[Run], shared: Mapping[str, str], console: Console
) -> list[dict[str, Any]]:
    """Of all runs; Ended, in its own words, where the first that failed ended with a sentence, once all others are
    done."""
    try:
        with heard(shared["out"], units, console):
            return compute.map(run_job, units, name="runs", shared=shared, keys=[one.name for one in units])
    except RuntimeError as failed:
        refused = re.search(r"unit (\d+) of(?:.*\n)*?.*: exit status ([12])\n(?:.*\n)*?error: (.*)", str(failed))
        # A crash ends with 1 too, and is told by its traceback, whatever was said on the way.
        if refused is None or "Traceback (most recent call last)" in str(failed)[refused.start(2) :]:
            raise
        several = re.search(r"\((\d+) of \d+ units failed", str(failed))
        how = "was refused" if refused[2] == "2" else "ended early"
        others = f"Further runs that failed: {int(several[1]) - 1}. " if several else ""
        raise Ended(
            f"the run {units[int(refused[1])].name} {how}: {refused[3]}\n{others}The runs that are "
            "done are kept: the same command goes on with them once that is mended, or without it"
        ) from failed


def ended(
    compute: Compute, units: Sequence[Run], shared: Mapping[str, str], console: Console
) -> tuple[Sequence[Run], list[dict[str, Any]], Exception | None]:
    """The runs that have ended, their reports, and what one of those that did not end failed with; that is raised where
    no table can be made. Of settings beside each other one may be refused at one budget alone, a method may have a
    fault: the table is of the others."""
    try:
        return units, _reports(compute, units, shared, console), None
    except (Ended, RuntimeError) as failed:
        there = finished(shared["out"], [one.name for one in units])
        others = [one for one in units if one.name in there]
        if len(others) in (0, len(units)):  # none, or it was no run's failure
            raise
        console.say(f"Not in the table: {', '.join(one.name for one in units if one not in others)}")
        try:
            return others, _reports(compute, others, shared, console), failed
        except (Ended, RuntimeError):  # of one that was reported before, and failed since
            raise failed from None


def why(failed: Exception, units: Sequence[Run]) -> str:
    """In the page: the sentence of a run that was refused, the last line of what another one was broken off with, whose
    traceback the command ends with."""
    crash = re.match(r"runs, unit (\d+) of \d+ failed(?: \(.*?\))?: (.*)", str(failed))
    return str(failed) if crash is None else f"the run {units[int(crash[1])].name} failed: {crash[2]}"


@dataclass(frozen=True)
class Board:
    """All that `run` is given."""

    config: Config
    units: Sequence[Run]
    """Its runs."""
    configs: Mapping[str, Any]
    """Of each run, by its name."""
    compute: Compute
    folder: RunFolder
    console: Console
    commands: Mapping[str, Any] = field(default_factory=dict)
    """What each run asks for."""
    rooms: Sequence[Room] = ()
    """Accounts whose totals the runs begin under."""


class Leaderboard:
    """A comparison, as the command line starts it."""

    def begin(self, command: Command, console: Console, connect: Connect, stack: ExitStack, read: Read) -> Board:
        """Every run's flags, the folder and the machines; ValueError, in one sentence, where one is wrong or cannot be
        had."""
        config: Config = command.config
        if vars(command.account) != dict.fromkeys(vars(command.account)):
            raise ValueError(
                'budget.account and budget.total are of single runs: give them to all by --more "--budget.total 10"'
            )
        if command.track != "none":
            raise ValueError(f'track is of single runs: give it to all by --more "--track {command.track}"')
        there = Store(under(command.out, "internal")).folders("runs")
        units = known_as(runs(config), read, command.out, there)
        commands = checked(units, read, command.out, judged=bool(config.judges.classifiers))
        rooms = check_room(units, commands, command.out)
        for sentence in config.without():
            console.say(sentence)
        configs = {name: one.config for name, one in commands.items()}
        if command.dry_run:
            ended = finished(under(command.out, "internal"), list(configs))
            show_outlook(console, units, configs, config.judges, command.machines, ended)
            raise SystemExit(0)
        # More methods, settings, epsilons and seeds extend a comparison; other flags for all of them make another one.
        known = {"more": " ".join(text for method, text in map(addressed, config.more) if method is None)}
        opened = RunFolder.open(command.out, method=NAME, preset=command.preset, config=known, data_fingerprint="")
        folder = stack.enter_context(opened)
        hold_to_flags(folder, config)

        def show(stage: str, *told: Any) -> None:
            folder.tick()
            console.show(plain_name(stage), *told)

        compute = stack.enter_context(connect(apart(command.machines, folder), folder.storage, show))
        return Board(config, units, configs, compute, folder, console, commands, rooms)

    def run(self, board: Board) -> list[dict[str, Any]]:
        """See `run`."""
        return run(board)


METHOD = Leaderboard()
REFUTED = (
    "REFUTED by their canaries: {}. These releases give away more than their certificates say: hand nothing of them "
    "on, and do what their reports say"
)
FLAGS = "flags.json"
"""Of internal/: the further flags of each method's runs, by its name."""


def checked(units: Sequence[Run], read: Read, out: str, *, judged: bool) -> dict[str, Any]:
    """What each run asks for, by its name, once each has been read and its images found, public ones too, and where
    they are to be judged by classifiers, are of several classes.

    Raises ValueError, in one sentence that names the run: what is wrong in one must be known before the first is paid.
    """
    commands, shapes, public = dict[str, Any](), dict[str, tuple[int, int, int]](), set[tuple[str, str]]()
    for unit in units:
        try:
            asked = commands[unit.name] = read(unit.method, [*unit.words, "--out", out])
            config = asked.config
            if (data := repr(config.data)) not in shapes:
                _, shapes[data], classes = public_facts(config.data)
                if judged and classes == 1:
                    raise ValueError(
                        "its images are of one class, which is every classifier's answer to each: give "
                        "--judges.classifiers with no name"
                    )
            for one in publics(config):
                if (both := (data, repr(one))) not in public:
                    look_beside(config.data, shapes[data], one)
                    public.add(both)
        except ValueError as error:
            told = str(error) if unit.epsilon is None else own_flags(error)
            raise ValueError(f"run {unit.name}: {told}") from error
    refuse_same(units, commands)
    return commands


def hold_to_flags(folder: RunFolder, config: Config) -> None:
    """Note each method's own flags; ValueError, in one sentence, where its runs there had others."""
    place = folder.internal / FLAGS
    there: dict[str, str] = json.loads(place.read_text()) if place.exists() else {}
    begun = Store(folder.storage).folders("runs")
    for method in config.methods:
        now = " ".join(text for whose, text in map(addressed, config.more) if whose == method)
        before = there.get(method, "")
        if now != before and any(name.startswith(f"{method}-") for name in begun):
            raise ValueError(
                f"--out {folder.out} holds runs of {method} with --more {method}:{before!r}, this one has "
                f"--more {method}:{now!r}; choose another --out, or --vary the flag"
            )
        there[method] = now
    write_atomically(place, json.dumps(there, indent=2))
    folder.push()


def run(board: Board) -> list[dict[str, Any]]:
    """Finish every run, judge all of them alike, and write table.html and table.csv; the rows. Once all is written,
    Refuted where the canaries of a run show more than it promises, Ended where a run could not be finished."""
    config, folder = board.config, board.folder
    names = beside(folder.storage, [one.name for one in board.units])
    shared = {
        "out": folder.storage, "board": folder.run_id, "among": of_leaderboard(len(names)) if len(names) > 1 else "",
    }  # fmt: skip
    if shared["among"]:
        # Before any further result that one could choose by: what earlier runs are chosen among has grown too.
        for name in names:
            declare(under(folder.storage, "runs", name), chosen(shared["among"]))
        enter_choices(board.commands, folder.storage, names, shared["among"])
    for room in board.rooms:
        room.enter_totals()
    Store(folder.storage)[REACH] = folder.run_id
    if (there := len(finished(folder.storage, names))) < len(names) and there:
        board.console.say(f"{there} of {len(names)} runs have ended before, and are not made again.")
    units, found, failed = ended(board.compute, board.units, shared, board.console)
    judged = verdicts(
        board.compute, units, found, board.configs, config.judges, folder.storage, folder.secret
    ) if config.judges.classifiers else ()  # fmt: skip
    columns, missing = asked_for(found, config.columns, folder.shown(folder.out))
    totals = together(list(finished(folder.storage, names).values()))
    rows = [row | in_row(totals.get((row["data"], row["unit"] or ""))) for row in table(units, found, judged, columns)]
    told = [*(total.told() for total in totals.values()), *other_features(units, found), *by_chance(rows)]
    told += by_soft_labels(units, found) if judged else []
    absent = [one for one in board.units if one not in units]
    gone = ", ".join(one.name for one in absent)
    lost = [f"Not in the table: {gone}. Why: {why(failed, board.units)}"] if failed else []
    broken = [unit.name for unit, report in zip(units, found, strict=True) if by_canaries(report)]
    if broken:
        told.insert(0, REFUTED.format(", ".join(broken)))
    several = len({unit.epsilon for unit in units if unit.epsilon is not None}) > 1
    by_all = [as_judged(*one) for one in zip(found, judged, strict=True)] if judged else found
    drawn = trade_off.picture(by_all, [unit.method for unit in units]) if several else None
    write_atomically(folder.internal / "table.html", page(rows, [*told, *lost], len(names), list(columns), drawn))
    write_atomically(folder.internal / "table.csv", csv_text(rows))
    write_atomically(folder.internal / "runs.csv", runs_text(units, found, judged, absent))
    folder.push()
    board.console.close()
    board.console.plan_table(console_rows(rows, list(columns)), title="Accuracy on real test images")
    for sentence in [*missing, *told, *(lost if broken else [])]:
        board.console.say(sentence, alarm=sentence.startswith("REFUTED"))
    board.console.say(f"Table (stays inside): {folder.shown(folder.internal / 'table.html')}, table.csv, runs.csv")
    if broken:
        raise Refuted(told[0])
    if failed:
        raise failed
    return rows


def asked_for(
    found: Sequence[Mapping[str, Any]], names: Sequence[str], out: str
) -> tuple[dict[str, list[float | None]], list[str]]:
    """Figures of the reports by name, and a sentence for each name that is none: the runs, in `out`, are paid for by
    then."""
    columns: dict[str, list[float | None]] = {}
    missing = []
    for name in names:
        try:
            columns |= named(found, [name])
        except NoFigure as error:
            lists = shlex.join(["raysyn", "report", out, "--columns", name])
            missing.append(f"Left out: {error.short}; {lists} lists all that there are")
        except ValueError as error:
            missing.append(f"Left out: {error}")
    return columns, missing
