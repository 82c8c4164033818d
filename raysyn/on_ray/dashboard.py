"""What Ray's dashboard and Prometheus show of a run: names of tasks and trials, gauges for boards and alerts."""

from __future__ import annotations

from pathlib import PurePosixPath

from raysyn.compute.doorway import Outside, Show, Watched


def called(stage: str) -> str:
    """What a task of this stage is called; without the mark that tells one way of judging from another."""
    return f"raysyn {stage.partition('-')[0]}"


def place(indices: list[int], of: int) -> str:
    """`3/4`, or `3-8/64`: which units of a fan-out go together, counted from 1."""
    first, last = indices[0] + 1, indices[-1] + 1
    return f"{first}/{of}" if first == last else f"{first}-{last}/{of}"


class Gauges:
    """A `Show` that also tells the cluster's metrics how far a run is (Ray puts `ray_` before their names):
    raysyn_progress, 0 to 1, and raysyn_epsilon_spent, both by run and stage, as far as `Outside` lets through.
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
        self._outside = Outside(show.private if isinstance(show, Watched) else None)

    def __call__(self, stage: str, done: int, total: int, metrics: dict[str, float]) -> None:
        if (told := self._outside.told(stage, done, total, metrics)) is not None:
            name, _, figures = told
            tags = {"run": self._run, "stage": name}
            self._progress.set(figures["progress"], tags)
            if "epsilon" in figures:
                self._epsilon.set(figures["epsilon"], tags)
        self._show(stage, done, total, metrics)
