"""What does a small network's step cost where other programs use the cores too?

    python benchmarks/busy.py                      # all threads of torch, and one; alone, beside busy loops
    python benchmarks/busy.py --busy 0 2 --spins 300000 10000 --steps 200

Seconds by the clock of `--steps` steps of a classifier's training on 64 images of 8 x 8, each setting in a process of
its own, in turn, `--repeats` times, and their medians. `spins` is GOMP_SPINCOUNT: how often a thread of GNU OpenMP asks
whether the others are done before it lets its core go (300,000 by default; raysyn's is 10,000). Elsewhere than with GNU
OpenMP the columns are alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median

import torch
from torch import nn

LOOP = "while True: pass"


def steps(count: int) -> float:
    """Seconds by the clock."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for before in (1, 16, 16):
        layers += [nn.Conv2d(before, 16, 3, padding=1), nn.ReLU()]
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 10))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    images, labels = torch.randn(64, 1, 8, 8), torch.randint(0, 10, (64,))
    start = time.perf_counter()
    for _ in range(count):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    return time.perf_counter() - start


def taken(count: int, threads: int, spins: int, busy: int) -> float:
    """`steps` in a process of so many threads, beside so many that do nothing but compute."""
    own = os.environ | {"OMP_NUM_THREADS": str(threads), "GOMP_SPINCOUNT": str(spins)}
    others = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(busy)]
    try:
        line = [sys.executable, __file__, "--one", str(count)]
        return float(subprocess.run(line, env=own, capture_output=True, text=True, check=True).stdout)
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, os.cpu_count() or 1])
    parser.add_argument("--spins", type=int, nargs="+", default=[300_000, 10_000, 1_000])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        return print(steps(asked.one))
    every = torch.get_num_threads()
    settings = [(every, spins) for spins in asked.spins] + [(1, asked.spins[-1])]
    found: dict[tuple[int, int, int], list[float]] = {}
    for _ in range(asked.repeats):
        for busy in asked.busy:
            for threads, spins in settings:
                found.setdefault((busy, threads, spins), []).append(taken(asked.steps, threads, spins, busy))
    columns = [f"{every} threads, spins {spins:,}" for spins in asked.spins] + ["1 thread"]
    print(f"| busy loops beside | {' | '.join(columns)} |")
    print("|---:" * (len(settings) + 1) + "|")
    for busy in asked.busy:
        cells = [f"{median(found[busy, threads, spins]):.2f}" for threads, spins in settings]
        print(f"| {busy} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
