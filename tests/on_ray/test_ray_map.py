"""Fanning out through real Ray: every unit once, nothing lost, nothing done twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import shards
import stages
import torch

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.compute.told import Told
from raysyn.data.images import Images
from raysyn.methods.privimage.stages import count_shard
from raysyn.models.semantic import SemanticNetConfig
from raysyn.on_ray.cluster import OnRay
from raysyn.on_ray.fan_out import Group, Units
from raysyn.privacy.queries.semantic import SemanticConfig


def runs(folder: Path) -> dict[int, int]:
    """How often each unit ran."""
    counts: dict[int, int] = {}
    for path in folder.glob("unit-*"):
        item = int(path.name.split("-")[1].split(".")[0])
        counts[item] = counts.get(item, 0) + 1
    return counts


def test_a_map_tells_how_far_its_units_are(ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raysyn.on_ray.fan_out.EVERY_S", 0.2)
    told: list[tuple[Any, ...]] = []
    compute = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path / "store", lambda *all_: told.append(all_))
    assert compute.map(stages.telling, [4, 4], name="experiments") == [4, 4]
    shares = [one[3]["finetune_share"] for one in told if "finetune_share" in one[3]]
    assert shares and set(shares) <= {0.25, 0.5, 0.75, 1.0}
    assert all(one[3].keys() <= {"finetune_share"} for one in told) and told[-1] == ("experiments", 2, 2, {})


def test_a_killed_worker_costs_one_unit_and_a_rerun_only_what_is_missing(
    ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[Any] = []
    put = ray.put
    monkeypatch.setattr(ray, "put", lambda value: (puts.append(value), put(value))[1])
    told: list[tuple[Any, ...]] = []
    compute = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path / "store", lambda *all_: told.append(all_))
    table = np.arange(20) / 4
    results = compute.map(stages.unit, range(20), name="squares", shared=(table, str(tmp_path)))
    assert [result["square"] for result in results] == [item**2 for item in range(20)]
    assert [result["looked_up"] for result in results] == table.tolist()
    assert not any(result["copied"] for result in results), "shared data must be mapped, not copied"
    assert len(puts) == 1
    counts = runs(tmp_path)
    # The killed process may have held one more unit that was just beginning.
    assert counts.keys() == set(range(20)) and counts[7] == 2 and sum(counts.values()) <= 22
    assert [done for _, done, _, _ in told] == list(range(21)) and told[-1][:3] == ("squares", 20, 20)

    for item in (4, 11):
        (tmp_path / "store" / "units" / "squares" / f"{item:06d}.pt").unlink()
    again = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path / "store")
    assert again.map(stages.unit, range(20), name="squares", shared=(table, str(tmp_path))) == results
    assert sum(runs(tmp_path).values()) == sum(counts.values()) + 2
    assert runs(tmp_path)[4] == counts[4] + 1 and runs(tmp_path)[11] == counts[11] + 1
    local = Local(tmp_path / "store").map(stages.unit, range(20), name="squares", shared=(table, str(tmp_path)))
    assert local == results


@pytest.mark.slow  # above, of another unit; shards in one process are in tests/privacy/test_semantic_query.py
def test_a_worker_killed_in_semantic_inference_costs_one_shard_and_no_count(ray_session: None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    private = Images(rng.integers(0, 256, (240, 8, 8, 1), np.uint8), np.arange(240) % 3, ("a", "b", "c"))
    network = SemanticNetConfig(name="resnet14", width=4).build(1, 12)
    shared = (network, private, SemanticConfig(k=2), 12)
    parts = [(at, min(at + 25, 240)) for at in range(0, 240, 25)]
    compute = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path / "store")
    counted = compute.map(shards.count_or_die, parts, name="semantic", shared=(shared, str(tmp_path)))
    alone = count_shard((0, 240), shared)
    assert torch.equal(sum(counted, torch.zeros_like(alone)), alone) and alone.sum() == 2 * 240
    times = runs(tmp_path)
    assert times.keys() == {start for start, _ in parts} and times[50] == 2
    # The killed process may have held one more shard that was just beginning.
    assert sum(times.values()) <= len(parts) + 2


def test_a_unit_that_waits_for_a_node_that_is_gone_asks_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [{"Alive": True, "Resources": {"CPU": cpus, "GPU": 1.0}} for cpus in (8.0, 2.0)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    units = Units(stages.unit, [0, 1], name="two", shared=None, gpus=0.25)
    assert [units._asked(room) for room in (1, 2, 4, 64)] == [
        {"CPU": 1.0, "GPU": 0.25}, {"CPU": 2.0, "GPU": 0.5}, {"CPU": 4.0, "GPU": 1.0}, {"CPU": 8.0, "GPU": 1.0},
    ]  # fmt: skip
    flying = {"plain": Group([0]), "roomy": Group([1], room=4, cpus=4.0)}
    assert units._too_large(flying) == []
    nodes[0]["Alive"] = False
    assert units._too_large(flying) == ["roomy"]
    # The CPUs of a node without a GPU are of no use to it.
    nodes[0] = {"Alive": True, "Resources": {"CPU": 8.0}}
    nodes[1] = {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 1.0}}
    assert units._asked(64) == {"CPU": 4.0, "GPU": 1.0}


def test_a_unit_is_tried_twice_where_no_node_has_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
    units, group = Units(stages.unit, [0], name="one", shared=None, gpus=0.0), Group([0])
    assert units._give_room(group) and units._asked(group.room)["CPU"] == 1.0
    assert not units._give_room(group)


@pytest.mark.parametrize("where", ["ray", "local"])
def test_a_failing_unit_is_named_after_the_others_are_done(
    where: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if where == "ray":
        request.getfixturevalue("ray_session")
    compute = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path) if where == "ray" else Local(tmp_path)
    (tmp_path / "three-fails").touch()
    shared = (np.zeros(20), str(tmp_path))
    with pytest.raises(RuntimeError, match=r"squares, unit 3 of 6 failed: KeyError: 'three'"):
        compute.map(stages.unit, range(6), name="squares", shared=shared)
    assert len(list((tmp_path / "units" / "squares").iterdir())) == 5
    (tmp_path / "three-fails").rename(tmp_path / "three-tells")
    with pytest.raises(Told, match=r"^squares, unit 3 of 6 failed: stage\.item is 3: choose another$"):
        compute.map(stages.unit, range(6), name="squares", shared=shared)
    (tmp_path / "three-tells").unlink()
    assert len(compute.map(stages.unit, range(6), name="squares", shared=shared)) == 6
    assert runs(tmp_path) == {0: 1, 1: 1, 2: 1, 3: 3, 4: 1, 5: 1}


@pytest.mark.parametrize("where", ["ray", "local"])
def test_named_units_are_found_in_any_company(where: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if where == "ray":
        request.getfixturevalue("ray_session")
        compute: Any = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path)
    else:
        compute = Local(tmp_path)

    def squares(*items: int) -> list[int]:
        shared = (np.arange(20.0), str(tmp_path))
        found = compute.map(stages.unit, items, name="squares", shared=shared, keys=[f"item-{item}" for item in items])
        return [one["square"] for one in found]

    assert squares(5, 2) == [25, 4]
    assert squares(1, 2, 9, 5) == [1, 4, 81, 25]
    assert runs(tmp_path) == {1: 1, 2: 1, 5: 1, 9: 1}
    with pytest.raises(AssertionError, match="2 items need as many different keys"):
        squares(2, 2)
