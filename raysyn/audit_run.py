"""`raysyn audit run RUN`: the configuration of a finished run, attacked on made-up images.

What is played is a second run that is never released: the same mechanisms with the same parameters, asked of canaries
in place of the private images, of which none is read. So it costs no budget.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysyn import audit_table
from raysyn.runs.storage import local_folder
from raysyn.screen.console import Console, duration
from raysyn.screen.flags import assigned
from raysyn.screen.text import filled

if TYPE_CHECKING:
    from raysyn.audits.findings import Finding
    from raysyn.audits.own_network import Moved
    from raysyn.audits.own_run import Run, Tell
    from raysyn.audits.played import Case

NOT_PLAYED = "not played"
INTERRUPTED = "interrupted: nothing is written; the same command begins anew"
AUDIT_JSON = "internal/audit.json"
"""Of the run, where figures go unless --out says otherwise."""
WHAT_IT_IS = "a second run on made-up images, never released: no private image is read, no budget is spent"


@dataclass(frozen=True, kw_only=True)
class Flags:
    """All flags of the command."""

    games: int = 8192
    """Canaries in each row, at least 1024: more show smaller faults, and take longer. Rows whose games cost more have
    fewer."""
    steps: int | None = None
    """Steps of DP-SGD, or rounds of noisy functions, to play, at most; the claim is priced for as many. By default all
    of the run."""
    seed: int = 0
    """Another one plays other games. Nothing here is released, so all may be known."""
    only: tuple[str, ...] = ()
    """Only rows whose names hold one of these words, such as finetune or DP-SGD."""
    confidence: float = 0.95
    """Of all rows together, from 0.5 to 0.9999."""
    trust: str | None = None
    """network.factory of the run, where it has one: code that its folder names and that is run, so it is named here."""
    out: str | None = None
    """A file for all figures, a .json; by default internal/audit.json of the run, where this is a folder here."""
    overwrite: bool = False
    """Write over a file that is there."""
    dry_run: bool = False
    """Show the rows and how long they would take, and stop."""


@dataclass(frozen=True)
class _Asked:
    """A command that was read."""

    name: str
    flags: Flags
    out: str | None
    run: Run
    cases: list[Case]
    console: Console


def main(arguments: Sequence[str]) -> int:
    """Exit statuses as of `audit engine`."""
    found: list[Finding] = []
    checks: list[Moved] = []
    written: list[bool] = []

    def check(stack: ExitStack) -> _Asked:
        return _read(arguments, stack.enter_context(Console()))

    def work(asked: _Asked) -> None:
        if asked.flags.dry_run:
            return _price(asked)

        def tell() -> None:
            _told(asked, found, checks)
            written.append(audit_table.written(asked.out, audit_table.as_json(_about(asked, found, checks), found)))

        def fails() -> bool:
            return any(one.fails for one in found) or any(one.fails for one in checks)

        with audit_table.told_at_the_end(fails, tell):
            _play(asked, found)
            for one in _networks(asked.run, asked.cases):
                checks.append(one)
        return None

    left = audit_table.run_or_explain(check, work, INTERRUPTED)
    wrong, left_open = any(one.fails for one in checks), any(one.untried for one in checks)
    return audit_table.status(left, found, wrong, all(written), left_open)


def rows(name: str | None, flags: Flags) -> list[dict[str, Any]]:
    """What `raysyn.audit` answers: the rows, one more for each network, and one for each thing that was left out."""
    from raysyn.audits import findings

    run, cases = _cases(name, flags, lambda row, done, of: None)
    found = findings.audit(cases, flags.games, flags.seed, flags.confidence, lambda done, one: None)
    checks = list(_networks(run, cases))
    networks = [{"name": _of_network(one), **one.as_dict()} for one in checks]
    unsaid = [{"name": name, "verdict": NOT_PLAYED, "fails": False} for name in _unsaid(run, cases, ())]
    return [*(one.as_dict() for one in found), *networks, *unsaid]


def _cases(name: str | None, flags: Flags, tell: Tell) -> tuple[Run, list[Case]]:
    audit_table.check(flags.games, flags.seed, flags.confidence)
    if flags.steps is not None and flags.steps < 1:
        raise ValueError(f"steps is {flags.steps}: give at least 1, or leave it out for all")
    _check_named(name)
    from raysyn.audit_source import read
    from raysyn.audits import own_run

    run = read(str(name), flags.trust)
    if len(run.unknown()) == len(run.plan):
        raise ValueError(f"run is {name}, and its method says of no stage how it is played: nothing can be audited")
    cases = audit_table.chosen(own_run.cases(run, flags.games, flags.steps, tell), flags.only)
    if flags.steps is not None and not own_run.takes_steps(cases):
        raise ValueError(
            f"steps is {flags.steps}, but no row that is played is DP-SGD or noisy functions: leave it out"
        )
    return run, cases


def _check_named(name: str | None) -> None:
    if not name or name.startswith("-"):
        raise ValueError("audit run has no run: begin with the folder (--out) of a finished one")


def _read(arguments: Sequence[str], console: Console) -> _Asked:
    name, *words = arguments or [""]
    _check_named(name)
    flags = assigned(Flags(), audit_table.here(words), f"audit run {name}")

    def tell(row: str, done: int, of: int) -> None:
        console.show(row.partition(":")[0], done, of, {})

    out, here = flags.out, local_folder(name)
    if out is not None:
        audit_table.check_out(out, flags.overwrite)
    run, cases = _cases(name, flags, tell)
    if out is None and here is not None:
        out = str(here / AUDIT_JSON)
        if not flags.dry_run:
            audit_table.check_out(out, flags.overwrite)
    return _Asked(name, flags, out, run, cases, console)


def _play(asked: _Asked, found: list[Finding]) -> None:
    """`found` has each row as soon as it is known."""
    from raysyn.audits.findings import audit

    flags, cases, began = asked.flags, asked.cases, time.monotonic()
    _begin(asked)
    width = audit_table.width_of(cases)
    audit_table.head(width)

    def tell(done: int, one: Finding) -> None:
        found.append(one)
        asked.console.close()
        audit_table.line("audit run", width, done, len(cases), one)

    audit(cases, flags.games, flags.seed, flags.confidence, tell)
    print(f"{'':<{width}}  {duration(time.monotonic() - began)}", flush=True)
    audit_table.meaning(flags.confidence)


def _begin(asked: _Asked) -> None:
    from raysyn.privacy.cost import ADD_REMOVE_PERSON

    flags, unknown = asked.flags, asked.run.unknown()
    whom = " to persons" if any(case.cost.adjacency == ADD_REMOVE_PERSON for case in asked.cases) else ""
    claims = audit_table.claims(len(asked.cases))
    print(f"audit run: {asked.name}, {claims}{whom}, {flags.games:,} games, seed {flags.seed}")
    print(filled(f"{WHAT_IT_IS[0].upper()}{WHAT_IT_IS[1:]}.", 0), flush=True)
    if unknown:
        print(f"Not played, as its method does not say how: {', '.join(unknown)}.")
    if left := _left_out(asked.run, asked.cases):
        print(f"Not looked at, as --only leaves its row out: the network of {', '.join(left)}.")
    if asked.out is None and not flags.dry_run:
        print("No figures are written, as the run is at an address: --out FILE.json keeps them here.", flush=True)


def _left_out(run: Run, cases: Sequence[Case]) -> list[str]:
    """Stages of DP-SGD whose rows are not played, so that their networks are not looked at either."""
    return [stage for stage in run.learned() if not any(case.name.startswith(f"{stage}: ") for case in cases)]


def _networks(run: Run, cases: Sequence[Case]) -> Iterator[Moved]:
    """The networks that DP-SGD trains, as far as their rows are asked for."""
    from raysyn.audits.own_network import moved

    left = _left_out(run, cases)
    return (moved(stage, learned, run.like) for stage, learned in run.learned().items() if stage not in left)


def _unsaid(run: Run, cases: Sequence[Case], checks: Sequence[Moved]) -> list[str]:
    """Of what nothing is said, whatever comes out."""
    from raysyn.audits.own_run import of_other_engines

    networks = [*_left_out(run, cases), *(one.stage for one in checks if one.untried)]
    return [*run.unknown(), *(f"network of {stage}" for stage in networks), *of_other_engines(cases)]


def _unreached(asked: _Asked, found: Sequence[Finding], checks: Sequence[Moved]) -> list[str]:
    """What was asked for, and has not been played where the audit went wrong."""
    known = {*_left_out(asked.run, asked.cases), *(one.stage for one in checks)}
    rows = [case.name for case in asked.cases[len(found) :]]
    return [*rows, *(f"network of {stage}" for stage in asked.run.learned() if stage not in known)]


def _about(asked: _Asked, found: Sequence[Finding], checks: Sequence[Moved]) -> dict[str, Any]:
    """What the file says beside the rows."""
    from raysyn.audits.own_run import as_played

    run, cases, flags = asked.run, asked.cases, asked.flags
    return {
        "run": asked.name, "games": flags.games, "steps": flags.steps, "seed": flags.seed,
        "confidence": flags.confidence, "networks": [one.as_dict() for one in checks], "not_played": run.unknown(),
        "networks_left_out": _left_out(run, cases),
        "nothing_is_said_of": [*_unsaid(run, cases, checks), *_unreached(asked, found, checks)],
        "as_played": as_played(run, cases),
    }  # fmt: skip


def _of_network(one: Moved) -> str:
    return f"{one.stage}: network, {one.engine}"


def _told(asked: _Asked, found: Sequence[Finding], checks: Sequence[Moved]) -> None:
    print()
    for one in checks:
        told = (
            f"{_of_network(one)}: with and without each of four made-up images, the sum of clipped gradients differs "
            f"by {one.most:.4f} of max_grad_norm at most, and that by {one.apart:.4f} from what the image gives alone: "
            f"{one.verdict}{', as gradients are zero or no numbers' if one.untried else ''}."
        )
        print(filled(told, 0))
    names = {_of_network(one): one.why if one.fails else "" for one in checks if not one.untried}
    unsaid = [*_unsaid(asked.run, asked.cases, checks), *_unreached(asked, found, checks)]
    more = f" Nothing is said of: {'; '.join(unsaid)}." if unsaid else ""
    print(flush=True)
    wrong = any(one.fails for one in checks) or any(one.fails for one in found)
    asked.console.say(filled(audit_table.summary(found, "of this run", names) + more, 0), alarm=wrong)


def _price(asked: _Asked) -> None:
    """The rows, and how long they would take."""
    from raysyn.audits.findings import AGAIN
    from raysyn.audits.own_run import pace, runs_of

    _begin(asked)
    times, width = list[float](), audit_table.width_of(asked.cases)
    for case in asked.cases:
        many = round(asked.flags.games * case.games)
        seconds = pace(case, many)
        times.append(seconds)
        print(f"{case.name:<{width}}  {runs_of(case, many):>14}  {duration(seconds):>10}", flush=True)
    asked.console.close()
    once, again = duration(sum(times)), duration((1 + AGAIN) * sum(times))
    print(
        f"In all {once} on this machine, as measured for a moment, and at most {again} where every row's games are too "
        "few and more are played; --steps and --games take less."
    )
