"""What does each method reach on a few thousand images? The table that `raysyn auto` chooses by, one run a row.

    python benchmarks/choose.py --data DATA --rows raysyn/methods/auto/measured.json    # go on where it stopped
    python benchmarks/choose.py --data DATA --rows raysyn/methods/auto/measured.json --plan  # what is left to measure
    python benchmarks/choose.py --table                                                 # the table of docs/choose.md
    python benchmarks/choose.py --picks                                                 # its second table

DATA is a folder with fashion_mnist.parquet, medical_mnist_subset.parquet, cifar10.parquet, pneumoniamnist.parquet and,
as public sets, kmnist_10k.parquet and cifar100_subset.parquet. Each case is `raysyn METHOD PRESET` in this process,
with the flags that `raysyn auto` would give it, but for the number of synthetic images (3,000) and the judging:
classifiers are trained here, on the release and, once for each subset, on the real images, so that no run repeats what
another knows.
A subset is what --data.limit takes. Time is CPU time of this process with one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import raysyn
from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.methods.auto import picks
from raysyn.methods.auto.settings import JUDGES, JUDGING, LEAST, WITH_PUBLIC, Facts, Setting, setting
from raysyn.methods.auto.table import markdown
from raysyn.metrics.utility import EvalConfig, judge
from raysyn.metrics.yardsticks import guessing
from raysyn.privacy.cost import Budget
from raysyn.runs.storage import write_atomically

SETS = {
    "fashion_mnist": ("fashion_mnist.parquet", None, "kmnist_10k.parquet"),
    "medical_mnist": ("medical_mnist_subset.parquet", 28, "kmnist_10k.parquet"),
    "medical_mnist_64": ("medical_mnist_subset.parquet", None, "kmnist_10k.parquet"),
    "cifar10": ("cifar10.parquet", None, "cifar100_subset.parquet"),
    "pneumoniamnist": ("pneumoniamnist.parquet", None, "kmnist_10k.parquet"),
}
"""{set: file, pixels a side, public set}. PrivImage's preset for colour was tuned on CIFAR-10. noisy_means was on
PneumoniaMNIST, which is there as a set of two classes, of which one is large."""
TWO_CLASSES = (("pneumoniamnist", 3000), ("pneumoniamnist", 1000))
EPSILONS = (3.0, 10.0, 1.0)
QUICK = ("dp_merf", "dp_mepf", "evolution", "dp_prototypes")
SLOW = ("dp_feta", "privimage", "dp_imgsyn")
FURTHER = ("dp_kernel", "p3gm", "dp_ntk")
GREY = ("fashion_mnist", "medical_mnist")
MIDDLE, FEW = (tuple((data, n) for data in (*GREY, "cifar10")) for n in (3000, 1000))
MANY = (("fashion_mnist", 10_000), ("cifar10", 10_000), ("medical_mnist_64", 3000))


@dataclass(frozen=True)
class Case:
    """One run."""

    data: str
    n: int
    epsilon: float
    method: str
    seed: int


def cases() -> Iterator[Case]:
    """In the order in which they are worth their time: a machine that stops early has measured what matters most."""
    everywhere = (*MIDDLE, *FEW, *MANY, *TWO_CLASSES)
    yield from plain(0, everywhere)
    yield from trained(3000, 3.0, GREY, ("dp_merf",))
    yield from trained(3000, 3.0, ("cifar10",), (*QUICK, "privimage"))
    yield from (case for seed in (1, 2) for case in trained(3000, 3.0, (*GREY, "cifar10"), ("dp_merf",), seed))
    yield from trained(3000, 3.0, GREY, QUICK)
    yield from trained(3000, 3.0, ("cifar10",), SLOW)
    yield from trained(3000, 3.0, GREY, SLOW)
    yield from (case for seed in (1, 2) for case in plain(seed, everywhere))
    for epsilon in EPSILONS:
        yield from trained(3000, epsilon, (*GREY, "cifar10"), FURTHER)
    for n, epsilon in ((3000, 10.0), (1000, 3.0), (3000, 1.0), (1000, 10.0), (1000, 1.0)):
        yield from (case for seed in (0, 1, 2) for case in trained(n, epsilon, (*GREY, "cifar10"), ("dp_merf",), seed))
        yield from trained(n, epsilon, (*GREY, "cifar10"), QUICK)
    yield from trained(10_000, 10.0, GREY[:1], ("dp_feta",))
    for n, epsilon in ((3000, 10.0), (1000, 3.0), (1000, 10.0), (3000, 1.0), (1000, 1.0)):
        yield from trained(n, epsilon, (*GREY, "cifar10"), SLOW)


def plain(seed: int, subsets: Sequence[tuple[str, int]], epsilons: Sequence[float] = EPSILONS) -> Iterator[Case]:
    for data, n in subsets:
        for epsilon in epsilons:
            yield Case(data, n, epsilon, "noisy_means", seed)


def trained(n: int, epsilon: float, sets: Sequence[str], methods: Sequence[str], seed: int = 0) -> Iterator[Case]:
    for method in methods:
        for data in sets:
            yield Case(data, n, epsilon, method, seed)


def data_config(case: Case, folder: Path) -> DataConfig:
    file, size, _ = SETS[case.data]
    return DataConfig(path=str(folder / file), size=size, limit=case.n)


def measured(case: Case, folder: Path, known: list[dict[str, Any]]) -> dict[str, Any]:
    """The row of one case; the real images' accuracies are those of a row before, where there is one."""
    dataset = load(data_config(case, folder))
    facts = Facts(n=len(dataset.train), shape=dataset.train.shape, classes=dataset.train.classes)
    chosen = setting(case.method, facts, Budget(epsilon=case.epsilon))
    began = time.process_time()
    images = made(case, chosen, folder)
    making = time.process_time() - began
    began = time.process_time()
    reached = accuracies(images, dataset, case.seed)
    judging = time.process_time() - began
    same = [row for row in known if (row["data"], row["n"]) == (case.data, case.n)]
    real = same[0]["real"] if same else accuracies(dataset.train, dataset, 0)
    row = asdict(case) | {"size": max(facts.shape[:2]), "channels": facts.shape[2], "classes": facts.classes}
    row |= {"preset": chosen.preset, "flags": dict(chosen.flags) | {"synthetic": str(LEAST)}}
    row |= {"public": SETS[case.data][2].removesuffix(".parquet") if needs_public(case) else None}
    row |= {"making_s": round(making, 1), "judging_s": round(judging, 1), "accuracy": reached, "real": real}
    return row | {"largest_class": round(guessing(dataset.test)["largest_class"], 4), "test": len(dataset.test)}


