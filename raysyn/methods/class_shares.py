"""How many synthetic images of each class: equally many, or by shares that count as public. Never by true counts."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysyn.data.images import Dataset
from raysyn.screen.console import Console

FEW = 0.2
"""A class with less than this share of its even part of the private images, and asked for more than twice its own part,
is warned of."""
MOST_NAMED = 10


def turns(count: int, classes: int, shares: tuple[float, ...] | None = None) -> np.ndarray:
    """Labels of `count` images, int64: classes in turn, or each as often as its share says.

    Any beginning of them holds each class as often as its share says, to the nearest whole image or so (the method of
    Webster), so that the first images are the same however many follow.
    """
    if shares is None:
        return np.arange(count, dtype=np.int64) % classes
    parts = np.array(shares) / np.sum(shares)
    # The image number j of a class has its turn at (j + 1/2) / share; by then there are enough of them for all.
    each = np.floor(parts * (count + classes)).astype(np.int64) + 1
    labels = np.repeat(np.arange(classes, dtype=np.int64), each)
    begins = np.concatenate(([0], np.cumsum(each)[:-1]))
    due = (np.arange(len(labels)) - begins[labels] + 0.5) / parts[labels]
    return labels[np.argsort(due, kind="stable")[:count]]


def labels_of(config: Any, class_names: tuple[str, ...], count: int) -> np.ndarray:
    """Labels of the images that a run of `config` draws."""
    return turns(count, len(class_names), config.classes.of(class_names))


def say_few(console: Console, dataset: Dataset, config: Any) -> None:
    """Which classes have too few private images for what is asked of them; on the console alone, which stays inside."""
    train, shares = dataset.train, config.classes.of(dataset.train.class_names)
    held = np.bincount(train.labels_N, minlength=train.classes) / max(1, len(train))
    asked = np.full(train.classes, 1 / train.classes) if shares is None else np.array(shares) / np.sum(shares)
    few = np.flatnonzero((held > 0) & (held < FEW / train.classes) & (asked > 2 * held))
    if not len(few):
        return
    told = [
        f"{train.class_names[one]} ({round(held[one] * len(train)):,} images, {100 * held[one]:.2g} %, asked to be "
        f"{100 * asked[one]:.3g} % of the synthetic ones)"
        for one in few[:MOST_NAMED]
    ]
    more = f" and {len(few) - MOST_NAMED} more classes" if len(few) > MOST_NAMED else ""
    console.say(
        f"WARNING: few private images of {', '.join(told)}{more}: synthetic ones will show little of it. Counts are "
        "private; this line stays inside. --classes.shares, which counts as public, asks for fewer."
    )
