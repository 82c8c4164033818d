"""Where the account of a run's images is: beside them or where it was asked for; what is said where it is left out."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from raysyn.data.images import Dataset
from raysyn.privacy import account
from raysyn.privacy.account import Account, Passed
from raysyn.report.release import CERTIFICATE, RELEASE
from raysyn.runs import account_elsewhere
from raysyn.runs.account_book import ENDING, FileBook, beside, book_at
from raysyn.runs.account_lines import BEGINS, Book, now
from raysyn.runs.account_near import Near, near, renamed
from raysyn.runs.ownership import id_of
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import local_folder, read_bytes, without_password
from raysyn.screen.console import Console

NONE = "none"
"""What --budget.account says where none shall be kept."""


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
    there and cannot, or whose total would be passed by without a reason."""
    asked = command.account
    usual = _usual(command, dataset)
    book = usual if asked.account is None else None if asked.account == NONE else book_at(asked.account)
    if (left_out := _left_out(usual, book)) is not None and begun(command.out) != "":
        _say_left_out(left_out, asked, console)
    if usual is not None and begun(command.out) != "":
        _check_elsewhere(usual, book, asked, console)
    if asked.account == NONE:
        return None
    if book is None:
        if (total := asked.total or asked.new_total) is not None:
            raise ValueError(
                f"budget.total is {total:g}, and no account is kept of a set by name or a release: say where with "
                "--budget.account"
            )
        return None
    if (why_not := _no_place(book, command) or book.why_not()) is None:
        if usual is not None and not book.exists() and begun(command.out) != "":
            _say_near(near(usual, str(_path(command))), book, console)
        elif usual is not None and asked.account is None and book.exists():
            _say_renamed(renamed(usual), book, console)
        return book
    if asked.account is not None:
        place = without_password(asked.account)
        raise ValueError(f"budget.account is {place}, but {why_not}: give a file in a folder that is there")
    if book.exists() or asked.total or asked.new_total:
        raise ValueError(
            f"{book}, the account of these images, cannot be added to ({why_not}): mend that, or name another "
            "place with --budget.account"
        )
    console.say(f"No account is kept, since {why_not}: the certificate will cover this run alone (--budget.account).")
    return None


def _no_place(book: Book, command: Command) -> str | None:
    """Why an account must not lie where it is asked for or usual, in words: it would leave, or be thrown away."""
    if not isinstance(book, FileBook):
        return None
    path, data = _path(command), book.path.resolve()
    if any(_is_release(one) for one in data.parents):
        return "it would lie in a release, and leave with it"
    if command.account.account is None:
        job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
        if job and path is not None and not Path(path).expanduser().is_absolute():
            return "it would lie in the working directory of a submitted job, which is thrown away with it"
        return None
    # One that is there is of a table in the folder.
    if path is not None and Path(path).expanduser().resolve() in data.parents and not _is_account(book):
        return "it would lie inside the source of the images"
    release = local_folder(command.out)
    if release is not None and (release / RELEASE).absolute().resolve() in data.parents:
        return "it would lie in a release, and leave with it"
    return None


def _is_account(book: FileBook) -> bool:
    """Whether a file is there that is an account by its name or by how it begins."""
    with suppress(ValueError):
        return book.exists() and (book.path.name.endswith(ENDING) or book.held()[0].startswith(BEGINS))
    return False


def _is_release(folder: Path) -> bool:
    with suppress(OSError, ValueError, AttributeError):
        return "made_by" in json.loads((folder / CERTIFICATE).read_text(encoding="utf-8"))
    return False


def _path(command: Command) -> str | None:
    path: str | None = getattr(getattr(command.config, "data", None), "path", None)
    return path


def _usual(command: Command, dataset: Dataset) -> FileBook | None:
    """Beside the images, if these are a user's."""
    path = _path(command)
    return beside(path) if dataset.own and path is not None else None


def _left_out(usual: FileBook | None, book: Book | None) -> FileBook | None:
    """The usual account, where it is there and this run is entered in another one or none."""
    if usual is None or not usual.exists():
        return None
    same = isinstance(book, FileBook) and book.path.resolve() == usual.path.resolve()
    return None if same else usual


def _say_left_out(usual: FileBook, asked: Asked, console: Console) -> None:
    """ValueError, in one sentence, where it has a total, and nobody says why that may be passed by."""
    console.say(f"WARNING: {usual}, the account of these images, is left out: what this run costs is not added to it.")
    try:
        there = usual.read()
        total = None if there is None or there.total is None else f"has a total of {there.total.total:g}"
    except ValueError:
        total = "cannot be read, and may have a total"
    if total is not None and not (asked.reason or "").strip():
        raise ValueError(
            f"budget.account is {without_password(str(asked.account))}, but {usual}, the account of these images, "
            f"{total}, which this run would pass by: leave --budget.account out, or say with --budget.reason why it may"
        )


