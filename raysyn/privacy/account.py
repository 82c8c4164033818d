"""All runs on the images of one source: what an account of them holds, and what these runs cost together. Pure.

Lines: a head with a random key; one for each run when it opens, with its plan, which is reserved from then on; one for
each stage that was paid; one for each total. A run counts with all that it reserved or paid, whichever of its stages
was paid by now: a run that is never finished stays reserved, since nobody can know what its machines still do.

All runs in one account add up, also those on other images of the source: the sketches of their images tell a reader
what was the same, and change nothing in the sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from raysyn.privacy.cost import Cost, Overspent, calibrate, epsilon, kinds_of
from raysyn.privacy.ledger import cost_of
from raysyn.privacy.many import MANY, composed
from raysyn.privacy.sketch import Sketch

FORM, FORMS = 2, (1, 2)
"""Of the lines, as they are begun and as they are read: the second has lines of what is planned or looked at later and
of older copies, which may also be added to the first."""
GUARANTEES = ("dp", "none", "no release")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run as it was entered."""

    run: str
    """Its id, as `RunFolder.run_id`."""
    method: str
    preset: str
    folder: str
    time: str
    adjacency: str
    """Whose promise it would be, also where there is none."""
    units: int
    images: int
    shape: tuple[int, int, int]
    guarantee: str
    """dp, none, or of what releases no images, `no release`."""
    delta: float | None
    chosen_among: str | None = None
    looks: tuple[str, ...] = ()
    """What of it looks at real images and is paid for by nobody."""
    reserved: Mapping[str, Cost] = field(default_factory=dict)
    """Its plan."""
    sketch: Sketch

    def line(self) -> dict[str, Any]:
        """For the account's file."""
        plain = {name: value for name, value in vars(self).items() if name not in ("reserved", "sketch")}
        stages = {stage: asdict(cost) for stage, cost in self.reserved.items()}
        sketch = {"images": self.sketch.images, "smallest": self.sketch.to_text()}
        if (persons := self.sketch.persons_to_text()) is not None:
            sketch["persons"] = persons
        return {**plain, "reserved": stages, "sketch": sketch}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Run:
        """Of such a line; one of DAMAGE for another one."""
        sketch = Sketch.from_text(
            line["sketch"]["smallest"], line["sketch"]["images"], line["sketch"].get("persons")
        )  # fmt: skip
        height, width, channels = line["shape"]
        made = cls(**{
            **line, "reserved": {stage: cost_of(cost) for stage, cost in line["reserved"].items()}, "sketch": sketch,
            "looks": tuple(line["looks"]), "shape": (height, width, channels),
        })  # fmt: skip
        if made.guarantee not in GUARANTEES or (made.guarantee == "dp") != bool(made.reserved):
            raise ValueError(f"guarantee is {made.guarantee}")
        if {cost.adjacency for cost in made.reserved.values()} - {made.adjacency}:
            raise ValueError("mixed adjacencies")
        kinds_of([*made.reserved.values()])
        return made


@dataclass(frozen=True, kw_only=True)
class Total:
    """What all runs together may cost, from its line on."""

    total: float
    delta: float
    """At which they are composed, whatever the runs' own are."""
    time: str
    was: float | None = None
    reason: str | None = None

    def __post_init__(self) -> None:
        if not (0 < self.total < math.inf and 0 < self.delta < 1):
            raise ValueError(f"total is {self.total} at delta {self.delta}")


@dataclass(frozen=True)
class Passed:
    """A run that was entered in another account, or none, although this one has a total."""

    passed_by: str
    """Its id."""
    folder: str
    reason: str
    time: str


@dataclass(frozen=True)
class Behind:
    """That this account was brought back from an older copy, by a run that had paid what it lacked."""

    behind: str
    """Id of the run."""
    time: str


class Asked(Protocol):
    """What of the command line is about the total."""

    @property
    def total(self) -> float | None: ...
    @property
    def new_total(self) -> float | None: ...
    @property
    def reason(self) -> str | None: ...


