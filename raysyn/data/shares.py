"""Test images of a source that has none: a share of its training images, held out before anything is learned."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from raysyn.data.persons import some_persons
from raysyn.data.source import Source, Split
from raysyn.data.sources import subset
from raysyn.data.stored import chosen

OWN_SHARE = 0.1
"""Held out of a release of raysyn, whose images are all for training, where no share is asked for."""


def check_share(share: float | None) -> None:
    """ValueError, in one sentence, for what is no share; NaN is none."""
    if share is not None and not 0 < share < 1:
        raise ValueError(f"data.test_share={share} is no share; give one between 0 and 1, such as 0.1, or leave it out")


def with_test_images(source: Source, share: float | None) -> Source:
    """`source` with test images: its own, or `share` of its training images, which are left out of training.

    Which ones are held out follows from their number and places alone, not from pixels or labels: so classes are held
    out as they come, and one of few images may have none on one of the sides. Persons are held out by their names:
    whoever comes or goes moves at most one other, and with `limited` training images at most one for each of the two.

    Raises ValueError, in one sentence, where a share is missing, or is given beside test images of the source's own.
    """
    own, train = source.splits.get("test"), source.splits["train"]
    n = len(train.labels_N)
    if own is not None and len(own.labels_N):
        if share is not None:
            raise ValueError(
                f"data.test_share={share} holds out training images, but {source.label} has {len(own.labels_N):,} test "
                "images of its own; leave it out"
            )
        return source
    if share is None and not source.released:
        raise ValueError(
            f"{source.label} {source.lacks}; both train and test are needed: give them, or hold out a share of its "
            f"images with --data.test-share {OWN_SHARE}"
        )
    if train.persons_N is not None:
        return _with_persons(source, train, share or OWN_SHARE)
    if n < 2:
        raise ValueError(f"{source.label} has {n} train images, of which none can be held out for tests; give more")
    count = min(max(1, round((share or OWN_SHARE) * n)), n - 1)
    if share is None:
        _say_once(
            f"{source.label} is a release of raysyn, without test images: {count:,} of its {n:,} images are held out "
            f"as such (--data.test-share {OWN_SHARE})"
        )
    held = subset(n, count)
    left = np.setdiff1d(np.arange(n), held)
    said = f"{count:,} of its {n:,} images held out as test images (--data.test-share {share or OWN_SHARE:g})"
    return _divided(source, left, held, said)


def _with_persons(source: Source, train: Split, share: float) -> Source:
    """The same share of persons, each with all images."""
    assert train.persons_N is not None
    persons = len(np.unique(train.persons_N))
    if persons < 2:
        raise ValueError(
            f"{source.label} has images of {persons} person, who cannot be both trained on and tested; give more"
        )
    count = min(max(1, round(share * persons)), persons - 1)
    held = some_persons(train.persons_N, count)
    left = np.setdiff1d(np.arange(len(train.labels_N)), held)
    whole = f"{count:,} of its {persons:,} persons with all their images"
    said = f"{whole} held out as test images (--data.test-share {share:g})"
    return _divided(source, left, held, said)


def _divided(source: Source, left: np.ndarray, held: np.ndarray, said: str) -> Source:
    train = source.splits["train"]
    return replace(
        source, splits=source.splits | {"train": _part(train, left), "test": _part(train, held)},
        told="; ".join(filter(None, (source.told, said))),
    )  # fmt: skip


def _part(split: Split, rows_N: np.ndarray) -> Split:
    """Some pictures of a split, undecoded still; errors name them by the places they have in the source."""
    return Split(
        chosen(split.pictures, rows_N), split.labels_N[rows_N], lambda index: split.place(int(rows_N[index])),
        None if split.persons_N is None else split.persons_N[rows_N],
    )  # fmt: skip


def limited(source: Source, split: str, limit: int | None) -> np.ndarray:
    """Sorted places of the images of a split that a limit keeps: so many images, or where persons are named so many of
    these, with all images. (That many images of whole persons would be another choice: there it would depend on how
    many images somebody has who else is among them.)"""
    part = source.splits[split]
    if part.persons_N is not None and limit is not None:
        return some_persons(part.persons_N, limit)
    n = len(part.labels_N)
    return subset(n, n if limit is None else limit)


def left_out_by(config: Any) -> tuple[str, str]:
    """Which settings leave images out, and how they leave out fewer."""
    named = {"limit": "raise", "test_share": "lower", "skip_broken": "lower", "most_per_person": "raise"}
    given = {field: getattr(config, field) for field in named if getattr(config, field)}
    if len(given) == 1:
        ((field, value),) = given.items()
        return f"data.{field}={value}", f"{named[field]} it"
    settings = " with ".join(f"data.{field}={value}" for field, value in given.items())
    return settings, " or ".join(f"{named[field]} data.{field}" for field in given)


@functools.cache
def _say_once(sentence: str) -> None:
    print(sentence, file=sys.stderr)
