"""Whether all runs of a leaderboard have room under the total of their account, before the first of them begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from io import StringIO
from typing import Any

from raysyn.methods import account, account_place, catalogue
from raysyn.methods.leaderboard.config import Run, own_flags
from raysyn.privacy import account as accounts
from raysyn.privacy import admission
from raysyn.privacy.account import Account
from raysyn.runs.account_book import beside, book_at
from raysyn.runs.account_lines import Book
from raysyn.runs.storage import under
from raysyn.screen.console import Console

Declared = tuple[accounts.Run, Any, Sequence[str]]
"""A run, what it asks of the account, and the stages that it has paid."""


@dataclass(frozen=True)
class Room:
    """An account, and what a leaderboard will enter in it."""

    book: Book
    held: Account
    """As it was looked at."""
    runs: list[Declared] = field(default_factory=list)

    def enter_totals(self) -> None:
        """Write the totals that the runs ask for, before any of them."""

        def change(there: Account) -> list[dict[str, Any]]:
            return [asdict(total) for total in admission.totals(there, self.runs)]

        self.book.add(change)


def check_room(units: Sequence[Run], commands: Mapping[str, Any], out: str) -> list[Room]:
    """ValueError, in one sentence, where what runs have not paid by now exceeds the total of their account together:
    each alone might find room, until one does not, when the others are paid. Nothing is written. The accounts that
    have a total, or are asked for one.

    Where there is none, nothing is priced; seeds of the same run cost the same, and are of the same images.
    """
    first: dict[Any, tuple[str, accounts.Run] | None] = {}
    rooms: dict[str, Room] = {}
    for unit in units:
        command = replace(commands[unit.name], out=under(out, "internal", "runs", unit.name))
        try:
            if not _may_have_total(command) or (known := account_place.begun(command.out)) == "":
                continue
            # Before the account, as in `account.look`.
            paid = [entry["stage"] for entry in account.entries_of(command.out)]
            if unit.row not in first:
                first[unit.row] = _entered(unit, command, rooms)
            if (found := first[unit.row]) is not None:
                at, run = found
                run = replace(run, run=known or unit.name, folder=account_place.place_of(command.out))
                rooms[at].runs.append((run, command.account, paid))
        except ValueError as error:
            told = str(error) if unit.epsilon is None else own_flags(error)
            raise ValueError(f"run {unit.name}: {told}") from error
    for room in rooms.values():
        if (why_not := admission.why_not_all(room.held, room.runs)) is not None:
            raise ValueError(why_not)
    return list(rooms.values())


def _entered(unit: Run, command: Any, rooms: dict[str, Room]) -> tuple[str, accounts.Run] | None:
    """(the account, which joins `rooms`; the run as it would hold it, without its images)."""
    found = catalogue.find(unit.method).method().prepare(command.config)
    with Console(StringIO()) as unheard:  # each run says it by itself
        book = account_place.found(command, found.dataset, unheard)
    if book is None:
        return None
    if str(book) not in rooms:
        rooms[str(book)] = Room(book, book.read() or Account(id="", key=b""))
    key = rooms[str(book)].held.key
    return str(book), account.as_entered(unit.name, command, unit.method, (), found.dataset, found.plan, key)


def enter_choices(commands: Mapping[str, Any], storage: str, names: Sequence[str], among: str) -> None:
    """Enter, in the accounts of these runs, of which others they are chosen by now, also of runs that are finished."""
    books = {str(book): book for book in map(_book, commands.values()) if book is not None}
    for book in books.values():
        for name in names:
            account.enter_choice(book, under(storage, "runs", name), among)


def _may_have_total(command: Any) -> bool:
    """Whether a run asks for a total, or there is an account that has one, which it would be entered in, or may be one
    at another place."""
    if (book := _book(command)) is None:
        return bool(command.account.total or command.account.new_total) or account_place.may_be_elsewhere(command)
    there = book.read()
    return bool(command.account.total or command.account.new_total) or (there is not None and there.total is not None)


def _book(command: Any) -> Book | None:
    """The account that a run would be entered in, if it is there."""
    path: str | None = getattr(getattr(command.config, "data", None), "path", None)
    asked: str | None = command.account.account
    if asked is not None:
        book = None if asked == account_place.NONE else book_at(asked)
    else:
        book = None if path is None or "://" in path else beside(path)
    return book if book is not None and book.exists() else None
