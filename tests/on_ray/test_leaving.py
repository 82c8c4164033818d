"""All ranks ask at the same steps whether a node goes, and hear the same: else they would wait for one another."""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
import torch
from ranks import Rank

from raysyn.on_ray import rank as on_ray_rank
from raysyn.on_ray.rank import RayWorker

RANKS, STEPS = 3, 200


class Asking(RayWorker):
    """A rank as a thread, whose collectives are those of `Rank`."""

    def __init__(self, rank: int, slots: list[Any], barrier: threading.Barrier) -> None:
        super().__init__("job", "stage", None, None, torch.device("cpu"), rank, RANKS)  # type: ignore[arg-type]
        self._together, self.calls = Rank(rank, slots, barrier), list[tuple[str, int]]()

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        self.calls.append(("sum", self._steps))
        return self._together.sum_(tensor)

    def share(self, value: Any) -> Any:
        self.calls.append(("share", self._steps))
        return self._together.share(value)


def test_ranks_of_different_speed_ask_together_and_hear_of_any_node(monkeypatch: pytest.MonkeyPatch) -> None:
    going = {"rank-1": 0}
    monkeypatch.setattr(on_ray_rank, "ASKED_EVERY_S", 0.01)
    monkeypatch.setattr(
        on_ray_rank, "_node_is_leaving", lambda: threading.current_thread().name in going and going["rank-1"] > 0
    )
    barrier, slots = threading.Barrier(RANKS, timeout=60), [None] * RANKS
    heard: dict[int, list[bool]] = {}
    workers = [Asking(rank, slots, barrier) for rank in range(RANKS)]

    def run(rank: int) -> None:
        chance = random.Random(rank)
        heard[rank] = []
        for step in range(STEPS):
            time.sleep(chance.random() * 1e-3 * (1 + rank))
            if rank == 1 and step == STEPS // 2:
                going["rank-1"] = 1
            heard[rank].append(workers[rank].leaving())

    threads = [threading.Thread(target=run, args=(rank,), name=f"rank-{rank}", daemon=True) for rank in range(RANKS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "ranks wait for one another"
    assert workers[0].calls == workers[1].calls == workers[2].calls
    assert 4 < len(workers[0].calls) < 2 * STEPS, "not at every step"
    assert heard[0] == heard[1] == heard[2] and any(heard[0]) and not any(heard[0][: STEPS // 2])
