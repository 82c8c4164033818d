"""The plan of a run's privacy costs, and the append-only record of what was paid."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar

from raysyn.privacy.cost import Budget, Cost, Priced, calibrate, epsilon, priced
from raysyn.privacy.rounding import rounded_up

T = TypeVar("T")
_COST_FIELDS = tuple(Cost.__dataclass_fields__)


@dataclass(frozen=True)
class Release(Generic[T]):
    """An answer about private data with its price: a mechanism hands out both, `Ledger.pay` parts them."""

    value: T
    cost: Cost


class Refused(ValueError):
    """What a method must not do with its plan; its sentence is for whoever writes the method, and ends the command."""

    is_told = True
    """Asked by the screen, which knows no ledger."""


def plain(release: Release[dict[str, Any]]) -> dict[str, Any]:
    """A release in plain values, all that travels from a worker: with its price, which a stored answer keeps."""
    return {"value": release.value, "cost": asdict(release.cost)}


def refuse_another_price(made_at: Mapping[str, Any], cost: Cost) -> None:
    """ValueError where an answer, or what there is of it, was made at another price than `cost`."""
    if made_at != asdict(cost):
        raise ValueError(
            f"the checkpoint was made at {made_at}, but the plan now says {asdict(cost)}: steps of two prices cannot "
            "be one ledger entry; start a new run folder, or continue with the packages it began with"
        )


@dataclass(frozen=True)
class Plan:
    """Every touch of the private data, priced before the first one.

    Guarantee: the stages composed cost at most `epsilon_budget` at `delta`, or no Plan is made (ValueError).
    """

    stages: Mapping[str, Cost]
    delta: float
    accountant: str
    epsilon_budget: float
    n: int | None = None
    """How many private images, or persons, it was made for, if that is known; `units.check_plan` holds it to that."""

    def __post_init__(self) -> None:
        spent = self.epsilon()
        # The slack covers rounding where stages were calibrated in another order, nothing more.
        if spent > self.epsilon_budget * (1 + 1e-6):
            raise ValueError(
                f"budget.epsilon is {self.epsilon_budget:g}, but the planned stages spend {rounded_up(spent, 6)}: "
                "raise it or plan more noise"
            )

    @classmethod
    def within(
        cls, budget: Budget, n: int, stage: str, flexible: Cost, fixed: Mapping[str, Cost] | None = None
    ) -> Plan:
        """Stages that are part of the budget, the `fixed` ones and then `stage`, with as little noise as the budget
        leaves it on `n` private images.

        Whatever noise multiplier `flexible` has gives way to that. Raises ValueError where the fixed stages leave
        nothing, or the budget's delta promises nothing for so many images.
        """
        delta, before = budget.delta_for(n), {**budget.fixed(), **(fixed or {})}
        price = calibrate(budget.epsilon, delta, budget.accountant, list(before.values()), flexible)
        stages = {**before, stage: price}
        return cls(stages=stages, delta=delta, accountant=budget.accountant, epsilon_budget=budget.epsilon, n=n)

    def noise(self, stage: str) -> float:
        """The noise multiplier of a stage, as it was calibrated."""
        found = self.stages[stage].noise_multiplier
        assert found is not None, f"{stage} was never calibrated"
        return found

    def epsilon(self, accountant: str | None = None) -> float:
        """Epsilon of all stages composed, by this plan's accountant or another one."""
        return self.priced(accountant).epsilon

    def priced(self, accountant: str | None = None) -> Priced:
        """The same, and whose bound it is: PRV's, or RDP's where that is smaller."""
        return priced(list(self.stages.values()), self.delta, accountant or self.accountant)

    def epsilon_after(self, stage: str, steps: int) -> float:
        """Epsilon of the stages before `stage` and of its first `steps` steps, composed: for progress only."""
        names = list(self.stages)
        before = [self.stages[name] for name in names[: names.index(stage)]]
        partly = [replace(self.stages[stage], steps=steps)] if steps else []
        return epsilon(before + partly, self.delta, self.accountant)

    def rows(self) -> list[dict[str, Any]]:
        """One row per stage, in order, for tables: its noise, sampling and what it would cost alone."""
        return [
            {
                "stage": stage,
                "mechanism": cost.mechanism,
                "noise_multiplier": cost.noise_multiplier,
                "sampling_rate": cost.sampling_rate,
                "steps": cost.steps,
                "epsilon_alone": epsilon([cost], self.delta, self.accountant),
            }
            for stage, cost in self.stages.items()
        ]


