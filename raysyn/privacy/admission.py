"""Which run may begin, by the account of all runs on the same images, and what is entered of it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from raysyn.privacy.account import Account, Asked, Run, Total, paid_line, planned_line
from raysyn.privacy.cost import ADD_REMOVE_PERSON, Cost, same_price, unit_of
from raysyn.privacy.ledger import Plan, cost_of
from raysyn.privacy.many import composed
from raysyn.privacy.rounding import rounded_down, rounded_up
from raysyn.privacy.sketch import PART

NOTHING = "nothing is left of it"
"""Of a total that is spent."""


def admit(account: Account, run: Run, asked: Asked, paid: bool = False) -> list[dict[str, Any]]:
    """Lines to write before this run begins: a total, where another one is asked for, and the run; nothing where it is
    entered already with all of its plan, which changes no total. ValueError, in one sentence, for a run that may not
    begin. One that has `paid` all of its plan before it is entered is what it is, whatever there is room for."""
    known, rest = account.runs.get(run.run), lacking(account, run)
    if known is not None and not rest:
        return more_looks(known, run)
    total = asked_total(account, run, asked)
    if not paid and (refused := why_not(account, run, total)) is not None:
        raise ValueError(refused)
    lines = [asdict(total)] if total else []
    if known is None:
        return [*lines, run.line()]
    return [*lines, planned_line(run.run, rest, run.time), *more_looks(known, run)]


def lacking(account: Account, run: Run) -> dict[str, Cost]:
    """Stages of a run's plan that are not reserved: all, of one that is not entered; the rest, where it was refused
    with a part paid."""
    known = {} if run.run not in account.runs else account.stages(run.run)
    return {stage: cost for stage, cost in run.reserved.items() if stage not in known}


def check_prices(account: Account, run: Run) -> None:
    """ValueError where a run that is entered has another price than it was entered with: its stages are called the
    same, so that it would be admitted for the old ones. For one whose folder is known to be this command's."""
    held = account.stages(run.run) if run.run in account.runs else {}
    for stage, cost in run.reserved.items():
        if stage in held and not same_price(held[stage], cost):
            raise ValueError(
                f"{run.folder} plans another price for {stage} than the account holds of this run, as a copy of its "
                "folder that was changed does: give a new --out"
            )


def has_paid(entries: Sequence[Mapping[str, Any]], plan: Plan | None) -> bool:
    """Whether a run has paid all of its plan, in an account or not: nothing of it is left to refuse."""
    return plan is not None and {one["stage"] for one in entries} >= set(plan.stages)


def check_paid(out: str, entries: Sequence[Mapping[str, Any]], plan: Plan | None) -> None:
    """ValueError where a ledger has another price than was planned: entered, it would take the reserved one's place."""
    for one in entries if plan is not None else ():
        if plan is not None and one["stage"] in plan.stages and plan.stages[one["stage"]] != cost_of(one):
            raise ValueError(
                f"--out {out}: internal/ledger.jsonl has another price for {one['stage']} than was planned, so that it "
                "is damaged or another run's: bring back the one that was there"
            )


def spent(account: Account, run: Run, paid: Mapping[str, Cost]) -> list[dict[str, Any]]:
    """Lines of a run that is refused and has paid a part of its plan, in another account or none: that part alone.
    None of what is no part of the plan: the ledger is damaged, or another run's."""
    if run.guarantee != "dp" or any(run.reserved.get(stage) != cost for stage, cost in paid.items()):
        return []
    known = {} if run.run not in account.runs else account.stages(run.run)
    new = {stage: cost for stage, cost in paid.items() if stage not in known}
    if not new:
        return []
    entered = replace(run, reserved=new).line() if not known else planned_line(run.run, new, run.time)
    return [entered, *(paid_line(run.run, stage, cost, run.time) for stage, cost in new.items())]


def why_not(account: Account, run: Run, total: Total | None = None) -> str | None:
    """Why a run has no place under the total, this one or that in force, in a sentence; None where it has."""
    inforce = total or account.total
    if inforce is None or not lacking(account, run):
        return None
    return _other_units(account, run, inforce) or _no_room(account, run, inforce)


def why_not_all(account: Account, runs: Sequence[tuple[Run, Asked, Collection[str]]]) -> str | None:
    """Why runs that are declared together have no place under the total, each with what it asks of it and the stages
    that it has paid, in a sentence; None where they have. What is paid is spent, in this account by now or not, and
    only the rest of each run can be refused. ValueError for a total that may not be."""
    account = replace(account, totals=(*account.totals, *totals(account, runs)))
    held, rests = account, dict[str, dict[str, Cost]]()
    for run, _, paid in runs:
        rest = {stage: cost for stage, cost in lacking(account, run).items() if stage not in paid}
        if account.total is not None and rest and (other := _other_units(account, run, account.total)):
            return other
        account = replace(account, runs={**account.runs, run.run: run})
        if already := {stage: cost for stage, cost in run.reserved.items() if stage not in rest}:
            held = replace(held, runs={**held.runs, run.run: replace(run, reserved=already)})
        if rest:
            rests[run.run] = rest
    if not rests or (inforce := account.total) is None:
        return None
    adjacency = account.runs[next(iter(rests))].adjacency
    after = account.together(adjacency, inforce.delta)
    if after <= inforce.total * (1 + 1e-6):
        return None
    alone = composed([cost for rest in rests.values() for cost in rest.values()], inforce.delta).epsilon
    still = "still to begin or to go on"
    many = f"{len(rests):,} runs {still} come" if len(rests) > 1 else f"run {still} comes"
    before, come, whole = (rounded_up(one, 4) for one in (held.together(adjacency, inforce.delta), alone, after))
    return (
        f"budget.total is {inforce.total:g} at delta {rounded_up(inforce.delta)}, of which earlier runs have spent or "
        f"reserved {before}, and the {many} to {come}, {whole} with those: "
        f"{room(held.left(adjacency, inforce), inforce.total)}; ask for fewer runs or smaller --epsilons, or raise "
        "the total by --budget.new-total with --budget.reason"
    )


