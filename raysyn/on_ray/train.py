"""`train` on Ray Train: ranks that are replaced when they die and go on from their last state."""

from __future__ import annotations

import os
import pickle
import threading
import time
import traceback
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import ray
import ray.exceptions
import torch
import torch.distributed

from raysyn.compute.doorway import Show
from raysyn.compute.worker import Worker
from raysyn.on_ray.fan_out import first_line
from raysyn.on_ray.process import settle
from raysyn.on_ray.scaling import Watch
from raysyn.on_ray.shares import Shares
from raysyn.runs.storage import REACH, Store, under

# Machines that may be taken away are taken away often; an error of the algorithm itself ends the job at once.
ATTEMPTS_AFTER_THE_FIRST, SHORT_OF_MEMORY = 20, 3


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
            self._board.progress.remote(self._job, (done, total, metrics))
        if now - self._accounted_at > 2:
            self._accounted_at = now
            self.account()

    def save(self, state: dict[str, Any]) -> None:
        if self.rank == 0:
            self._store[self._key] = state
        # No rank runs ahead of a state that is not durable yet.
        self.share(None)

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
        """Tell the driver the CPU seconds this process has used in this stage."""
        return self._board.cpu.remote(self._job, self._process, time.process_time() - self._started_s)


def run(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    name: str,
    shares: Shares,
    store: Store,
    board: Any,
    show: Show,
    group: bool,
) -> Any:
    """`f(worker, *args)` on every rank of a `group`, or on one in a task; rank 0's answer, through a file of `store`.

    A stage that has answered before answers from its file. Errors: what `f` raised, with the rank's traceback
    as a note; RuntimeError when the workers were lost too often.
    """
    answer = f"answers/{name}.pt"
    if answer not in store:
        job, call = f"{name}-{uuid.uuid4().hex}", ray.put((f, args))
        store[REACH] = job
        rank = partial(run_rank, [call], job=job, name=name, shares=shares, store=store, board=board)
        watch = Watch(name, {"CPU": float(shares.cpus), "GPU": shares.gpus})
        look = _Display(board, job, name, show, watch)
        raise_portable((_in_a_group if group else _in_a_task)(rank, name, shares, store, look))
    try:
        return store[answer]
    except pickle.UnpicklingError as error:
        raise TypeError(f"{name} answered with more than tensors, plain values and safe classes: {error}") from error


Rank = Callable[[int, int], bytes | None]
"""rank(rank, world_size): the failure of `f`, if any."""


def _in_a_group(rank: Rank, name: str, shares: Shares, store: Store, look: Callable[[], None]) -> bytes | None:
    """All ranks in a Ray Train worker group, which is formed anew when one of them dies."""
    # Imported where it is used: `once`, and whoever does without a group, must not wait for Ray Train.
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    def loop() -> bytes | None:
        context = train.get_context()
        return rank(context.get_world_rank(), context.get_world_size())

    trainer = TorchTrainer(
        loop,  # type: ignore[arg-type]
        torch_config=TorchConfig(backend="cpu:gloo,cuda:nccl" if shares.gpus >= 1 else "gloo"),
        scaling_config=train.ScalingConfig(
            num_workers=shares.workers,
            use_gpu=shares.gpus > 0,
            resources_per_worker={"CPU": shares.cpus} | ({"GPU": shares.gpus} if shares.gpus else {}),
        ),
        run_config=train.RunConfig(
            name=name,
            storage_path=under(store.root, "ray"),
            failure_config=train.FailureConfig(max_failures=ATTEMPTS_AFTER_THE_FIRST),
        ),
    )
    return _watch(trainer, look)


def _in_a_task(rank: Rank, name: str, shares: Shares, store: Store, look: Callable[[], None]) -> bytes | None:
    """The only rank in a Ray task, which is started anew when its process dies."""

    # Started again here: Ray itself would do so for ever where memory runs out.
    @ray.remote(num_cpus=shares.cpus, num_gpus=shares.gpus, max_retries=0)
    def task() -> bytes | None:
        return rank(0, 1)

    lost = short = 0
    while True:
        answer = task.remote()
        while not ray.wait([answer], timeout=0.25)[0]:
            look()
        look()
        try:
            return ray.get(answer)
        except ray.exceptions.OutOfMemoryError as error:
            short += 1
            if short > SHORT_OF_MEMORY:
                raise RuntimeError(f"{name} ran out of memory again and again: {first_line(error)}") from error
        except ray.exceptions.RayError as error:
            lost += 1
            if lost > ATTEMPTS_AFTER_THE_FIRST:
                last = str(error).strip().splitlines()[-1]
                raise RuntimeError(f"{name}: workers were lost too often: {last}") from error


def run_rank(
    call: list[ray.ObjectRef], rank: int, world_size: int, *, job: str, name: str, shares: Shares, store: Store,
    board: Any,
) -> bytes | None:  # fmt: skip
    """One rank, in its own process: the answer goes to storage, an error of `f` is returned."""
    settle(shares.cpus)
    worker = RayWorker(job, name, store, board, torch.device("cuda" if shares.gpus else "cpu"), rank, world_size)
    if known := ray.get(board.failure.remote(job)):
        return known
    f, args = ray.get(call[0])
    try:
        _check_reach(store, job)
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
        # does, gloo only once nothing refers to it). So Train takes the group down, and the next finds the error.
        raise RankLost(f"rank {worker.rank} failed: {error}") from error
    finally:
        ray.get(worker.account())


def _check_reach(store: Store, job: str) -> None:
    """ValueError where this node does not see what the driver wrote: found now, not when the answer is fetched."""
    if REACH not in store or store[REACH] != job:
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


def _watch(trainer: Any, look: Callable[[], None]) -> bytes | None:
    """Fit in a thread, so that this one can draw progress and be interrupted (Train would swallow Ctrl-C)."""
    from ray.data import DataContext
    from ray.train import TrainingFailedError

    outcome: list[Any] = []

    def fit() -> None:
        try:
            outcome.append(trainer.fit().return_value)
        except Exception as error:
            outcome.append(error)

    with warnings.catch_warnings():
        # Train makes this context, and Ray's own defaults in it are deprecated: not for our user to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        DataContext.get_current()
    thread = threading.Thread(target=fit, daemon=True, name="raysyn-train")
    thread.start()
    while thread.is_alive():
        thread.join(0.25)
        look()
    if isinstance(outcome[0], TrainingFailedError):
        last = str(outcome[0]).strip().splitlines()[-1]
        raise RuntimeError(f"{trainer.run_config.name}: workers were lost too often: {last}") from outcome[0]
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


class _Display:
    """Draws what rank 0 has told the board of one job, when it is news; before that, what the cluster waits for."""

    def __init__(self, board: Any, job: str, name: str, show: Show, watch: Watch) -> None:
        self._board, self._job, self._name, self._show, self._watch = board, job, name, show, watch
        self._last: Any = None

    def __call__(self) -> None:
        cluster = self._watch()
        if cluster and self._last is None:
            self._show(self._name, 0, 1, cluster)
        try:
            told, _ = ray.get(self._board.read.remote(self._job), timeout=5)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return  # The board is being restarted: progress is worth no failure.
        if told and told != self._last:
            self._last = told
            self._show(self._name, *told)


@contextmanager
def _collective() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise RankLost(f"process {os.getpid()} lost a rank: {error}") from error
