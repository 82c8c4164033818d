"""What workers tell the driver while they run. Imports nothing heavy, so that its actor starts fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysyn.compute.peak import largest

Told = tuple[str, int, int, dict[str, float]]
"""(what is done, where nothing is counted yet or by a unit, done, total, metrics)"""


class Board:
    """Latest progress, CPU seconds and first error of each job, by job name. Lives in an actor."""

    def __init__(self) -> None:
        self._progress: dict[str, Told] = {}
        self._cpu_s: dict[tuple[str, str], float] = {}
        self._peaks: dict[str, int] = {}
        self._errors: dict[str, bytes] = {}
        self._handed: dict[str, tuple[str | None, list[Any]]] = {}
        self._done: dict[str, dict[int, str]] = {}

    def __repr__(self) -> str:
        return "raysyn board"

    def progress(self, job: str, told: Told) -> None:
        self._progress[job] = told

    def first_of(self, jobs: Sequence[str]) -> Told | None:
        """The latest progress of the first of them that has told any."""
        return next((self._progress[job] for job in jobs if job in self._progress), None)

    def cpu(self, job: str, process: str, seconds: float, peaks: Mapping[str, int]) -> None:
        """`seconds` used so far by one process; each has its own entry, so killed attempts stay counted. And the most
        memory that it has held."""
        self._cpu_s[job, process] = seconds
        self._peaks = largest([self._peaks, peaks])

    def forget_peaks(self) -> None:
        self._peaks = {}

    def peaks(self) -> dict[str, int]:
        """The most memory of any process since they were forgotten."""
        return self._peaks

    def hand(self, group: str, job: str | None, work: list[Any]) -> int:
        """The job that a group of ranks is to do, if there is one just now, and what it is, unopened; a job without
        work sends them home. How many ranks have done it."""
        self._handed[group] = job, work
        return sum(last == job for last in self._done.get(group, {}).values())

    def handed(self, group: str, rank: int, done: str) -> tuple[str | None, list[Any]]:
        """For a rank that has done this job last."""
        self._done.setdefault(group, {})[rank] = done
        return self._handed.get(group, (None, []))

    def forget_group(self, group: str) -> None:
        self._handed.pop(group, None)
        self._done.pop(group, None)

    def fail(self, job: str, error: bytes) -> None:
        self._errors.setdefault(job, error)

    def failure(self, job: str) -> bytes | None:
        return self._errors.get(job)

    def read(self, job: str) -> tuple[Told | None, float, bytes | None]:
        """Latest progress and first error of `job`, and between them the CPU seconds of all jobs together."""
        return self._progress.get(job), sum(self._cpu_s.values()), self._errors.get(job)


def new_board() -> Any:
    """A `Board` in an actor beside the driver, with whom it may go: nodes come and go."""
    # Imported where it is used: the actor must not wait for it.
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board: Any = ray.remote(Board)
    return board.options(
        num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy=here,
        # It is asked four times a second: the dashboard would show little else.
        enable_task_events=False,
    ).remote()  # fmt: skip
