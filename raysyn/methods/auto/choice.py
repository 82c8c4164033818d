"""Which method for which images: the rule of `raysyn auto`, which sees nothing but what is public."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from raysyn.methods.auto.settings import ALONE, LEAST, WITH_PUBLIC, Facts, Setting, setting
from raysyn.methods.auto.table import FLOOR, Cell, cells, floor_of
from raysyn.privacy.cost import Budget

MARGIN = 0.03
"""By how much a method must be above the floor to be taken: about what another seed changes."""
LESS = ("ε", "images", "synthetic images")
"""What of which there is less than was measured teaches less."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked for."""

    facts: Facts
    budget: Budget
    minutes: float
    workers: int = 1
    """Of one core each."""
    public: bool = False
    """Whether there are public images."""
    begun: str | None = None
    """Method of the run that is to go on, which decides."""
    synthetic: int | None = None
    """Images to make; by default as many as fit these."""
    named: str | None = None
    """Method to take, whatever was measured."""

    @property
    def settled(self) -> str | None:
        """The method, where there is nothing to pick."""
        return self.begun or self.named


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A method, and what of it was measured nearest to the case."""

    setting: Setting
    near: tuple[Cell, ...]
    """One for each measured set."""
    minutes: float
    measured: bool
    """Whether on grey or on colour images, as these are: it is no candidate where it was not."""
    fits: bool
    """Whether its time is there, and what it needs."""

    @property
    def method(self) -> str:
        return self.setting.method

    @property
    def gain(self) -> float:
        """Mean accuracy above the floor."""
        return sum(cell.accuracy - floor_of(cell).accuracy for cell in self.near) / len(self.near)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was picked, and what it was picked from."""

    picked: Candidate
    all: tuple[Candidate, ...]
    outside: tuple[str, ...]
    """Where the case lies outside of what was measured, in words."""

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Methods of which nothing is known on such images."""
        known = {one.method for one in self.all if one.measured}
        return tuple(method for method in (*ALONE, *WITH_PUBLIC) if method not in known)


def choose(case: Case, known: Sequence[Cell] | None = None) -> Choice:
    """The method whose mean was furthest above the floor on the measured cases nearest to this one, of all or of those
    `known`; the floor's own where none was so by `MARGIN`. ValueError where there is no time for any, no promise, or no
    such method."""
    known = cells() if known is None else known
    if case.named is not None:
        check_named(case, known)
    found = tuple(_candidate(method, case, known) for method in (*ALONE, *WITH_PUBLIC) if _near(method, case, known))
    if case.settled is not None:
        picked = next(one for one in found if one.method == case.settled)
        return Choice(picked=picked, all=found, outside=outside(picked, case))
    fitting = [one for one in found if one.fits]
    if not fitting:
        least = min(one.minutes for one in found if one.measured and (case.public or one.method not in WITH_PUBLIC))
        raise ValueError(
            f"minutes is {case.minutes:g}, but the quickest method takes about {least:.1f} with its judging on "
            f"{case.workers} cores: give at least {math.ceil(least)}"
        )
    better = [one for one in fitting if one.gain >= MARGIN and one.method != FLOOR]
    quickest = next((one for one in fitting if one.method == FLOOR), fitting[0])
    picked = max(better, key=lambda one: one.gain, default=quickest)
    return Choice(picked=picked, all=found, outside=outside(picked, case))


def check_named(case: Case, known: Sequence[Cell]) -> None:
    """ValueError, in one sentence, for a method that cannot be taken."""
    methods = [method for method in (*ALONE, *WITH_PUBLIC) if _near(method, case, known)]
    if case.named not in methods:
        raise ValueError(f"method is {case.named}, which auto does not know: give one of {', '.join(methods)}")
    if case.begun not in (None, case.named):
        raise ValueError(
            f"method is {case.named}, but the folder holds a run of {case.begun}, which would go on: leave it out, or "
            "give another folder"
        )
    if case.named in WITH_PUBLIC and not case.public:
        raise ValueError(f"method is {case.named}, which needs public images: name some, by --public.path or .name")


def _candidate(method: str, case: Case, known: Sequence[Cell]) -> Candidate:
    made, near = setting(method, case.facts, case.budget), _near(method, case, known)
    if case.synthetic is not None:
        made = replace(made, flags={**made.flags, "synthetic": str(case.synthetic)})
    whole = max(cell.minutes(case.facts, int(made.flags["synthetic"])) for cell in near) / case.workers
    measured = near[0].channels == case.facts.shape[2]
    fits = measured and whole <= case.minutes and (case.public or method not in WITH_PUBLIC)
    return Candidate(setting=made, near=near, minutes=whole, measured=measured, fits=fits)


def _near(method: str, case: Case, known: Sequence[Cell]) -> tuple[Cell, ...]:
    """Of each measured set, those of grey or of colour as the images are, the case that is nearest."""
    own = [cell for cell in known if cell.method == method]
    # Of others only where a run of it was begun, of which something must be said.
    alike = [cell for cell in own if cell.channels == case.facts.shape[2]] or own
    return tuple(
        min((cell for cell in alike if cell.data == data), key=lambda cell: _far(cell, case))
        for data in dict.fromkeys(cell.data for cell in alike)
    )


def _far(cell: Cell, case: Case) -> float:
    """How often something must be doubled or halved between the two."""
    pairs = [(cell.n, case.facts.n), (cell.epsilon, case.budget.epsilon), (cell.size, max(case.facts.shape[:2]))]
    return sum(abs(math.log2(one / other)) for one, other in pairs)


def outside(picked: Candidate, case: Case) -> tuple[str, ...]:
    """Where the case is below or above all that was measured of the picked method on such images."""
    own = [cell for cell in cells() if cell.method == picked.method]
    alike = [cell for cell in own if cell.channels == case.facts.shape[2]]
    if not alike:
        kind = "colour" if case.facts.shape[2] == 3 else "grey"
        return (f"it was measured on no {kind} images",)
    asked: dict[str, tuple[float, Sequence[float]]] = {
        "images": (case.facts.n, [cell.n for cell in alike]),
        "pixels a side": (max(case.facts.shape[:2]), [cell.size for cell in alike]),
        "classes": (case.facts.classes, [cell.classes for cell in alike]),
        "ε": (case.budget.epsilon, [cell.epsilon for cell in alike]),
    }
    if case.synthetic is not None:
        asked["synthetic images"] = (case.synthetic, [LEAST])
    return tuple(said for name, (value, known) in asked.items() if (said := _beyond(name, value, known)))


def _beyond(name: str, value: float, known: Sequence[float]) -> str:
    if min(known) <= value <= max(known):
        return ""
    low = value < min(known)
    side, end = ("below", min(known)) if low else ("above", max(known))
    told = f"ε {value:g} is {side} {end:g}" if name == "ε" else f"{value:,.10g} {name} is {side} {end:,.10g}"
    # Noise is added to sums: of fewer images, of more classes, for less budget it is more of what is read.
    return f"{told}, expect less" if (name in LESS and low) or (name == "classes" and not low) else told
