"""How fast are public images aligned? Against bare passes of the teacher, and with two workers against one.

    python benchmarks/alignment.py                      # batches of 80 images of 28 x 28, k = 10, a ResNet-18
    python benchmarks/alignment.py --width 64 --batches 4

The bare row is k forward and backward passes to the pixels of as many images, with the cross-entropy alone. The other
rows run the pipeline's own units, which also label what they have aligned. Rows are taken in turn, `--repeats` times,
and their medians shown; images per CPU-second do not suffer from other processes much, but run it on a quiet machine.
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

from raysyn.compute.doorway import Machines
from raysyn.methods.dp_imgsyn.units import Synthesis, align_some
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.on_ray.cluster import OnRay, session
from raysyn.on_ray.process import settle
from raysyn.privacy.queries import layer_statistics
from raysyn.train import alignment
from raysyn.train.alignment import AlignmentConfig

SHAPE, CLASSES = (28, 28, 1), 10


def bare(teacher: Teacher, batches: list[torch.Tensor], labels: torch.Tensor, iterations: int) -> None:
    for images in batches:
        x = images.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        for _ in range(iterations):
            torch.autograd.grad(F.cross_entropy(teacher(x), labels), x)


def cpu_seconds(action: object, *args: object) -> float:
    start = time.process_time()
    action(*args)  # type: ignore[operator]
    return time.process_time() - start


def on_ray(units: list[tuple[int, np.ndarray]], shared: tuple[object, ...], workers: int) -> float:
    """Wall seconds, with warm processes."""
    with session("local", cpus=workers), tempfile.TemporaryDirectory() as folder:
        compute = OnRay(Machines(workers=1, cpus_per_worker=1), Path(folder))
        compute.map(align_some, units[:workers], name="warm", shared=shared)
        start = time.perf_counter()
        compute.map(align_some, units, name="align", shared=shared)
        return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-ray", action="store_true", help="only the first two rows")
    given = parser.parse_args()
    settle(1)
    torch.manual_seed(0)
    teacher = Teacher(TeacherConfig(width=given.width), SHAPE, CLASSES).eval().requires_grad_(False)
    teacher = teacher.to(memory_format=torch.channels_last)
    parts = [v.mean(0).chunk(2) for v in layer_statistics.moments(teacher, torch.randn(100, 1, 28, 28))]
    wanted = [[first, (second - first.square()).clamp(min=0)] for first, second in parts]
    config = AlignmentConfig(start="gaussian", iterations=given.iterations, batch_size=given.batch)
    synthesis = Synthesis(config, SHAPE, CLASSES, 0)
    units = synthesis.units(np.arange(given.batches * given.batch))
    shared = (teacher, wanted, None, synthesis)
    first = len(units[0][1])
    batches = [torch.rand(given.batch, 1, 28, 28) * 2 - 1 for _ in range(first // given.batch)]
    labels = alignment.targets(given.batch, CLASSES)
    times: dict[str, list[float]] = {"bare": [], "align": [], "one": [], "two": []}
    for _ in range(given.repeats):
        times["bare"].append(cpu_seconds(bare, teacher, batches, labels, given.iterations))
        times["align"].append(cpu_seconds(align_some, units[0], shared))
        if not given.no_ray:
            times["one"].append(on_ray(units, shared, 1))
            times["two"].append(on_ray(units, shared, 2))
    spent = {name: median(values) for name, values in times.items() if values}
    print(
        f"ResNet-18 of width {given.width}, batches of {given.batch}, k = {given.iterations}, {given.repeats} repeats"
    )
    print("| what | images per CPU-second | ratio |\n|---|---|---|")
    print(f"| k bare passes | {first / spent['bare']:.1f} | |")
    print(f"| alignment and labels | {first / spent['align']:.1f} | {spent['align'] / spent['bare']:.2f} x the time |")
    if not given.no_ray:
        count, gain = given.batches * given.batch, spent["one"] / spent["two"]
        print("| what | images per second | ratio |\n|---|---|---|")
        print(f"| Ray, one worker | {count / spent['one']:.1f} | |")
        print(f"| Ray, two workers | {count / spent['two']:.1f} | {gain:.2f} x as fast |")


if __name__ == "__main__":
    main()
