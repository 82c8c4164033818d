"""The Monte Carlo attack on generators: time and memory beside a full matrix of distances, each in a fresh process.

`python benchmarks/monte_carlo.py`: 200 suspects, 100,000 generated images of 28 x 28 pixels, 40 components.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from scipy.spatial.distance import cdist

from raysyn.attacks.gan_attacks import MonteCarloConfig, fit_projection, monte_carlo, share_nearby
from raysyn.data.images import Images


def full_matrix(suspects: np.ndarray, fakes: np.ndarray) -> np.ndarray:
    """The obvious way, which `share_nearby` must equal."""
    distances = cdist(suspects, fakes)
    return (distances <= np.median(distances.min(1))).mean(1)


def measured(case: str, fakes_N: int, suspects: int) -> tuple[Any, float, float, float]:
    """What a case answers, its wall seconds, CPU seconds, and the most MiB that this process has held."""
    rng = np.random.default_rng(0)

    def images(count: int) -> Images:
        pixels = rng.integers(0, 256, (count, 28, 28, 1), np.uint8)
        return Images(pixels, np.zeros(count, np.int64), ("any",))

    members, others, fakes = images(7000), images(10_000), images(fakes_N).images_NHWC
    config = MonteCarloConfig(fakes=fakes_N, suspects=suspects)
    project = fit_projection(others.images_NHWC[:1000], 40, 0)
    near = project(np.concatenate((members.images_NHWC[:suspects], others.images_NHWC[:suspects])))
    far = project(fakes if case in ("blocks", "matrix") else fakes[:1])
    wall, cpu = time.perf_counter(), time.process_time()
    answer: Any = None
    if case == "blocks":
        answer = share_nearby(near, far)
    elif case == "matrix":
        answer = full_matrix(near.numpy(), far.numpy())
    elif case == "attack":
        monte_carlo(members, others, fakes, replace(config, repeats=1), 0)
    elif case == "attacks":
        monte_carlo(members, others, fakes, config, 0)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return answer, *spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fakes", type=int, default=100_000)
    parser.add_argument("--suspects", type=int, default=100, help="of each side")
    given = parser.parse_args()
    cases = {
        "nothing": "images and libraries alone",
        "blocks": "shares nearby, in blocks",
        "matrix": "the same by a full matrix",
        "attack": "one attack, with its projection",
        "attacks": f"the paper's {MonteCarloConfig().repeats} attacks",
    }
    found = {}
    for case in cases:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[case] = pool.submit(measured, case, given.fakes, given.suspects).result()
    assert np.array_equal(found["blocks"][0], found["matrix"][0])
    print(f"{2 * given.suspects} suspects, {given.fakes:,} fakes, {torch.get_num_threads()} threads")
    print("| what | wall s | CPU s | most MiB held |\n|---|---|---|---|")
    for case, name in cases.items():
        _, wall, cpu, mib = found[case]
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {mib:.0f} |")


if __name__ == "__main__":
    main()
