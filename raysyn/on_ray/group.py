"""A Ray Train worker group that a run keeps from stage to stage: forming one takes some ten seconds."""

from __future__ import annotations

import ctypes
import gc
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import ray
import ray._private.state
import ray._private.worker
import ray.exceptions

from raysyn.compute import peak
from raysyn.compute.compiler import forget_compiled
from raysyn.on_ray.shares import Shares
from raysyn.runs.storage import Store, under

# Machines that may be taken away are taken away often; an error of the algorithm itself ends the job at once.
ATTEMPTS_AFTER_THE_FIRST = 20
ASKED_EVERY_S = 0.1
"""How often ranks without work ask for some."""
ENDS_WITHIN_S, ABORTS_WITHIN_S = 30.0, 10.0
"""A group whose ranks do not come home is aborted, and where that is not heard, as Train is waiting for a node that
does not come, killed."""
IDLE_S = 30.0
"""After so long without a stage of training what a group holds is given back: the driver may be at other work, or its
user at lunch."""

Rank = Callable[[int, int], bytes | None]
"""rank(rank, world_size): the failure of the stage, if any."""
Look = Callable[[], bytes | None]
"""Draws progress; the failure of the stage on any rank, if it is known by now."""


class GroupEnded(Exception):
    """Ray Train has given the group up, as its workers were lost too often."""


class Kept:
    """The group that this driver has just now, if it has one. Whoever needs what it holds, CPUs and GPUs, for anything
    else releases it."""

    def __init__(self) -> None:
        self._group: Group | None = None
        self._lock, self._idle = threading.RLock(), threading.Timer(0.0, self._expire)

    def run(
        self, rank: Rank, job: str, name: str, shares: Shares, store: Store, board: Any, look: Look
    ) -> bytes | None:
        """All ranks of a job, in the group there is or in a new one: the failure of the stage, if any."""
        with self._lock:
            self._idle.cancel()
            failure = self._run(rank, job, name, shares, store, board, look)
            if self._group is not None:
                self._idle = threading.Timer(IDLE_S, self._expire)
                self._idle.daemon = True
                self._idle.start()
            return failure

    def _expire(self) -> None:
        with self._lock:
            if threading.current_thread() is self._idle:  # and no other stage has come meanwhile
                self.release()

    def _run(
        self, rank: Rank, job: str, name: str, shares: Shares, store: Store, board: Any, look: Look
    ) -> bytes | None:
        while True:
            if formed := self._group is None or not self._group.serves(shares, store, board):
                self.release()
                self._group = Group(name, shares, store, board)
            assert self._group is not None
            try:
                failure = self._group.run(rank, job, look)
                break
            except GroupEnded as error:
                self.release()
                if formed:  # and not by what earlier stages lost
                    last = (str(error).strip().splitlines() or ["nobody says why"])[-1]
                    raise RuntimeError(f"{name}: workers were lost too often: {last}") from error
            except BaseException:
                self.release(at_once=True)
                raise
        if failure is not None:  # ranks may wait for one that failed for ever, and Train would form all anew
            self.release(aborted=True)
        return failure

    def release(self, at_once: bool = False, aborted: bool = False) -> None:
        """Give back what the group holds. `at_once` leaves that to the shutdown of Ray that follows."""
        with self._lock:
            self._idle.cancel()
            if (group := self._group) is None:
                return
            try:
                if at_once or aborted:
                    group.end(at_once)
                else:
                    group.close()
            except BaseException:  # interrupted
                group.end(at_once=True)
                raise
            finally:
                self._group = None


KEPT = Kept()


