"""Classes that are called like persons. Names of classes leave with every release, as what is public."""

from __future__ import annotations

import re
from collections.abc import Sequence

from raysyn.data.persons import NEAR, is_near

NUMBERED = re.compile(r"[\W_]*([^\W\d_]+)[\W_]*(?:[^\W\d_][\W_]*)?\d")
"""A word, perhaps a letter, and a number: patient_017, Pat-A17, sub-01."""
SHORT = ("sub", "pt")
"""What persons are called too, where a number follows: the first one by the standard for images of brains, BIDS."""


def called_like_persons(class_names: Sequence[str], label_column: str | None, group: str = "data.") -> list[str]:
    """A warning where the column that was named for labels is called like one of persons, or at least half of several
    classes like one of them. `group` is what flags begin with."""
    mend = f"say whose an image is with --{group}person-column or --{group}person-pattern"
    none = f"--{group}no-labels"
    if label_column is not None and is_near(label_column):
        return [
            f"Labels are in {label_column}, which is called like a column of persons, and names of classes leave with "
            f"the release as they are: if each is somebody, name another column of labels, or none with {none}, and "
            f"{mend}."
        ]
    found = list(filter(is_person, class_names))
    if len(found) < 2 or 2 * len(found) < len(class_names):
        return []
    return [
        f"{len(found):,} classes are called like persons ({found[0]}, {found[1]}), and their names leave with the "
        f"release as they are: if each is somebody, forget labels with {none} or name a column of them, and {mend}, "
        "such as '^([^/]+)/' for a folder of each."
    ]


def is_person(name: str) -> bool:
    """Whether a class is called as a person is whose name is not to be said."""
    if (match := NUMBERED.match(name)) is None:
        return False
    word = match[1].lower()
    return word in SHORT or word in NEAR or word.removesuffix("s") in NEAR
