"""Several ranks as threads of this process, on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

from raysyn.compute import threads
from raysyn.compute.worker import Worker

CPU = torch.device("cpu")


class Rank(threads.Rank):
    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        super().__init__(rank, slots, barrier, CPU)


def on_ranks(f: Callable[[Worker], Any], count: int) -> tuple[list[Any], list[threads.Rank]]:
    """What `f(rank)` answers on each of `count` ranks at once, and the ranks; an error of one is raised here."""
    return threads.on_ranks(f, count, CPU)
