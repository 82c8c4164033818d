"""The plan of a run, before the first touch of the private images: what it will cost, and what that promises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysyn.data.images import Dataset
from raysyn.methods.outlook import Stage
from raysyn.privacy import units
from raysyn.privacy.cost import delta_beside, unit_of
from raysyn.privacy.ledger import Plan
from raysyn.report.meaning import attack_limits
from raysyn.screen.console import Console
from raysyn.screen.words import rounded_up

NEXT_TO_NOTHING = 0.99
"""Of bets on whether one was among them, that some attack may win: from there on a run warns."""


class Planned(SystemExit):
    """The end of a dry run, which is no failure, and in plain values what it found."""

    def __init__(self, found: Mapping[str, Any]) -> None:
        super().__init__(0)
        self.found = found


def planned(plan: Plan | None, dataset: Dataset, stages: Sequence[Stage]) -> Planned:
    """What `show_plan` and the table of times show, not rounded; `door.Result.plan` says what is what."""
    seconds: dict[str, float] = {}
    for stage in stages:
        seconds[stage.name] = seconds.get(stage.name, 0.0) + stage.seconds
    told = {"n": dataset.train.units, "unit": units.word(dataset.train), "guarantee": "none", "seconds": seconds}
    if plan is None:
        return Planned(told)
    spent, costs = plan.priced(), list(plan.stages.values())
    (adjacency,) = {cost.adjacency for cost in costs}
    told |= {"guarantee": "dp", "epsilon": spent.epsilon, "accountant": spent.by, "delta": plan.delta}
    told |= {"adjacency": adjacency, "stages": plan.rows()}
    return Planned(told | {"most_right_guesses": attack_limits(costs)["most_right_guesses"]})


def show_plan(console: Console, plan: Plan, dataset: Dataset) -> None:
    """The plan as a table: what each touch of the private images will cost, before the first one."""
    spent = plan.priced()
    smaller = "" if spent.by == plan.accountant else f", here smaller than {plan.accountant.upper()}'s"
    composed = f"together ε {rounded_up(spent.epsilon, 4)} of {plan.epsilon_budget:g} by {spent.by.upper()}{smaller}"
    other = "rdp" if plan.accountant == "prv" else "prv"
    limits = attack_limits(list(plan.stages.values()))
    (adjacency,) = {cost.adjacency for cost in plan.stages.values()}
    console.plan_table(
        plan.rows(),
        title=f"Plan for {dataset.name}: {units.told(dataset.train)}",
        caption=f"{composed} (by {other.upper()} {rounded_up(plan.epsilon(other), 4)}), δ {rounded_up(plan.delta)}, "
        f"{adjacency}; {delta_beside(plan.delta, dataset.train.units, unit_of(adjacency))}. {limits['sentence']}",
    )
    if limits["most_right_guesses"] >= NEXT_TO_NOTHING:
        console.say(
            f"WARNING: this promises next to nothing: epsilon {rounded_up(spent.epsilon)} lets somebody tell almost "
            "surely who was among them; lower --budget.epsilon, as to 10 or less"
        )
