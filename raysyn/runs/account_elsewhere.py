"""A note beside a source of images of the other places that its runs were entered in, for whoever names none.

Nothing that it names is ever opened, since anybody who may write beside the images may have written it: a command that
names no account is told of these places, and whoever started it says which one is meant.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from raysyn.runs.account_book import ENDING, FileBook
from raysyn.runs.account_lines import Book
from raysyn.runs.storage import written_atomically

ELSEWHERE = ".accounts-elsewhere.txt"
"""The ending of the note, where the account beside the images has `ENDING`."""
HEAD = (
    "# Runs on these images are entered in the accounts named below, one a line, and not in one beside the images.\n"
    "# A run that names no account with --budget.account is refused while one is named here and none lies beside.\n"
)
MOST = 1 << 16
"""Bytes that are read of it."""


def note_of(usual: FileBook) -> Path:
    """Where the note of the images is whose usual account this would be."""
    return usual.path.with_name(usual.path.name.removesuffix(ENDING) + ELSEWHERE)


def noted(usual: FileBook) -> tuple[str, ...]:
    """The places, as words to show: what no place can be called is left out."""
    try:
        path = note_of(usual)
        if not path.is_file():  # a pipe may never be written to
            return ()
        with path.open("rb") as file:
            lines = file.read(MOST).decode("utf-8", "replace").splitlines()
    except OSError:
        return ()
    places = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return tuple(dict.fromkeys(place for place in places if place.isprintable() and place != str(usual)))


def note(usual: FileBook, book: Book) -> None:
    """Name the account of a run on these images, unless it is the usual one or is named already. Where nothing can be
    written beside the images nothing is: the run has said so as it began."""
    place = str(book)
    same = isinstance(book, FileBook) and book.path.resolve() == usual.path.resolve()
    if same or not place.isprintable() or place in (named := noted(usual)):
        return
    with suppress(OSError), written_atomically(note_of(usual)) as file:
        file.write((HEAD + "".join(f"{one}\n" for one in (*named, place))).encode())


def why_no_note(usual: FileBook) -> str | None:
    """Why nothing can be named beside the images, in words."""
    return usual.why_not() if not usual.exists() else FileBook(note_of(usual)).why_not()
