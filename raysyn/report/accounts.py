"""`raysyn account SOURCE`: what all runs on the same images have cost together. It changes nothing of their account."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from raysyn.data.sources import check_given
from raysyn.privacy.account import Account, Run
from raysyn.privacy.admission import NOTHING, room
from raysyn.privacy.cost import UNITS, Cost, unit_of
from raysyn.privacy.many import composed
from raysyn.report import choices
from raysyn.report.account_told import shares
from raysyn.report.tables import MISSING
from raysyn.runs import account_elsewhere
from raysyn.runs.account_book import ENDING, FileBook, beside, book_at
from raysyn.runs.account_lines import BEGINS, Book
from raysyn.runs.account_near import near
from raysyn.screen.console import Console
from raysyn.screen.words import rounded_down, rounded_up, shortened, so_many

MANY = 12
"""Runs from which on what each costs, alone and up to it, is priced on a coarser grid, some percent above."""
WORDS = 200
"""Letters of what somebody said in words: the rest is in the account, and in `raysyn.account`."""
USAGE = "SOURCE or FILE, then --delta NUMBER"
SURE = "What was released beside the account is not in it, and a run that was never finished stays reserved."


def read(words: Sequence[str]) -> tuple[str, float | None]:
    """Source and delta of a command line; ValueError, in one sentence, for what is none."""
    if not words or words[0].startswith("-"):
        raise ValueError(f"account has no source: give {USAGE}")
    source, *rest = words
    if not rest:
        return source, None
    flag, equals, given = rest[0].partition("=")
    values = [given, *rest[1:]] if equals else rest[1:]
    if flag != "--delta" or len(values) != 1:
        raise ValueError(f"account takes --delta NUMBER, but there is {' '.join(rest)}: give {USAGE}")
    try:
        return source, float(values[0])
    except ValueError as error:
        raise ValueError(f"delta is {values[0]!r}: give a number such as 1e-5") from error


def told(source: str, delta: float | None = None) -> dict[str, Any]:
    """All that is known of the account of these images, at `delta`; ValueError, in one sentence, where there is none.

    By default delta is that of the total, or else the smallest of the runs'.
    """
    if "://" not in source:
        check_given(source, f"source={source!r}")
    itself = source.endswith(ENDING) or "://" in source or _is_account(source)
    book = book_at(source) if itself else beside(source)
    account = book.read()
    if account is None:
        raise ValueError(f"{source} has no account: {book} does not exist; name {_instead(book, source, itself)}")
    deltas = [one.delta for one in account.runs.values() if one.delta is not None]
    total = account.total
    if delta is None:
        delta = total.delta if total else min(deltas, default=None)
    if delta is not None and not 0 < delta < 1:
        raise ValueError(f"delta is {delta}: give a probability between 0 and 1")
    rows, before = list[dict[str, Any]](), {adjacency: list[Cost]() for adjacency in UNITS}
    for one in account.runs.values():
        before[one.adjacency] += account.costs(one.run)
        rows.append(_row(account, one, delta, before[one.adjacency], len(account.runs) > MANY))
    return {
        "account": str(book), "delta": delta, "runs": rows,
        "together": [_sum(account, adjacency, delta) for adjacency in UNITS if account.private(adjacency)],
        "without_guarantee": account.unbounded(),
        "totals": [vars(one) for one in account.totals], "passed_by": [vars(one) for one in account.passes],
        "behind": [vars(one) for one in account.gaps],
    }  # fmt: skip


def _instead(book: Book, source: str, itself: bool) -> str:
    """What to name where there is no account."""
    if isinstance(book, FileBook) and not itself:
        if others := account_elsewhere.noted(book):
            return f"{account_elsewhere.told(others)}, where its runs are entered"
        if others := near(book, source).places:
            return f"{account_elsewhere.told(others)}, if that is of the same people, or the source of the runs"
    return "the source of the runs, or the file that --budget.account named"


def _is_account(source: str) -> bool:
    """Whether a file begins as an account does, whatever it is called."""
    try:
        path = Path(source).expanduser()
        if not path.is_file():
            return False  # a pipe may never be written to
        with path.open("rb") as file:
            return file.read(len(BEGINS)) == BEGINS
    except (OSError, RuntimeError, ValueError):
        return False


def _row(account: Account, one: Run, delta: float | None, so_far: Sequence[Cost], rough: bool) -> dict[str, Any]:
    paid, planned = account.paid.get(one.run, {}), {**one.reserved, **account.paid.get(one.run, {})}
    found, alone, running = shares(account, one), None, None
    if planned:
        assert delta is not None, "a run with a plan has one"
        alone, running = composed(list(planned.values()), delta, rough).epsilon, composed(so_far, delta, rough).epsilon
    return {
        "run": one.run, "method": one.method, "preset": one.preset, "time": one.time, "folder": one.folder,
        "guarantee": one.guarantee, "unit": unit_of(one.adjacency), "units": one.units, "images": one.images,
        "epsilon": alone, "epsilon_so_far": running, "paid": list(paid),
        "reserved": [stage for stage in planned if stage not in paid],
        "in_earlier_runs": {run: share and share.share for run, share in found.items()},
        "sampled": {run: share.of for run, share in found.items() if share is not None and not share.exact},
        "chosen_among": one.chosen_among, "looks": choices.added_up(one.looks),
    }  # fmt: skip


def _sum(account: Account, adjacency: str, delta: float | None) -> dict[str, Any]:
    assert delta is not None, "a run with a plan has one"
    total, runs = account.total, account.private(adjacency)
    return {
        "unit": unit_of(adjacency), "adjacency": adjacency, "runs": len(runs),
        "chosen": sum(account.runs[run].chosen_among is not None for run in runs),
        "spent": account.spent(adjacency, delta), "with_reserved": account.together(adjacency, delta),
        "total": None if total is None else total.total, "total_delta": None if total is None else total.delta,
        "left": None if total is None else account.left(adjacency, total),
    }  # fmt: skip


def show(found: dict[str, Any]) -> None:
    """The same as a table and sentences."""
    with Console() as console:
        delta = found["delta"]
        at = "" if delta is None else f", ε at δ {rounded_up(delta)}"
        rows = [_cells(row) for row in found["runs"]]
        console.plan_table(rows, title=f"{found['account']}: {so_many(len(rows), 'run')}{at}")
        for row in found["runs"]:
            console.say(_about(row))
        for one in found["together"]:
            console.say(_together(one, delta))
        if more := found["without_guarantee"]:
            console.say(f"Without a guarantee: {more:,}, whose releases would tell more than any epsilon says.")
        for one in found["totals"]:
            why = "" if one["was"] is None else f", before that {one['was']:g}"
            why += f": {shortened(one['reason'], WORDS)}" if one["reason"] else ""
            console.say(f"Total of {_minute(one['time'])}: ε {one['total']:g} at δ {rounded_up(one['delta'])}{why}")
        for one in found["passed_by"]:
            by, why = f"{one['passed_by'][:8]}, {one['folder']}", shortened(one["reason"], WORDS)
            console.say(f"Passed by on {_minute(one['time'])}: {by}, for: {why}")
        for one in found["behind"]:
            console.say(
                f"WARNING: brought back from an older copy, as {one['behind'][:8]} saw on {_minute(one['time'])}: "
                "runs may be missing, so that all of them cost more than is said here."
            )
        console.say(SURE)


def _cells(row: dict[str, Any]) -> dict[str, str]:
    state = "paid" if not row["reserved"] else "reserved" if not row["paid"] else "partly paid"
    return {
        "run": row["run"][:8], "method": f"{row['method']} {row['preset']}",
        "promise": f"to one of {so_many(row['units'], row['unit'])}" if row["guarantee"] == "dp" else row["guarantee"],
        "ε alone": _figure(row["epsilon"]), "ε so far": _figure(row["epsilon_so_far"]),
        "state": state if row["guarantee"] == "dp" else MISSING,
        "in an earlier run": _earlier(row["in_earlier_runs"], row["sampled"]),
    }  # fmt: skip


def _about(row: dict[str, Any]) -> str:
    """What of a run has no room in a table."""
    told = f"{row['run'][:8]}: {_minute(row['time'])}, {row['folder']}"
    if row["chosen_among"]:
        told += f", chosen among {shortened(row['chosen_among'], WORDS)}"
    looks = "; ".join(shortened(look, WORDS) for look in row["looks"])
    return told + (f"; not paid for: {looks}" if looks else "")


def _earlier(found: dict[str, float | None], sampled: dict[str, int]) -> str:
    """The most that are in one of them."""
    known = {run: share for run, share in found.items() if share is not None}
    if not found:
        return MISSING
    if not known:
        return "cannot be told"
    run = max(known, key=lambda one: known[one])
    about = "about " if run in sampled else ""
    if known[run]:
        return f"{about}{100 * known[run]:.0f} % in {run[:8]}"
    told = f"none of {min(sampled.values()):,} sampled" if sampled else "none"
    return told if len(known) == len(found) else f"{told}, or cannot be told"


def _minute(time: str) -> str:
    return time[:16].replace("T", " ")


def _figure(value: float | None) -> str:
    return MISSING if value is None else rounded_up(value, 4)


def _together(one: dict[str, Any], delta: float) -> str:
    text = (
        f"Together, of {so_many(one['runs'], 'run')} for one {one['unit']}, by PRV: ε {rounded_up(one['spent'], 4)} "
        f"spent, {rounded_up(one['with_reserved'], 4)} with what is reserved, at δ {rounded_up(delta)}."
    )
    if one["chosen"]:
        were = "was" if one["chosen"] == 1 else "were"
        text += (
            f" {so_many(one['chosen'], 'run')} of them {were} chosen by looking at others: the sum is proved for "
            "methods and epsilons that were settled beforehand."
        )
    if one["total"] is None:
        return text
    left = f"there is room for a run of about ε {rounded_down(one['left'])}"
    if room(one["left"], one["total"]) == NOTHING:
        left = "nothing is left"
    return f"{text} Of the total, ε {one['total']:g} at δ {rounded_up(one['total_delta'])}, {left}."
