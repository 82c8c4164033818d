"""What experiments share that compare whole runs of a method: what they are told, and which runs they compare."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.sgd_config import MARKS

UNCHARGED = (
    "the experiments train further models on private images and judge them by real ones; nothing of these is released, "
    "but a setting chosen by them is a look at these images"
)


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """Whole runs to compare with this one, each with one setting changed, at this run's budget; none is released."""

    epsilons: tuple[float, ...] = ()
    """Further budgets."""
    stages: bool = False
    """Judge each model that is compared, and this run's, also as it is before fine-tuning on private images, with its
    loss on them."""
    along: int = 0
    """Points of the fine-tuning at which the distance to real images is measured, in each experiment; this run is
    trained once more for it, and the baseline without any stage before it. 0 measures none."""
    along_images: int = 5_000
    """Images to draw at each of these points."""

    def __post_init__(self) -> None:
        if any(not 0 < epsilon < math.inf for epsilon in self.epsilons):
            raise ValueError(f"experiment.epsilons is {self.epsilons}: give finite budgets above 0")
        if self.along < 0 or self.along_images < 2:
            raise ValueError(
                f"experiment.along is {self.along} and experiment.along_images {self.along_images}: give at least 0 "
                "points and 2 images"
            )
        if self.along > MARKS:
            raise ValueError(
                f"experiment.along is {self.along}, but training is looked at {MARKS} times: give at most that many"
            )

    def asks(self) -> bool:
        """Whether anything is to be compared."""
        return replace(self, along_images=5_000) != type(self)()


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One whole run of the method."""

    config: Any
    """Its configuration, which asks for no experiments itself."""
    title: str
    """What it is called in tables: its own name, and what is special about it."""
    method: str
    """The name alone."""
    line: str = ""
    """Of the curve it lies on, and"""
    x: float | None = None
    """its place there."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Variants that belong into one table."""

    title: str
    text: str
    variants: Sequence[Variant]
    x: str = ""
    """What the axis shows, if there is one."""
    log_x: bool = False


@dataclass(frozen=True, kw_only=True)
class Reads:
    """Which settings what depends on, so that what is the same is done once."""

    judging: Sequence[str]
    """Fields that change nothing that is trained."""
    after: Sequence[str]
    """Fields that nothing before fine-tuning reads, beside these."""
    stages: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """{stage before fine-tuning: the fields that it reads}, of those that a variant may share with the run itself."""

    by_budget: Callable[[Any], bool] | None = None
    """by_budget(config): whether the questions before fine-tuning cost a share of the budget, so that they read it; by
    default never."""

    def _unread(self, config: Any) -> tuple[str, ...]:
        """Fields that nothing before fine-tuning reads."""
        budget = self.by_budget is not None and self.by_budget(config)
        return (*self.judging, *(name for name in self.after if not (budget and name == "budget")))

    def begun(self, config: Any) -> str:
        """Under which all that comes before fine-tuning is found again."""
        return digest(_told(config, self._unread(config)))

    def whole(self, config: Any) -> str:
        """Under which the trained model is."""
        return digest(_told(config, self.judging))

    def all_of(self, config: Any) -> str:
        """All that the trained model depends on, in full: noise must not rest on a short digest."""
        return repr(_told(config, self.judging))

    def questions(self, config: Any) -> str:
        """All that the questions before fine-tuning depend on, in full: runs that ask the same have the same answers.
        Where no stage is told, all that comes before fine-tuning does."""
        unread = self._unread(config)
        if not self.stages:
            return repr(_told(config, unread))
        read = [name for names in self.stages.values() for name in names if name not in unread]
        return repr([(name, getattr(config, name)) for name in read])

    def shared(self, one: Any, other: Any) -> set[str]:
        """Stages in which two runs are the same."""
        return {
            stage for stage, names in self.stages.items()
            if all(getattr(one, name) == getattr(other, name) for name in names)
        }  # fmt: skip


def _told(config: Any, without: Iterable[str]) -> list[tuple[str, Any]]:
    # What a preset was tuned on or made for is said of it, and changes nothing in it; nor do the files it leaves in.
    dropped = {*without, "tuned_on", "made_for", "chosen_among", "experiment", "release"}
    return [(one.name, getattr(config, one.name)) for one in fields(config) if one.name not in dropped]


def unlike(variants: Iterable[Variant], reads: Reads) -> list[Variant]:
    """Each different run once."""
    return list({reads.whole(one.config): one for one in variants}.values())


def price(variant: Variant, private: Images, plan: Any) -> Plan | None:
    """`plan(config, n, classes)` of a variant for these images; ValueError, which names it, where it cannot be."""
    try:
        planned: Plan | None = units.planned(private, lambda n: plan(variant.config, n, private.classes))
    except ValueError as error:
        raise ValueError(f"experiment, {variant.title}: {error}") from error
    return planned


def check(groups: Mapping[str, Group], private: Images, plan: Any) -> None:
    """ValueError, in one sentence, for a variant whose budget is too small."""
    for group in groups.values():
        for variant in group.variants:
            price(variant, private, plan)


def looked_at(config: Any) -> list[str]:
    """The uncharged choice that experiments may lead to, where some are asked for."""
    asked: SweepConfig | None = getattr(config, "experiment", None)
    return [UNCHARGED] if asked is not None and asked.asks() else []