def _check_elsewhere(usual: FileBook, book: Book | None, asked: Asked, console: Console) -> None:
    """Say which accounts of these images were named by earlier runs and are left out. ValueError, in one sentence,
    where this one names none and would begin another."""
    mine = None if book is None else account_elsewhere.place_of(book)
    others = tuple(place for place in account_elsewhere.noted(usual) if place != mine)
    told = account_elsewhere.told(others)
    if others and asked.account is None and not usual.exists():
        # What somebody may have written there is quoted, so that it is one word where it is pasted.
        last = shlex.quote(others[-1]) + (" (with its endpoint and credentials)" if "://" in others[-1] else "")
        new = NONE if usual.why_not() is not None else shlex.quote(str(usual))
        raise ValueError(
            f"runs on these images are entered in {told}, as {account_elsewhere.note_of(usual)} says, and this one "
            f"names no account: give --budget.account {last}, or --budget.account {new} where this one is to know "
            "nothing of them and of their total"
        )
    if others:
        console.say(
            f"WARNING: {told}, where runs on these images are entered, "
            f"{'is' if len(others) == 1 else 'are'} left out: what this run costs is not added there."
        )
    if book is not None and mine != account_elsewhere.place_of(usual):
        _say_no_note(account_elsewhere.why_no_note(usual), book, console)


def _say_near(found: Near, book: Book, console: Console) -> None:
    """Say which other accounts a new one may be a second one of, as of a table and the folder that it lies in."""
    likeliest = found.likeliest
    if others := tuple(place for place in found.places if place != account_elsewhere.place_of(book)):
        which = "that one as --budget.account in each"
        if likeliest in others and likeliest is not None:
            which = f"one account for all, as by --budget.account {shlex.quote(likeliest)}"
        console.say(
            f"WARNING: this run begins a new account, {book}, in which no earlier run counts: if "
            f"{account_elsewhere.told(others)} {'is' if len(others) == 1 else 'are'} of the same people, name {which}"
        )


def _say_renamed(lost: tuple[str, ...], book: Book, console: Console) -> None:
    """Say in which other account runs may have been entered while the images had another name."""
    if lost:
        console.say(
            f"WARNING: {account_elsewhere.told(lost)} beside these images {'is' if len(lost) == 1 else 'are'} of some "
            f"that are not there any more: if they are these, renamed, neither the runs nor the total there count in "
            f"{book}: name one account for all, as by --budget.account {shlex.quote(lost[-1])}"
        )


def _say_no_note(why_not: str | None, book: Book, console: Console) -> None:
    if why_not is not None:
        console.say(
            f"Nothing can be noted beside the images ({why_not}): name {book} with --budget.account in every command "
            "on them."
        )


def may_be_elsewhere(command: Command) -> bool:
    """Whether a run names no account, and a note beside its images names one: it may be refused."""
    path = _path(command)
    if command.account.account is not None or path is None or "://" in path:
        return False
    return bool(account_elsewhere.noted(beside(path)))


def note_elsewhere(command: Command, dataset: Dataset, book: Book, console: Console) -> None:
    """Have later commands on these images that name no account told of this one, or say why that cannot be."""
    if command.account.account is None or (usual := _usual(command, dataset)) is None:
        return
    # What could be foreseen was said as the place was looked at.
    if account_elsewhere.why_no_note(usual) is None:
        _say_no_note(account_elsewhere.note(usual, book), book, console)


def passes_by(command: Command, dataset: Dataset, book: Book) -> bool:
    """Whether the usual account is there too, which this one cannot speak for."""
    return _left_out(_usual(command, dataset), book) is not None


def note_left_out(command: Command, dataset: Dataset, book: Book | None, run: str) -> None:
    """Write down once, in an account that has a total, which run passes it by, and why."""
    usual = _left_out(_usual(command, dataset), book)
    if usual is None or not (reason := (command.account.reason or "").strip()) or usual.why_not() is not None:
        return
    here = place_of(command.out)

    def change(there: Account) -> list[dict[str, Any]]:
        known = run in there.runs or any(one.passed_by == run for one in there.passes)
        return [] if there.total is None or known else [vars(Passed(run, here, reason, now()))]

    with suppress(ValueError, FileNotFoundError):  # of a damaged one the reason was asked for
        usual.add(change, new=False)


def begun(out: str) -> str | None:
    """The id of the run in a folder: None where there is none yet, empty where it is sealed and asks nothing more."""
    with suppress(OSError, ValueError, AttributeError):  # or a JSON that is no run's
        if json.loads(read_bytes(out, RUN_JSON)).get("sealed"):
            return ""
        return id_of(read_bytes(out, "internal/secret"))
    return None


def run_in(out: str) -> str | None:
    """The id of the run in a folder, also of one that is sealed; None where there is none, or it is not known."""
    with suppress(OSError, ValueError, AttributeError, KeyError, TypeError):
        return begun(out) or str(json.loads(read_bytes(out, RUN_JSON))["sealed"]["run"])
    return None


def place_of(out: str) -> str:
    here = local_folder(out)
    return without_password(out) if here is None else str(here.absolute())
