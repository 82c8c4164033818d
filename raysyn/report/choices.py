"""Choices made by looking at private data, paid for by nobody: in words, and how they add up over a run's reports."""

from __future__ import annotations

import re
from collections.abc import Iterable

BY_HAND = "which classes were drawn, and in which shares, was given by hand and counts as public"


BEST_ONCE = (
    "metrics.utility.best: the classifier is picked by its accuracy on the real test set, as the best-of-several "
    "numbers of papers are; quote the mean beside it"
)
"""How releases that are there already say that a report names the best of its classifiers, also where it has one."""
BEST = "of several classifiers "
"""What that begins with now."""
_BY = ", by accuracy on real images"
_NUMBER_ALONE = re.compile(r"[\d,]+ \w+( of a leaderboard)?")


TUNED = "the preset's settings were tuned while looking at real results on "
WORDS = "of its settings, in the words of whoever made the run: "
PICKED = "the method was picked by results: "
BY_TABLE = ", by whose results among others raysyn auto picks a method"
"""How what a method was picked by ends, among the sets that settings were tuned on."""


def tuned(where: str) -> list[str]:
    """Settings that came with the preset, those that its user has found besides, in their words, and the method that
    `auto` picked: parted by semicolons, as the command line joins them, a line each. Of a preset that says nothing, the
    first part is empty."""
    preset, _, words = where.partition("; ")
    words, _, table = words.rpartition("; ") if words.endswith(BY_TABLE) else (words, "", "")
    said = ((TUNED, preset), (WORDS, words), (PICKED, table))
    return [f"{line}{one}" for line, one in said if one]


def chosen(among: str) -> str:
    """A run that others stood beside: in the curator's words, and where these are a number of things alone, as
    usually."""
    return f"chosen among {among}{_BY if _NUMBER_ALONE.fullmatch(among) else ''}"


def of_leaderboard(runs: int) -> str:
    """What the runs of a leaderboard are chosen among."""
    return f"{runs} runs of a leaderboard"


_OF_LEADERBOARD = re.compile(re.escape(chosen(of_leaderboard(0))).replace("0", r"(\d+)"))


def added_up(*told: Iterable[str]) -> list[str]:
    """All choices, the earlier first, each once: what was once looked at stays looked at. A leaderboard that has grown
    takes the place of what it was."""
    every = list(dict.fromkeys(one for some in told for one in some))
    # As it was said once, of whatever it was chosen among.
    every = [one for one in every if one + _BY not in every and not _is_parted(one, every)]
    if any(one.startswith(BEST) for one in every):
        every = [one for one in every if one != BEST_ONCE]
    runs = {one: int(found[1]) for one in every if (found := _OF_LEADERBOARD.fullmatch(one))}
    return [one for one in every if one not in runs or runs[one] == max(runs.values())]


def _is_parted(one: str, every: Iterable[str]) -> bool:
    """Whether a line of an earlier raysyn says at once what others say a line each."""
    parts = one.removeprefix(TUNED).split("; ") if one.startswith(TUNED) else []
    begun = ((other, line) for other in every for line in (TUNED, WORDS, PICKED) if other != one)
    said = {part for other, line in begun if other.startswith(line) for part in other.removeprefix(line).split("; ")}
    return len(parts) > 1 and set(parts) <= said
