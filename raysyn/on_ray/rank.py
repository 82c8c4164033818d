"""What runs in a worker process of `train`: one rank, and how its answer or its error comes back."""

from __future__ import annotations

import os
import pickle
import time
import traceback
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import ray
import ray._private.state
import ray.exceptions
import torch
import torch.distributed

from raysyn.compute.peak import held
from raysyn.compute.worker import Worker
from raysyn.on_ray.process import settle
from raysyn.on_ray.shares import Shares
from raysyn.runs.storage import Store

ASKED_EVERY_S = 5.0
"""How often ranks ask whether one of their nodes is about to be taken away."""
REACHED_WITHIN_S = 10.0
SEEN_WITHIN_S = 10.0
"""In which a driver sees what a rank has failed with."""


class RankLost(Exception):
    """Another rank went away in the middle of a collective call: worth a new attempt, unlike our errors."""


class RayWorker(Worker):
    """One rank of a Ray Train worker group, or the only one, in a task.

    States are files of `storage`, the same that `Local` writes, rather than Ray Train checkpoints: they are
    durable when `save` returns (Train forgets a report its controller has not yet read), do not wait for the
    controller's poll, and may be continued without Ray or with another version of it.
    """

    def __init__(
        self, job: str, name: str, store: Store, board: Any, device: torch.device, rank: int, world_size: int
    ) -> None:
        self.rank, self.world_size, self.device = rank, world_size, device
        self._job, self._key, self._store, self._board = job, f"checkpoints/{name}.pt", store, board
        self._process, self._started_s = uuid.uuid4().hex, time.process_time()
        self._shown_at = self._accounted_at = 0.0
        self._steps, self._ask_at, self._asked = 0, 1, (0, time.monotonic())

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        if self.world_size > 1:
            with _collective():
                torch.distributed.all_reduce(tensor)
        return tensor

    def share(self, value: Any) -> Any:
        box = [value]
        if self.world_size > 1:
            with _collective():
                torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def progress(self, done: int, total: int, **metrics: float) -> None:
        now = time.monotonic()
        if self.rank == 0 and (done >= total or now - self._shown_at > 0.25):
            self._shown_at = now
            self._board.progress.remote(self._job, ("", done, total, metrics))
        if now - self._accounted_at > 2:
            self._accounted_at = now
            self.account()

    def doing(self, what: str) -> None:
        if self.rank == 0:
            self._board.progress.remote(self._job, (what, 0, 0, {}))

    def save(self, state: dict[str, Any]) -> None:
        if self.rank == 0:
            self._store[self._key] = state
        # No rank runs ahead of a state that is not durable yet.
        self.share(None)

    def leaving(self) -> bool:
        self._steps += 1
        if self._steps < self._ask_at:
            return False
        # Ray Train would tell too (`get_preemption_info`), from a process more for each group, and no rank alone.
        leaving = bool(self.sum_(torch.tensor(float(_node_is_leaving()), device=self.device)))
        # Ranks wait for one another here, so that they do not ask at every step: when, rank 0's clock says.
        steps, since = self._asked
        each = (time.monotonic() - since) / (self._steps - steps)
        self._ask_at = self._steps + self.share(max(1, round(ASKED_EVERY_S / max(each, 1e-6))))
        self._asked = self._steps, time.monotonic()
        return leaving

    def resume(self) -> dict[str, Any] | None:
        # Rank 0 looks once for all: ranks that looked for themselves could find different states.
        return self._store[self._key] if self.share(self._key in self._store) else None

    def keep(self, key: str, value: Any) -> None:
        if self.rank == 0:
            self._store[f"kept/{key}.pt"] = value
        self.share(None)

    def kept(self, key: str) -> Any:
        return self._store[f"kept/{key}.pt"]

    def account(self) -> Any:
        """Tell the driver the CPU seconds this process has used in this stage, and the most memory it has held."""
        return self._board.cpu.remote(self._job, self._process, time.process_time() - self._started_s, held())


def _node_is_leaving() -> bool:
    """Whether the cluster was told that this node will be taken away."""
    # A control store that does not answer just now, or a Ray that calls it otherwise, is worth no failure.
    with suppress(ray.exceptions.RayError, RuntimeError, TimeoutError, AttributeError):
        going: Any = ray._private.state.state.get_draining_nodes()  # type: ignore[attr-defined]
        return ray.get_runtime_context().get_node_id() in going
    return False


def run_rank(
    call: list[ray.ObjectRef], rank: int, world_size: int, *, job: str, name: str, shares: Shares, store: Store,
    board: Any,
) -> bytes | None:  # fmt: skip
    """One rank, in its own process: the answer goes to storage, an error of `f` is returned."""
    settle(shares.cpus)
    worker = RayWorker(job, name, store, board, torch.device("cuda" if shares.gpus else "cpu"), rank, world_size)
    if known := ray.get(board.failure.remote(job)):
        return known
    try:
        # There it is where another rank was lost after that; one looks for all, or some would wait for the others.
        if worker.share(f"answers/{name}.pt" in store):
            return None
        f, args = ray.get(call[0])
        worker.doing("")  # it is there
        _check_reach(store, name, job)
        answer = f(worker, *args)
        if worker.rank == 0:
            store[f"answers/{name}.pt"] = answer
        return None
    except RankLost:
        raise
    except Exception as error:
        ray.get(board.fail.remote(job, failure := portable(error)))
        if worker.world_size == 1:
            return failure
        # Other ranks may wait for this one for ever: a closed process group does not tell all of them (NCCL never
        # does, gloo only once nothing refers to it). So the driver, which looks often, takes the group down; where it
        # has not seen this, Train does, and the next group finds the error.
        time.sleep(SEEN_WITHIN_S)
        raise RankLost(f"rank {worker.rank} failed: {error}") from error
    finally:
        ray.get(worker.account())


def mark(name: str) -> str:
    """What the driver writes for the ranks of a stage to look for; each stage has its own, as another program may
    train beside this one with the same storage."""
    return f"reach/{name}.pt"


def _check_reach(store: Store, name: str, job: str) -> None:
    """ValueError where this node does not see what the driver wrote: found now, not when the answer is fetched."""
    until = time.monotonic() + REACHED_WITHIN_S
    while mark(name) not in store or store[mark(name)] != job:
        if time.monotonic() < until:  # a node may remember for some seconds how a network's folder was
            time.sleep(0.5)
            continue
        raise ValueError(
            f"on.storage is {store.root}, which the node of process {os.getpid()} does not share with the driver: "
            "give --out or --on.storage on a file system that every node reaches"
        )


def portable(error: Exception) -> bytes:
    """`error` with its traceback as a note, pickled; one that does not pickle becomes a RuntimeError."""
    error.add_note("In a worker:\n" + "".join(traceback.format_exception(error)))
    try:
        pickle.loads(data := pickle.dumps(error))
        return data
    except Exception:
        plain = RuntimeError(f"{type(error).__name__}: {error}")
        plain.__notes__ = list(error.__notes__)
        return pickle.dumps(plain)


def raise_portable(data: bytes | None) -> None:
    """Raise what `portable` packed, if anything."""
    if data is not None:
        raise pickle.loads(data)


@contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLost(f"process {os.getpid()} lost a rank: {error}") from error
