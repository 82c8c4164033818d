"""Whose images are in a source, as `raysyn look` tells it: who is named, or else what the names of files suggest."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from raysyn.data.persons import PREFIX
from raysyn.data.source import Source

FOLDER = r"([^/]+)/[^/]+$"
"""The folder that a file lies in."""
LARGEST = 0.2
"""Share of the images that a group may have: one with more is hardly a person."""


@dataclass(frozen=True)
class Named:
    """Persons, counted."""

    images: Counter[int]
    """{number of images: how many have so many}"""
    across: dict[tuple[str, str], int]
    """{(split, later split): how many have images in both}"""
    mixed: int
    """How many have images of several classes."""


@dataclass(frozen=True)
class Suggested:
    """What may be persons."""

    pattern: str
    groups: int
    images: int
    """Of those in a group of two or more."""
    without: int
    """Images whose names the pattern does not match."""
    example: tuple[str, str] = ("", "")
    """The name of a file, and what the pattern finds in it."""


def named(source: Source) -> Named | None:
    """Counts of the persons of all splits; None where nobody is named."""
    parts = {split: part for split, part in source.splits.items() if part.persons_N is not None and len(part.persons_N)}
    if not parts:
        return None
    whose = {split: np.asarray(part.persons_N) for split, part in parts.items()}
    every_N = np.concatenate([*whose.values()])
    labels_N = np.concatenate([part.labels_N for part in parts.values()])
    pairs = set(zip(every_N.tolist(), labels_N.tolist(), strict=True))
    both = {
        (one, other): len(np.intersect1d(whose[one], whose[other]))
        for one, other in itertools.combinations(parts, 2)
    }  # fmt: skip
    return Named(
        images=Counter(Counter(every_N.tolist()).values()),
        across={where: count for where, count in both.items() if count},
        mixed=sum(count > 1 for count in Counter(person for person, _ in pairs).values()),
    )


def suggested(source: Source) -> Suggested | None:
    """Groups that names of files share: the folder that they lie in, where that lies in the one of a class, or else
    what they begin with. None where fewer than half of the images are in groups of two or more, or groups are so few
    or so large that they may be classes, splits, views or devices."""
    parts = [part for part in source.splits.values() if len(part.labels_N)]
    if any(part.names is None for part in parts):
        return None
    few = len(parts) * len({label for part in parts for label in part.labels_N.tolist()})
    total = sum(len(part.labels_N) for part in parts)
    names = [name for part in parts if part.names is not None for name in part.names()]
    deep = 2 * sum(name.count("/") > 1 for name in names) > total
    for pattern in (FOLDER, PREFIX) if deep else (PREFIX, FOLDER):
        find = re.compile(pattern).search
        found = [(name, match[1]) for name in names if (match := find(name))]
        groups = Counter(group for _, group in found)
        shared = sum(count for count in groups.values() if count > 1)
        if len(groups) > few and 2 * shared >= total and max(groups.values()) <= LARGEST * total:
            return Suggested(pattern, len(groups), shared, total - len(found), found[0])
    return None
