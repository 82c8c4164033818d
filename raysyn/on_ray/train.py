"""`train`: several ranks on Ray Train, a single one as a task; who dies is replaced and goes on from the last state."""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import ray
import ray.exceptions

from raysyn.compute.doorway import Show
from raysyn.on_ray.dashboard import called
from raysyn.on_ray.fan_out import first_line
from raysyn.on_ray.group import ATTEMPTS_AFTER_THE_FIRST, KEPT, Look, Rank
from raysyn.on_ray.rank import mark, raise_portable, run_rank
from raysyn.on_ray.scaling import Watch
from raysyn.on_ray.shares import Shares
from raysyn.runs.storage import Store

SHORT_OF_MEMORY = 3
CALLS_OF_A_PROCESS = 1
"""One rank alone is in a process of its own: training leaves switches of a process set."""


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
    """`f(worker, *args)` on every rank, in the group that is kept or, on one, in a task; rank 0's answer, through a
    file of `store`.

    A stage that has answered before answers from its file. Errors: what `f` raised, with the rank's traceback
    as a note; RuntimeError when the workers were lost too often.
    """
    answer = f"answers/{name}.pt"
    if answer not in store:
        job, call = f"{name}-{uuid.uuid4().hex}", ray.put((f, args))
        store[mark(name)] = job
        rank = partial(run_rank, [call], job=job, name=name, shares=shares, store=store, board=board)
        watch = Watch(name, {"CPU": float(shares.cpus), "GPU": shares.gpus}, shares.workers)
        asked = f"{shares.workers} workers are starting" if shares.workers > 1 else "a worker is starting"
        look = _Display(board, job, name, show, watch, asked)
        look()
        if shares.workers > 1:
            raise_portable(KEPT.run(rank, job, name, shares, store, board, look))
        else:
            raise_portable(_in_a_task(rank, name, shares, look))
    try:
        return store[answer]
    except pickle.UnpicklingError as error:
        raise TypeError(f"{name} answered with more than tensors, plain values and safe classes: {error}") from error


def _in_a_task(rank: Rank, name: str, shares: Shares, look: Look) -> bytes | None:
    """The only rank in a Ray task, which is started anew when its process dies: a group has four processes of its own
    beside its ranks."""

    # Started again here: Ray itself would do so for ever where memory runs out.
    remote: Any = ray.remote(
        num_cpus=shares.cpus, num_gpus=shares.gpus, max_retries=0, max_calls=CALLS_OF_A_PROCESS
    )  # fmt: skip
    task = remote(_alone)
    lost = short = 0
    while True:
        answer = task.options(name=called(name)).remote(rank)
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


def _alone(rank: Rank) -> bytes | None:
    # Given, and no part of the function: what that refers to, private images, Ray would keep until the driver ends.
    return rank(0, 1)


class _Display:
    """Draws what rank 0 has told the board of one job, when it is news; before that, what the cluster waits for, and
    after it, too, as where a node was lost. Answers with what any rank has failed with."""

    def __init__(self, board: Any, job: str, name: str, show: Show, watch: Watch, asked: str) -> None:
        self._board, self._job, self._name, self._show, self._watch = board, job, name, show, watch
        self._asked, self._last, self._awaited = asked, None, dict[str, float]()

    def __call__(self) -> bytes | None:
        cluster = self._watch()
        if self._last is None:
            self._show(f"{self._name}: {self._asked}", 0, 0, cluster)
        try:
            told, _, failure = ray.get(self._board.read.remote(self._job), timeout=5)
        except (ray.exceptions.RayActorError, ray.exceptions.GetTimeoutError):
            return None  # The board is being restarted: progress is worth no failure.
        awaited = {what: cluster[what] for what in ("starting", "waiting") if cluster.get(what)}
        if told and (told, awaited) != (self._last, self._awaited):
            self._last, self._awaited = told, awaited
            what, done, total, metrics = told
            self._show(f"{self._name}: {what}" if what else self._name, done, total, metrics | awaited)
        return failure
