"""The account over all runs on the same images: looked at before a run, and entered in as it opens.

It holds what each run is: priced, or without a guarantee, and which looks at real images nobody pays for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from raysyn.data.images import Dataset
from raysyn.methods.account_place import Command, begun, note_left_out, passes_by, place_of, run_in
from raysyn.privacy import admission
from raysyn.privacy.account import Account, Behind, Run, paid_line
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON
from raysyn.privacy.ledger import Plan, cost_of
from raysyn.privacy.sketch import Sketch
from raysyn.report import account_told
from raysyn.runs.account_lines import Book, now, whole_lines
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import read_bytes, write_atomically
from raysyn.screen.console import Console

NOTE = "account.json"
"""Of internal/: in which account the run was entered."""
HELD = "held"
"""Of the note: which stages that account held when the run went on without it, if it did."""


class Looking(Command, Protocol):
    """A command that may only ask for the plan."""

    @property
    def dry_run(self) -> bool: ...


def look(
    book: Book | None, command: Looking, method: str, looks: Sequence[str], dataset: Dataset, plan: Plan | None,
    console: Console, others: bool = False,
) -> None:  # fmt: skip
    """Say what the account holds so far, and which of these images were in earlier runs; ValueError, in one sentence,
    where this run may not begin. Nothing is written: a run that is refused and has paid before, by the ledger in its
    folder, is refused by `enter`, which knows that the folder is this run's. One that is `others` is refused to the run
    itself, and a dry run is told what a new one would be."""
    if (known := None if others else begun(command.out)) == "" or (others and not command.dry_run):
        return
    # Before the account: another driver's payments are there before they are in the ledger.
    noted = None if others else noted_in(command.out)
    entries = [] if others else entries_of(command.out)
    there = None if book is None else book.read()
    if noted is not None and _is_lost(noted, there, known or ""):
        console.say(
            "WARNING: the account that this run was entered in is gone or left out, or lacks this run: bring it back, "
            "then the same command continues with it; without it the certificate will cover this run alone."
        )
    if book is None:
        return
    if there is None:
        if book.exists():
            console.say(f"WARNING: {book} is empty, and begins anew: if it has held runs, bring back a copy of it.")
        # Asked of an account that nothing is in.
        there = Account(id="", key=b"")
    if behind := _behind(there, known or "", noted, entries):
        console.say(
            f"WARNING: {book} was brought back from an older copy, which lacks what this run has paid: bring back the "
            "newest one. Else what this run has paid is entered again, but other runs may be missing, and certificates "
            "of this account will cover their runs alone."
        )
    run = as_entered(known or "", command, method, looks, dataset, plan, there.key)
    paid = admission.has_paid(entries, plan)
    try:
        admission.admit(there, run, command.account, paid)
    except ValueError:
        if command.dry_run or not (entries or behind):
            raise
        return
    if paid and (why_not := admission.why_not(there, run)) is not None:
        console.say(f"WARNING: {why_not}. This run has paid already, and is entered all the same.")
    entered = run.run in there.runs and not admission.lacking(there, run)
    if entered and (unwritten := admission.unwritten(there, command.account)) is not None:
        console.say(f"WARNING: {unwritten}.")
    console.say(f"Account {book}: {account_told.so_far(there, run, command.account)}")


def noted_in(out: str) -> dict[str, Any] | None:
    """In which account the run of a folder was entered, and when; None where it was in none."""
    with suppress(OSError, ValueError):
        noted = json.loads(read_bytes(out, f"internal/{NOTE}"))
        return noted if isinstance(noted, dict) else None
    return None


def entries_of(out: str) -> list[Mapping[str, Any]]:
    """What a run has paid, by its ledger; nothing of one that cannot be read, which is refused later."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        lines = [json.loads(one) for one in whole_lines(read_bytes(out, "internal/ledger.jsonl")).splitlines()]
        return [one for one in lines if cost_of(one) and one["stage"]]
    return []


