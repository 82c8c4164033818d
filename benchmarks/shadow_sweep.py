"""How fast is a sweep of shadow models? A plain loop, Ray with several workers, stacked models, overhead, memory.

    python benchmarks/shadow_sweep.py                                    # 16 models on the built-in digits
    python benchmarks/shadow_sweep.py --data.path mnist.parquet --data.limit 2000 --models 16 --workers 2

Every row trains the same models from the same seeds. The loop trains one model after the other in this process, as
sequential LiRA scripts do; Ray's rows count from the call to the last durable result, with the cluster running but its
worker processes cold. Wall-clock time, so run it on a quiet machine; overhead and memory stand below the table.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from raysyn.attacks.pool import make_pool
from raysyn.attacks.shadows import AttackConfig, train_shadows
from raysyn.compute.doorway import Machines
from raysyn.data.images import DataConfig, load
from raysyn.models.resnet import ResNetConfig
from raysyn.on_ray.cluster import OnRay, session
from raysyn.on_ray.process import settle
from raysyn.train.recipe import RecipeConfig

NO_OPS = 1000
UNIT_S = 5


def no_op(item: int, shared: None) -> int:
    return item


def peak_mb(item: int, shared: None) -> float:
    """Largest resident memory of the worker process so far, MB."""
    time.sleep(0.5)  # long enough that every worker takes one
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def loop(shared: tuple[Any, ...], models: int, threads: int) -> float:
    """Seconds of one model after the other in this process."""
    settle(threads)  # as Ray's workers do, so that the comparison is of Ray and not of the allocator
    started = time.perf_counter()
    for model in range(models):
        train_shadows([model], shared)
    return time.perf_counter() - started


def on_ray(shared: tuple[Any, ...], models: int, workers: int, stack: int) -> tuple[float, float]:
    """Seconds of the sweep, and the largest worker's memory."""
    with session("local", cpus=workers), tempfile.TemporaryDirectory() as folder:
        compute = OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))
        started = time.perf_counter()
        compute.map(train_shadows, range(models), name="sweep", shared=shared, together=stack)
        return time.perf_counter() - started, max(compute.map(peak_mb, range(workers), name="memory"))


def overhead(workers: int) -> float:
    """Milliseconds per unit that does nothing, its durable result included."""
    with session("local", cpus=workers), tempfile.TemporaryDirectory() as folder:
        compute = OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))
        compute.map(no_op, range(2 * workers), name="warm-up")
        started = time.perf_counter()
        compute.map(no_op, range(NO_OPS), name="no-ops")
        return 1000 * (time.perf_counter() - started) / NO_OPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data.name", dest="name", default="digits")
    parser.add_argument("--data.path", dest="path", help="Parquet file, npz file or folder")
    parser.add_argument("--data.limit", dest="limit", type=int, help="at most this many training images")
    parser.add_argument("--models", type=int, default=16)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--width", type=int, default=8, help="channels of the ResNet-14's first stage")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--stacks", default="4,8", help="comma-separated numbers of models trained together")
    args = parser.parse_args()
    dataset = load(DataConfig(name=args.name, path=args.path, limit=args.limit))
    pool = make_pool(dataset.train, dataset.test, None, 0)
    config, network = AttackConfig(shadow_models=args.models, design="half"), ResNetConfig(width=args.width)
    shared = (pool.images, config, network, RecipeConfig(epochs=args.epochs, batch_size=64, learning_rate=0.2), 0)
    print(
        f"{args.models} ResNet-14 of width {args.width}, {len(pool.images) // 2:,} images each, {args.epochs} epochs\n"
    )

    rows: list[tuple[str, float, float | None]] = [("loop, 1 thread", loop(shared, args.models, 1), None)]
    rows.append((f"loop, {args.workers} threads", loop(shared, args.models, args.workers), None))
    for stack in (1, *map(int, args.stacks.split(","))):
        name = f"Ray, {args.workers} workers" + (f", {stack} stacked" if stack > 1 else "")
        rows.append((name, *on_ray(shared, args.models, args.workers, stack)))
    print("| sweep | seconds | models per minute | faster than the loop | per worker | worker's peak MB |")
    print("|---|---:|---:|---:|---:|---:|")
    for name, seconds, memory in rows:
        gain = rows[0][1] / seconds
        share, peak = (f"{100 * gain / args.workers:.0f} %", f"{memory:.0f}") if memory else ("", "")
        figures = f"{seconds:.1f} | {60 * args.models / seconds:.1f} | {gain:.2f} | {share} | {peak}"
        print(f"| {name} | {figures} |")
    cost_ms = overhead(args.workers)
    share = f"{cost_ms / (UNIT_S * 1000 / args.workers):.2%} of the work at {UNIT_S} s per unit"
    print(f"\noverhead: {cost_ms:.1f} ms per unit, over {NO_OPS:,} units that do nothing: {share}")


if __name__ == "__main__":
    main()
