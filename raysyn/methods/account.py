"""The account over all runs on the same images: found beside them, looked at before a run, and entered in as it opens.

It holds what each run is: priced, or without a guarantee, and which looks at real images nobody pays for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from raysyn.data.images import Dataset
from raysyn.privacy import account
from raysyn.privacy.account import Account, Run, paid_line
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON
from raysyn.privacy.ledger import Plan, cost_of
from raysyn.privacy.sketch import Sketch
from raysyn.report import account_told
from raysyn.runs.account_book import beside, book_at
from raysyn.runs.account_lines import Book, now
from raysyn.runs.folder import RunFolder
from raysyn.runs.ownership import id_of
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import local_folder, read_bytes, write_atomically
from raysyn.screen.console import Console

NOTE = "account.json"
"""Of internal/: in which account the run was entered."""
ALWAYS_LOOKS = "accuracy on real images"


class Asked(account.Asked, Protocol):
    """What is needed of the flags of --budget.*."""

    @property
    def account(self) -> str | None: ...


class Command(Protocol):
    """What is needed of `cli.Command`."""

    @property
    def preset(self) -> str: ...
    @property
    def config(self) -> Any: ...
    @property
    def out(self) -> str: ...
    @property
    def account(self) -> Asked: ...


def found(command: Command, dataset: Dataset, console: Console) -> Book | None:
    """Where the account of these images is or will be; None where none is kept, which is said where one could be.
    ValueError, in one sentence, for a place that was asked for and cannot be written to, and for an account that is
    there and cannot."""
    asked = command.account
    path = getattr(getattr(command.config, "data", None), "path", None)
    usual = beside(path) if dataset.own and path is not None else None
    if asked.account == "none":
        if usual is not None and usual.exists():
            console.say(
                f"WARNING: {usual}, the account of these images, is left out: what this run costs is not added."
            )
        return None
    book = usual if asked.account is None else book_at(asked.account)
    if book is None:
        if (total := asked.total or asked.new_total) is not None:
            raise ValueError(
                f"budget.total is {total:g}, and no account is kept of a set by name or a release: say where with "
                "--budget.account"
            )
        return None
    if (why_not := book.why_not()) is None:
        return book
    if asked.account is not None:
        raise ValueError(f"budget.account is {asked.account}, but {why_not}: give a file in a folder that is there")
    if book.exists() or asked.total or asked.new_total:
        raise ValueError(
            f"{book}, the account of these images, cannot be added to ({why_not}): mend that, or name another "
            "place with --budget.account"
        )
    console.say(f"No account is kept, since {why_not}: the certificate will cover this run alone (--budget.account).")
    return None


def look(
    book: Book | None, command: Command, method: str, dataset: Dataset, plan: Plan | None, console: Console
) -> None:
    """Say what the account holds so far, and which of these images were in earlier runs; ValueError, in one sentence,
    where this run may not begin. Nothing is written."""
    if book is None or (known := _begun(command.out)) == "":
        return
    there = book.read()
    if there is None:
        # Asked of an account that nothing is in.
        there = Account(id="", key=b"")
    run = _run(known or "", command, method, dataset, plan, there.key)
    account.admit(there, run, command.account)
    console.say(f"Account {book}: {account_told.so_far(there, run)}")


def _begun(out: str) -> str | None:
    """The id of the run in a folder: None where there is none yet, empty where it is sealed and asks nothing more."""
    with suppress(OSError, ValueError):
        if json.loads(read_bytes(out, RUN_JSON)).get("sealed"):
            return ""
        return id_of(read_bytes(out, "internal/secret"))
    return None


def _run(known: str, command: Command, method: str, dataset: Dataset, plan: Plan | None, key: bytes) -> Run:
    train, config, here = dataset.train, command.config, local_folder(command.out)
    return Run(
        run=known, method=method, preset=command.preset, time=now(),
        folder=_without_password(command.out) if here is None else str(here.absolute()),
        adjacency=ADD_REMOVE if train.persons_N is None else ADD_REMOVE_PERSON,
        units=train.units, images=len(train), shape=train.shape,
        guarantee="dp" if plan is not None else "none" if hasattr(config, "release") else "no release",
        delta=None if plan is None else plan.delta, reserved={} if plan is None else dict(plan.stages),
        chosen_among=getattr(config, "chosen_among", None), looks=looks(config),
        sketch=Sketch.of(dataset.copies.different, key),
    )  # fmt: skip


def _without_password(uri: str) -> str:
    scheme, mark, rest = uri.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path.partition('?')[0]}"


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
    return account_told.together(there, there.runs[kept.run].adjacency, plan.delta)


def enter(
    book: Book | None, command: Command, method: str, dataset: Dataset, folder: RunFolder, plan: Plan | None
) -> Kept | None:
    """Enter a run that has just been opened, once, before anything is asked of the private images. ValueError, in one
    sentence, where there is no room for it."""
    if book is None:
        return None
    note = folder.internal / NOTE
    noted = json.loads(note.read_text()) if note.exists() else None
    missed = False

    def change(there: Account) -> list[dict[str, Any]]:
        nonlocal missed
        missed = folder.run_id not in there.runs
        return account.admit(there, _run(folder.run_id, command, method, dataset, plan, there.key), command.account)

    after = book.add(change)
    lost = noted is not None and (missed or noted["account"] != after.id)
    if noted is None or (lost and noted["account"] is not None):
        write_atomically(note, json.dumps({"account": None if lost else after.id}), 0o600)
        folder.push()
    return Kept(book, folder.run_id, lost)