def needs_public(case: Case) -> bool:
    return case.method in WITH_PUBLIC


def made(case: Case, chosen: Setting, folder: Path) -> Images:
    """The release of `raysyn METHOD PRESET`, without judging."""
    file, size, public = SETS[case.data]
    flags: dict[str, Any] = {name: value.split() if " " in value else value for name, value in chosen.flags.items()}
    # Measured on public images, of which no account is to lie beside them.
    flags |= {"budget.account": "none", "seed": case.seed, "synthetic": LEAST}
    flags |= {"eval.classifiers": (), "eval.feature-epochs": 0}
    if case.method in ("dp_imgsyn", "dp_prototypes"):
        flags |= {"students": (), "dissimilarity.images": 10, "dissimilarity.epochs": 1}
    if needs_public(case):
        flags |= {"public.path": (str(folder / public),)}
    data: dict[str, Any] = {"path": str(folder / file), "limit": case.n} | ({"size": size} if size else {})
    with tempfile.TemporaryDirectory() as out:
        result = raysyn.run(case.method, chosen.preset, data=data, epsilon=case.epsilon, out=f"{out}/run",
                            on={"address": "here"}, **flags)  # fmt: skip
        return result.images


def accuracies(images: Images, dataset: Dataset, seed: int) -> dict[str, float]:
    """Of each judging classifier on the real test images."""
    config = EvalConfig(**JUDGING)
    shared = {"images": images, "test": dataset.test, "config": config, "seed": seed}
    return {name: round(judge((name, "images"), shared)["accuracy"], 4) for name in JUDGES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=Path)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--picks", action="store_true")
    given = parser.parse_args()
    if given.table or given.picks:
        print(markdown() if given.table else picks.markdown())
        return
    if given.data is None or given.rows is None:
        parser.error("give --data and --rows, --table or --picks")
    torch.set_num_threads(1)
    rows = json.loads(given.rows.read_text()) if given.rows.exists() else []
    done = {Case(*(row[name] for name in Case.__dataclass_fields__)) for row in rows}
    left = [case for case in dict.fromkeys(cases()) if case not in done]
    for number, case in enumerate(left):
        print(f"{number + 1} of {len(left)}: {case}", flush=True)
        if given.plan:
            continue
        with open(os.devnull, "w") as nobody, contextlib.redirect_stdout(nobody):
            row = measured(case, given.data, rows)
        rows.append(row)
        write_atomically(given.rows, json.dumps(rows, indent=1) + "\n")
        mean = sum(row["accuracy"].values()) / len(JUDGES)
        print(f"  {100 * mean:.1f} %, {row['making_s']:.0f} + {row['judging_s']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