class Group:
    """Ranks that ask the board for jobs. Ray Train forms all of them anew when one dies, and they ask again."""

    def __init__(self, name: str, shares: Shares, store: Store, board: Any) -> None:
        self._key, self._shares, self._root, self._board = uuid.uuid4().hex, shares, store.root, board
        self._outcome: list[Exception] = []
        trainer = _trainer(partial(serve, board, self._key), name, shares, store)
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True, name="raysyn-train")
        self._thread.start()

    def _fit(self, trainer: Any) -> None:
        """In a thread, so that the main one can draw progress and be interrupted (Train would swallow Ctrl-C)."""
        try:
            trainer.fit()
        except Exception as error:
            self._outcome.append(error)

    def serves(self, shares: Shares, store: Store, board: Any) -> bool:
        same = (shares, store.root, board) == (self._shares, self._root, self._board)
        return same and self._thread.is_alive()

    def run(self, rank: Rank, job: str, look: Look) -> bytes | None:
        """Until every rank has done the job, or one of them is known to have failed; GroupEnded."""
        work = [ray.put(rank)]
        while self._thread.is_alive():
            done = self._hand(job, work)
            if (failure := look()) is not None:
                return failure
            if done == self._shares.workers:
                self._hand(None, [])  # nothing keeps what the stage was given
                return None
            self._thread.join(ASKED_EVERY_S if done else 0.25)
        from ray.train import TrainingFailedError

        error = self._outcome[0] if self._outcome else None
        if error is None or isinstance(error, TrainingFailedError):
            raise GroupEnded(str(error or "it ended without a word")) from error
        raise error

    def _hand(self, job: str | None, work: list[Any]) -> int:
        """Again and again: a board that is started again has forgotten. How many ranks have done the job."""
        with suppress(ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return int(ray.get(self._board.hand.remote(self._key, job, work), timeout=5))
        return 0

    def close(self) -> None:
        """Send the ranks home, and wait until what they held is free."""
        until = time.monotonic() + ABORTS_WITHIN_S
        while self._thread.is_alive() and time.monotonic() < until:
            self._hand("", [])
            self._thread.join(ASKED_EVERY_S)
        self.end(at_once=False)

    def end(self, at_once: bool) -> None:
        """Have the thread come back from Ray Train: where Ray is shut down under it, it ends the process, with status
        1. `at_once` leaves to that shutdown what the group holds."""
        self._board.forget_group.remote(self._key)
        began, core = time.monotonic(), ray._private.worker.global_worker.core_worker  # type: ignore[attr-defined]
        asked, aborts_within = set[str](), 1.0 if at_once else ABORTS_WITHIN_S
        # Looked for again and again: one that has only just been made is not there yet.
        while self._thread.is_alive() and time.monotonic() - began < ENDS_WITHIN_S:
            with suppress(ray.exceptions.RayError):
                for actor in _controllers():
                    handle = ray.ActorID.from_hex(actor)  # type: ignore[attr-defined]
                    if time.monotonic() - began > aborts_within:
                        core.kill_actor(handle, True)
                    elif actor not in asked:
                        asked.add(actor)
                        core.get_actor_handle(handle).abort.remote()
            self._thread.join(0.5)


def _controllers() -> list[str]:
    """Ray Train's, of this driver, that live."""
    job = ray.get_runtime_context().get_job_id()
    found = ray._private.state.actors(job_id=ray.JobID.from_hex(job))  # type: ignore[attr-defined]
    return [
        actor for actor, one in found.items() if one["ActorClassName"] == "TrainController" and one["State"] != "DEAD"
    ]


def serve(board: Any, key: str) -> None:
    """One rank: the jobs that the board has for its group, one after another, until there will be none any more."""
    import torch
    from ray import train

    context, done = train.get_context(), ""
    rank, world_size = context.get_world_rank(), context.get_world_size()
    gpu = torch.cuda.current_device() if torch.cuda.is_available() else None
    while True:
        job, work = ray.get(board.handed.remote(key, rank, done))
        if job is not None and not work:
            return
        if job is None or job == done:
            time.sleep(ASKED_EVERY_S)
            continue
        peak.forget()
        failed = _in_a_new_thread(partial(ray.get(work[0]), rank, world_size), gpu) is not None
        del work
        _tidy()
        if failed:
            time.sleep(ASKED_EVERY_S)  # the board knows, and the driver ends the group
        else:
            done = job


def _in_a_new_thread(job: Callable[[], bytes | None], gpu: int | None) -> bytes | None:
    """Its answer: switches such as that for denormal numbers belong to a thread and those that it starts."""
    outcome: list[Any] = []

    def call() -> None:
        import torch

        try:
            if gpu is not None:
                torch.cuda.set_device(gpu)
            outcome.append(job())
        except BaseException as error:
            outcome.append(error)

    # A daemon, or a process that is to end would wait for the job.
    thread = threading.Thread(target=call, daemon=True, name="raysyn-job")
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    answer: bytes | None = outcome[0]
    return answer


def _tidy() -> None:
    """Give back what a job has left in this process: memory, and what the compiler knows of its networks."""
    import torch

    forget_compiled()
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; settle() has it keep what is freed
    if trim is not None:
        trim(0)


def _trainer(loop: Callable[[], None], name: str, shares: Shares, store: Store) -> Any:
    # Imported where it is used: whoever does without a group must not wait for Ray Train.
    from ray import train
    from ray.data import DataContext
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            # No data comes through Ray: without the process that each group would have for it.
            usual = super()._create_default_callbacks()  # type: ignore[misc]
            return [one for one in usual if type(one).__name__ != "DatasetsCallback"]

    with warnings.catch_warnings():
        # Train makes this context, and Ray's own defaults in it are deprecated: not for our user to mend.
        warnings.simplefilter("ignore", DeprecationWarning)
        DataContext.get_current()
    return Trainer(
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
