"""What workers tell the driver while they run. Imports nothing heavy, so that its actor starts fast."""

from __future__ import annotations

from collections.abc import Mapping

from raysyn.compute.peak import largest

Told = tuple[str, int, int, dict[str, float]]
"""(what is done where nothing is counted yet, done, total, metrics)"""


class Board:
    """Latest progress, CPU seconds and first error of each job, by job name. Lives in an actor."""

    def __init__(self) -> None:
        self._progress: dict[str, Told] = {}
        self._cpu_s: dict[tuple[str, str], float] = {}
        self._peaks: dict[str, int] = {}
        self._errors: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return "raysyn board"

    def progress(self, job: str, told: Told) -> None:
        self._progress[job] = told

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

    def fail(self, job: str, error: bytes) -> None:
        self._errors.setdefault(job, error)

    def failure(self, job: str) -> bytes | None:
        return self._errors.get(job)

    def read(self, job: str) -> tuple[Told | None, float, bytes | None]:
        """Latest progress and first error of `job`, and between them the CPU seconds of all jobs together."""
        return self._progress.get(job), sum(self._cpu_s.values()), self._errors.get(job)
