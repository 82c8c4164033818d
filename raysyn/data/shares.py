"""Test images of a source that has none: a share of its training images, held out before anything is learned."""

from __future__ import annotations

import functools
import sys
from dataclasses import replace

import numpy as np

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
    out as they come, and one of few images may have none on one of the sides. Raises ValueError, in one sentence, where
    a share is missing, or is given beside test images of the source's own.
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
    return replace(
        source, splits=source.splits | {"train": _part(train, left), "test": _part(train, held)},
        told="; ".join(filter(None, (source.told, said))),
    )  # fmt: skip


def _part(split: Split, rows_N: np.ndarray) -> Split:
    """Some pictures of a split, undecoded still; errors name them by the places they have in the source."""
    return Split(
        chosen(split.pictures, rows_N), split.labels_N[rows_N], lambda index: split.place(int(rows_N[index]))
    )  # fmt: skip


@functools.cache
def _say_once(sentence: str) -> None:
    print(sentence, file=sys.stderr)
