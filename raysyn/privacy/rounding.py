"""Figures of a promise as they are printed: rounded so that none of them flatters."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context


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