def _behind(
    there: Account, run: str, noted: Mapping[str, Any] | None, entries: Sequence[Mapping[str, Any]]
) -> bool:  # fmt: skip
    """Whether the account that a run was entered in lacks the run, or payments of it: these were there before they were
    in the ledger, so that this is an older copy."""
    if noted is None or noted.get("account") != there.id:
        return False
    held = noted.get(HELD, [one["stage"] for one in entries])
    return run not in there.runs or not set(held) <= set(there.paid.get(run, {}))


def _is_lost(noted: Mapping[str, Any], there: Account | None, run: str) -> bool:
    """Whether the account is another one than that of the note, or lacks what it held then: a run that was entered a
    second time is not enough, since others may be missing."""
    before = {name: value for name, value in noted.items() if name != HELD}
    return there is None or run not in there.runs or before != _note(there, run)


def _note(there: Account, run: str) -> dict[str, Any]:
    return {"account": there.id, "entered": there.runs[run].time}


def as_entered(
    known: str, command: Command, method: str, looks: Sequence[str], dataset: Dataset, plan: Plan | None, key: bytes
) -> Run:
    """A run as the account would hold it."""
    train, config = dataset.train, command.config
    return Run(
        run=known, method=method, preset=command.preset, time=now("microseconds"), folder=place_of(command.out),
        adjacency=ADD_REMOVE if train.persons_N is None else ADD_REMOVE_PERSON,
        units=train.units, images=len(train), shape=train.shape,
        guarantee="dp" if plan is not None else "none" if hasattr(config, "release") else "no release",
        delta=None if plan is None else plan.delta, reserved={} if plan is None else dict(plan.stages),
        chosen_among=getattr(config, "chosen_among", None), looks=tuple(looks),
        sketch=Sketch.of(dataset.copies.different, key, dataset.copies.whose),
    )  # fmt: skip


def enter_choice(book: Book, out: str, among: str) -> None:
    """Enter that a run that is in the account was chosen among others: a look that nobody pays for, also of one that is
    finished or sealed."""
    _enter_more(book, out, (), among)


def enter_look(book: Book, out: str, look: str) -> bool:
    """Enter what looks at the images of a run after it has ended, and is paid for by nobody; whether the run is in this
    account."""
    return _enter_more(book, out, (look,), None)


def _enter_more(book: Book, out: str, looks: tuple[str, ...], among: str | None) -> bool:
    run, known_there = run_in(out), False

    def change(there: Account) -> list[dict[str, Any]]:
        nonlocal known_there
        if run is None or (known := there.runs.get(run)) is None:
            return []
        known_there = True
        return admission.more_looks(known, replace(known, looks=looks, chosen_among=among, time=now("microseconds")))

    with suppress(FileNotFoundError):
        book.add(change, new=False)
    return known_there


