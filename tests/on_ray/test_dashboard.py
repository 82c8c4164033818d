"""What somebody finds on Ray's dashboard and in Prometheus: whose task it is, and how far the run is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import ray

from raysyn.compute.doorway import Machines, Watched
from raysyn.compute.worker import Worker
from raysyn.on_ray.cluster import OnRay, connect
from raysyn.on_ray.dashboard import Gauges

MACHINES = Machines(workers=1, gpus_per_worker=0, cpus_per_worker=1)


def name_of_unit(item: int, shared: Any) -> str:
    return str(ray.get_runtime_context().get_task_name())


def name_of_units(items: list[int], shared: Any) -> list[str]:
    return [name_of_unit(item, shared) for item in items]


def name_of_rank(worker: Worker) -> str:
    return str(ray.get_runtime_context().get_task_name())


def test_every_unit_and_task_says_whose_it_is(ray_session: None, tmp_path: Path) -> None:
    compute = OnRay(MACHINES, tmp_path / "store")
    units = compute.map(name_of_unit, range(3), name="utility-1a2b3c4d")
    assert units == ["raysyn utility 1/3", "raysyn utility 2/3", "raysyn utility 3/3"]
    assert compute.map(name_of_units, range(3), name="shadow", together=2) == [
        "raysyn shadow 1-2/3", "raysyn shadow 1-2/3", "raysyn shadow 3/3",
    ]  # fmt: skip
    assert compute.once(name_of_rank, name="fidelity-1a2b3c4d") == "raysyn fidelity"


class Recorded:
    """A gauge that only remembers."""

    told: ClassVar[list[tuple[str, float, tuple[str, ...]]]] = []

    def __init__(self, name: str, about: str, tags: tuple[str, ...]) -> None:
        self._name = name
        assert tags == ("run", "stage") and about

    def set(self, value: float, tags: dict[str, str]) -> None:
        self.told.append((self._name, value, tuple(tags.values())))


@pytest.mark.parametrize("storage", ["/data/runs/scans/internal", "s3://bucket/scans/internal", "/data/scans"])
def test_gauges_tell_progress_and_epsilon_and_nothing_measured(storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.util.metrics.Gauge", Recorded)
    monkeypatch.setattr(Recorded, "told", [])
    shown: list[tuple[Any, ...]] = []
    show = Gauges(storage, lambda *told: shown.append(told))
    show("finetune: 2 workers are starting", 0, 0, {})
    show("finetune", 3, 4, {"loss": 0.5, "examples_per_s": 417.0, "epsilon": 8.5})
    show("utility-1a2b3c4d", 4, 4, {"accuracy": 0.9})
    assert Recorded.told == [
        ("raysyn_progress", 0.75, ("scans", "finetune")),
        ("raysyn_epsilon_spent", 8.5, ("scans", "finetune")),
        ("raysyn_progress", 1.0, ("scans", "utility")),
    ]
    assert len(shown) == 3 and shown[1][3]["loss"] == 0.5, "all is shown where it was"


def test_gauges_of_private_stages_tell_neither_shares_nor_the_time_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.util.metrics.Gauge", Recorded)
    monkeypatch.setattr(Recorded, "told", [])
    shown: list[tuple[Any, ...]] = []
    show = Gauges("/runs/scans/internal", Watched(lambda *told: shown.append(told), frozenset(["votes", "finetune"])))
    for done in (0, 5_000, 12_345):
        show("votes-1", done, 12_345, {})
    for step in range(1, 51):
        show("finetune", step, 50, {"epsilon": float(step)})
    show("utility", 1, 3, {})  # judged by private images
    show("warmup", 1, 3, {})
    progress = [(stage, value) for name, value, (_, stage) in Recorded.told if name == "raysyn_progress"]
    assert progress == [("votes", 1.0), ("finetune", 0.4), ("finetune", 1.0), ("warmup", 1 / 3)]
    assert {stage for name, _, (_, stage) in Recorded.told if name == "raysyn_epsilon_spent"} == {"finetune"}
    assert len(shown) == 55, "all is shown where it was"


def test_a_cluster_that_is_joined_has_gauges(ray_session: None, tmp_path: Path) -> None:
    shown: list[tuple[Any, ...]] = []
    with connect(MACHINES, tmp_path / "scans" / "internal", lambda *told: shown.append(told)) as compute:
        assert isinstance(compute._show, Gauges)
        assert len(compute.map(name_of_unit, range(2), name="units")) == 2
    assert shown[-1] == ("units", 2, 2, {})
