"""The account over all runs on the same images, in words: for the certificate, which may leave, and for the console.

Of the account only numbers of runs and their price leave: no place, hash, key or time of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from raysyn.privacy.account import Account, Asked, Run
from raysyn.privacy.admission import asked_total, divided_otherwise
from raysyn.privacy.cost import unit_of
from raysyn.privacy.sketch import Shared
from raysyn.report.release import ALONE
from raysyn.screen.words import rounded_up, so_many

LOST = (
    "This certificate covers this run alone: the account of what else was made of these images, whose epsilons and "
    "deltas add up, was lost or left out."
)
OTHERWISE = (
    "This certificate covers this run alone: the account has runs that name other persons on these images, with whose "
    "epsilons and deltas its own cannot be added up."
)
BEHIND = (
    "This certificate covers this run alone: the account of what else was made of these images, whose epsilons and "
    "deltas add up, was brought back from an older copy, which may lack some of it."
)


def lost() -> dict[str, Any]:
    """What the certificate says where there was an account."""
    return {"sentence": LOST}


def of_run(account: Account, run: Run, delta: float) -> dict[str, Any]:
    """What its certificate says: of all runs, where these promise to the same units; else of this run alone."""
    if account.gaps:
        return {"sentence": BEHIND}
    if account.passes:  # runs in other accounts
        return lost()
    others = (one for one in account.runs.values() if one.reserved)
    if any(divided_otherwise(one, run) for one in others):
        return {"sentence": OTHERWISE}
    return together(account, run.adjacency, delta)


def together(account: Account, adjacency: str, delta: float) -> dict[str, Any]:
    """What it says of all runs of this adjacency, at the delta of the one that is certified."""
    others = len(account.private()) - len(account.private(adjacency))
    figures = {
        "runs": len(account.private(adjacency)), "epsilon": account.together(adjacency, delta), "delta": delta,
        "without_guarantee": account.unbounded(), "of_other_units": others,
    }  # fmt: skip
    return {"sentence": sentence(figures, adjacency), **figures}


def sentence(figures: Mapping[str, Any], adjacency: str) -> str:
    """The figures of `together` in words; of a certificate without any, one of the sentences that say so."""
    if "runs" not in figures:
        return told if (told := figures.get("sentence")) in (LOST, BEHIND, OTHERWISE) else ALONE
    runs, unit = figures["runs"], unit_of(adjacency)
    promise = (
        f"({rounded_up(figures['epsilon'])}, {rounded_up(figures['delta'])})-differentially private for one {unit}"
    )
    many = f"{runs:,} runs with a guarantee, which together are" if runs > 1 else "one run with a guarantee, this one,"
    told = f"When the run was certified, the account of these images held {many} {promise}"
    if more := figures["without_guarantee"]:
        told += f"; {more:,} without one, whose releases would tell more than any epsilon says"
    if more := figures["of_other_units"]:
        told += f"; {more:,} with a promise to other units than {unit}s, which is not added"
    return f"{told}. What else was released of them, then or later, adds to it."


def so_far(account: Account, run: Run, asked: Asked) -> str:
    """What the account holds before this run, what it will come to, of which total, by what is `asked` of it, and which
    of the run's images are in earlier ones."""
    if not account.runs:
        return "begins with this run"
    if run.run in account.runs:
        return f"holds {so_many(len(account.runs), 'run')}, this one among them"
    total = account.total
    delta = run.delta if total is None else total.delta
    told = [f"holds {so_many(len(account.runs), 'run')}"]
    if delta is not None and account.private(run.adjacency):
        before = account.together(run.adjacency, delta)
        told.append(f"together ε {rounded_up(before, 4)} at δ {rounded_up(delta)}")
        if run.reserved:
            after = account.together(run.adjacency, delta, *run.reserved.values())
            told.append(f"{rounded_up(after, 4)} with this one")
    new = asked_total(account, run, asked)
    if total is not None:
        told.append(f"of a total of {total.total:g}{'' if new is None else f', which becomes {new.total:g} with it'}")
    elif new is not None:
        told.append(f"of a total of {new.total:g}, which begins with it")
    if without := account.unbounded():
        told.append(f"{without:,} without a guarantee")
    return f"{', '.join(told)}. {recognised(account, run)}"


def shares(account: Account, run: Run) -> dict[str, Shared | None]:
    """{earlier run: which share of this run's images were in it}; None where nobody can tell."""
    found: dict[str, Shared | None] = {}
    for one in account.runs.values():
        if one.run == run.run:
            break
        found[one.run] = run.sketch.share_in(one.sketch) if one.shape == run.shape else None
    return found


def recognised(account: Account, run: Run) -> str:
    """What is known of these images, in a sentence or two: of the run that shares most, and what cannot be told."""
    found = shares(account, run)
    known = {one: share for one, share in found.items() if share is not None}
    told = list[str]()
    if known:
        one = max(known, key=lambda each: known[each].share)
        told.append(_shared(known[one], account.runs[one], min(known.values(), key=lambda each: (each.exact, each.of))))
    reasons = Counter(_untold(account.runs[one], run) for one, share in found.items() if share is None)
    for reason, runs in reasons.items():
        of = f"of {so_many(runs, 'earlier run')}" if known or len(reasons) > 1 else "in an earlier run"
        told.append(f"Whether its images were {of} cannot be told: {reason}.")
    if otherwise := next((one for one in account.runs.values() if divided_otherwise(one, run)), None):
        told.append(
            f"WARNING: {otherwise.folder} names {otherwise.units:,} persons, and this run {run.units:,} who divide "
            "images that both have otherwise: what they come to together holds for no person of either."
        )
    return " ".join(told)


def _shared(most: Shared, earlier: Run, least_sure: Shared) -> str:
    where = f"were in {earlier.method} {earlier.preset}, {earlier.folder}."
    if most.share:
        if most.exact:
            return f"{'All' if most.share == 1 else _about(most.share)} of these images {where}"
        return f"{_about(most.share)} of a sample of {most.of:,} of these images {where}"
    none = "None of these images was" if least_sure.exact else f"None of {least_sure.of:,} sampled images was"
    return f"{none} in an earlier run, pixel by pixel; all runs of the account add up nevertheless."


def _about(share: float) -> str:
    return f"About {max(100 * share, 1):.0f} %"


def _untold(earlier: Run, run: Run) -> str:
    return "they were read in another size" if earlier.shape != run.shape else "there are too many more or fewer"
