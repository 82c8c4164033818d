"""The leaderboard: what is compared."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass

from raysyn.compute.doorway import Machines
from raysyn.methods import catalogue

NAME = "leaderboard"
DECIDED = ("--out", "--on.address", "--seed", "--budget.epsilon", "--chosen-among", "--dry-run", "--help", "-h")
"""Flags of the methods that are not for the user to add."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is compared."""

    methods: tuple[str, ...] = tuple(one.name for one in catalogue.METHODS)
    """Methods, by their names in `raysyn methods`."""
    presets: tuple[str, ...] = ("quick",)
    """Presets, and so data sets; each of these methods must have each of them."""
    epsilons: tuple[float, ...] = (1.0, 10.0)
    """Budgets of the methods with a guarantee; the others run once without."""
    seeds: tuple[int, ...] = (0, 1)
    """Runs of each, whose spread is told."""
    more: str = ""
    """Further flags for every run, in one string: --more="--data.path images.parquet"."""

    def __post_init__(self) -> None:
        for field in ("methods", "presets", "seeds", "epsilons"):
            value = getattr(self, field)
            if (not value and field != "epsilons") or len(set(value)) != len(value):
                raise ValueError(f"{field} is {value}: give at least one, each once")
        known = catalogue.methods()
        for method in self.methods:
            if method not in known:
                raise ValueError(f"methods has {method}, which is none: there are {', '.join(known)}")
            for preset in self.presets:
                if preset not in (has := known[method].presets()):
                    raise ValueError(f"presets has {preset}, which {method} does not have: it has {', '.join(has)}")
        if not self.epsilons and any(paid(method) for method in self.methods):
            raise ValueError("epsilons is empty, but there are methods with a guarantee: give at least one")
        if not all(0 < epsilon < math.inf for epsilon in self.epsilons):
            raise ValueError(f"epsilons is {self.epsilons}: give budgets above 0")
        try:
            words = shlex.split(self.more)
        except ValueError as error:
            raise ValueError(f"more is {self.more!r}, which no shell could read ({error}): mend its quotes") from error
        for flag in DECIDED:
            if any(word.replace("_", "-").startswith(flag) for word in words):
                raise ValueError(f"more is {self.more!r}: {flag} is what the leaderboard itself decides, leave it out")


@dataclass(frozen=True, kw_only=True)
class On(Machines):
    """Where the runs happen, each on one CPU; with GPUs, `gpus_per_unit` is each run's share of one."""


def paid(method: str) -> bool:
    """Whether every run of it has a guarantee, so that it runs once per epsilon."""
    return catalogue.find(method).guarantee == "dp"


@dataclass(frozen=True)
class Run:
    """One unit."""

    method: str
    preset: str
    epsilon: float | None
    seed: int

    @property
    def name(self) -> str:
        """Of its folder, and of its result."""
        paid = "" if self.epsilon is None else f"-eps{f'{self.epsilon!r}'.removesuffix('.0')}"
        return f"{self.method}-{self.preset}{paid}-seed{self.seed}"


def runs(config: Config) -> list[Run]:
    """Every run of the comparison."""
    return [
        Run(method, preset, epsilon, seed)
        for method in config.methods
        for preset in config.presets
        for epsilon in (config.epsilons if paid(method) else (None,))
        for seed in config.seeds
    ]
