"""A note beside a source of images of the other places that its runs were entered in, for whoever names none.

Nothing that it names is ever opened, since anybody who may write beside the images may have written it: a command that
names no account is told of these places, and whoever started it says which one is meant. For the same reason it is a
file itself or nothing (a link to a private file would have that file's lines shown, and copied), and of its lines only
those count that are a place as raysyn writes it.
"""

from __future__ import annotations

import os
import re
import stat
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
MOST, LONGEST, SHOWN, TRIES = 1 << 16, 4096, 3, 5
"""Bytes that are read of it, and characters of a place; how many places are told; how often it is written."""
PLACE = re.compile(r"/[^\s].*|[a-z][a-z0-9+.-]*://\S+")
"""An absolute path, or a URI."""


def note_of(usual: FileBook) -> Path:
    """Where the note of the images is whose usual account this would be."""
    return usual.path.with_name(usual.path.name.removesuffix(ENDING) + ELSEWHERE)


def noted(usual: FileBook) -> tuple[str, ...]:
    """The places, as words to show, the latest last."""
    return _places(_content(note_of(usual)) or b"", usual)


def place_of(book: Book) -> str:
    """How an account is noted: one file has one name, whichever link led to it."""
    return str(book.path.resolve()) if isinstance(book, FileBook) else str(book)


def told(places: tuple[str, ...]) -> str:
    """Places as a sentence names them."""
    more = f" and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    return " and ".join(places[-SHOWN:]) + more


def note(usual: FileBook, book: Book) -> str | None:
    """Name the account of a run on these images, unless it is the usual one or is named already; why that cannot be,
    in words, where it is."""
    path, place = note_of(usual), place_of(book)
    if place == place_of(usual) or place in noted(usual):
        return None
    if not _is_place(place):
        return "its name has characters that no line shows"
    if (why_not := why_no_note(usual)) is not None:
        return why_not
    # Written anew, it may lose what another run has named meanwhile, which sees to it as this one does.
    for _ in range(TRIES):
        held = _content(path) or b""
        if len(held) + len(place) >= MOST:
            return f"{path} is full"
        try:
            with written_atomically(path) as file:
                file.write((HEAD + "".join(f"{one}\n" for one in (*_places(held, usual), place))).encode())
        except OSError as error:
            return f"{path} cannot be written ({error.strerror})"
        if place in noted(usual):
            return None
    return f"{path} is written by others"


def why_no_note(usual: FileBook) -> str | None:
    """Why nothing can be named beside the images, in words."""
    path = note_of(usual)
    if os.path.lexists(path) and _content(path) is None:
        return f"{path} is no file that can be read"
    # It is replaced, so that the folder must be writable, and not the file.
    return None if os.access(path.parent, os.W_OK) else f"{path.parent} cannot be written to"


def _places(content: bytes, usual: FileBook) -> tuple[str, ...]:
    whole, _, _ = content.rpartition(b"\n")  # what is read of a long one may end within a line
    lines = (line.strip() for line in whole.decode("utf-8", "replace").splitlines())
    return tuple(dict.fromkeys(line for line in lines if _is_place(line) and line != place_of(usual)))


def _is_place(line: str) -> bool:
    return len(line) <= LONGEST and line.isprintable() and PLACE.fullmatch(line) is not None


def _content(path: Path) -> bytes | None:
    """The beginning of a file, and of nothing that a link leads to or that is waited for; None where it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        about = os.fstat(descriptor)
        # One with two names may be a file of somebody else.
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            return None
        return os.pread(descriptor, MOST, 0)
    finally:
        os.close(descriptor)