def _missing(there: Account, run: str, entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lines of what a run has paid that an account does not hold."""
    known = there.paid.get(run, {})
    return [paid_line(run, one["stage"], cost_of(one), one["time"]) for one in entries if one["stage"] not in known]


@dataclass(frozen=True)
class Kept:
    """The account that a run was entered in."""

    book: Book
    run: str
    lost: bool
    """Whether an account that the run was entered in before is another one, or the usual one of these images is."""

    def pay(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Enter what is paid, each stage once. RuntimeError, in one sentence, where the account is gone."""

        def change(there: Account) -> list[dict[str, Any]]:
            if self.run not in there.runs:
                raise FileNotFoundError(str(self.book))
            return _missing(there, self.run, entries)

        if not entries:
            return
        try:
            self.book.add(change, new=False)
        except FileNotFoundError as error:
            raise RuntimeError(
                f"{self.book}, the account of these images, is gone or lacks this run: bring it back, then the same "
                "command continues; without it the certificate will cover this run alone"
            ) from error


def certified(kept: Kept | None, folder: RunFolder, plan: Plan) -> dict[str, Any] | None:
    """What the certificate says of the account; None where the run was never entered in one."""
    if kept is None:
        return account_told.lost() if (folder.internal / NOTE).exists() else None
    there = None if kept.lost else kept.book.read()
    if there is None or kept.run not in there.runs:
        return account_told.lost()
    return account_told.of_run(there, there.runs[kept.run], plan.delta)


def enter(
    book: Book | None, command: Command, method: str, looks: Sequence[str], dataset: Dataset, folder: RunFolder,
    plan: Plan | None,
) -> Kept | None:  # fmt: skip
    """Enter a run that has just been opened, once, before anything is asked of the private images. ValueError, in one
    sentence, where there is no room for it."""
    note_left_out(command, dataset, book, folder.run_id)
    note, out, run = folder.internal / NOTE, str(folder.out), folder.run_id
    noted, entries = noted_in(out), entries_of(out)
    if book is None:
        _note_held(note, noted, entries)
        return None

    def as_it_is(there: Account) -> Run:
        return as_entered(run, command, method, looks, dataset, plan, there.key)

    admission.check_paid(out, entries, plan)
    try:
        after = _admitted(book, as_it_is, command, entries, plan, noted)
    except (ValueError, OSError):
        # Of what was written, or may have been, the same command takes up the reservation.
        folder.fresh = folder.fresh and _lacks(book, run)
        raise
    folder.fresh = False
    if note.exists():
        # The first one stays, so that what is brought back is known again.
        if lost := _is_lost(noted or {}, after, run):
            _note_held(note, noted, entries)
        elif noted is not None and HELD in noted:
            _write(note, _note(after, run), "mend that, then the same command continues")
        return Kept(book, run, lost or passes_by(command, dataset, book))
    then = f"the run is entered in {book}; mend that, then the same command takes up what is reserved"
    _write(note, _note(after, run), then)
    folder.push()
    return Kept(book, run, passes_by(command, dataset, book))


def _note_held(note: Path, noted: Mapping[str, Any] | None, entries: Sequence[Mapping[str, Any]]) -> None:
    """Note what the account holds that a run goes on without: it cannot hold what is paid from now on."""
    if noted is not None and HELD not in noted:
        held = [one["stage"] for one in entries]
        _write(note, {**noted, HELD: held}, "mend that, then the same command continues")


def _write(note: Path, noted: Mapping[str, Any], then: str) -> None:
    """ValueError, in one sentence that ends with `then`, where it cannot be written."""
    try:
        write_atomically(note, json.dumps(noted), 0o600)
    except OSError as error:
        raise ValueError(f"{note} cannot be written ({error.strerror}): {then}") from error


def _lacks(book: Book, run: str) -> bool:
    """Whether an account does not hold a run, for certain."""
    with suppress(ValueError, OSError):
        there = book.read()
        return there is None or run not in there.runs
    return False


def _admitted(
    book: Book, as_it_is: Callable[[Account], Run], command: Command, entries: Sequence[Mapping[str, Any]],
    plan: Plan | None, noted: Mapping[str, Any] | None,
) -> Account:  # fmt: skip
    """The account with this run; ValueError where it is refused, once what it has paid is entered: that is spent on
    these people, whatever is refused after."""
    refused: ValueError | None = None

    def change(there: Account) -> list[dict[str, Any]]:
        nonlocal refused
        run, refused = as_it_is(there), None
        told = any(one.behind == run.run for one in there.gaps)
        gap = [vars(Behind(run.run, run.time))] if not told and _behind(there, run.run, noted, entries) else []
        try:
            admission.check_prices(there, run)
            lines = admission.admit(there, run, command.account, admission.has_paid(entries, plan))
            return [*lines, *gap, *_missing(there, run.run, entries)]
        except ValueError as error:
            refused = error
            # What is entered here nobody could miss again: it is told now or never that others may be missing.
            return [*admission.spent(there, run, {one["stage"]: cost_of(one) for one in entries}), *gap]

    after = book.add(change)
    if refused is not None:
        raise ValueError(str(refused)) from refused
    return after
