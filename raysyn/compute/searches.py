"""What a search is told, and what it answers."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Between:
    """A range to search in, ends included."""

    low: float
    high: float
    whole: bool = False
    """Whole numbers only."""


Space = Mapping[str, Between | Sequence[Any]]
"""What a search varies: ranges, or the values to choose from."""


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
