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
BY_TABLE = ", by whose results among others raysyn auto picks a method"
"""How what a method was picked by ends, among the sets that settings were tuned on."""


def tuned(where: str) -> list[str]:
    """Settings that came with the preset, those that its user has found besides, in their words, and the method that
    `auto` picked: parted by semicolons, as the command line joins them, a line each."""
    preset, _, words = where.partition("; ")
    words, _, table = words.rpartition("; ") if words.endswith(BY_TABLE) else (words, "", "")
    found = [f"of its settings, in the words of whoever made the run: {words}"] if words else []
    return [f"{TUNED}{preset}", *found, *([f"the method was picked by results: {table}"] if table else [])]


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
    """Whether a line of an earlier raysyn says at once what these say a line each."""
    parts = tuned(one.removeprefix(TUNED)) if one.startswith(TUNED) else []
    return len(parts) > 1 and set(parts) <= set(every)
