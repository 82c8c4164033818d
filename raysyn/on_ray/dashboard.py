"""What Ray's dashboard and Prometheus show of a run: names of tasks and trials, gauges for boards and alerts."""

from __future__ import annotations

from pathlib import PurePosixPath

from raysyn.compute.doorway import Show


def called(stage: str) -> str:
    """What a task of this stage is called; without the mark that tells one way of judging from another."""
    return f"raysyn {stage.partition('-')[0]}"


def place(indices: list[int], of: int) -> str:
    """`3/4`, or `3-8/64`: which units of a fan-out go together, counted from 1."""
    first, last = indices[0] + 1, indices[-1] + 1
    return f"{first}/{of}" if first == last else f"{first}-{last}/{of}"


class Gauges:
    """A `Show` that also tells the cluster's metrics how far a run is (Ray puts `ray_` before their names):
    raysyn_progress, 0 to 1, and raysyn_epsilon_spent, both by run and stage.

    No figure that was measured on private images: a board is looked at by many.
    """

    def __init__(self, storage: str, show: Show) -> None:
        """`storage` as `connect` has it, <out>/internal: the run is called after its folder."""
        # Imported where it is used, not above: `here` does without Ray, and must not wait for it.
        from ray.util.metrics import Gauge

        path = PurePosixPath(storage)
        run, tags = (path.parent if path.name == "internal" else path).name, ("run", "stage")
        self._progress = Gauge("raysyn_progress", "Share of a stage that is done, 0 to 1", tags)
        self._epsilon = Gauge("raysyn_epsilon_spent", "Epsilon that a stage's steps bring the run to", tags)
        self._run, self._show = run, show

    def __call__(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        tags = {"run": self._run, "stage": stage.partition(":")[0].partition("-")[0]}
        if total:
            self._progress.set(done / total, tags)
        if "epsilon" in metrics:
            self._epsilon.set(metrics["epsilon"], tags)
        self._show(stage, done, total, metrics)
