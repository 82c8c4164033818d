"""How fast are sensitive images asked for their public classes? Ray with one and two workers against a bare loop.

    python benchmarks/semantic_inference.py                      # 50,000 made-up images of 32 x 32, a ResNet-14
    python benchmarks/semantic_inference.py --images 10000 --network resnet50

The bare loop calls the network on batches of the same size in this process and counts nothing. Ray's rows run the
pipeline's own units and count from the call to the last durable result, with the cluster running and its worker
processes warm. Rows are taken in turn, `--repeats` times, and their medians shown; wall-clock time, so run it on a
quiet machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch

from raysyn.compute.doorway import Machines
from raysyn.data.images import Images
from raysyn.methods.privimage.stages import SHARD, count_shard
from raysyn.models.semantic import SemanticNetConfig
from raysyn.on_ray.cluster import OnRay, session
from raysyn.on_ray.process import settle
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.train.classifier import as_float
from raysyn.train.semantic import BATCH

PUBLIC_CLASSES = 100
Shared = tuple[torch.nn.Module, Images, SemanticConfig, int]


def bare(shared: Shared) -> tuple[float, float]:
    """Wall and CPU seconds of a loop over batches, one thread."""
    network, private, _, _ = shared
    network.eval()
    settle(1)
    wall, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        for at in range(0, len(private), BATCH):
            network(as_float(torch.tensor(private.images_NHWC[at : at + BATCH])))
    return time.perf_counter() - wall, time.process_time() - cpu


def on_ray(shared: Shared, workers: int) -> tuple[float, float, np.ndarray]:
    """Wall seconds, the workers' CPU seconds, and the counts."""
    private = shared[1]
    shards = [(at, min(at + SHARD, len(private))) for at in range(0, len(private), SHARD)]
    with session("local", cpus=workers), tempfile.TemporaryDirectory() as folder:
        compute = OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))
        # Processes start and import.
        compute.map(warm, range(2 * workers), name="warm", shared=shared)
        wall, cpu, own = time.perf_counter(), compute.cpu_s(), time.process_time()
        counts = compute.map(count_shard, shards, name="semantic", shared=shared)
        wall, own = time.perf_counter() - wall, time.process_time() - own
        return wall, compute.cpu_s() - cpu - own, np.sum([one.numpy() for one in counts], axis=0)


def warm(item: int, shared: Shared) -> None:
    time.sleep(1)  # long enough that every worker takes one
    count_shard((0, 64), shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--network", choices=("resnet14", "resnet50"), default="resnet14")
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (given.images, 32, 32, 3), np.uint8)
    private = Images(pixels, np.arange(given.images) % 10, tuple("abcdefghij"))
    network = SemanticNetConfig(name=given.network, width=given.width).build(3, PUBLIC_CLASSES)
    shared = (network, private, SemanticConfig(k=2), PUBLIC_CLASSES)
    walls, cpus, counts = dict[str, list[float]](), dict[str, list[float]](), list[np.ndarray]()
    for _ in range(given.repeats):
        wall, cpu = bare(shared)
        walls.setdefault("bare loop", []).append(wall)
        cpus.setdefault("bare loop", []).append(cpu)
        for workers in (1, 2):
            wall, cpu, counted = on_ray(shared, workers)
            walls.setdefault(f"Ray, workers: {workers}", []).append(wall)
            cpus.setdefault(f"Ray, workers: {workers}", []).append(cpu)
            counts.append(counted)
    assert all(np.array_equal(counts[0], other) for other in counts), "counts must not depend on the workers"
    n, one = given.images, median(walls["Ray, workers: 1"])
    loop = n / median(cpus["bare loop"])
    print(f"{n:,} images of 32 x 32 x 3, {given.network} of width {given.width}, {given.repeats} repeats")
    print("| what | wall s | images/s | images per CPU-second | against the bare loop | against one worker |")
    print("|---|---|---|---|---|---|")
    for name in walls:
        wall, per_cpu = median(walls[name]), n / median(cpus[name])
        print(f"| {name} | {wall:.1f} | {n / wall:.0f} | {per_cpu:.0f} | {per_cpu / loop:.2f} | {one / wall:.2f} |")


if __name__ == "__main__":
    main()
