"""Figures of a promise as they are printed: rounded so that none of them flatters."""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal


def rounded_up(value: float, digits: int = 3) -> str:
    """At most `digits` significant digits, never below `value`: a printed promise must not flatter."""
    return _rounded(value, digits, ROUND_CEILING)


def product_rounded_up(value: float, n: int, digits: int = 3) -> str:
    """The same of value * n, in decimals: 60,000 times 1e-5 is a little more than 0.6 otherwise."""
    return rounded_up(float(Decimal(repr(float(value))) * n), digits)


def rounded_down(value: float, digits: int = 3) -> str:
    """The same of what an attack misses, or what room is left: never above `value`."""
    return _rounded(value, digits, ROUND_FLOOR)


def _rounded(value: float, digits: int, how: str) -> str:
    if not math.isfinite(value):
        return str(value)
    number = Context(prec=digits, rounding=how).create_decimal(repr(float(value)))
    return f"{float(number):.{digits}g}".replace("e-0", "e-").replace("e+0", "e+")
