"""Several ranks as threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from raysyn.compute.worker import Alone, Worker, best_device

LONGEST_S = 3_600
"""Seconds that a rank waits for the others to add to a sum: one that ends before its time would keep them for ever."""


class Rank(Alone):
    """One of several ranks that sum through a shared list; it keeps what it is told to keep."""

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier, device: torch.device) -> None:
        self.rank, self.world_size, self.device = rank, len(slots), device
        self.found: dict[str, Any] = {}
        self._slots, self._barrier = slots, barrier

    def sum_(self, tensor: Tensor) -> Tensor:
        self._slots[self.rank] = tensor.clone()
        self._barrier.wait()
        total = torch.stack(self._slots).sum(0)
        self._barrier.wait()
        return tensor.copy_(total)

    def share(self, value: Any) -> Any:
        if self.rank == 0:
            self._slots[0] = value
        self._barrier.wait()
        value = self._slots[0]
        self._barrier.wait()
        return value

    def keep(self, key: str, value: Any) -> None:
        self.found[key] = value


def on_ranks(
    f: Callable[[Worker], Any], count: int, device: torch.device | None = None
) -> tuple[list[Any], list[Rank]]:
    """What `f(rank)` answers on each of `count` ranks at once, and the ranks; an error of one is raised here."""
    slots, barrier = [None] * count, threading.Barrier(count, timeout=LONGEST_S)
    ranks = [Rank(rank, slots, barrier, device or best_device()) for rank in range(count)]
    answers, errors = [None] * count, list[Exception]()

    def work(rank: int) -> None:
        try:
            answers[rank] = f(ranks[rank])
        except Exception as error:
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors and isinstance(errors[0], threading.BrokenBarrierError):
        raise RuntimeError(f"one of {count} ranks waited {LONGEST_S:,} s for the others to add to a sum, and gave up")
    if errors:
        raise errors[0]
    return answers, ranks
