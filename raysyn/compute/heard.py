"""How far a unit of a fan-out is, told to whoever waits for it: its stage and its steps, and nothing measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Hear = Callable[[str, int, int], None]
"""hear(stage, done, total) of one unit."""

_hear = ContextVar[Hear | None]("_hear", default=None)


@contextmanager
def heard(hear: Hear, every_s: float = 0.25) -> Iterator[None]:
    """Inside the block `hear` is told what units tell, at most once in `every_s` seconds."""
    last = -math.inf

    def sometimes(stage: str, done: int, total: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last > every_s:
            last = now
            hear(stage, done, total)

    token = _hear.set(sometimes)
    try:
        yield
    finally:
        _hear.reset(token)


def tell(stage: str, done: int, total: int) -> None:
    """Called inside a unit; cheap, and heard by nobody where nobody listens."""
    if (hear := _hear.get()) is not None:
        hear(stage, done, total)
