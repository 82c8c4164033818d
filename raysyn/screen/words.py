"""Figures and names as they are printed: rounded so that none of them flatters, counted, shortened."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from raysyn.privacy.rounding import rounded_down as rounded_down
from raysyn.privacy.rounding import rounded_up as rounded_up

LONG = 40
"""Letters of a name in a sentence: more of them would bury what is said."""


def so_many(number: int, what: str) -> str:
    """`1 class`, `2 classes`, `1,000 runs`."""
    return f"{number:,} {plural(number, what)}"


def plural(number: int, what: str) -> str:
    """The word alone."""
    if number == 1:
        return what
    return f"{what}es" if what.endswith("s") else f"{what}s"


def of_each(number: int, what: str) -> str:
    """`each of the 3 classes`, `the one class`."""
    return f"the one {what}" if number == 1 else f"each of the {so_many(number, what)}"


def shortened(name: str, most: int = LONG) -> str:
    """A name of at most so many letters, the last of them dots where it was cut off."""
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def in_a_line(error: BaseException) -> str:
    """What was raised, with its kind."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def guess(word: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)`, or nothing where nothing is near."""
    close = get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
