"""What classifiers reached, and what that stands beside: guessing, the floor, real images, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.metrics.by_class import by_class, difference, share_of

BEST_IS_UNCHARGED = (
    "of several classifiers the curator's report, which stays inside, names the best by its accuracy on real test "
    "images, as papers do; nothing that is released was chosen by it"
)
"""Of two or more."""
FIELDS = {"synthetic": "accuracy", "real": "accuracy_real_data", "floor": "accuracy_floor"}
"""What a classifier is trained on, and its accuracy's name in the report."""
Judged = Mapping[str, Any]
"""{classifiers: {name: its accuracies and what else is told of it}, said: {source: [what each classifier called each
test image, int (N,)]}, images: {source: how many it was trained on}}."""
SOFT_LABELS = "soft labels"
"""What a classifier `learned`, where that is not labels."""
NOBODY: Judged = {"classifiers": {}, "said": {}, "images": {}}
"""No classifier."""


def best_uncharged(*names: Sequence[str]) -> list[str]:
    """What is uncharged where the best of these classifiers is named: nothing, unless there are several in all."""
    return [BEST_IS_UNCHARGED] if sum(map(len, names)) > 1 else []


def told(judged: Judged, test: Images) -> dict[str, Any]:
    """The `utility` of a report: the classifiers; then `mean` and `best` of them, see `summary`; `images`; what stands
    beside, see `beside`. No classifiers: an empty dictionary."""
    entries: dict[str, Any] = dict(judged["classifiers"])
    if not entries:
        return {}
    return entries | summary(entries) | beside(judged["said"], test) | {"images": judged["images"]}


def joined(first: Judged, second: Judged) -> Judged:
    """Both judges' classifiers; of sources that only one of them knows, accuracies alone, and numbers of images where
    both learned from as many."""
    if not first["classifiers"] or not second["classifiers"]:
        return first if first["classifiers"] else second
    both = first["said"].keys() & second["said"].keys()
    return {
        "classifiers": {**first["classifiers"], **second["classifiers"]},
        "said": {source: [*first["said"][source], *second["said"][source]] for source in FIELDS if source in both},
        "images": {
            source: count
            for source, count in {**second["images"], **first["images"]}.items()
            if count == second["images"].get(source, count)
        },
    }


def beside(said: Mapping[str, Sequence[torch.Tensor]], test: Images) -> dict[str, Any]:
    """What stands beside the accuracies, from what each classifier called each of the `test` images, int (N,), by what
    they were trained on.

    `guessing`, which needs no classifier: {chance, largest_class}, one in so many classes and the share of the test
    images' largest; `interval` of the mean accuracy, {low, high}; `above_floor` and `below_real`, {value, low, high} of
    the difference, where there is one; `classes`, see `by_class`. Intervals are over persons, where they are named.
    """
    called = {source: torch.stack(list(some)).numpy().astype(np.int64) for source, some in said.items()}
    right = {source: (some == test.labels_N).mean(0) for source, some in called.items()}
    low, high = share_of(right["synthetic"], test.persons_N)
    found: dict[str, Any] = {"guessing": guessing(test), "interval": {"low": low, "high": high}}
    if "floor" in right:
        found["above_floor"] = difference(right["synthetic"], right["floor"], test.persons_N)
    if "real" in right:
        found["below_real"] = difference(right["real"], right["synthetic"], test.persons_N)
    return found | {"classes": by_class(called, test.labels_N, test.class_names, test.persons_N)}


def guessing(test: Images) -> dict[str, float]:
    """Accuracies on `test` without looking: any class at random, and always the largest."""
    return {"chance": 1 / test.classes, "largest_class": float(np.bincount(test.labels_N).max() / len(test))}


def summary(result: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """`mean` and `best` over classifiers: of {accuracy, accuracy_real_data, accuracy_floor} those that all have. `best`
    also names the classifiers and, of several, says that it is an uncharged choice (papers often print it as the
    accuracy)."""
    mean: dict[str, Any] = {}
    best: dict[str, Any] = {}
    for field in FIELDS.values():
        if any(entry.get(field) is None for entry in result.values()):
            continue
        mean[field] = sum(entry[field] for entry in result.values()) / len(result)
        winner = max(result, key=lambda name: result[name][field])
        best[field] = result[winner][field]
        best["classifier" + field.removeprefix("accuracy")] = winner
    picked = {"uncharged_choice": BEST_IS_UNCHARGED} if len(result) > 1 else {}
    return {"mean": mean, "best": best | picked}
