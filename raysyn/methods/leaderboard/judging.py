"""All runs of a leaderboard by the same classifiers: methods train different ones, which cannot be compared.

What a run released is read back and judged anew, its soft labels by the hard ones beside them; beside that the floor of
the same budget, and real images. All of it stays inside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from raysyn.compute.doorway import Compute, digest
from raysyn.data.images import Dataset, Images, load
from raysyn.methods import catalogue
from raysyn.methods.floor import drawn, usual
from raysyn.methods.leaderboard.config import JudgesConfig, Run
from raysyn.metrics.utility import SLOWEST_FIRST, judge, subset
from raysyn.privacy.cost import Budget, Overspent
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.report.release import read_images
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import read_bytes, under

RELEASED = "release/synthetic.parquet"
SEED = 0
"""Of the classifiers: they are the same ones for every run."""


@dataclass(frozen=True)
class Source:
    """What classifiers learn from."""

    kind: Literal["run", "floor", "real"]
    key: str
    """Of its results."""
    images: str
    """Fingerprint of the private images that it is compared with."""
    run: str = ""
    """Whose release."""
    budget: Budget | None = None
    """Of the floor."""


@dataclass(frozen=True)
class Verdict:
    """{classifier: accuracy on real test images} of one run, of the floor of its budget (empty where that buys no
    answer) and of the real images that the run had."""

    run: Mapping[str, float]
    floor: Mapping[str, float]
    real: Mapping[str, float]


def verdicts(
    compute: Compute, units: Sequence[Run], reports: Sequence[Mapping[str, Any]], configs: Mapping[str, Any],
    judges: JudgesConfig, storage: str, secret: bytes,
) -> list[Verdict]:  # fmt: skip
    """Of each run; every classifier and source is one durable unit. `storage` holds the runs, and `secret` is the
    leaderboard's own, from which the noise of the floors comes."""
    data: dict[str, Dataset] = {}
    sources = []
    for unit, report in zip(units, reports, strict=True):
        known = json.loads(read_bytes(under(storage, "runs", unit.name), RUN_JSON))["data_fingerprint"]
        if known not in data:
            data[known] = dataset_of(unit, configs[unit.name], known)
        sources.append(_sources(unit, known, report["privacy"], data[known].train.units))
    distinct = {one.key: one for some in sources for one in some}.values()
    # The longest first, so that no worker starts a long one when the others are done.
    items = [(name, one) for name in SLOWEST_FIRST if name in judges.classifiers for one in distinct]
    shared = {"data": data, "judges": judges, "runs": under(storage, "runs"), "secret": secret}
    found = compute.map(
        judge_unit, items, name=f"judged-{digest(judges.epochs, judges.images, judges.resnet9_width)}", shared=shared,
        keys=[f"{one.key}-{name}" for name, one in items],
    )  # fmt: skip
    reached: dict[str, dict[str, float]] = {one.key: {} for one in distinct}
    for (name, one), accuracy in zip(items, found, strict=True):
        if accuracy is not None:
            reached[one.key][name] = accuracy
    return [Verdict(*(reached[one.key] for one in some)) for some in sources]


def dataset_of(unit: Run, config: Any, fingerprint: str) -> Dataset:
    """The images that a run had, as it divided them.

    Raises ValueError where they are no longer there, or others are.
    """
    dataset = load(config.data)
    if dataset.fingerprint() != fingerprint:
        # PIGAN's seed divides them.
        dataset = catalogue.find(unit.method).method().prepare(config).dataset
    if dataset.fingerprint() != fingerprint:
        raise ValueError(f"{unit.name} ran on other images than there are now: choose another --out")
    return dataset


def _sources(unit: Run, images: str, privacy: Mapping[str, Any], n: int) -> tuple[Source, Source, Source]:
    """A run, the floor of its budget, and its real images."""
    if privacy["guarantee"] == "dp":
        budget = Budget(
            epsilon=privacy["epsilon_budget"], delta=privacy["delta"], accountant=privacy["accountant"]
        )  # fmt: skip
    else:
        budget = usual(n)
    short = digest(images)
    return (
        Source("run", unit.name, images, run=unit.name),
        Source("floor", f"floor-{short}-{digest(budget)}", images, budget=budget),
        Source("real", f"real-{short}", images),
    )


def judge_unit(item: tuple[Any, Source], shared: Mapping[str, Any]) -> float | None:
    """One unit: the accuracy on real test images of one classifier that learned from one source; None for a floor whose
    budget buys no answer."""
    (name, source), judges = item, shared["judges"]
    dataset: Dataset = shared["data"][source.images]
    learned = _images(source, dataset, shared)
    if learned is None:
        return None
    recipe = judges.recipe()
    given = {source.kind: subset(learned, judges.images, SEED), "test": dataset.test, "config": recipe, "seed": SEED}
    return float(judge((name, source.kind), given)["accuracy"])


def _images(source: Source, dataset: Dataset, shared: Mapping[str, Any]) -> Images | None:
    train = dataset.train
    if source.kind == "real":
        return train
    if source.kind == "run":
        return read_images(read_bytes(under(shared["runs"], source.run), RELEASED))
    assert source.budget is not None
    try:
        plan = moments.planned(MomentsConfig(), source.budget, train)
    except Overspent:
        return None
    # As many as there are real ones. The key, which names budget and images, keeps its noise apart from other floors'.
    images = drawn(train, plan, len(train), shared["secret"], source.key, SEED)
    return Images(images.numpy(), np.arange(len(train)) % train.classes, train.class_names)
