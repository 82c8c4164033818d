"""How far does a fan-out scale? Thousands of units, a sweep on many nodes, and how long each verb takes to begin.

    python benchmarks/scale.py                              # all three
    python benchmarks/scale.py --parts units verbs
    python benchmarks/scale.py --parts nodes --nodes 4 8 16 32 --models 256 --unit-s 3

`units`: CPU seconds of the driver per unit that does nothing, its durable result included, and how much more memory
the driver needed than before. `nodes`: nodes of one CPU, all on this machine, on which every model of a sweep takes the
same time asleep; efficiency is the time that these would take without any overhead, divided by the time they took.
`verbs`: from the call to the answer of something trivial, in a running cluster: how long workers take to start.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import resource
import secrets
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from raysyn.compute.doorway import Compute, Machines
from raysyn.compute.searches import Search
from raysyn.compute.worker import Worker
from raysyn.on_ray.cluster import OnRay, session

# Machines as busy as this one is with 32 nodes must not be taken for dead.
PATIENT = {"health_check_timeout_ms": 60_000, "health_check_failure_threshold": 10}


def no_op(item: int, shared: None) -> int:
    return item


def asleep(item: int, seconds: float) -> int:
    time.sleep(seconds)
    return item


def trivial(worker: Worker) -> int:
    return worker.rank


def trial(worker: Worker, params: dict[str, Any], shared: None) -> None:
    worker.progress(1, 1, score=float(params["x"]))


@contextmanager
def fresh(cpus: int) -> Iterator[Compute]:
    with session("local", cpus=cpus), tempfile.TemporaryDirectory() as folder:
        yield OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))


def peak_mb() -> float:
    """Largest resident memory of this process since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def units(counts: list[int], workers: int) -> None:
    print("| units | driver CPU per unit | wall per unit | driver's memory grew by |\n|---:|---:|---:|---:|")
    with fresh(workers) as compute:
        compute.map(no_op, range(100), name="warm-up")
        for count in counts:
            forget_peak()
            before, cpu, wall = peak_mb(), time.process_time(), time.perf_counter()
            assert compute.map(no_op, range(count), name=f"no-ops-{count}") == list(range(count))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            grown = peak_mb() - before
            print(f"| {count:,} | {1000 * cpu / count:.2f} ms | {1000 * wall / count:.2f} ms | {grown:.1f} MB |")


def nodes(counts: list[int], models: int, unit_s: float) -> None:
    print(f"{models} models of {unit_s:g} s, {unit_s / 60:.3g} of a minute\n")
    print("| nodes | ideal | took | parallel efficiency | driver CPU |\n|---:|---:|---:|---:|---:|")
    # Ray remembers the first token that it reads.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    # One worker process for each node, and none on a guess.
    os.environ |= {"RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0"}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": PATIENT}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        there = 0
        for count in sorted(counts):
            for _ in range(there, count):
                cluster.add_node(num_cpus=1, object_store_memory=80 << 20)
            there = count
            with tempfile.TemporaryDirectory() as folder:
                compute = OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))
                # Long enough that every node has started its worker.
                compute.map(asleep, range(2 * count), name="warm-up", shared=3.0 + count / 2)
                started, cpu = time.perf_counter(), time.process_time()
                compute.map(asleep, range(models), name="sweep", shared=unit_s)
                took, cpu = time.perf_counter() - started, time.process_time() - cpu
            ideal = math.ceil(models / count) * unit_s
            print(f"| {count} | {ideal:.1f} s | {took:.1f} s | {ideal / took:.3f} | {cpu:.1f} s |", flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


def verbs(workers: int) -> None:
    print("| verb | first call | second call |\n|---|---:|---:|")
    calls = {
        "map": lambda compute, name: compute.map(no_op, range(workers), name=name),
        "once": lambda compute, name: compute.once(trivial, name=name),
        "train, 1 worker": lambda compute, name: compute.train(trivial, name=name, alone=True),
        f"train, {workers} workers": lambda compute, name: compute.train(trivial, name=name),
        "search, 2 trials": lambda compute, name: compute.search(
            trial, {"x": [1, 2]}, Search(metric="score", reports=1), name=name, shared=None
        ),
    }
    for verb, call in calls.items():
        with session("local", cpus=workers), tempfile.TemporaryDirectory() as folder:
            compute, took = OnRay(Machines(workers=workers, cpus_per_worker=1), Path(folder)), []
            for name in ("first", "second"):
                started = time.perf_counter()
                call(compute, name)
                took.append(f"{time.perf_counter() - started:.1f} s")
        print(f"| {verb} | {' | '.join(took)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["units", "nodes", "verbs"], choices=["units", "nodes", "verbs"])
    parser.add_argument("--units", nargs="+", type=int, default=[1_000, 10_000])
    parser.add_argument("--nodes", nargs="+", type=int, default=[4, 8, 16, 32])
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--unit-s", type=float, default=3.0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    # Every node of this machine has its own few hundred files and sockets.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if "units" in given.parts:
        units(given.units, given.workers)
        print()
    if "verbs" in given.parts:
        verbs(given.workers)
        print()
    if "nodes" in given.parts:
        nodes(given.nodes, given.models, given.unit_s)


if __name__ == "__main__":
    main()
