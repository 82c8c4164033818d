"""How many synthetic images of each class: equally many, by shares that count as public, or by noisy counts that are
paid for. Never by true counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from raysyn.data.images import Dataset
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.privacy import units
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.counts import COUNTS, class_counts
from raysyn.screen.console import Console

FEW = 0.2
"""A class with less than this share of its even part of the private images, and asked for more than twice its own part,
is warned of."""
DROWNED = 0.2
"""Noise of counts above this part of the mean count of a class is warned of."""
MOST_NAMED = 10


def turns(count: int, classes: int, shares: tuple[float, ...] | None = None) -> np.ndarray:
    """Labels of `count` images, int64: classes in turn, or each as often as its share says.

    Any beginning of them holds each class as often as its share says, to the nearest whole image or so (the method of
    Webster), so that the first images are the same however many follow.
    """
    if shares is None:
        return np.arange(count, dtype=np.int64) % classes
    parts = np.array(shares) / np.sum(shares)
    # One without a share has no turn.
    asked = np.flatnonzero(parts > 0)
    if len(asked) < classes:
        return asked[turns(count, len(asked), tuple(parts[asked].tolist()))]
    # The image number j of a class has its turn at (j + 1/2) / share; by then there are enough of them for all.
    each = np.floor(parts * (count + classes)).astype(np.int64) + 1
    labels = np.repeat(np.arange(classes, dtype=np.int64), each)
    begins = np.concatenate(([0], np.cumsum(each)[:-1]))
    due = (np.arange(len(labels)) - begins[labels] + 0.5) / parts[labels]
    return labels[np.argsort(due, kind="stable")[:count]]


def labels_of(setting: Setting, count: int) -> np.ndarray:
    """Labels of the images that a run draws, once noisy counts, where these are asked for, were paid for."""
    return turns(count, setting.dataset.train.classes, shares_of_run(setting))


def shares_of_run(setting: Setting) -> tuple[float, ...] | None:
    """A share for each class, or None for equal ones. Asks for noisy counts, as a stored stage that is paid for."""
    private, folder = setting.dataset.train, setting.folder
    if not isinstance(setting, PrivateSetting) or COUNTS not in setting.plan.stages:
        return stated(setting.config, private.class_names)
    ledger, price = setting.ledger, setting.plan.stages[COUNTS]
    before = COUNTS in {entry["stage"] for entry in ledger.entries()}
    ask = partial(class_counts, private, price, Stream(folder.secret, COUNTS))
    counts = folder.stage(COUNTS, lambda: torch.from_numpy(ledger.pay(COUNTS, ask())))
    if not before:
        setting.console.stage(COUNTS, f"noisy numbers of images per class, {setting.spent()}")
    return of_counts(counts.numpy())


def counted(config: Any) -> list[str]:
    """The stage before the images are drawn, where noisy counts are asked for."""
    return [COUNTS] if config.classes.noisy_counts is not None else []


def check_counted(config: Any) -> None:
    """ValueError where runs to compare would have to ask for noisy counts again."""
    std = getattr(getattr(config, "classes", None), "noisy_counts", None)
    experiment = getattr(config, "experiment", None)
    if std is not None and experiment is not None and experiment != type(experiment)():
        raise ValueError(
            f"classes.noisy_counts is {std:g}, but experiment.* makes further runs, which ask for none: leave one of "
            "them out"
        )


def known(config: Any, class_names: tuple[str, ...], answer: Callable[[str], Any]) -> tuple[float, ...] | None:
    """The same of a finished run, from what was paid for; ValueError where that is of other classes."""
    if config.classes.noisy_counts is None:
        return stated(config, class_names)
    noisy_K = answer(COUNTS).numpy()
    if noisy_K.shape != (len(class_names),) or not np.isfinite(noisy_K).all():
        raise ValueError(f"{COUNTS} are not a number for each of {', '.join(class_names)}")
    return of_counts(noisy_K)


def stated(config: Any, class_names: tuple[str, ...]) -> tuple[float, ...] | None:
    """Shares that the user gave, which count as public."""
    shares: tuple[float, ...] | None = config.classes.of(class_names)
    return shares


def of_counts(noisy_K: np.ndarray) -> tuple[float, ...] | None:
    """Shares by noisy counts, none below 0; equal ones where no class has more than that."""
    counts = np.maximum(noisy_K, 0.0)
    return tuple(counts.tolist()) if counts.sum() > 0 else None


def mix_of(config: Any) -> str:
    """What a report says of them."""
    if config.classes.noisy_counts is not None:
        return "of each class as its noisy count says"
    return "of each class as was stated" if config.classes.shares else "equally many per class"


def say_few(console: Console, dataset: Dataset, config: Any) -> None:
    """Which classes have too few private images for what is asked of them; on the console alone, which stays inside."""
    train, shares = dataset.train, stated(config, dataset.train.class_names)
    whom = units.word(train)
    if (std := config.classes.noisy_counts) is not None:
        if std > DROWNED * (each := train.units / train.classes):
            console.say(
                f"WARNING: noise of {std:g} {whom}s drowns counts of {each:,.0f} on average, so that how many images "
                f"of each class are drawn will be chance: give --classes.noisy-counts of at most {DROWNED * each:.2g}."
            )
        return
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
