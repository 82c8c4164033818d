"""Accounts near a source of images that may be of the same people: of a table of the folder's files, or of the folder
that a file lies in."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from raysyn.runs import account_elsewhere
from raysyn.runs.account_book import ENDING, FileBook


def near(usual: FileBook) -> tuple[str, ...]:
    """Places of the accounts beside a source, in it and of folders that it lies in, but for its own and those that
    the note beside it names; `usual` is where its own is or would be."""
    source = usual.path.with_name(usual.path.name.removesuffix(ENDING))
    found = [*_in(usual.path.parent), *_in(source)]
    found += [parent.with_name(parent.name + ENDING) for parent in source.parents if parent.name]
    places = dict[str, None]()
    for path in found:
        book = FileBook(path)
        if path.is_file():
            places[account_elsewhere.place_of(book)] = None
        places |= dict.fromkeys(account_elsewhere.noted(book))
    known = {account_elsewhere.place_of(usual), *account_elsewhere.noted(usual)}
    return tuple(place for place in places if place not in known)


def _in(folder: Path) -> list[Path]:
    """The accounts that are in a folder, or would be but for a note beside them; none of what is no folder."""
    with suppress(OSError):
        names = sorted(one.name for one in folder.iterdir())
        ended = ((name, end) for name in names for end in (ENDING, account_elsewhere.ELSEWHERE) if name.endswith(end))
        return [folder / (name.removesuffix(end) + ENDING) for name, end in ended]
    return []
