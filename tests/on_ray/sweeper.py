"""python sweeper.py STORAGE TRACES UNITS SECONDS [GPUS]: a sweep on the cluster of RAY_ADDRESS, as its driver."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import ray

from raysyn.compute import Machines
from raysyn.on_ray.cluster import connect


def unit(item: int, shared: tuple[str, float]) -> dict[str, Any]:
    folder, seconds = shared
    Path(folder, f"unit-{item}.{time.monotonic_ns()}").touch()
    time.sleep(seconds)
    return {"square": item * item, "node": ray.get_runtime_context().get_node_id()}


def nodes() -> int:
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())


if __name__ == "__main__":
    storage, traces, units, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    gpus = float(sys.argv[5]) if len(sys.argv) > 5 else None
    told: list[dict[str, float]] = []
    end = time.monotonic() + 60
    while True:
        try:
            machines = Machines(gpus_per_unit=gpus, address="auto")
            with connect(
                machines, Path(storage), lambda stage, done, total, metrics: told.append(dict(metrics))
            ) as one:
                before = nodes()
                found = one.map(unit, range(units), name="sweep", shared=(traces, seconds))
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
    seen = {"before": before, "most": most, "after": after, "told": told, "found": found}
    Path(traces, "answer.json").write_text(json.dumps(seen))
