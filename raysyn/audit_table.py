"""What `raysyn audit` shows and writes of the rows that it played, whatever they are about."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from raysyn.data.sources import check_given
from raysyn.runs.storage import write_atomically
from raysyn.screen import cli
from raysyn.screen.text import filled
from raysyn.screen.words import guess

if TYPE_CHECKING:
    from raysyn.audits.findings import Finding
    from raysyn.audits.played import Case

T = TypeVar("T")
FEWEST = 1024
ADDRESS, HERE = "--on.address", "here"
BROKEN = 5
"""Exit status where something went wrong that is about no claim: 1 would say that one is refuted."""
TOO_LITTLE = "To show too little breaks no promise by itself, but something is not as it was planned."
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


def here(words: Sequence[str]) -> list[str]:
    """Words of a command without --on.address here, as other commands take it; ValueError for any other place."""
    left, rest = list[str](), iter(words)
    for word in rest:
        name, equals, given = word.partition("=")
        if name != ADDRESS:
            left.append(word)
        elif (given := given if equals else next(rest, "")) != HERE:
            raise ValueError(
                f"on.address is {given or 'nothing'}, but an audit plays here alone: leave it out, or say {HERE}"
            )
    return left


def check(games: int, seed: int, confidence: float) -> None:
    """ValueError for what cannot be played."""
    if games < FEWEST:
        raise ValueError(f"games is {games}: give at least {FEWEST}, 8192 is usual")
    if seed < 0:
        raise ValueError(f"seed is {seed}: give 0 or more")
    if not 0.5 <= confidence <= 0.9999:
        raise ValueError(f"confidence is {confidence}: give 0.5 to 0.9999, 0.95 is usual")


def chosen(known: Sequence[Case], only: Sequence[str]) -> list[Case]:
    """Those whose names hold one of these words, or all; ValueError for a word that is in none."""
    if any(not word.strip() for word in only):
        raise ValueError("only is empty, as where a shell variable is not set: give a word of a row's name")
    for word in only:
        if not any(word in case.name for case in known):
            words = sorted({word for case in known for word in case.name.replace(",", "").replace(":", "").split()})
            told = ", ".join(word for word in words if len(word) > 3)
            raise ValueError(f"only is {word}, which is in no row{guess(word, words)}: rows are named by {told}")
    return [case for case in known if not only or any(word in case.name for word in only)]


def check_out(given: str, overwrite: bool) -> None:
    """ValueError for a place where no file of figures may be."""
    if "://" in given:
        raise ValueError(f"out is {given}, an address: give a file of this machine")
    out = check_given(given, f"out={given!r}")
    if out.suffix != ".json":
        raise ValueError(f"out is {out}: give a name that ends in .json")
    if out.is_dir() or not out.parent.is_dir():
        raise ValueError(f"out is {out}, where no file can be: give a file in a folder that is there")
    if not os.access(out.parent, os.W_OK):
        raise ValueError(f"out is {out}, where you may not write: give another name")
    if any((home / "certificate.json").is_file() for home in out.resolve().parents):
        raise ValueError(f"out is {out}, in a release: what attackers found stays inside, so give a place outside")
    if out.exists() and not overwrite:
        raise ValueError(f"out is {out}, which is there already: give another name, or --overwrite")


def run_or_explain(check: Callable[[ExitStack], T], work: Callable[[T], object], interrupted: str) -> int:
    """`cli.run_or_explain`, with BROKEN for whatever nobody expected."""
    try:
        left = cli.run_or_explain(check, work, interrupted)
    except BrokenPipeError:
        raise  # nobody reads on
    except Exception:
        traceback.print_exc()
        of = "the claims that have no row above"
        print(f"error: the audit itself went wrong, which says nothing of {of}: report it", file=sys.stderr)
        return BROKEN
    return BROKEN if left == 1 else left


@contextmanager
def told_at_the_end(fails: Callable[[], bool], tell: Callable[[], object]) -> Iterator[None]:
    """tell() once all is done, or where something goes wrong after a claim was seen to fail, which stays so."""
    try:
        yield
    except Exception:
        if fails():
            tell()
        raise
    tell()


def width_of(cases: Sequence[Case]) -> int:
    """Characters of the longest name."""
    return max(len(case.name) for case in cases)


def head(width: int) -> None:
    """The table's first line."""
    print(f"{'':<{width}}  {_row(HEAD)}", flush=True)


