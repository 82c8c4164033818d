"""`train`: several ranks on Ray Train, a single one as a task; who dies is replaced and goes on from the last state."""

from __future__ import annotations

import pickle
import threading
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

from raysyn.compute.doorway import Show
from raysyn.on_ray.dashboard import called
from raysyn.on_ray.fan_out import first_line
from raysyn.on_ray.rank import raise_portable, run_rank
from raysyn.on_ray.scaling import Watch
from raysyn.on_ray.shares import Shares
from raysyn.runs.storage import REACH, Store, under

# Machines that may be taken away are taken away often; an error of the algorithm itself ends the job at once.
ATTEMPTS_AFTER_THE_FIRST, SHORT_OF_MEMORY = 20, 3
CALLS_OF_A_PROCESS = 1
"""As a group's ranks are, one alone is in a process of its own: training leaves switches of a process set."""


def run(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    *,
    name: str,
    shares: Shares,
    store: Store,
    board: Any,
    show: Show,
) -> Any:
    """`f(worker, *args)` on every rank, in a group or, on one, in a task; rank 0's answer, through a file of `store`.

    A stage that has answered before answers from its file. Errors: what `f` raised, with the rank's traceback
    as a note; RuntimeError when the workers were lost too often.
    """
    answer = f"answers/{name}.pt"
    if answer not in store:
        job, call = f"{name}-{uuid.uuid4().hex}", ray.put((f, args))
        store[REACH] = job
        rank = partial(run_rank, [call], job=job, name=name, shares=shares, store=store, board=board)
        watch = Watch(name, {"CPU": float(shares.cpus), "GPU": shares.gpus})
        asked = f"{shares.workers} workers are starting" if shares.workers > 1 else "a worker is starting"
        look = _Display(board, job, name, show, watch, asked)
        look()
        raise_portable((_in_a_group if shares.workers > 1 else _in_a_task)(rank, name, shares, store, look))
    try:
        return store[answer]
    except pickle.UnpicklingError as error:
        raise TypeError(f"{name} answered with more than tensors, plain values and safe classes: {error}") from error


Rank = Callable[[int, int], bytes | None]
"""rank(rank, world_size): the failure of `f`, if any."""
Look = Callable[[], bytes | None]
"""Draws progress; the failure of `f` on any rank, if it is known by now."""


def _in_a_group(rank: Rank, name: str, shares: Shares, store: Store, look: Look) -> bytes | None:
    """All ranks in a Ray Train worker group, which is formed anew when one of them dies."""
    # Imported where it is used: whoever does without a group must not wait for Ray Train.
    from ray import train
    from ray.train.torch import TorchConfig, TorchTrainer

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            # No data comes through Ray: without the process that each group would have for it.
            usual = super()._create_default_callbacks()  # type: ignore[misc]
            return [one for one in usual if type(one).__name__ != "DatasetsCallback"]

    def loop() -> bytes | None:
        context = train.get_context()
        return rank(context.get_world_rank(), context.get_world_size())

    trainer = Trainer(
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


def _in_a_task(rank: Rank, name: str, shares: Shares, store: Store, look: Look) -> bytes | None:
    """The only rank in a Ray task, which is started anew when its process dies: a group has four processes of its own
    beside its ranks."""

    # Started again here: Ray itself would do so for ever where memory runs out.
    @ray.remote(num_cpus=shares.cpus, num_gpus=shares.gpus, max_retries=0, max_calls=CALLS_OF_A_PROCESS)
    def task() -> bytes | None:
        return rank(0, 1)

    lost = short = 0
    while True:
        answer = task.options(name=called(name)).remote()
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


def _watch(trainer: Any, look: Look) -> bytes | None:
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
    try:
        while thread.is_alive():
            thread.join(0.25)
            if (failure := look()) is not None:
                # Train would form the whole group anew, only to have it find this.
                _end(thread, at_once=False)
                return failure
    except BaseException:
        _end(thread)
        raise
    if isinstance(outcome[0], TrainingFailedError):
        last = str(outcome[0]).strip().splitlines()[-1]
        raise RuntimeError(f"{trainer.run_config.name}: workers were lost too often: {last}") from outcome[0]
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _end(thread: threading.Thread, at_once: bool = True) -> None:
    """Have the thread come back from Ray Train: where Ray is shut down under it, it ends the process, with status 1.

    `at_once` leaves to that shutdown what the group holds; otherwise it is given back to the stages that follow.
    """
    job = ray.get_runtime_context().get_job_id()
    core: Any = ray._private.worker.global_worker.core_worker  # type: ignore[attr-defined]
    with suppress(ray.exceptions.RayError):
        for actor, about in ray._private.state.actors(job_id=ray.JobID.from_hex(job)).items():  # type: ignore[attr-defined]
            if about["ActorClassName"] == "TrainController" and about["State"] != "DEAD":
                controller = ray.ActorID.from_hex(actor)  # type: ignore[attr-defined]
                if at_once:
                    core.kill_actor(controller, True)
                else:
                    core.get_actor_handle(controller).abort.remote()
    thread.join(5.0 if at_once else 30.0)


class _Display:
    """Draws what rank 0 has told the board of one job, when it is news; before that, what the cluster waits for.
    Answers with what any rank has failed with."""

    def __init__(self, board: Any, job: str, name: str, show: Show, watch: Watch, asked: str) -> None:
        self._board, self._job, self._name, self._show, self._watch = board, job, name, show, watch
        self._asked, self._last = asked, None

    def __call__(self) -> bytes | None:
        cluster = self._watch()
        if self._last is None:
            self._show(f"{self._name}: {self._asked}", 0, 0, cluster)
        try:
            told, _, failure = ray.get(self._board.read.remote(self._job), timeout=5)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return None  # The board is being restarted: progress is worth no failure.
        if told and told != self._last:
            self._last = told
            what, *counted = told
            self._show(f"{self._name}: {what}" if what else self._name, *counted)
        return failure
