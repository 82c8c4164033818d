"""Settings that methods share whose release is of public images, as they are or changed."""

from __future__ import annotations

from raysyn.models import students
from raysyn.models.students import NAMES

MOST_SHARED = 0.0
"""Share of the private images that may be public ones too: none, because public images are released."""
JUDGED_BY = ("students", "real_students", "distillation", "dissimilarity", "eval")
"""Settings that change nothing that is released."""


def check_students(named: tuple[students.Name, ...]) -> None:
    """ValueError, in one sentence, for students that there are not."""
    unknown = sorted(set(named) - set(NAMES))
    if unknown or len(set(named)) != len(named):
        raise ValueError(f"students is {named}: name each of {', '.join(NAMES)} at most once")
