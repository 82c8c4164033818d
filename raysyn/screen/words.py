"""Figures and names as they are printed: rounded so that none of them flatters, counted, shortened."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context

LONG = 40
"""Letters of a name in a sentence: more of them would bury what is said."""


def rounded_up(value: float, digits: int = 3) -> str:
    """At most `digits` significant digits, never below `value`: a printed promise must not flatter."""
    return _rounded(value, digits, ROUND_CEILING)


def rounded_down(value: float, digits: int = 3) -> str:
    """The same of what an attack misses, or what room is left: never above `value`."""
    return _rounded(value, digits, ROUND_FLOOR)


def _rounded(value: float, digits: int, how: str) -> str:
    if not math.isfinite(value):
        return str(value)
    number = Context(prec=digits, rounding=how).create_decimal(repr(float(value)))
    return f"{float(number):.{digits}g}".replace("e-0", "e-").replace("e+0", "e+")


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
