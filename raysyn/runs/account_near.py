"""Accounts near a source of images that may be of the same people: of a table of the folder's files, or of the folder
that a file lies in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from difflib import SequenceMatcher
from pathlib import Path
from typing import NamedTuple

from raysyn.runs import account_elsewhere
from raysyn.runs.account_book import ENDING, FileBook


class Near(NamedTuple):
    """Places of accounts, and the one of them to name, but where several are no likelier than others."""

    places: tuple[str, ...]
    likeliest: str | None


def near(usual: FileBook, given: str) -> Near:
    """The accounts beside a source, at the top of it and of folders that it lies in, but for its own and those that the
    note beside it names, the likeliest last; `usual` is where its own is or would be, and `given` how the source was
    named, which may be a link elsewhere."""
    found = dict[Path, tuple[int, int]]()
    for source in (_source(usual.path), Path(os.path.abspath(os.path.expanduser(given)))):
        for path, likely in _around(source):
            found[path] = max(likely, found.get(path, likely))
    places = dict[str, int]()
    for path in sorted(found, key=lambda path: found[path], reverse=True):
        book = FileBook(path)
        # It raises nothing, as of a name that is too long.
        own = [account_elsewhere.place_of(book)] if os.path.isfile(path) else []
        for place in (*reversed(account_elsewhere.noted(book)), *own):
            places.setdefault(place, found[path][0])
    known = {account_elsewhere.place_of(usual), *account_elsewhere.noted(usual)}
    told = [place for place in places if place not in known]
    # Several that do no more than lie beside it are as likely to be of others.
    clear = len(told) == 1 or (told and places[told[0]] > BESIDE)
    return Near(tuple(reversed(told)), told[0] if clear else None)


def renamed(usual: FileBook) -> tuple[str, ...]:
    """The accounts beside a source of which it may be the source by another name: what they are named after is not
    there any more, and is called much alike; but for those that the note beside it names."""
    own, known = _source(usual.path).name, {account_elsewhere.place_of(usual), *account_elsewhere.noted(usual)}
    beside = [path for path in _in(usual.path.parent) if os.path.isfile(path) and not os.path.exists(_source(path))]
    alike = [path for path in beside if SequenceMatcher(None, _source(path).name, own).ratio() >= ALIKE]
    return tuple(place for path in alike if (place := account_elsewhere.place_of(FileBook(path))) not in known)


ALIKE = 0.6
"""From this ratio of matching characters on (difflib), two names may be one's old and new one."""
BESIDE = 0
"""How likely an account is of the same people that lies beside a source and shares no name with it."""


def _around(source: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Where accounts may be, each with how likely it is of the same people: one of the same name but for its ending,
    one in the source, one of a folder around it, the nearest first, and one that lies beside it."""
    above = [parent.with_name(parent.name + ENDING) for parent in source.parents if parent.name]
    ranked = [*((path, 2) for path in _in(source)), *((path, 1) for path in above)]
    ranked += [(path, BESIDE) for path in _in(source.parent)]
    for at, (path, likely) in enumerate(ranked):
        yield path, (3 if _source(path).stem == source.stem else likely, -at)


def _source(account: Path) -> Path:
    return account.with_name(account.name.removesuffix(ENDING))


def _in(folder: Path) -> list[Path]:
    """The accounts that are in a folder, or would be but for a note beside them; none of what is no folder."""
    with suppress(OSError):
        names = sorted(os.listdir(folder))
        ended = ((name, end) for name in names for end in (ENDING, account_elsewhere.ELSEWHERE) if name.endswith(end))
        return [folder / (name.removesuffix(end) + ENDING) for name, end in ended if name != end]
    return []