def line(title: str, width: int, done: int, of: int, one: Finding) -> None:
    """A row as soon as it is known."""
    print(f"{one.name:<{width}}  {_row(_cells(one))}", flush=True)
    if not sys.stdout.isatty():  # where one sees the rows, they tell as much
        print(f"{title}: {done} of {of}", file=sys.stderr, flush=True)


def meaning(confidence: float) -> None:
    """What the columns mean."""
    print("", filled(MEANING.format(confidence=confidence), 0), sep="\n")


def _row(cells: Sequence[str]) -> str:
    return "  ".join(cell.rjust(width) for cell, width in zip(cells, (7, 9, 5, 7, 8, 18, 5, 9, 6, 13), strict=True))


def _cells(one: Finding) -> tuple[str, ...]:
    return (
        f"{one.games:,}", f"{one.claimed:.2f}", f"{one.any_algorithm:.2f}", f"{one.one_run:.2f}", f"{one.gaussian:.2f}",
        f"{one.estimate:.2f} ({one.low:.2f}-{one.high:.2f})", f"{one.ratio:.2f}" if one.tight else "",
        f"{one.mu:.2f}/{one.mu_claimed:.2f}", f"{one.over:+.3f}", one.verdict,
    )  # fmt: skip


def summary(found: Sequence[Finding], made: str, checks: Mapping[str, str] | None = None) -> str:
    """The last sentence; `made` is what must not be released where a claim does not hold. `checks` are other claims by
    name, which no chance is in, and why each fails, if it does."""
    checks = checks or {}
    wrong = [f"{one.name} ({one.why})" for one in found if one.fails]
    wrong += [f"{name} ({why})" for name, why in checks.items() if why]
    every = len(found) + len(checks)
    if not wrong:
        few = sum(one.unclear for one in found)
        more = (
            f" Of {few}, too few games were played to say that noise is not too large, also once more: give more."
            if few
            else ""
        )
        return f"Nothing of {claims(every)} is refuted.{more}"
    return f"{len(wrong)} of {every} claims do not hold: {'; '.join(wrong)}. {_advice(found, made, checks)}"


def claims(count: int) -> str:
    return f"{count:,} claim{'' if count == 1 else 's'}"


def _advice(found: Sequence[Finding], made: str, checks: Mapping[str, str]) -> str:
    """Where something does not hold."""
    little = [one.too_little for one in found if one.fails]
    told = f"Release nothing {made}." if any(checks.values()) or not all(little) else TOO_LITTLE
    if not little:
        return f"{told} Report it as SECURITY.md says: another --seed shows the same."
    return f"{told} Play once more with another --seed, and report it as SECURITY.md says."


def written(out: str | None, text: str) -> bool:
    """Whether figures are where they should be. The table is told by now: what it says is the more important."""
    if out is None:
        return True
    try:
        write_atomically(Path(out).expanduser(), text, 0o600)
    except OSError as error:
        why = error.strerror or type(error).__name__
        print(f"error: out is {out}, which cannot be written ({why}): the table is all", file=sys.stderr)
        return False
    print(f"All figures: {out}")
    return True


def as_json(told: Mapping[str, Any], found: Sequence[Finding]) -> str:
    """The file: what was asked for, and every row."""
    import raysyn

    whole = {"raysyn": raysyn.__version__, **told, "delta": 1e-5, "findings": [one.as_dict() for one in found]}
    return json.dumps(whole, indent=2) + "\n"


def status(left: int, found: Sequence[Finding], wrong: bool, kept: bool, left_open: bool = False) -> int:
    """Exit status: 1 where a claim is refuted, shows far too little, or something else is `wrong`, whatever happened
    afterwards; else how the audit `left`, if not well; 4 where the file of figures could not be written, 3 where games
    were too few to say, or something else is `left_open`, else 0."""
    if wrong or any(one.fails for one in found):
        return 1
    if left:
        return left
    if not kept:
        return 4
    return 3 if left_open or any(one.unclear for one in found) else 0
