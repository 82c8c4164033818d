"""Pictures that stay where they are stored until they are asked for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

HELD_AT_ONCE = 2**23
"""Bytes of undecoded files in one part, about."""


class Stored(ABC):
    """Undecoded pictures by number, read in their order; memory holds a few of them at a time."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, rows_N: np.ndarray) -> Iterator[Any]:
        """The pictures at increasing `rows_N`, in one go through what stores them."""

    @abstractmethod
    def some(self, rows_N: np.ndarray) -> Stored:
        """Those at `rows_N`, unread."""

    def __getitem__(self, index: int) -> Any:
        return next(self.read(np.array([index])))


def in_order(pictures: Sequence[Any] | np.ndarray | Stored, rows_N: np.ndarray) -> Iterator[Any]:
    """The pictures at increasing `rows_N`."""
    return pictures.read(rows_N) if isinstance(pictures, Stored) else (pictures[row] for row in rows_N)


def chosen(pictures: Sequence[Any] | np.ndarray | Stored, rows_N: np.ndarray) -> Sequence[Any] | np.ndarray | Stored:
    """Those at `rows_N`; stored ones are not read."""
    if isinstance(pictures, Stored):
        return pictures.some(rows_N)
    return pictures[rows_N] if isinstance(pictures, np.ndarray) else [pictures[row] for row in rows_N]


def parts(items: Iterable[Any], count: int) -> Iterator[list[Any]]:
    """Lists of up to `count` pictures, and of fewer where those files that are held are large."""
    some, size = list[Any](), 0
    for item in items:
        some.append(item)
        # A path, or a place in an archive, holds nothing yet.
        size += len(item) if isinstance(item, bytes) else 0
        if len(some) == count or size >= HELD_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some
