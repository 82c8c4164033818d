"""Small deterministic stages; workers import this file by name."""

from __future__ import annotations

import gc
import os
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from raysyn.compute.inside import Inside
from raysyn.compute.searches import Between, Search
from raysyn.compute.told import Told
from raysyn.compute.worker import Worker

STEPS, EVERY = 40, 10
PEAK = {"x": Between(-3.0, 3.0)}, Search(metric="score", reports=9, trials=6, seed=1)


def problem() -> tuple[np.ndarray, np.ndarray]:
    """Points and values of a linear regression with weights 0, 1, 2, 3."""
    points_ND = np.random.default_rng(0).normal(size=(60, 4))
    return points_ND, points_ND @ np.arange(4.0)


def leave_trace(folder: Path, text: str) -> int:
    """Record that `text` happened; how often it has happened by now."""
    (folder / f"{text}.{uuid.uuid4().hex}").touch()
    return len(list(folder.glob(f"{text}.*")))


def regress(worker: Worker, points_ND: np.ndarray, values_N: np.ndarray, folder: Path, trouble: str) -> Any:
    """Gradient descent over all ranks, a state every `EVERY` steps; `trouble` strikes the last rank once."""
    mine = slice(worker.rank, None, worker.world_size)
    points, values = torch.tensor(points_ND)[mine], torch.tensor(values_N)[mine]
    state = worker.resume() or {"step": 0, "weights": torch.zeros(4, dtype=torch.float64)}
    rate = worker.share(0.2 if worker.rank == 0 else None)
    leave_trace(folder, f"start-{worker.rank}-at-{state['step']}")
    weights = state["weights"]
    for step in range(state["step"], STEPS):
        if step == 25 and worker.rank == worker.world_size - 1:
            strike(trouble, folder)
        gradient = worker.sum_(points.T @ (points @ weights - values)) / len(points_ND)
        weights = weights - rate * gradient
        worker.progress(step + 1, STEPS, loss=float(gradient.norm()))
        if (step + 1) % EVERY == 0:
            worker.save({"step": step + 1, "weights": weights})
    return {"weights": weights, "threads": torch.get_num_threads()}


def strike(trouble: str, folder: Path) -> None:
    """What goes wrong at step 25, where the last state is that of step 20."""
    if trouble == "error":
        # Its functions have the process group as a default argument, so that no closing of it reaches other ranks.
        import torch.distributed.nn  # noqa: F401

        leave_trace(folder, "error")
        raise ValueError("stage.rate is 3: choose less")
    if trouble == "told":
        raise Told("stage.rate is 4: choose less")
    if trouble == "killed" and leave_trace(folder, "trouble") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if trouble == "driver" and leave_trace(folder, "trouble") == 1:
        time.sleep(300)


def unit(item: int, shared: tuple[np.ndarray, str]) -> dict[str, Any]:
    """Item squared and looked up; item 7's first process is killed, item 3 fails while a file says so, or tells why."""
    table, folder = shared[0], Path(shared[1])
    times = leave_trace(folder, f"unit-{item}")
    if item == 7 and times == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 3 and (folder / "three-fails").exists():
        raise KeyError("three")
    if item == 3 and (folder / "three-tells").exists():
        raise Told("stage.item is 3: choose another")
    return {"square": item**2, "looked_up": float(table[item]), "copied": table.flags.writeable}


def telling(item: int, shared: None) -> int:
    """A unit in which a stage of `item` steps is trained."""

    def train(worker: Worker) -> int:
        for step in range(item):
            worker.progress(step + 1, item, loss=0.5)
            time.sleep(1.05)  # more than lies between two that are heard
        return item

    return int(Inside().train(train, name="finetune"))


def crowded(item: int, shared: tuple[str, int]) -> int:
    """Fails for want of memory beside another unit; one of the items always does."""
    traces, huge = Path(shared[0]), shared[1]
    leave_trace(traces, f"scarce-{item}")
    mine = traces / f"inside-{item}-{os.getpid()}"
    mine.touch()
    try:
        time.sleep(0.5)
        if item == huge or len(list(traces.glob("inside-*"))) > 1:
            raise MemoryError("memory ran out")
        return 1 + item
    finally:
        mine.unlink()


def climb(worker: Worker, params: dict[str, Any], shared: tuple[str, str]) -> None:
    """A trial of 9 reports towards 1 - (x - 0.3)^2; `trouble` strikes the first trial that reaches report 5, or 7
    where it is a kill."""
    folder, trouble = Path(shared[0]), shared[1]
    state = worker.resume() or {"step": 0}
    leave_trace(folder, f"trial-{params['x']:.6f}-at-{state['step']}")
    for step in range(state["step"], 9):
        if step == (7 if trouble == "killed" else 5) and not list(folder.glob("trouble.*")):
            strike(trouble, folder)
        time.sleep(0.05)
        leave_trace(folder, "report")
        worker.progress(step + 1, 9, score=(1 - (params["x"] - 0.3) ** 2) * (step + 1) / 9)
        worker.save({"step": step + 1})


def shadows(models: int = 24) -> tuple[Any, ...]:
    """A sweep on a few real digits, about a second for each model: what `sweep` takes between compute and speed."""
    # Here, because workers import this file for the small stages too.
    from raysyn.attacks.pool import make_pool
    from raysyn.attacks.shadows import AttackConfig
    from raysyn.data.images import DataConfig, load
    from raysyn.models.resnet import ResNetConfig
    from raysyn.train.recipe import RecipeConfig

    digits = load(DataConfig(limit=300))
    recipe = RecipeConfig(epochs=12, batch_size=50, learning_rate=0.1, trivial_augment=False, mixup=0.0)
    pool = make_pool(digits.train, digits.test, 150, 0)
    return pool, AttackConfig(shadow_models=models, design="half"), ResNetConfig(blocks=1, width=4), recipe, 0


def wait(worker: Worker, folder: Path) -> None:
    """Say that it has begun, and go on for longer than any test."""
    leave_trace(folder, "waiting")
    time.sleep(600)


def size_of(worker: Worker, array: np.ndarray) -> int:
    """How many numbers the stage was given."""
    return int(array.size)


def objects() -> set[str]:
    """What Ray's object store holds for this driver, or would."""
    gc.collect()
    return set(ray._private.worker.global_worker.core_worker.get_all_reference_counts())


def wait_until(holds: Callable[[], bool]) -> None:
    """AssertionError where it never does."""
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
