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

from raysyn.privacy.cost import Cost, Overspent, calibrate, epsilon, kinds_of, unit_of
from raysyn.privacy.ledger import cost_of
from raysyn.privacy.many import MANY, composed
from raysyn.privacy.sketch import Sketch

FORM = 1
"""Of the lines."""
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
        return {**plain, "reserved": stages, "sketch": sketch}

    @classmethod
    def of(cls, line: Mapping[str, Any]) -> Run:
        """Of such a line; one of DAMAGE for another one."""
        sketch = Sketch.from_text(line["sketch"]["smallest"], line["sketch"]["images"])
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

    @property
    def total(self) -> Total | None:
        """The one in force."""
        return self.totals[-1] if self.totals else None

    def costs(self, run: str) -> list[Cost]:
        """What a run has reserved or paid, each stage once."""
        return list((dict(self.runs[run].reserved) | dict(self.paid.get(run, {}))).values())

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
    totals, passes = list[Total](), list[Passed]()
    for number, line in enumerate(lines, start=1):
        try:
            if account is None:
                if line["raysyn_account"] != FORM:
                    raise ValueError(f"of form {line['raysyn_account']}, and this raysyn reads {FORM}")
                account = Account(id=str(line["id"]), key=bytes.fromhex(line["key"]))
            elif "paid" in line:
                stages = paid.setdefault(runs[line["run"]].run, {})
                # A second line of the same stage is the same release: it is not counted twice.
                if stages.setdefault(str(line["paid"]), cost_of(line)) != cost_of(line):
                    raise ValueError(f"stage {line['paid']} has two prices")
                kinds_of([*runs[line["run"]].reserved.values(), *stages.values()])
            elif "total" in line:
                totals.append(Total(**line))
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
    return replace(account, runs=runs, paid=paid, totals=tuple(totals), passes=tuple(passes))


def admit(account: Account, run: Run, asked: Asked, paid: bool = False) -> list[dict[str, Any]]:
    """Lines to write before this run begins: a total, where another one is asked for, and the run; nothing where it is
    entered already, which changes no total. ValueError, in one sentence, for a run that may not begin. One that has
    `paid` before it is entered is what it is, whatever there is room for."""
    if run.run in account.runs:
        return []
    total = _asked(account, run, asked)
    if not paid and (refused := why_not(account, run, total)) is not None:
        raise ValueError(refused)
    return [*([asdict(total)] if total else []), run.line()]


def why_not(account: Account, run: Run, total: Total | None = None) -> str | None:
    """Why a run has no place under the total, this one or that in force, in a sentence; None where it has."""
    inforce = total or account.total
    if inforce is None or not run.reserved or run.run in account.runs:
        return None
    return _other_units(account, run, inforce) or _no_room(account, run, inforce)


def unwritten(account: Account, asked: Asked) -> str | None:
    """What of a total is not written with a run that was entered before, in a sentence: its command, given again, must
    not undo what was written since."""
    wanted, now = asked.total or asked.new_total, account.total
    if wanted is None or (now is not None and wanted == now.total):
        return None
    stays = "there is none" if now is None else f"it stays {now.total:g}"
    return f"The total {wanted:g} is not written, for this run was entered before, and {stays}: give it with a new run"


def paid_line(run: str, stage: str, cost: Cost, time: str) -> dict[str, Any]:
    """Of a stage that is paid."""
    return {"paid": stage, "run": run, **asdict(cost), "time": time}


def _asked(account: Account, run: Run, asked: Asked) -> Total | None:
    """The total to write; None where the one in force stays. ValueError for one that may not be."""
    wanted = asked.total if asked.new_total is None else asked.new_total
    if wanted is None:
        return None
    now = account.total
    if now is None and run.delta is None:
        raise ValueError(
            f"budget.total is {wanted:g}, but {run.method} promises nothing, and so has no delta at which to compose: "
            "give it with a run that has a guarantee"
        )
    if now is None:
        if asked.new_total is not None:
            raise ValueError(f"budget.new_total is {wanted:g}, but the account has no total yet: give --budget.total")
        deltas = [one.delta for one in (run, *account.runs.values()) if one.delta is not None]
        return Total(total=wanted, delta=min(deltas), time=run.time)
    if wanted == now.total:
        return None
    if wanted > now.total and asked.new_total is None:
        raise ValueError(
            f"budget.total is {wanted:g}, but the account of these images has {now.total:g}, which may be lowered and "
            f"not raised: leave it out, or say --budget.new-total {wanted:g} with --budget.reason"
        )
    return Total(total=wanted, delta=now.delta, time=run.time, was=now.total, reason=asked.reason)


def _other_units(account: Account, run: Run, total: Total) -> str | None:
    others = {unit_of(account.runs[one].adjacency) for one in account.private()} - {unit_of(run.adjacency)}
    if not others:
        return None
    return (
        f"budget.total is {total.total:g} for the {others.pop()}s of these runs, and this one promises to "
        f"{unit_of(run.adjacency)}s: they do not add up; name persons alike, or give another --budget.account"
    )


def _no_room(account: Account, run: Run, total: Total) -> str | None:
    after = account.together(run.adjacency, total.delta, *run.reserved.values())
    if after <= total.total * (1 + 1e-6):  # rounding, as of a plan
        return None
    before = account.together(run.adjacency, total.delta)
    return (
        f"budget.total is {total.total:g} at delta {total.delta:.3g}, of which earlier runs have spent "
        f"{account.spent(run.adjacency, total.delta):.4g}, {before:.4g} with what is reserved, and with this run it "
        f"would be {after:.4g}: lower --budget.epsilon, for there is room for about "
        f"{account.left(run.adjacency, total):.3g}, or raise the total by --budget.new-total with --budget.reason"
    )
