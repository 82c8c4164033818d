"""`raysyn audit engine`: DP-SGD and the one-shot questions of raysyn itself, attacked. It needs no data of yours.
`raysyn audit run RUN` does the same to the configuration of a run (`audit_run`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysyn import audit_run, audit_table
from raysyn.runs.storage import as_typed
from raysyn.screen.flags import assigned
from raysyn.screen.help import briefly_told
from raysyn.screen.text import filled
from raysyn.screen.words import guess

if TYPE_CHECKING:
    from raysyn.audits.findings import Finding
    from raysyn.audits.played import Case

INTERRUPTED = "interrupted: nothing is written; the same command begins anew"
WHAT = ("engine", "run")


@dataclass(frozen=True, kw_only=True)
class Flags:
    """All flags of the command."""

    games: int = 8192
    """Canaries in each row, at least 1024: more show smaller faults, and take longer. Rows whose games cost more have
    fewer."""
    seed: int = 0
    """Another one plays other games. Nothing here is released, so all may be known."""
    only: tuple[str, ...] = ()
    """Only rows whose names hold one of these words, such as loop or persons."""
    confidence: float = 0.95
    """Of all rows together, from 0.5 to 0.9999."""
    out: str | None = None
    """A file for all figures, a .json."""
    overwrite: bool = False
    """Write over a file that is there."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 where every claim holds, 1 where one is refuted or shows far too little, whatever happens after
    that, 2 for bad input, 3 where games were too few to say, 4 where the file of figures could not be written, 5 where
    the audit itself went wrong."""
    if arguments[:1] == ["run"]:
        return audit_run.main(arguments[1:])
    found: list[Finding] = []
    written: list[bool] = []

    def check(_: ExitStack) -> tuple[Flags, list[Case]]:
        return _read(arguments)

    def work(read: tuple[Flags, list[Case]]) -> None:
        def tell() -> None:
            unsaid = [case.name for case in read[1][len(found) :]]
            _told(found, unsaid)
            written.append(audit_table.written(read[0].out, _as_json(read[0], found, unsaid)))

        with audit_table.told_at_the_end(lambda: any(one.fails for one in found), tell):
            _play(*read, found)

    left = audit_table.run_or_explain(check, work, INTERRUPTED)
    return audit_table.status(left, found, False, all(written))


def audit(
    what: str = "engine", run: str | None = None, *, games: int = 8192, steps: int | None = None, seed: int = 0,
    only: Sequence[str] = (), confidence: float = 0.95, trust: str | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The rows of `raysyn audit engine`, or of `raysyn audit run RUN`, without the table: claims with `"fails": True`
    do not hold. ValueError for bad input."""
    from raysyn.audits import findings

    _check_what([what])
    if what == "run":
        given = audit_run.Flags(
            games=games, steps=steps, seed=seed, only=tuple(only), confidence=confidence, trust=trust
        )
        return audit_run.rows(None if run is None else as_typed(run), given)
    for name, value in {"run": run, "steps": steps, "trust": trust}.items():
        if value is not None:
            raise ValueError(f"{name} is {value}, but what is engine: give what='run', or leave it out")
    flags = Flags(games=games, seed=seed, only=tuple(only), confidence=confidence)
    cases = _checked(flags)
    return [one.as_dict() for one in findings.audit(cases, games, seed, confidence, lambda done, one: None)]


def _check_what(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] not in WHAT:
        has = f"{arguments[0]} is nothing that audit knows{guess(arguments[0], WHAT)}" if arguments else ""
        raise ValueError(
            f"{has or 'audit has nothing to attack'}: give engine, for raysyn's own mechanisms, or run, and the folder "
            "of one"
        )


def _read(arguments: Sequence[str]) -> tuple[Flags, list[Case]]:
    _check_what(arguments)
    flags = assigned(Flags(), audit_table.here(arguments[1:]), "audit engine")
    if flags.out is not None:
        audit_table.check_out(flags.out, flags.overwrite)
    return flags, _checked(flags)


def _checked(flags: Flags) -> list[Case]:
    """The cases that are asked for."""
    audit_table.check(flags.games, flags.seed, flags.confidence)
    from raysyn.audits.engine import cases

    return audit_table.chosen(cases(), flags.only)


def _play(flags: Flags, cases: Sequence[Case], found: list[Finding]) -> None:
    """`found` has each row as soon as it is known."""
    from raysyn.audits.findings import audit

    width = audit_table.width_of(cases)
    print(f"audit engine: {audit_table.claims(len(cases))}, {flags.games:,} games, seed {flags.seed}", flush=True)
    audit_table.head(width)

    def tell(done: int, one: Finding) -> None:
        found.append(one)
        audit_table.line("audit engine", width, done, len(cases), one)

    audit(cases, flags.games, flags.seed, flags.confidence, tell)
    audit_table.meaning(flags.confidence)


def _told(found: Sequence[Finding], unsaid: Sequence[str]) -> None:
    more = f" Nothing is said of: {'; '.join(unsaid)}." if unsaid else ""
    print("", filled(audit_table.summary(found, "that was made by this installation") + more, 0), sep="\n", flush=True)


def _as_json(flags: Flags, found: Sequence[Finding], unsaid: Sequence[str]) -> str:
    told = {"games": flags.games, "seed": flags.seed, "confidence": flags.confidence, "nothing_is_said_of": unsaid}
    return audit_table.as_json(told, found)


def told(usage: str, about: str, words: Sequence[str] = ()) -> str:
    """Help: what it does, and the flags of one or both."""
    more = (
        "Exit status 1 where a claim is refuted, or shows far less than it should, 3 where games were too few to say, "
        "5 where the audit itself went wrong. It takes some minutes; of a run with many steps as --dry-run says."
    )
    texts = (f"usage: {usage}", about, more)
    flags = audit_run.Flags() if words[:1] == ["run"] else Flags()
    return "\n".join([*(line for text in texts for line in (filled(text, 0), "")), *briefly_told(flags)])
