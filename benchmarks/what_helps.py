"""What would more epsilon, more images or fewer classes have gained? Accuracy from noisy class means on grids of them.

    python benchmarks/what_helps.py --data kmnist.parquet fashion_mnist.parquet medical_mnist.parquet

Each set is brought to 28 pixels. A logistic regression and an MLP (20 epochs) learn from what noisy_means would
release, and from the private images, and are tested on 1,000 real images; printed is their mean, in percent, then what
three times as much epsilon or three times as many images changed, by epsilon times images per class. `report/advice.py`
and docs/report.md quote it. Noise is new in every run: single figures differ by a point or two.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median

import numpy as np

from raysyn.data.images import DataConfig, Images, load
from raysyn.methods.moments import draw_chunk, gaussians, read_means
from raysyn.metrics.utility import EvalConfig, judge
from raysyn.privacy.cost import Budget
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.moments import MEANS, SPREAD, MomentsConfig

COUNTS, FEWER_CLASSES = (300, 1000, 3000, 9000), (2, 5)
EPSILONS: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
BANDS = (50, 100, 300, 1000, float("inf"))
SIZE, TESTED, EPOCHS, SEED = 28, 1000, 20, 0
Found = dict[tuple[str, int, int, float], tuple[float, float]]
"""(set, images, classes, epsilon): accuracy from noisy means, and from the private images."""


def release(private: Images, epsilon: float, count: int) -> Images:
    """As `noisy_means` does it."""
    config, n, shape, secret = MomentsConfig(), len(private), private.shape, secrets.token_bytes(32)
    plan = moments.planned(config, Budget(epsilon=epsilon), private)
    asked = moments.class_sums(private, config, plan.stages[MEANS], Stream(secret, MEANS))
    means, spread = read_means(asked.value, config, plan, n, shape), None
    if SPREAD in plan.stages:
        own = moments.per_class(config, plan.stages[SPREAD], n, private.classes, shape)
        stream = Stream(secret, SPREAD)
        spread = moments.spread_sums(private, means.means_KF, config, plan.stages[SPREAD], stream, own=own).value
    labels = np.arange(count) % private.classes
    drawn = draw_chunk((SEED, labels), (gaussians(means, spread, config, plan, n, shape), shape))
    return Images(drawn.numpy(), labels, private.class_names)


def accuracy(images: Images, test: Images) -> float:
    """Mean over both classifiers, in percent."""
    shared = {"synthetic": images, "test": test, "config": EvalConfig(epochs=EPOCHS), "seed": SEED}
    return 50 * sum(judge((name, "synthetic"), shared)["accuracy"] for name in ("logreg", "mlp"))


def first_classes(images: Images, classes: int) -> Images:
    """Those of the first so many classes."""
    some = images.select(np.flatnonzero(images.labels_N < classes))
    return Images(some.images_NHWC[:], some.labels_N, images.class_names[:classes])


def measured(path: str) -> Iterator[tuple[int, int, float, float, float]]:
    """(images, classes, epsilon, accuracy, that of the private images) over the grid."""
    dataset, rng = load(DataConfig(path=path, size=SIZE)), np.random.default_rng(SEED)
    every = dataset.train.classes
    grid: list[tuple[int, int, tuple[float, ...]]] = [(count, every, EPSILONS) for count in COUNTS]
    grid += [(1000, classes, EPSILONS[:3]) for classes in FEWER_CLASSES if classes < every]
    for count, classes, epsilons in grid:
        train, test = first_classes(dataset.train, classes), first_classes(dataset.test, classes)
        if len(train) < count:
            continue
        private = train.select(np.sort(rng.permutation(len(train))[:count]))
        test = test.select(np.sort(rng.permutation(len(test))[:TESTED]))
        real = accuracy(private, test)
        for epsilon in epsilons:
            yield count, classes, epsilon, accuracy(release(private, epsilon, min(max(count, 1000), 3000)), test), real


def gains(found: Found) -> Mapping[float, Sequence[float]]:
    """By band of epsilon times images per class: points that three times as much of either brought."""
    tripled = dict(pairwise(COUNTS)), dict(pairwise(EPSILONS))
    by_band: dict[float, list[float]] = {band: [] for band in BANDS}
    for (name, count, classes, epsilon), (reached, _) in found.items():
        band = next(band for band in BANDS if epsilon * count / classes * 1.001 < band)
        more = (name, tripled[0].get(count, 0), classes, epsilon), (name, count, classes, tripled[1].get(epsilon, 0.0))
        by_band[band] += [found[key][0] - reached for key in more if key in found]
    return by_band


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True, metavar="FILE", help="what --data.path takes")
    found: Found = {}
    print("| set | images | classes | ε | ε times images per class | noisy means, % | real images, % |")
    print("|---|---|---|---|---|---|---|")
    for path in parser.parse_args().data:
        for count, classes, epsilon, reached, real in measured(path):
            found[path, count, classes, epsilon] = reached, real
            cells = (path.rpartition("/")[2], f"{count:,}", str(classes), f"{epsilon:g}")
            figures = (f"{epsilon * count / classes:,.0f}", f"{reached:.1f}", f"{real:.1f}")
            print(f"| {' | '.join([*cells, *figures])} |", flush=True)
    print("\n| ε times images per class, below | pairs | least | middle | most |")
    print("|---|---|---|---|---|")
    for band, some in gains(found).items():
        if some:
            print(f"| {band:g} | {len(some)} | {min(some):+.0f} | {median(some):+.0f} | {max(some):+.0f} |")


if __name__ == "__main__":
    main()
