"""What looking at private data has shaped and no code knows of: users and presets say it, certificates list it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from raysyn.methods.canaries import AuditConfig
from raysyn.privacy.cost import Budget
from raysyn.privacy.queries.counts import BudgetWithCounts
from raysyn.report import choices
from raysyn.report.release_config import ReleaseConfig


@dataclass(frozen=True, kw_only=True)
class ClassesConfig:
    """How many synthetic images of each class."""

    shares: tuple[str, ...] = ()
    """Shares of the classes among the synthetic images, as numbers of any sum: one for each class in order, or
    NAME=NUMBER for each. By default equal ones. They count as public: true shares of private images must not be copied
    here."""
    noisy_counts: float | None = None
    """Draw classes about as often as they are among the private images: asks how many there are of each, with Gaussian
    noise of this standard deviation, in images. Charged in the ledger; 20 costs little. By default nothing is asked."""

    def __post_init__(self) -> None:
        if self.noisy_counts is not None and not 0.5 <= self.noisy_counts < math.inf:
            raise ValueError(
                f"classes.noisy_counts is {self.noisy_counts}: give a standard deviation of at least 0.5 images"
            )
        if self.noisy_counts is not None and self.shares:
            raise ValueError(
                f"classes.noisy_counts is {self.noisy_counts}, and classes.shares is given too: leave one of them out"
            )
        for one in self.shares:
            if not 0 < (number(one) or 0) < math.inf:
                raise ValueError(f"classes.shares has {one}: give numbers above 0, or NAME=NUMBER")
        if not sum(number(one) or 0 for one in self.shares) < math.inf:
            raise ValueError(
                f"classes.shares is {', '.join(self.shares)}, whose sum is too large: give smaller numbers"
            )
        if len({"=" in one for one in self.shares}) > 1:
            raise ValueError(f"classes.shares is {', '.join(self.shares)}: name each class, or none of them")

    def of(self, class_names: tuple[str, ...]) -> tuple[float, ...] | None:
        """A share for each class, in order; None for equal ones. ValueError where they are not of these classes."""
        if not self.shares:
            return None
        named = {one.rpartition("=")[0]: one for one in self.shares} if "=" in self.shares[0] else {}
        if named:
            wrong = [name for name in named if name not in class_names]
            lacking = [name for name in class_names if name not in named]
            if wrong or lacking or len(named) < len(self.shares):
                what = f"has {wrong[0]}, which is no class" if wrong else "names a class twice"
                what = f"lacks {lacking[0]}" if lacking and not wrong else what
                raise ValueError(f"classes.shares {what}: give one NAME=NUMBER for each of {', '.join(class_names)}")
            return tuple(number(named[name]) or 0.0 for name in class_names)
        if len(self.shares) != len(class_names):
            raise ValueError(
                f"classes.shares has {len(self.shares)} numbers: give one for each of {', '.join(class_names)}"
            )
        return tuple(number(one) or 0.0 for one in self.shares)


def number(one: str) -> float | None:
    """The number of NAME=NUMBER, or of NUMBER; None where it is none."""
    try:
        return float(one.rpartition("=")[2])
    except ValueError:
        return None


@dataclass(frozen=True, kw_only=True)
class Declared:
    """Settings of every method that releases images."""

    tuned_on: str | None = None
    """Data set whose results shaped these settings; the report lists it as an uncharged choice."""
    chosen_among: str | None = None
    """What this run was chosen among by its results, in words such as "12 runs of a leaderboard"; the certificate lists
    it as an uncharged choice."""
    made_for: int | None = None
    """Training images that these settings were made for; a run on many more or fewer is warned of before it starts."""
    classes: ClassesConfig = field(default_factory=ClassesConfig)
    release: ReleaseConfig = field(default_factory=ReleaseConfig)
    audit: AuditConfig = field(default_factory=AuditConfig)


def declared(config: Declared) -> list[str]:
    """Both as the uncharged choices that they are."""
    told = choices.tuned(config.tuned_on) if config.tuned_on else []
    told += [choices.BY_HAND] if config.classes.shares else []
    return told + ([choices.chosen(config.chosen_among)] if config.chosen_among else [])


def budget_of(config: Any) -> Budget:
    """What the private images may cost, and the part of it that counts of classes are, if these are asked for."""
    budget: Budget = config.budget
    if config.classes.noisy_counts is None:
        return budget
    return BudgetWithCounts(
        epsilon=budget.epsilon, delta=budget.delta, accountant=budget.accountant, counts_std=config.classes.noisy_counts
    )
