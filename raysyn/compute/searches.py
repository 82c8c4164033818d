"""What a search is told, and what it answers."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from raysyn.compute.told import Told


@dataclass(frozen=True)
class Between:
    """A range to search in, ends included."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""

    def __post_init__(self) -> None:
        """ValueError for what holds nothing to choose."""
        ends = self.low, self.high
        if not all(isinstance(end, Real) and math.isfinite(end) for end in ends) or self.low > self.high:
            raise ValueError(f"{self} is no range: give its lower end first, and two finite numbers")
        if self.whole and any(end % 1 for end in ends):
            raise ValueError(f"{self} is of whole numbers: give ends that are")


Space = Mapping[str, Between | Sequence[Any]]
"""What a search varies: ranges, or the values to choose from."""


def _check_count(field: str, value: Any, least: int) -> None:
    none = ", or leave it out to try every combination" if field == "trials" else ""
    if not isinstance(value, Integral) or value < least:
        raise ValueError(f"search.{field} is {value}: give a whole number of at least {least}{none}")


@dataclass(frozen=True, kw_only=True)
class Search:
    """What `Compute.search` looks for."""

    metric: str
    """The figure in what trials report that should become large."""
    reports: int
    """Times that a whole trial calls `progress`."""
    trials: int | None = None
    """Trials to make; None: every combination of the values, each to its end."""
    first_verdict: int = 1
    """Reports before a trial may be pruned."""
    reduction: int = 3
    """One of so many trials goes on at each rung, rungs lying apart by the same factor."""
    known: tuple[tuple[Mapping[str, Any], float], ...] = ()
    """Parameters whose metric is known: told to the search before its first trial, and not tried again."""
    seed: int = 0

    def __post_init__(self) -> None:
        """ValueError for what no search can do."""
        for field, least in (("reports", 1), ("trials", 1), ("first_verdict", 1), ("reduction", 2)):
            value = getattr(self, field)
            if field != "trials" or value is not None:
                _check_count(field, value, least)

    def brackets(self) -> int:
        """Hyperband's brackets: each next one prunes its first trials later by the factor `reduction`."""
        found = 1
        while self.first_verdict * self.reduction**found < self.reports:
            found += 1
        return found


@dataclass(frozen=True)
class Outcome:
    """One trial of a search."""

    params: dict[str, Any]
    score: float
    """The metric in its last report."""
    reports: int
    """How often it reported."""
    pruned: bool
    """Whether it was stopped before its last report."""


def check_space(space: Space, search: Search) -> None:
    """ValueError, in one sentence, for a space in which nothing can be tried. Looked at before any trial starts."""
    for name, values in space.items():
        if isinstance(values, Between) and search.trials is None:
            raise ValueError(f"search.trials is None, but {name} is the range {values}: say how many trials to make")
        if not isinstance(values, Between) and not len(values):
            raise ValueError(f"there are no values of {name} to choose from: give at least one")


def score_of(metrics: Mapping[str, float], metric: str) -> float:
    """The figure in what a trial reports; Told where there is none, or it is not a number."""
    if metric not in metrics:
        raise Told(f"search.metric is {metric}, but it reports {', '.join(metrics) or 'nothing'}: name what it reports")
    if math.isnan(score := float(metrics[metric])):
        raise Told(f"it reports that {metric} is nan: report a number, such as -inf of a trial that came to nothing")
    return score


def combinations(space: Space) -> list[dict[str, Any]]:
    """Every combination of the values in `space`; ranges have none."""
    assert not any(isinstance(values, Between) for values in space.values()), "a range cannot be tried exhaustively"
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]  # type: ignore[arg-type]


def trial_key(params: Mapping[str, Any]) -> str:
    """A file name for the trial of these parameters."""
    return hashlib.sha256(repr(sorted(params.items())).encode()).hexdigest()[:16]


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Best first, pruned trials after all whole ones: their scores are of a training cut short."""
    return sorted(outcomes, key=lambda outcome: (outcome.pruned, -outcome.score, repr(outcome.params)))
