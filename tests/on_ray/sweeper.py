"""python sweeper.py KIND STORAGE TRACES UNITS SECONDS [GPUS]: a sweep on the cluster of RAY_ADDRESS, as its driver:
a map or a search of so many UNITS, or training on so many workers; before it, so many GPUs for a unit are refused."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch

from raysyn.compute.doorway import Compute, Machines
from raysyn.compute.searches import Search
from raysyn.compute.worker import Worker
from raysyn.on_ray import group
from raysyn.on_ray.cluster import connect

group.IDLE_S = 5.0  # what a group holds is given back while the driver is at other work


def unit(item: int, shared: tuple[str, float]) -> dict[str, Any]:
    folder, seconds = shared
    Path(folder, f"unit-{item}.{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    # Nodes have one CPU: until another one works too, this one is busy.
    end = time.monotonic() + 90
    while item == 0 and len(list(Path(folder).glob("unit-*"))) == 1 and time.monotonic() < end:
        time.sleep(0.1)
    return {"square": item * item, "node": ray.get_runtime_context().get_node_id()}


def trial(worker: Worker, params: dict[str, Any], shared: tuple[str, float]) -> None:
    found = unit(params["item"], shared)
    worker.progress(1, 1, square=float(found["square"]))


def rank(worker: Worker, shared: tuple[str, float]) -> list[float]:
    unit(worker.rank, shared)
    return [float(worker.sum_(torch.ones(1)))]


def sweep(compute: Compute, kind: str, units: int, shared: tuple[str, float]) -> Any:
    if kind == "map":
        return compute.map(unit, range(units), name="sweep", shared=shared)
    if kind == "train":
        return compute.train(rank, shared, name="sweep")
    search = Search(metric="square", reports=1)
    found = compute.search(trial, {"item": list(range(units))}, search, name="sweep", shared=shared)
    return sorted(one.score for one in found)


def refusal(machines: Machines, storage: Path) -> str:
    try:
        with connect(machines, storage):
            return ""
    except ValueError as error:
        if "no Ray cluster answers" in str(error):
            raise
        return str(error)


def nodes() -> int:
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


if __name__ == "__main__":
    kind, storage, traces, units, seconds = *sys.argv[1:4], int(sys.argv[4]), float(sys.argv[5])
    gpus = float(sys.argv[6]) if len(sys.argv) > 6 else None
    told: list[dict[str, float]] = []
    end = time.monotonic() + 60
    machines = Machines(address="auto", workers=units if kind == "train" else None)
    while True:
        try:
            refused = refusal(replace(machines, gpus_per_unit=gpus), Path(storage)) if gpus else ""
            with connect(
                machines, Path(storage), lambda stage, done, total, metrics: told.append(dict(metrics))
            ) as one:
                before = nodes()
                found = sweep(one, kind, units, (traces, seconds))
                most, until = nodes(), time.monotonic() + 60
                while nodes() and time.monotonic() < until:
                    time.sleep(0.5)
                after = nodes()
            break
        except ValueError as error:
            # The head may still be starting.
            if "no Ray cluster answers" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.5)
    seen = {"refused": refused, "before": before, "most": most, "after": after, "told": told, "found": found}
    Path(traces, "answer.json").write_text(json.dumps(seen))
