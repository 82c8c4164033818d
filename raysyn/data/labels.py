"""Class numbers: whole, from 0 and, of classes without names, leaving none out; the same for private and public."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from raysyn.data.names import check_class_names
from raysyn.data.source import Source

MOST = 2**31
"""No class has this number or a higher one."""


def whole_numbers(source: Source, split: str) -> np.ndarray:
    """The labels of one split as int64; ValueError for anything but whole numbers from 0."""
    labels = source.splits[split].labels_N
    if not labels.size:
        return labels.astype(np.int64)
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{source.label}: {split} labels are {labels.dtype}; give class numbers 0, 1, 2, ...")
    for label in (labels.min(), labels.max()):
        check_number(int(label), f"{source.label}: {split}")
    return labels.astype(np.int64)


def check_number(label: int, place: str) -> None:
    """ValueError, in a sentence that `place` opens, for what is no class number."""
    if not 0 <= label < MOST:
        raise ValueError(f"{place} has the label {label}; number classes 0, 1, 2, ...")


def count_classes(label: str, numbers: dict[str, Iterable[int]], mend: str) -> int:
    """How many classes there are by the numbers of train, where they have no names. ValueError, in a sentence that
    `label` opens, for another split's number that train lacks, and for a gap."""
    seen = sorted(set(numbers["train"]))
    classes = seen[-1] + 1 if seen else 0
    for split, found in numbers.items():
        if unknown := [number for number in found if number >= classes]:
            raise ValueError(
                f"{label}: {split} has the label {unknown[0]}, but train has 0 to {classes - 1}; mend the labels"
            )
    if len(seen) < classes:
        # The first gap, not all of them: one stray label of a million would list a million classes.
        gap = next(at for at, number in enumerate(seen) if number != at)
        raise ValueError(
            f"{label}: class {gap} has no training images; add some, renumber, or declare the names of classes{mend}, "
            "one of which may then have no image"
        )
    return classes


def names_of_classes(source: Source, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    """Names of all classes. Where the source declares none they are the numbers in the labels of train, without a gap;
    a declared class may have no image, because whether a release exists must not depend on single images."""
    names = source.class_names
    if names is None:
        numbers = {split: np.unique(found).tolist() for split, found in labels.items()}
        classes = count_classes(source.label, numbers, f" ({source.naming})")
    else:
        classes = len(names)
    for split, found in labels.items():
        if (unknown := found[found >= classes]).size:
            raise ValueError(
                f"{source.label}: {split} has the label {unknown[0]}, but only {classes} classes are named; mend the "
                "labels"
            )
    named = tuple(str(name) for name in (range(classes) if names is None else names))
    check_class_names(source.label, named)
    return named


def empty(labels_N: np.ndarray, classes: int) -> np.ndarray:
    """The classes that have no image."""
    return np.flatnonzero(np.bincount(labels_N, minlength=classes) == 0)


def check_gap(naming: str | None, labels_N: np.ndarray, classes: int, setting: str, mend: str) -> None:
    """ValueError where `setting` has left a class without an image that could have been declared (`naming`)."""
    if naming is not None and len(found := empty(labels_N, classes)):
        raise ValueError(
            f"{setting} leaves class {found[0]} without a training image; {mend}, or declare the names of classes "
            f"({naming}), one of which may then have no image"
        )
