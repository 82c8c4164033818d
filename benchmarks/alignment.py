"""How fast are public images aligned? Against bare passes of the teacher, and with two workers against one.

    python benchmarks/alignment.py                      # batches of 80 images of 28 x 28, k = 10, a ResNet-18
    python benchmarks/alignment.py --width 64 --batches 4

The bare row is k forward and backward passes to the pixels of the same batch, with the cross-entropy alone. Ray's rows
run the pipeline's own units. Rows are taken in turn, `--repeats` times, and their medians shown; images per CPU-second
do not suffer from other processes much, but run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F

from raysyn.compute import Machines
from raysyn.methods.dp_imgsyn_units import Synthesis, align_some
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.on_ray.cluster import OnRay, session
from raysyn.on_ray.process import settle
from raysyn.privacy import layer_statistics
from raysyn.train import alignment
from raysyn.train.alignment import AlignmentConfig

SHAPE, CLASSES = (28, 28, 1), 10


def bare(teacher: Teacher, images: torch.Tensor, labels: torch.Tensor, iterations: int) -> None:
    x = images.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
    for _ in range(iterations):
        torch.autograd.grad(F.cross_entropy(teacher(x), labels), x)


def cpu_seconds(action: object, *args: object) -> float:
    start = time.process_time()
    action(*args)  # type: ignore[operator]
    return time.process_time() - start


def on_ray(shared: tuple[object, ...], batches: int, size: int, workers: int) -> float:
    """Wall seconds, with warm processes."""
    units = [(at, np.arange(size)) for at in range(batches)]
    with session("local", cpus=workers), tempfile.TemporaryDirectory() as folder:
        compute = OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))
        compute.map(align_some, units[: 2 * workers], name="warm", shared=shared)
        start = time.perf_counter()
        compute.map(align_some, units, name="align", shared=shared)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--batches", type=int, default=24)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    settle(1)
    torch.manual_seed(0)
    teacher = Teacher(TeacherConfig(width=given.width), SHAPE, CLASSES).eval().requires_grad_(False)
    teacher = teacher.to(memory_format=torch.channels_last)
    images, labels = torch.rand(given.batch, 1, 28, 28) * 2 - 1, alignment.targets(given.batch, CLASSES)
    parts = [v.mean(0).chunk(2) for v in layer_statistics.moments(teacher, torch.randn(100, 1, 28, 28))]
    wanted = [(first, (second - first.square()).clamp(min=0)) for first, second in parts]
    config = AlignmentConfig(start="gaussian", iterations=given.iterations, batch_size=given.batch)
    times: dict[str, list[float]] = {"bare": [], "align": [], "one": [], "two": []}
    shared = (teacher, [list(pair) for pair in wanted], None, Synthesis(config, SHAPE, CLASSES, 0))
    for _ in range(given.repeats):
        times["bare"].append(cpu_seconds(bare, teacher, images, labels, given.iterations))
        times["align"].append(cpu_seconds(alignment.align, teacher, images, labels, wanted, config))
        times["one"].append(on_ray(shared, given.batches, given.batch, 1))
        times["two"].append(on_ray(shared, given.batches, given.batch, 2))
    spent = {name: median(values) for name, values in times.items()}
    print(
        f"ResNet-18 of width {given.width}, batches of {given.batch}, k = {given.iterations}, {given.repeats} repeats"
    )
    print("| what | images per CPU-second | ratio |\n|---|---|---|")
    print(f"| k bare passes | {given.batch / spent['bare']:.1f} | |")
    print(f"| alignment | {given.batch / spent['align']:.1f} | {spent['align'] / spent['bare']:.2f} x the time |")
    print("| what | images per second | ratio |\n|---|---|---|")
    print(f"| Ray, one worker | {given.batches * given.batch / spent['one']:.1f} | |")
    gain = spent["one"] / spent["two"]
    print(f"| Ray, two workers | {given.batches * given.batch / spent['two']:.1f} | {gain:.2f} x as fast |")


if __name__ == "__main__":
    main()