DAMAGE = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
"""What anything else than an account's line may raise where it is read as one."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the lines say, the oldest first."""

    id: str
    key: bytes
    """Of the sketches."""
    runs: Mapping[str, Run] = field(default_factory=dict)
    paid: Mapping[str, Mapping[str, Cost]] = field(default_factory=dict)
    """{run: {stage: cost}}"""
    totals: Sequence[Total] = ()
    passes: Sequence[Passed] = ()
    gaps: Sequence[Behind] = ()
    """Where there are any, runs may be missing."""

    @property
    def total(self) -> Total | None:
        """The one in force."""
        return self.totals[-1] if self.totals else None

    def stages(self, run: str) -> dict[str, Cost]:
        """What a run has reserved or paid, each stage once."""
        return {**self.runs[run].reserved, **self.paid.get(run, {})}

    def costs(self, run: str) -> list[Cost]:
        """The prices of these."""
        return list(self.stages(run).values())

    def private(self, adjacency: str | None = None) -> list[str]:
        """Runs with a guarantee, of this adjacency or any."""
        return [one.run for one in self.runs.values() if one.reserved and adjacency in (None, one.adjacency)]

    def unbounded(self) -> int:
        """How many runs have released images, or will, without a guarantee."""
        return sum(one.guarantee == "none" for one in self.runs.values())

    def together(self, adjacency: str, delta: float, *more: Cost) -> float:
        """Epsilon of all runs with a guarantee of this adjacency, and of `more`, composed: reserved or paid."""
        return composed([*(cost for run in self.private(adjacency) for cost in self.costs(run)), *more], delta).epsilon

    def spent(self, adjacency: str, delta: float) -> float:
        """The same of what was paid alone."""
        return composed(
            [cost for run in self.private(adjacency) for cost in self.paid.get(run, {}).values()], delta
        ).epsilon

    def left(self, adjacency: str, total: Total) -> float:
        """Epsilon, alone and at the total's delta, of one more Gaussian answer that the total has room for; about that
        of one more run, of whatever answers. Of many kinds of answers before it the difference to the total, which is
        only a hint."""
        before = [cost for run in self.private(adjacency) for cost in self.costs(run)]
        if len(kinds_of(before)) > MANY:
            return max(0.0, total.total - self.together(adjacency, total.delta))
        one = Cost(mechanism="one more run", noise_multiplier=None, sampling_rate=1.0, steps=1, adjacency=adjacency)
        try:
            return epsilon([calibrate(total.total, total.delta, "prv", before, one)], total.delta, "prv")
        except Overspent:
            return 0.0


def read(lines: Iterable[Mapping[str, Any]]) -> Account:
    """The account of these lines; ValueError, which begins with the number of the line, for what is none."""
    account, runs, paid = None, dict[str, Run](), dict[str, dict[str, Cost]]()
    totals, passes, gaps = list[Total](), list[Passed](), list[Behind]()
    for number, line in enumerate(lines, start=1):
        try:
            if account is None:
                if line["raysyn_account"] not in FORMS:
                    raise ValueError(f"of form {line['raysyn_account']}, and this raysyn reads up to {FORM}")
                account = Account(id=str(line["id"]), key=bytes.fromhex(line["key"]))
            elif "paid" in line:
                stages = paid.setdefault(runs[line["run"]].run, {})
                # A second line of the same stage is the same release: it is not counted twice.
                if stages.setdefault(str(line["paid"]), cost_of(line)) != cost_of(line):
                    raise ValueError(f"stage {line['paid']} has two prices")
                kinds_of([*runs[line["run"]].reserved.values(), *stages.values()])
            elif "total" in line:
                totals.append(Total(**line))
            elif "planned" in line:
                runs[line["run"]] = _planned(runs[line["run"]], line["planned"])
            elif "behind" in line:
                gaps.append(Behind(**line))
            elif "looked" in line:
                runs[line["run"]] = _looked(runs[line["run"]], line)
            elif "passed_by" in line:
                passes.append(Passed(**line))
            elif (run := Run.of(line)).run in runs:
                raise ValueError(f"run {run.run} is entered twice")
            else:
                runs[run.run] = run
        except DAMAGE as error:
            raise ValueError(f"line {number} ({type(error).__name__}: {error})") from error
    if account is None:
        raise ValueError("line 1 (it is missing)")
    return replace(account, runs=runs, paid=paid, totals=tuple(totals), passes=tuple(passes), gaps=tuple(gaps))


def paid_line(run: str, stage: str, cost: Cost, time: str) -> dict[str, Any]:
    """Of a stage that is paid."""
    return {"paid": stage, "run": run, **asdict(cost), "time": time}


def planned_line(run: str, stages: Mapping[str, Cost], time: str) -> dict[str, Any]:
    """Of stages that a run reserves after it was entered."""
    return {"planned": {stage: asdict(cost) for stage, cost in stages.items()}, "run": run, "time": time}


def _planned(known: Run, stages: Mapping[str, Any]) -> Run:
    """A run that has reserved these too; one of DAMAGE for what no plan is."""
    return Run.of(replace(known, reserved={**known.reserved, **{one: cost_of(stages[one]) for one in stages}}).line())


def _looked(known: Run, line: Mapping[str, Any]) -> Run:
    """A run with what such a line says."""
    looks, chosen = tuple(map(str, line["looked"])), line["chosen_among"]
    among = "; ".join(filter(None, (known.chosen_among, chosen)))
    return replace(known, looks=(*known.looks, *looks), chosen_among=among or None)
