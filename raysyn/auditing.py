"""`raysyn audit engine`: DP-SGD and the one-shot questions of raysyn itself, attacked. It needs no data of yours."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysyn.data.sources import check_given
from raysyn.runs.storage import write_atomically
from raysyn.screen import cli
from raysyn.screen.flags import assigned
from raysyn.screen.help import briefly_told
from raysyn.screen.text import filled, guess

if TYPE_CHECKING:
    from raysyn.audits.findings import Finding
    from raysyn.audits.played import Case

INTERRUPTED = "interrupted: nothing is written; the same command begins anew"
WHAT = ("engine",)
FEWEST = 1024
HEAD = ("games", "claimed ε", "any", "one run", "Gaussian", "as attacked", "ratio", "μ", "over", "verdict")
MEANING = (
    "claimed ε: as accounted, at δ 1e-5. any, one run: at least, if all games were one run of some algorithm "
    "(Steinke et al. 2023) or of a Gaussian one (Mahloujifar et al. 2024), each with 95% confidence. Gaussian: at "
    "least, if it is a Gaussian answer. as attacked: the ε of this mechanism with the noise that fits what was "
    "seen, and its interval; ratio: that beside the claimed ε, where the attack is the best there is. μ: of a "
    "Gaussian answer attacked as well, beside the claimed one. over: how far the attack was surely above what the "
    "whole curve δ(ε) allows; above 0 is refuted. Where nothing else is said, all rows together hold with "
    "{confidence:.0%} confidence."
)


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
    """Exit status: 0 where every claim holds, 1 where one is refuted or shows far too little, 2 for bad input, 3 where
    games were too few to say, 4 where the file of figures could not be written."""
    found: list[Finding] = []
    written: list[bool] = []

    def check(_: ExitStack) -> tuple[Flags, list[Case]]:
        return _read(arguments)

    def work(read: tuple[Flags, list[Case]]) -> None:
        found.extend(_played(*read))
        written.append(_written(read[0], found))

    status = cli.run_or_explain(check, work, INTERRUPTED)
    if status or any(one.fails for one in found):
        return status or 1
    if not all(written):
        return 4
    return 3 if any(one.unclear for one in found) else 0


def audit(
    what: str = "engine", *, games: int = 8192, seed: int = 0, only: Sequence[str] = (), confidence: float = 0.95
) -> list[dict[str, Any]]:
    """The rows of `raysyn audit engine`, without its table: claims with `"fails": True` do not hold. ValueError for bad
    input."""
    from raysyn.audits import findings

    _check_what([what])
    flags = Flags(games=games, seed=seed, only=tuple(only), confidence=confidence)
    cases = _checked(flags)
    return [one.as_dict() for one in findings.audit(cases, games, seed, confidence, lambda done, one: None)]


def _check_what(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] not in WHAT:
        has = f"{arguments[0]} is nothing that audit knows{guess(arguments[0], WHAT)}" if arguments else ""
        raise ValueError(f"{has or 'audit has nothing to attack'}: give engine, for raysyn's own mechanisms")


def _read(arguments: Sequence[str]) -> tuple[Flags, list[Case]]:
    _check_what(arguments)
    flags = assigned(Flags(), arguments[1:], "audit engine")
    if flags.out is not None:
        if "://" in flags.out:
            raise ValueError(f"out is {flags.out}, an address: give a file of this machine")
        _check_out(check_given(flags.out, f"out={flags.out!r}"), flags.overwrite)
    return flags, _checked(flags)


def _checked(flags: Flags) -> list[Case]:
    """The cases that are asked for."""
    if flags.games < FEWEST:
        raise ValueError(f"games is {flags.games}: give at least {FEWEST}, 8192 is usual")
    if flags.seed < 0:
        raise ValueError(f"seed is {flags.seed}: give 0 or more")
    if not 0.5 <= flags.confidence <= 0.9999:
        raise ValueError(f"confidence is {flags.confidence}: give 0.5 to 0.9999, 0.95 is usual")
    from raysyn.audits.engine import cases

    known = cases()
    if any(not word.strip() for word in flags.only):
        raise ValueError("only is empty, as where a shell variable is not set: give a word of a row's name")
    for word in flags.only:
        if not any(word in case.name for case in known):
            words = sorted({word for case in known for word in case.name.replace(",", "").split()})
            raise ValueError(f"only is {word}, which is in no row{guess(word, words)}: rows are named by {_few(words)}")
    return [case for case in known if not flags.only or any(word in case.name for word in flags.only)]


def _few(words: Sequence[str]) -> str:
    return ", ".join(word for word in words if len(word) > 3)


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix != ".json":
        raise ValueError(f"out is {out}: give a name that ends in .json")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"out is {out}, where no file can be: give a file in a folder that is there")
    if any((home / "certificate.json").is_file() for home in out.resolve().parents):
        raise ValueError(f"out is {out}, in a release: what attackers found stays inside, so give a place outside")
    if out.exists() and not overwrite:
        raise ValueError(f"out is {out}, which is there already: give another name, or --overwrite")


def _played(flags: Flags, cases: Sequence[Case]) -> list[Finding]:
    from raysyn.audits.findings import audit

    width = max(len(case.name) for case in cases)
    print(f"audit engine: {len(cases)} claims, {flags.games:,} games, seed {flags.seed}", flush=True)
    print(f"{'':<{width}}  {_row(HEAD)}", flush=True)

    def tell(done: int, one: Finding) -> None:
        print(f"{one.name:<{width}}  {_row(_cells(one))}", flush=True)
        if not sys.stdout.isatty():  # where one sees the rows, they tell as much
            print(f"audit engine: {done} of {len(cases)}", file=sys.stderr, flush=True)

    found = audit(cases, flags.games, flags.seed, flags.confidence, tell)
    print("", filled(MEANING.format(confidence=flags.confidence), 0), "", filled(_summary(found), 0), sep="\n")
    return found


def _written(flags: Flags, found: Sequence[Finding]) -> bool:
    """Whether figures are where they should be. The table is told by now: what it says is the more important."""
    if flags.out is None:
        return True
    try:
        write_atomically(Path(flags.out).expanduser(), _as_json(flags, found), 0o600)
    except OSError as error:
        why = error.strerror or type(error).__name__
        print(f"error: out is {flags.out}, which cannot be written ({why}): the table is all", file=sys.stderr)
        return False
    print(f"All figures: {flags.out}")
    return True


def _row(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, (7, 9, 5, 7, 8, 18, 5, 9, 6, 13), strict=True))


def _cells(one: Finding) -> tuple[str, ...]:
    return (
        f"{one.games:,}", f"{one.claimed:.2f}", f"{one.any_algorithm:.2f}", f"{one.one_run:.2f}", f"{one.gaussian:.2f}",
        f"{one.estimate:.2f} ({one.low:.2f}-{one.high:.2f})", f"{one.ratio:.2f}" if one.tight else "",
        f"{one.mu:.2f}/{one.mu_claimed:.2f}", f"{one.over:+.3f}", one.verdict,
    )  # fmt: skip


def _summary(found: Sequence[Finding]) -> str:
    wrong = [one for one in found if one.fails]
    if not wrong:
        few = sum(one.unclear for one in found)
        more = (
            f" Of {few}, too few games were played to say that noise is not too large, also once more: give more."
            if few
            else ""
        )
        return f"Nothing of {len(found)} claims is refuted.{more}"
    names = "; ".join(f"{one.name} ({one.why})" for one in wrong)
    return (
        f"{len(wrong)} of {len(found)} claims do not hold: {names}. Release nothing that was made by this "
        "installation; play once more with another --seed, and report it as SECURITY.md says."
    )


def _as_json(flags: Flags, found: Sequence[Finding]) -> str:
    import raysyn

    told: dict[str, Any] = {"raysyn": raysyn.__version__, "games": flags.games, "seed": flags.seed, "delta": 1e-5}
    told |= {"confidence": flags.confidence, "findings": [one.as_dict() for one in found]}
    return json.dumps(told, indent=2) + "\n"


def told(usage: str, about: str) -> str:
    """Help: what it does, and the flags."""
    more = (
        "Exit status 1 where a claim is refuted, or shows far less than it should, 3 where games were too few to say. "
        "It takes some minutes."
    )
    texts = (f"usage: {usage}", about, more)
    return "\n".join([*(line for text in texts for line in (filled(text, 0), "")), *briefly_told(Flags())])
