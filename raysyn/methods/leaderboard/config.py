"""The leaderboard: what is compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import chain, product
from typing import Any

from raysyn.compute.doorway import Machines
from raysyn.data.streams import PublicConfig
from raysyn.methods import catalogue
from raysyn.methods.varied import Alternative, addressed, alternatives, short_name, words_of
from raysyn.metrics.utility import EvalConfig, Name
from raysyn.screen.words import guess

NAME = "leaderboard"
EPSILON = "--budget.epsilon"
SAID_SHORT = "--epsilon"
DECIDED = ("--out", "--on.address", "--seed", EPSILON, SAID_SHORT, "--chosen-among", "--dry-run", "--help", "-h")
"""Flags of the methods that are not for the user to add."""


@dataclass(frozen=True, kw_only=True)
class JudgesConfig:
    """The classifiers that every run's images are judged by, beside the floor's and real ones."""

    classifiers: tuple[Name, ...] = ("cnn", "mlp", "logreg")
    """Which of them; none leaves each run to the classifiers of its own report."""
    epochs: int = 50
    """Passes of each over its training images; the epoch kept is the best on a tenth of them."""
    images: int | None = None
    """Train each on at most this many images of a run; by default on all that it released."""
    resnet9_width: float = 1.0
    """Multiplies the channels of resnet9, if it is among them."""

    def __post_init__(self) -> None:
        try:
            self.recipe()
        except ValueError as error:
            raise ValueError(str(error).replace("eval.", "judges.")) from error

    def recipe(self) -> EvalConfig:
        """How they are trained."""
        return EvalConfig(
            classifiers=self.classifiers, epochs=self.epochs, images=self.images, resnet9_width=self.resnet9_width
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is compared."""

    methods: tuple[str, ...] = tuple(one.name for one in catalogue.METHODS)
    """Methods, by their names in `raysyn methods`."""
    presets: tuple[str, ...] = ("quick",)
    """Presets, and so data sets; each of these methods runs those of them that it has."""
    epsilons: tuple[float, ...] = (1.0, 10.0)
    """Budgets of the methods with a guarantee; the others run once without."""
    seeds: tuple[int, ...] = (0, 1)
    """Runs of each, whose spread is told."""
    # Each flag may be given several times.
    vary: tuple[str, ...] = field(default=(), metadata={"adds": True})
    """A flag and the values that it takes, in one string: --vary "--central.count 0 20", or of a switch both its words,
    --vary "--private --no-private"; of one method --vary privimage:"--pretraining all none". Several flags: every
    combination is run."""
    more: tuple[str, ...] = field(default=(), metadata={"adds": True})
    """Further flags for every run, in one string: --more "--data.path images.parquet"; for the runs of one method
    --more privimage:"--public.path letters.parquet"."""
    judges: JudgesConfig = field(default_factory=JudgesConfig)
    columns: tuple[str, ...] = ()
    """Further figures of the runs' reports to show, by name, such as precision or utility.cnn.accuracy."""

    def __post_init__(self) -> None:
        for name in ("methods", "presets", "seeds", "epsilons"):
            value = getattr(self, name)
            if (not value and name != "epsilons") or len(set(value)) != len(value):
                raise ValueError(f"{name} is {value}: give at least one, each once")
        known = catalogue.methods()
        for method in self.methods:
            if method not in known:
                near = guess(method, list(known))
                raise ValueError(f"methods has {method}, which is none{near}: there are {', '.join(known)}")
        had = {method: known[method].presets() for method in self.methods}
        for preset in self.presets:
            if not any(preset in has for has in had.values()):
                one = self.methods[0]
                several = f"none of {', '.join(had)} has; raysyn methods lists what they have"
                alone = f"{one} does not have: it has {', '.join(had[one])}"
                near = guess(preset, [name for has in had.values() for name in has])
                raise ValueError(f"presets has {preset}{near}, which {alone if len(had) == 1 else several}")
        if not self.epsilons and any(paid(method) for method in self.methods):
            raise ValueError("epsilons is empty, but there are methods with a guarantee: give at least one")
        if not all(0 < epsilon < math.inf for epsilon in self.epsilons):
            raise ValueError(f"epsilons is {self.epsilons}: give budgets above 0")
        for name in ("more", "vary"):
            for told in getattr(self, name):
                self._check(name, told)

    def _check(self, name: str, told: str) -> None:
        method, text = addressed(told)
        if method is not None and method not in self.methods:
            raise ValueError(f"{name} is {told!r}, but {method} is not among the methods: {', '.join(self.methods)}")
        # Of a method that runs once, whatever the epsilons, some models may have a budget.
        free = (EPSILON, SAID_SHORT) if method is not None and not paid(method) else ()
        words = words_of(name, text)
        for flag in DECIDED:
            if flag not in free and any(word.replace("_", "-").startswith(flag) for word in words):
                raise ValueError(f"{name} is {told!r}: {flag} is what the leaderboard itself decides, leave it out")
        if name == "vary":
            alternatives(text)

    def presets_of(self, method: str) -> list[str]:
        """Those that it has."""
        has = catalogue.find(method).presets()
        return [preset for preset in self.presets if preset in has]

    def without(self) -> list[str]:
        """A sentence for each method of which some presets are not run, as it has none of that name."""
        lacking = {
            method: [one for one in self.presets if one not in self.presets_of(method)] for method in self.methods
        }
        return [f"{method} has no {' or '.join(gone)}: not run." for method, gone in lacking.items() if gone]

    def more_for(self, method: str) -> tuple[str, ...]:
        """Words that every run of a method is given: those for all methods, then its own."""
        return tuple(chain.from_iterable(words_of("more", text) for text in self._for("more", method)))

    def variations(self, method: str) -> list[tuple[Alternative, ...]]:
        """Each combination of what is varied for a method; one, of nothing, where nothing is."""
        return list(product(*(alternatives(text) for text in self._for("vary", method))))

    def _for(self, name: str, method: str) -> list[str]:
        told = [addressed(one) for one in getattr(self, name)]
        return [text for whose in (None, method) for whom, text in told if whom == whose]


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
    varied: tuple[Alternative, ...] = ()
    """What it is given of each flag that is varied."""
    more: tuple[str, ...] = ()
    """Further words that it shares with its method's other runs."""
    as_is: tuple[Alternative, ...] = ()
    """Those of `varied` that change nothing: it is the run without them, and is called as that."""
    audited: bool = False
    """Whether its preset audits it by itself. Known where the comparison is begun: another node may lack the method,
    which that run says in one sentence."""

    @property
    def name(self) -> str:
        """Of its folder, and of its result."""
        varied = "".join(f"-{short_name(one)}" for one in self.varied if one not in self.as_is)
        paid = "" if self.epsilon is None else f"-eps{f'{self.epsilon!r}'.removesuffix('.0')}"
        return f"{self.method}-{self.preset}{varied}{paid}-seed{self.seed}"

    @property
    def row(self) -> tuple[str, str, tuple[Alternative, ...], float | None]:
        """What it shares with the runs that differ from it in their seed alone."""
        return self.method, self.preset, self.varied, self.epsilon

    @property
    def words(self) -> list[str]:
        """Its command line after the method, but for where it runs."""
        budget = [] if self.epsilon is None else [EPSILON, repr(self.epsilon)]
        given = [*self.more, *chain.from_iterable(self.varied)]
        # All rows learn from all images, whether their method can be audited or not.
        asked = any(word.startswith("--audit") for word in given)
        unaudited = ["--audit.canaries", "0"] if self.audited and not asked else []
        return [self.preset, *unaudited, *given, "--seed", str(self.seed), *budget]


def own_flags(why: object) -> str:
    """Why a run is refused, in the flags of a leaderboard, which gives each run one of its budgets."""
    return str(why).replace(EPSILON, "--epsilons").replace(f"{EPSILON[2:]} is", "epsilons has")


def _audited(method: str, preset: str) -> bool:
    audit = getattr(catalogue.find(method).presets().get(preset), "audit", None)
    return audit is not None and audit.canaries is None


def runs(config: Config) -> list[Run]:
    """Every run of the comparison."""
    return [
        Run(method, preset, epsilon, seed, varied, config.more_for(method), audited=_audited(method, preset))
        for method in config.methods
        for preset in config.presets_of(method)
        for varied in config.variations(method)
        for epsilon in (config.epsilons if paid(method) else (None,))
        for seed in config.seeds
    ]


def publics(config: Any) -> list[PublicConfig]:
    """The public images that a run reads: its own, where it does, and those that it compares them with."""
    compared = getattr(getattr(config, "experiment", None), "public", ())
    own = [config.public] if getattr(config, "reads_public", False) else []
    return own + [PublicConfig.of(one, config.public) for one in compared]
