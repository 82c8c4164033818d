"""The Monte Carlo attack on generators: CPU time and memory beside a full matrix of distances, in one run.

`python benchmarks/monte_carlo.py`: 200 suspects, 100,000 generated images of 28 x 28 pixels, 40 components.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial.distance import cdist

from raysyn.attacks.gan_attacks import MonteCarloConfig, fit_projection, monte_carlo, share_nearby
from raysyn.data import Images


def measured(f: Callable[[], np.ndarray | dict]) -> tuple[np.ndarray | dict, float, float]:
    """What f answers, its CPU seconds, and by how many MiB it raised the most that this process has held."""
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    answer = f()
    return answer, time.process_time() - started, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def full_matrix(suspects: np.ndarray, fakes: np.ndarray) -> np.ndarray:
    """The obvious way, which `share_nearby` must equal."""
    distances = cdist(suspects, fakes)
    return (distances <= np.median(distances.min(1))).mean(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fakes", type=int, default=100_000)
    parser.add_argument("--suspects", type=int, default=100, help="of each side")
    fakes_N, suspects = parser.parse_args().fakes, parser.parse_args().suspects
    rng = np.random.default_rng(0)

    def images(count: int) -> Images:
        pixels = rng.integers(0, 256, (count, 28, 28, 1), np.uint8)
        return Images(pixels, np.zeros(count, np.int64), ("any",))

    members, others, fakes = images(7000), images(10_000), images(fakes_N).images_NHWC
    project = fit_projection(others.images_NHWC[:1000], 40, 0)
    near, far = project(np.concatenate((members.images_NHWC[:suspects], others.images_NHWC[:suspects]))), project(fakes)
    ours, ours_s, ours_mib = measured(lambda: share_nearby(near, far))
    obvious, obvious_s, obvious_mib = measured(lambda: full_matrix(near.numpy(), far.numpy()))
    assert np.array_equal(ours, obvious)
    config = MonteCarloConfig(fakes=fakes_N, suspects=suspects)
    _, one_s, one_mib = measured(lambda: monte_carlo(members, others, fakes, MonteCarloConfig(repeats=1), 0))
    _, all_s, _ = measured(lambda: monte_carlo(members, others, fakes, config, 0))
    threads = torch.get_num_threads()
    print(f"{2 * suspects} suspects, {fakes_N:,} fakes, {threads} threads; CPU seconds, MiB more than before")
    print("| what | CPU s | ratio | MiB |\n|---|---|---|---|")
    print(f"| shares nearby, in blocks | {ours_s:.2f} | 1 | {ours_mib:.0f} |")
    print(f"| the same by a full matrix | {obvious_s:.2f} | {obvious_s / ours_s:.1f} | {obvious_mib:.0f} |")
    print(f"| one attack, with its projection | {one_s:.2f} | | {one_mib:.0f} |")
    print(f"| the paper's {config.repeats} attacks | {all_s:.2f} | | |")


if __name__ == "__main__":
    main()