def totals(account: Account, runs: Sequence[tuple[Run, Asked, Collection[str]]]) -> list[Total]:
    """Totals that these runs ask for, to be written once before any of them begins: one after the other, whichever was
    first would decide. ValueError for one that may not be."""
    found = list[Total]()
    # A first total needs a run with a guarantee, and so a delta; for the others it is there by then.
    for run, asked, _ in sorted(runs, key=lambda one: not one[0].reserved):
        entered = run.run in account.runs and not lacking(account, run)
        if not entered and (total := asked_total(account, run, asked)) is not None:
            account = replace(account, totals=(*account.totals, total))
            found.append(total)
    return found


def unwritten(account: Account, asked: Asked) -> str | None:
    """What of a total is not written with a run that was entered before, in a sentence: its command, given again, must
    not undo what was written since."""
    wanted, now = asked.total or asked.new_total, account.total
    if wanted is None or (now is not None and wanted == now.total):
        return None
    stays = "there is none" if now is None else f"it stays {now.total:g}"
    return f"The total {wanted:g} is not written, for this run was entered before, and {stays}: give it with a new run"


def more_looks(known: Run, run: Run) -> list[dict[str, Any]]:
    """The line on what a later command of a run looks at, or was chosen among, that no earlier one did."""
    looks = [one for one in run.looks if one not in known.looks]
    said = f"; {known.chosen_among}; "
    chosen = run.chosen_among if run.chosen_among and f"; {run.chosen_among}; " not in said else None
    more = {"looked": looks, "run": run.run, "chosen_among": chosen, "time": run.time}
    return [more] if looks or chosen else []


def asked_total(account: Account, run: Run, asked: Asked) -> Total | None:
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
    # A lower one may promise at a smaller delta too, and never at a larger.
    delta = min(now.delta, run.delta or 1.0) if wanted < now.total else now.delta
    return Total(total=wanted, delta=delta, time=run.time, was=now.total, reason=asked.reason)


def divided_otherwise(one: Run, other: Run) -> bool:
    """Whether both promise to persons, who are others on images that both have: patients, or their visits. By their
    samples, see `Sketch.divides_otherwise`; and the same images are of about as many persons, of exactly as many where
    it is not known whose each is. About, since somebody may have none but a blank scan that others have too."""
    if one.shape != other.shape or {one.adjacency, other.adjacency} != {ADD_REMOVE_PERSON}:
        return False
    if one.sketch.images == other.sketch.images > 0 and (one.sketch.hashes == other.sketch.hashes).all():
        known = one.sketch.persons is not None and other.sketch.persons is not None
        if abs(one.units - other.units) > (max(one.units, other.units) * PART if known else 0):
            return True
    return one.sketch.divides_otherwise(other.sketch)


def _other_units(account: Account, run: Run, total: Total) -> str | None:
    if other := next((one for one in account.runs.values() if one.reserved and divided_otherwise(one, run)), None):
        return (
            f"budget.total is {total.total:g} for the {other.units:,} persons that {other.folder} names on these "
            f"images, and {run.units:,} in this run divide images that both have otherwise: they do not add up; name "
            "persons alike, or give another --budget.account"
        )
    others = {unit_of(account.runs[one].adjacency) for one in account.private()} - {unit_of(run.adjacency)}
    if not others:
        return None
    return (
        f"budget.total is {total.total:g} for the {others.pop()}s of these runs, and this one promises to "
        f"{unit_of(run.adjacency)}s: they do not add up; name persons alike, or give another --budget.account"
    )


def _no_room(account: Account, run: Run, total: Total) -> str | None:
    after = account.together(run.adjacency, total.delta, *lacking(account, run).values())
    if after <= total.total * (1 + 1e-6):  # rounding, as of a plan
        return None
    spent = rounded_up(account.spent(run.adjacency, total.delta), 4)
    held = rounded_up(account.together(run.adjacency, total.delta), 4)
    found = room(account.left(run.adjacency, total), total.total)
    mend = f"{found}, " if found == NOTHING else f"lower --budget.epsilon, for {found}, or "
    return (
        f"budget.total is {total.total:g} at delta {rounded_up(total.delta)}, of which earlier runs have spent "
        f"{spent if held == spent else f'{spent}, {held} with what is reserved'}, and with this run it "
        f"would be {rounded_up(after, 4)}: {mend}raise the total by --budget.new-total with --budget.reason"
    )


def room(left: float, total: float) -> str:
    """What of a total is left, in words. What rounding leaves of one that is spent is nothing: as noise adds up by its
    squares, a 20,000th of a total still has room for a hundredth of it. Rounded down: what is named fits."""
    if left < total / 100:
        return NOTHING
    return f"there is room for about {rounded_down(left)}"
