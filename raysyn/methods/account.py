"""The account over all runs on the same images: looked at before a run, and entered in as it opens.

It holds what each run is: priced, or without a guarantee, and which looks at real images nobody pays for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from raysyn.data.images import Dataset
from raysyn.methods.account_place import Command, begun, note_left_out, place_of
from raysyn.privacy import admission
from raysyn.privacy.account import Account, Run, paid_line
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
ALWAYS_LOOKS = "accuracy on real images"


def look(
    book: Book | None, command: Command, method: str, dataset: Dataset, plan: Plan | None, console: Console
) -> None:
    """Say what the account holds so far, and which of these images were in earlier runs; ValueError, in one sentence,
    where this run may not begin. Nothing is written."""
    if (known := begun(command.out)) == "":
        return
    there, noted = None if book is None else book.read(), _noted(command.out)
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
    run, paid = as_entered(known or "", command, method, dataset, plan, there.key), _has_paid(command.out, plan)
    admission.admit(there, run, command.account, paid)
    if paid and (why_not := admission.why_not(there, run)) is not None:
        console.say(f"WARNING: {why_not}. This run has paid already, and is entered all the same.")
    if run.run in there.runs and (unwritten := admission.unwritten(there, command.account)) is not None:
        console.say(f"WARNING: {unwritten}.")
    console.say(f"Account {book}: {account_told.so_far(there, run)}")


def _noted(out: str) -> dict[str, Any] | None:
    """In which account the run of a folder was entered, and when; None where it was in none."""
    with suppress(OSError, ValueError):
        noted = json.loads(read_bytes(out, f"internal/{NOTE}"))
        return noted if isinstance(noted, dict) else None
    return None


def _has_paid(out: str, plan: Plan | None) -> bool:
    """Whether a run has paid all of its plan, in an account or not: nothing of it is left to refuse."""
    with suppress(OSError, ValueError, LookupError, TypeError):
        lines = whole_lines(read_bytes(out, "internal/ledger.jsonl")).splitlines()
        return plan is not None and {json.loads(line)["stage"] for line in lines} >= set(plan.stages)
    return False


def _is_lost(noted: Mapping[str, Any], there: Account | None, run: str) -> bool:
    """Whether the account is another one than that of the note, or lacks what it held then: a run that was entered a
    second time is not enough, since others may be missing."""
    return there is None or run not in there.runs or dict(noted) != _note(there, run)


def _note(there: Account, run: str) -> dict[str, Any]:
    return {"account": there.id, "entered": there.runs[run].time}


def as_entered(known: str, command: Command, method: str, dataset: Dataset, plan: Plan | None, key: bytes) -> Run:
    """A run as the account would hold it."""
    train, config = dataset.train, command.config
    return Run(
        run=known, method=method, preset=command.preset, time=now("microseconds"), folder=place_of(command.out),
        adjacency=ADD_REMOVE if train.persons_N is None else ADD_REMOVE_PERSON,
        units=train.units, images=len(train), shape=train.shape,
        guarantee="dp" if plan is not None else "none" if hasattr(config, "release") else "no release",
        delta=None if plan is None else plan.delta, reserved={} if plan is None else dict(plan.stages),
        chosen_among=getattr(config, "chosen_among", None), looks=looks(config),
        sketch=Sketch.of(dataset.copies.different, key),
    )  # fmt: skip


def looks(config: Any) -> tuple[str, ...]:
    """What of a run looks at real images and is paid for by nobody, in a few words each."""
    told = [ALWAYS_LOOKS] if getattr(getattr(config, "eval", None), "classifiers", ()) else []
    asked = getattr(config, "experiment", None)
    if asked is not None and (asked.asks() if hasattr(asked, "asks") else asked != type(asked)()):
        told.append("experiments with further models")
    tuned = getattr(config, "tuned_on", None)
    return (*told, *([f"settings tuned on {tuned}"] if tuned else []))


@dataclass(frozen=True)
class Kept:
    """The account that a run was entered in."""

    book: Book
    run: str
    lost: bool
    """Whether an account that the run was entered in before is another one."""

    def pay(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Enter what is paid, each stage once. RuntimeError, in one sentence, where the account is gone."""

        def change(there: Account) -> list[dict[str, Any]]:
            if self.run not in there.runs:
                raise FileNotFoundError(str(self.book))
            known = there.paid.get(self.run, {})
            return [
                paid_line(self.run, one["stage"], cost_of(one), one["time"]) for one in entries
                if one["stage"] not in known
            ]  # fmt: skip

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
    book: Book | None, command: Command, method: str, dataset: Dataset, folder: RunFolder, plan: Plan | None
) -> Kept | None:
    """Enter a run that has just been opened, once, before anything is asked of the private images. ValueError, in one
    sentence, where there is no room for it."""
    note_left_out(command, dataset, book, folder.run_id)
    if book is None:
        return None
    note, paid = folder.internal / NOTE, _has_paid(str(folder.out), plan)

    def change(there: Account) -> list[dict[str, Any]]:
        run = as_entered(folder.run_id, command, method, dataset, plan, there.key)
        return admission.admit(there, run, command.account, paid)

    after = book.add(change)
    if note.exists():
        # The first one stays, so that what is brought back is known again.
        return Kept(book, folder.run_id, _is_lost(_noted(str(folder.out)) or {}, after, folder.run_id))
    write_atomically(note, json.dumps(_note(after, folder.run_id)), 0o600)
    folder.push()
    return Kept(book, folder.run_id, lost=False)
