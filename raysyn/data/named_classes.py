"""Classes that are called like persons. Names of classes leave with every release, as what is public."""

from __future__ import annotations

import re
from collections.abc import Sequence

from raysyn.data.persons import NEAR, is_near

NUMBERED = re.compile(r"(?:[\W_]*\d+)?[\W_]*([^\W\d_]+)[\W_]*(?:[^\W\d_][\W_]*)?(\d*)")
"""A word with a number before it, or behind it, where a letter may stand between: patient_017, Pat-A17, 3_patient."""
BARE = re.compile(r"\d{5,}")
"""A number as long as those of patients and accounts."""
SHORT = {"sub": 1, "pt": 1, "id": 2, "p": 3, "s": 3}
"""What persons are called too, where so many digits follow; the first by BIDS, a standard for images of brains."""


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
    if BARE.fullmatch(name):
        return True
    if (match := NUMBERED.match(name)) is None or not re.search(r"\d", match[0]):
        return False
    word = match[1].lower()
    return word in NEAR or word.removesuffix("s") in NEAR or len(match[2]) >= SHORT.get(word, len(name))