class Ledger:
    """Swaps releases for their values and keeps the record, one JSON object per line.

    Guarantee: no value leaves without an entry on disk, and no entry is made that the plan does not hold.
    A continued run may pay a stage of the file again without a second entry: mechanisms are pure functions of
    (secret, stage, data, cost), so the same bytes are released again. A stage that was interrupted is not in
    the file and costs nothing yet, since its unfinished work stays inside the run folder.

    `make_durable` is called with every entry, before its value leaves: where the file is a copy, it copies it out.
    `enter` is told each entry before it is in the file: an account over all runs. Killed between the two, the account
    holds a stage whose value never left, the continued run pays it again, and the account, which knows it by run and
    stage, counts it once. The other way round a run that nobody continues could have spent what no account holds.
    Raises ValueError where the file is damaged or records other costs than the plan.
    """

    def __init__(
        self, plan: Plan, path: Path, make_durable: Callable[[], None] = lambda: None,
        enter: Callable[[Sequence[Mapping[str, Any]]], None] = lambda entries: None,
    ) -> None:  # fmt: skip
        self.plan = plan
        self.path = Path(path)
        self._make_durable, self._enter = make_durable, enter
        self._paid_here: set[str] = set()
        self._entries = _read(self.path)
        recorded: set[str] = set()
        for entry in self._entries:
            self._check(entry["stage"], cost_of(entry))
            if entry["stage"] in recorded:
                raise ValueError(f"{self.path} holds stage {entry['stage']!r} twice: start a new run folder")
            recorded.add(entry["stage"])
        # An account that was brought back from a copy may lack some.
        enter(self._entries)

    def pay(self, stage: str, release: Release[T]) -> T:
        """The released value, once its cost is on disk; ValueError if unplanned, changed or paid before."""
        if not isinstance(release, Release):
            raise Refused(
                f"stage {stage!r} is paid with a {type(release).__name__}, which has no price: a mechanism answers "
                "Release(value=..., cost=...), and `pay` takes that whole"
            )
        self._check(stage, release.cost)
        if stage in self._paid_here:
            raise Refused(f"stage {stage!r} is already paid: each release needs a stage of its own in the plan")
        if stage not in {entry["stage"] for entry in self._entries}:
            entry = self._entry(stage, release.cost)
            self._enter([entry])
            _append(self.path, entry)
            self._make_durable()
            self._entries.append(entry)
        self._paid_here.add(stage)
        return release.value

    def check_complete(self) -> None:
        """ValueError unless every planned stage has been paid: what is released must be what was priced."""
        unpaid = set(self.plan.stages) - {entry["stage"] for entry in self._entries}
        if unpaid:
            first = min(unpaid)
            raise Refused(
                f"{self.path} has no entry for {', '.join(sorted(unpaid))}, so nothing can be certified: the ledger "
                f"was damaged or removed, or `run` never paid for it by ledger.pay({first!r}, ...); start a new run "
                "folder"
            )

    def entries(self) -> list[dict[str, Any]]:
        """What has been paid, oldest first; a copy."""
        return [dict(entry) for entry in self._entries]

    def epsilon(self, accountant: str | None = None) -> float:
        """Epsilon of everything paid so far, composed."""
        return self._composed(accountant or self.plan.accountant)

    def priced(self) -> Priced:
        """The same by the plan's accountant, and whose bound it is."""
        return priced(self.costs(), self.plan.delta, self.plan.accountant)

    def costs(self) -> list[Cost]:
        """What has been paid, oldest first."""
        return [cost_of(entry) for entry in self._entries]

    def _composed(self, accountant: str, *more: Cost) -> float:
        return epsilon([*self.costs(), *more], self.plan.delta, accountant)

    def _check(self, stage: str, cost: Cost) -> None:
        planned = self.plan.stages.get(stage)
        if planned is None:
            raise Refused(f"stage {stage!r} is not in the plan, which has {list(self.plan.stages)}: plan it first")
        if cost != planned:
            raise Refused(_other_price(stage, cost, planned))

    def _entry(self, stage: str, cost: Cost) -> dict[str, Any]:
        accountant, delta = self.plan.accountant, self.plan.delta
        return {
            "stage": stage,
            **asdict(cost),
            "accountant": accountant,
            "delta": delta,
            "epsilon_alone": epsilon([cost], delta, accountant),
            "epsilon_so_far": self._composed(accountant, cost),
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
        }


def cost_of(entry: Mapping[str, Any]) -> Cost:
    """The cost that an entry, or a certificate's row, states; KeyError, TypeError or ValueError for none."""
    return Cost(**{name: entry[name] for name in _COST_FIELDS})


def _other_price(stage: str, cost: Cost, planned: Cost) -> str:
    """The sentence for an answer at another price than the plan's: in what they differ."""
    if not isinstance(cost, Cost):
        return f"stage {stage!r} has a {type(cost).__name__} for its price: give a Cost, that of the plan"
    different = [name for name in _COST_FIELDS if getattr(cost, name) != getattr(planned, name)]
    if "adjacency" in different:
        mend = "make the price with units.priced, for the mechanism as for the plan"
        different = ["adjacency"]
    else:
        mend = "give the mechanism the price of the plan, or start a new run folder if it is a folder of another plan"
    answered, wanted = (", ".join(f"{name} {getattr(one, name)!r}" for name in different) for one in (cost, planned))
    return f"stage {stage!r} costs {answered}, but {wanted} was planned: {mend}"


def _append(path: Path, entry: Mapping[str, Any]) -> None:
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")
        file.flush()
        os.fsync(file.fileno())
    if new:
        # A new file is durable only once its folder is flushed.
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        # A crash in the middle of a write leaves a last line without its end. Its value never left `pay`,
        # so dropping it forgets no release.
        os.truncate(path, whole)
    entries = []
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            entry = json.loads(line)
            cost_of(entry)
            if not isinstance(entry["stage"], str):
                raise TypeError("a stage has a name")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path} is damaged at line {number}: start a new run folder") from error
        entries.append(entry)
    return entries
