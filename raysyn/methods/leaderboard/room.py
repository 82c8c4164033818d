"""Whether all runs of a leaderboard have room under the total of their account, before the first of them begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

from raysyn.methods import account, account_place, catalogue
from raysyn.methods.leaderboard.config import Run
from raysyn.privacy import account as accounts
from raysyn.privacy import admission
from raysyn.privacy.account import Account
from raysyn.runs.account_book import beside, book_at
from raysyn.runs.account_lines import Book
from raysyn.runs.storage import under
from raysyn.screen.console import Console


def check_room(units: Sequence[Run], commands: Mapping[str, Any], out: str) -> None:
    """ValueError, in one sentence, where the runs that are still to be entered in an account exceed its total together:
    each alone might find room, until one does not, when the others are paid. Nothing is written.

    Where there is no total, nothing is priced; seeds of the same run cost the same.
    """
    prepared: dict[Any, Any] = {}
    there: dict[str, Account] = {}
    asked: dict[str, list[tuple[accounts.Run, Any]]] = {}
    for unit in units:
        command = replace(commands[unit.name], out=under(out, "internal", "runs", unit.name))
        try:
            if not _may_have_total(command) or (known := account_place.begun(command.out)) == "":
                continue
            if unit.row not in prepared:
                prepared[unit.row] = catalogue.find(unit.method).method().prepare(command.config)
            found = prepared[unit.row]
            with Console(StringIO()) as unheard:  # each run says it by itself
                book = account_place.found(command, found.dataset, unheard)
            if book is not None:
                held = there.setdefault(str(book), book.read() or Account(id="", key=b""))
                name = known or unit.name
                run = account.as_entered(name, command, unit.method, (), found.dataset, found.plan, held.key)
                asked.setdefault(str(book), []).append((run, command.account))
        except ValueError as error:
            raise ValueError(f"run {unit.name}: {error}") from error
    for at, runs in asked.items():
        if (why_not := admission.why_not_all(there[at], runs)) is not None:
            raise ValueError(why_not)


def enter_choices(commands: Mapping[str, Any], storage: str, names: Sequence[str], among: str) -> None:
    """Enter, in the accounts of these runs, of which others they are chosen by now, also of runs that are finished."""
    books = {str(book): book for book in map(_book, commands.values()) if book is not None}
    for book in books.values():
        for name in names:
            account.enter_choice(book, under(storage, "runs", name), among)


def _may_have_total(command: Any) -> bool:
    """Whether a run asks for a total, or there is an account that has one, which it would be entered in."""
    if (book := _book(command)) is None:
        return bool(command.account.total or command.account.new_total)
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
