"""Anything in the place of anything, in what was read from JSON."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

ANYTHING = (None, "", "x", -1, 0, 1e200, 10**30, 10**400, math.nan, [], {}, True)


def damaged(value: Any, anything: tuple[Any, ...] = ANYTHING) -> Iterator[tuple[str, Any]]:
    """(what was done, a copy to which it was done) for each value in it, of each list for the first."""
    for path in _places(value):
        for to in anything:
            found = copy.deepcopy(value)
            inside = found
            for name in path[:-1]:
                inside = inside[name]
            inside[path[-1]] = to
            yield f"{'.'.join(map(str, path))} = {to!r:.30}", found


def _places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, one in inside:
        yield from _places(one, *path, name)
