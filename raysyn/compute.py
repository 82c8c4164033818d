"""The doorway between algorithms and machines: what a training worker can do, and who runs it.

Algorithms import only this file. `Local` answers in this process; `raysyn.on_ray` answers with a Ray cluster.
"""

from __future__ import annotations

import os
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

Show = Callable[[str, int, int, dict[str, float]], None]
"""show(stage, done, total, metrics): draws progress; called at most a few times a second."""


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where a run happens. Nothing here changes the result beyond floating-point rounding."""

    address: str = "local"
    """`local` starts Ray on this machine (inside `ray job submit`: joins the cluster around it), `auto` joins
    the running cluster, `host:port` the one there."""
    workers: int | None = None
    """Training workers; by default one per GPU of the cluster, without GPUs one per CPU up to 4."""
    gpus_per_worker: float | None = None
    """GPUs of each worker; by default 1 where the cluster has GPUs, else 0."""
    cpus_per_worker: int | None = None
    """CPUs (and threads) of each worker; by default the CPUs divided by the workers."""
    storage: str | None = None
    """Folder or pyarrow file-system URI that every node reaches, by default inside --out. It holds what internal/
    holds (unreleased states, figures measured on private images): protect it alike."""


class Worker(ABC):
    """What a training function sees of the machine it runs on. One per rank."""

    rank: int
    world_size: int
    device: torch.device

    @abstractmethod
    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over all ranks, in place; every rank must call it in the same order."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Rank 0's `value` on every rank (small plain values: a measured choice, a flag)."""

    @abstractmethod
    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Tell the user how far this stage is; cheap, may be called every step, only rank 0 is heard."""

    @abstractmethod
    def save(self, state: dict[str, Any]) -> None:
        """Make rank 0's `state` (tensors and plain values) durable; every rank calls it at the same step."""

    @abstractmethod
    def resume(self) -> dict[str, Any] | None:
        """The last durable state of this stage, tensors on the CPU, or None at a fresh start."""


class Compute(ABC):
    """Three verbs over machines; `search` joins them with the first pipeline that needs it."""

    workers: int
    """Ranks on which `train` calls its function."""
    device: str
    """`cpu` or `cuda`: where they compute."""

    @abstractmethod
    def train(self, f: Callable[..., Any], *args: Any, name: str) -> Any:
        """Call module-level `f(worker, *args)` on every rank and return rank 0's answer.

        The answer is tensors and plain values, or classes declared to `torch.serialization.add_safe_globals`.
        Arrays among `args` may be read-only (they are shared between the workers of a machine). What `f`
        raises is raised here.
        A killed worker is replaced and `f` starts again, finding its last state with `worker.resume()`.
        """

    @abstractmethod
    def map(self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any = None) -> list[Any]:
        """`[f(item, shared) for item in items]`, fanned out; order kept, failures named.

        Each result (tensors and plain values) is durable under `name` the moment it exists, so that a rerun
        does only what is missing. A unit runs with one thread on Ray. Errors: RuntimeError naming the units
        that failed, once all others are done.
        """

    @abstractmethod
    def cpu_s(self) -> float:
        """CPU seconds used so far by this process and by every worker that has reported back."""


def best_device() -> torch.device:
    """The GPU this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def written_atomically(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write in: a temporary neighbour, flushed to disk and renamed to `path` at the end.

    A reader sees the old file or all of the new one; after an error the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        # A rename is durable only once its folder is flushed.
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def save_atomically(state: Any, path: Path) -> None:
    """`torch.save`, so that a reader sees all of it or nothing; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # For the owner alone: states of private stages must be no easier to read than the run folder, wherever they lie.
    with written_atomically(path, 0o600) as file:
        torch.save(state, file)


def load_saved(path: Path) -> Any:
    """What `save_atomically` wrote, on the CPU; refuses anything but tensors and plain values."""
    return torch.load(path, map_location="cpu", weights_only=True)


def unit_failure(name: str, failures: Mapping[int, str], units: int) -> RuntimeError:
    """The error `map` ends with: which units failed, and the first one's traceback."""
    first, text = min(failures.items())
    others = f" ({len(failures)} of {units} units failed: {sorted(failures)})" if len(failures) > 1 else ""
    return RuntimeError(f"{name}, unit {first} of {units} failed{others}: {text.strip().splitlines()[-1]}\n{text}")


def silent(stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
    """A `Show` that shows nothing."""


class LocalWorker(Worker):
    """Rank 0 of 1, in this process."""

    def __init__(self, name: str, checkpoint: Path, show: Show) -> None:
        self.rank, self.world_size, self.device = 0, 1, best_device()
        self._name, self._checkpoint, self._show, self._shown_at = name, checkpoint, show, 0.0

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def share(self, value: Any) -> Any:
        return value

    def progress(self, done: int, total: int, **metrics: float) -> None:
        now = time.monotonic()
        if done >= total or now - self._shown_at > 0.25:
            self._shown_at = now
            self._show(self._name, done, total, metrics)

    def save(self, state: dict[str, Any]) -> None:
        save_atomically(state, self._checkpoint)

    def resume(self) -> dict[str, Any] | None:
        return load_saved(self._checkpoint) if self._checkpoint.exists() else None


class Local(Compute):
    """Everything in this process, one item after the other: the reference that Ray must equal."""

    def __init__(self, storage: Path, show: Show = silent) -> None:
        self._storage, self._show, self.workers = Path(storage), show, 1
        self.device = str(best_device())

    def train(self, f: Callable[..., Any], *args: Any, name: str) -> Any:
        return f(LocalWorker(name, self._storage / "checkpoints" / f"{name}.pt", self._show), *args)

    def map(self, f: Callable[[Any, Any], Any], items: Sequence[Any], *, name: str, shared: Any = None) -> list[Any]:
        paths = [self._storage / "units" / name / f"{index:06d}.pt" for index in range(len(items))]
        failures: dict[int, str] = {}
        for index, (item, path) in enumerate(zip(items, paths, strict=True)):
            if not path.exists():
                try:
                    save_atomically(f(item, shared), path)
                except Exception:
                    failures[index] = traceback.format_exc()
            self._show(name, index + 1 - len(failures), len(items), {})
        if failures:
            raise unit_failure(name, failures, len(items))
        return [load_saved(path) for path in paths]

    def cpu_s(self) -> float:
        return time.process_time()
