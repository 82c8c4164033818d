"""Labels that are text, in tables, Parquet files and archives: class numbers, or names of classes.

Of a column of numbers one that is missing, below 0 or written as 1.0 must not make words, which have another order.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from raysyn.data.labels import check_number
from raysyn.data.names import in_order
from raysyn.data.persons import NOBODY

MISSING = ("nan", "<na>", "#n/a", "#na")
"""What programs write for a label that is not there, in small letters. Beside numbers it is all that is no person."""
WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,8})(?:\.0*)?")
"""A whole number, also as programs write it in a column of which some are missing."""


def plain(word: str) -> str:
    """1 for 1.0, and any other label itself."""
    found = WHOLE.fullmatch(word)
    return word if found is None else found[1]


def names_of(words: Collection[str]) -> list[str]:
    """Names of the classes that these labels are, in order: numbers are written in one way where all are numbers."""
    return in_order(set(map(plain, words)) if all(map(WHOLE.fullmatch, words)) else words)


def missing(words: Collection[str]) -> str | None:
    """The first of these labels that is none; None where all are."""
    others = sorted(word for word in words if not WHOLE.fullmatch(word))
    of_numbers = len(others) < len(words) and all(word.casefold() in NOBODY for word in others)
    return next((word for word in others if word.casefold() in (NOBODY if of_numbers else MISSING)), None)


def told_missing(word: str) -> str:
    """The end of a sentence on it."""
    return f"has the label {word!r}, which is none; fill it, drop it, or give that class a name"


def classes_of(
    rows: Sequence[tuple[str, object, str]], label: str, places: Iterable[str]
) -> tuple[dict[str, int], list[str] | None]:
    """{label: class number} of (split, file, label), and names where labels are words: those of train, sorted.
    ValueError, in a sentence that `label` opens, for a label that is none, or a word that train lacks."""
    every = {name for _, _, name in rows}

    def place(word: str) -> str:
        return next(f"{label}: {one}" for one, (*_, name) in zip(places, rows, strict=False) if name == word)

    if (none := missing(every)) is not None:
        raise ValueError(f"{place(none)} {told_missing(none)}")
    if all(map(WHOLE.fullmatch, every)):
        for below in (name for name in every if name.startswith("-")):
            check_number(int(plain(below)), place(below))
        return {name: int(plain(name)) for name in every}, None
    names = in_order({name for where, _, name in rows if where == "train"})
    if extra := sorted(every - set(names)):
        raise ValueError(f"{label}: the label {extra[0]!r} is no class of train; mend it")
    return {name: number for number, name in enumerate(names)}, names
