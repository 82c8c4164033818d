"""How far it is with reading images, told to whoever asked: a large folder takes minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Tell = Callable[[str, int, int], None]
"""tell(what is done, how many images it was done to, of how many)."""
EVERY_S = 0.5
_tell: ContextVar[Tell | None] = ContextVar("tell", default=None)


@contextmanager
def told_to(tell: Tell) -> Iterator[None]:
    """Whatever is read within says how far it is."""
    before = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(before)


def counted(parts: Iterable[list[Any]], what: str, total: int) -> Iterator[list[Any]]:
    """The same parts of `total` images, of which is told once they are asked for on."""
    tell, done, spoken = _tell.get(), 0, time.monotonic()
    for part in parts:
        done += len(part)
        yield part
        if tell is not None and time.monotonic() - spoken > EVERY_S:
            tell(what, done, total)
            spoken = time.monotonic()
