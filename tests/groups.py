"""Worker groups of Ray without Ray Train, whose fresh processes cost each stage some twenty seconds of a CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import ray
import torch.distributed

from raysyn.on_ray import group


def _rank(rank: Any, at: int, world_size: int, meeting: str) -> bytes | None:
    torch.distributed.init_process_group("gloo", init_method=meeting, rank=at, world_size=world_size)
    try:
        return rank(at, world_size)
    finally:
        torch.distributed.destroy_process_group()


@contextmanager
def in_tasks(folder: Path) -> Iterator[None]:
    """Ranks are tasks of Ray, whose processes are used again: what they share goes through gloo, what they are given
    and answer through Ray, as ever. For tests of what ranks do, not of how Ray Train keeps them; `folder` is theirs."""
    formed = 0

    def run(
        _: Any, rank: Any, job: str, name: str, shares: Any, store: Any, board: Any, look: Callable[[], None]
    ) -> bytes | None:
        nonlocal formed
        formed += 1
        task: Any = ray.remote(num_cpus=shares.cpus, max_retries=0)(_rank)
        meeting = f"file://{folder}/meeting-{formed}"
        waiting = [task.remote(rank, at, shares.workers, meeting) for at in range(shares.workers)]
        while ray.wait(waiting, num_returns=len(waiting), timeout=0.1)[1]:
            look()
        look()
        return ray.get(waiting[0])

    with patch.object(group.Kept, "run", run):
        yield
    assert formed, "nothing was trained by several workers"


@contextmanager
def one_trial_at_a_time() -> Iterator[None]:
    """A trial of Ray Tune fills the cluster, and the next one takes over its process: a new one imports for seconds."""
    from ray import tune

    plain = tune.with_resources
    with patch.object(tune, "with_resources", lambda trial, asked: plain(trial, asked | {"cpu": 2})):
        yield
