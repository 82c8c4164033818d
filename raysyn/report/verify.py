"""`raysyn verify RELEASE_FOLDER`: whoever is handed a release checks what its certificate says.

Nothing but the folder is needed: epsilon and the limits of attacks are computed anew from the rows of the ledger, the
sentences from these figures, and every file is compared with its hash. What nobody can check from a release is whether
the rows are what was done: that is the word of the one who made it.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from raysyn.privacy.cost import ADD_REMOVE_PERSON, UNITS, Cost, delta_beside, priced, unit_of
from raysyn.privacy.ledger import cost_of
from raysyn.report import verify_contents
from raysyn.report.card import CARD, IMAGES
from raysyn.report.croissant import CROISSANT
from raysyn.report.layouts import MANIFEST
from raysyn.report.release import COVERS, attack_limits, attack_sentence, does_not_cover, rounded_up, statement
from raysyn.report.verify_contents import Check, at_most
from raysyn.runs import may_leave
from raysyn.runs.may_leave import NETWORK_ABOUT, NETWORK_WEIGHTS
from raysyn.runs.versions import version

CERTIFICATE = "certificate.json"


def verify(release: Path, laid_out: bool = True) -> list[Check]:
    """Every check of the release in this folder, its layouts left out where these are not there to be read; ValueError,
    in one sentence, for what is no such folder."""
    try:
        signed = json.loads((release / CERTIFICATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{release / CERTIFICATE} cannot be read ({error}): name the folder release/ of a run"
        ) from error
    try:
        said = _promise(signed) if signed["guarantee"] != "none" else _no_promise(signed)
        return [*said, _fields(signed), *_files(release, signed, laid_out)]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        made_by = signed.get("made_by", {}).get("raysyn", "unknown") if isinstance(signed, dict) else "unknown"
        raise ValueError(
            f"{release / CERTIFICATE} is damaged or of another version of raysyn (made by {made_by}, here "
            f"{version()}): {type(error).__name__} {error}"
        ) from error


def _no_promise(signed: Mapping[str, Any]) -> Iterator[Check]:
    yield Check("promise", True, "none: there is no differential privacy guarantee to check")
    yield _statement(signed)


def _promise(signed: Mapping[str, Any]) -> Iterator[Check]:
    costs = [cost_of(row) for row in signed["ledger"]]
    yield _statement(signed)
    yield _adjacency(signed, costs)
    if len({cost.adjacency for cost in costs}) == 1:
        yield _epsilon(signed, costs)
        yield _figures(signed, costs)
        yield _attacks(signed["what_an_attacker_can_do"], costs)
    else:
        why = "mixed adjacencies do not compose" if costs else "the ledger has no row, so that nothing was paid for"
        for name in ("epsilon", "figures", "attacks"):
            yield Check(name, False, f"cannot be: {why}")
    yield _delta(signed)
    yield _terms(signed)


def _statement(signed: Mapping[str, Any]) -> Check:
    same = signed["statement"] == statement(signed)
    return Check("statement", same, "is what the figures say" if same else f"should be: {statement(signed)}")


def _adjacency(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    others = sorted({cost.adjacency for cost in costs} - {signed["adjacency"]})
    if others:
        return Check("adjacency", False, f"rows of the ledger have another one: {others}")
    if signed["adjacency"] not in UNITS:
        return Check("adjacency", False, f"{signed['adjacency']} (not one that raysyn proves)")
    of_persons, counted = signed["adjacency"] == ADD_REMOVE_PERSON, "private_persons" in signed["public_facts"]
    if of_persons != counted:
        facts = "count" if counted else "do not count"
        return Check("adjacency", False, f"{signed['adjacency']}, but the public_facts {facts} persons")
    return Check("adjacency", True, signed["adjacency"])


def _epsilon(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    claimed = rounded_up(signed["epsilon"])
    again = priced(costs, signed["delta"], signed["accountant"])
    told = f"{claimed} claimed, {again.epsilon:.6g} by {again.by.upper()} from the {len(costs)} rows of the ledger"
    return Check("epsilon", again.epsilon <= float(claimed), told)


def _figures(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """The epsilons beside the one that is promised: by either accountant, and of each stage alone."""
    delta, accountant = signed["delta"], signed["accountant"]
    again = {f"epsilon_{by}": (signed[f"epsilon_{by}"], priced(costs, delta, by).epsilon) for by in ("prv", "rdp")}
    for row, cost in zip(signed["ledger"], costs, strict=True):
        again[f"epsilon_alone of {row['stage']}"] = (row["epsilon_alone"], priced([cost], delta, accountant).epsilon)
    low = [f"{name} is {known}, not {found:.6g}" for name, (known, found) in again.items() if not _is(known, found)]
    if signed["priced_by"] != (by := priced(costs, delta, accountant).by):
        low.append(f"priced_by is {signed['priced_by']}, not {by}")
    return Check(
        "figures", not low, "; ".join(low) or "of both accountants and of each stage are what the ledger gives"
    )


def _is(known: float, found: float) -> bool:
    # Another machine may compute the last bits otherwise.
    return math.isclose(known, found, rel_tol=1e-6, abs_tol=1e-12)


def _terms(signed: Mapping[str, Any]) -> Check:
    terms = {"covers": list(COVERS), "does_not_cover": does_not_cover(signed["adjacency"])}
    others = [name for name, lines in terms.items() if signed[name] != lines]
    told = f"{' and '.join(others)} are not what raysyn {version()} signs" if others else "are what raysyn signs"
    return Check("terms", not others, told)


def _fields(signed: Mapping[str, Any]) -> Check:
    try:
        may_leave.check(signed, signed["files"])
    except ValueError as error:
        return Check("fields", False, str(error))
    return Check("fields", True, "nothing is said that may not leave")


def _attacks(claimed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    again = attack_limits(costs)
    name, found, right = "attacks", "most_found_at_false_alarms", "most_right_guesses"
    # A step of the last digit is what two machines may differ by.
    low = [share for share, most in again[found].items() if claimed[found][share] < most - 1.5e-4]
    if low or claimed[right] < again[right] - 1.5e-4:
        return Check(name, False, f"more is possible than is said: {again['sentence']}")
    if claimed["sentence"] != (sentence := attack_sentence(claimed, costs[0].adjacency)):
        return Check(name, False, f"the sentence should be: {sentence}")
    return Check(name, True, claimed["sentence"])


def _delta(signed: Mapping[str, Any]) -> Check:
    unit = unit_of(signed["adjacency"])
    told = delta_beside(signed["delta"], n := may_leave.units_of(signed["public_facts"]), unit)
    if n < 1:
        return Check("delta", False, f"there are {n} private {unit}s, beside which no delta means anything")
    if signed["delta"] * n >= 1:
        return Check("delta", False, f"{told}: the promise holds for publishing one {unit} outright, so it is void")
    same = signed["delta_beside"] == told
    return Check("delta", same, told if same else f"should say: {told}")


def _files(release: Path, signed: Mapping[str, Any], laid_out: bool) -> Iterator[Check]:
    signed_files = signed["files"]
    known = {name: one["sha256"] for name, one in signed_files.items()}
    wrong = _wrong(release, known)
    yield Check("files", not wrong, "; ".join(wrong) or f"{len(known)} are those that were signed")
    if not wrong:
        yield from _contents(release, signed, known, laid_out)
    # A link is no folder of the release, wherever it leads.
    here = {path.relative_to(release).as_posix() for path in release.rglob("*")
            if path.is_symlink() or not path.is_dir()}  # fmt: skip
    more = sorted(here - set(known) - {CERTIFICATE})
    yield Check("nothing else", not more, f"not covered: {at_most(more)}" if more else "no file that is not covered")


def _contents(release: Path, signed: Mapping[str, Any], known: dict[str, str], laid_out: bool) -> Iterator[Check]:
    """Checks of what is inside the files, which are those that were signed; `known` gains those of layouts."""
    cards, layouts = CARD in known and CROISSANT in known, MANIFEST in known and laid_out
    if {NETWORK_ABOUT, NETWORK_WEIGHTS} & set(known):
        yield verify_contents.network(release, signed)
    try:
        if cards or layouts:
            images = verify_contents.images_in(release)
        if cards:
            yield verify_contents.cards(release, signed, images)
        if layouts:
            wrong, within = verify_contents.layouts(release, images)
            wrong = wrong or _wrong(release, within)
            yield Check("layouts", not wrong, at_most(wrong) or f"{len(within):,} files hold the images of {IMAGES}")
            known |= within
    except (ValueError, RecursionError) as error:
        yield Check("contents", False, str(error))


def _wrong(release: Path, known: Mapping[str, str]) -> list[str]:
    """What is missing or another file than the one of this SHA-256, in words."""
    wrong = list[str]()
    for name, sha256 in known.items():
        path = release / name
        if path.is_symlink():
            wrong.append(f"{name} is a link: put the file itself there")
        elif not path.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            wrong.append(f"{name} is not the file that was signed")
    return wrong


def main(arguments: Sequence[str]) -> int:
    """Prints a line per check; 0 where all hold, 1 where one does not, 2 for what is no release."""
    try:
        if len(arguments) != 1:
            raise ValueError("name one folder: raysyn verify RELEASE_FOLDER")
        checks = verify(Path(arguments[0]))
    except ValueError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'holds' if check.holds else 'FAILS'}  {check.name:<{width}}  {check.found}")
    failed = [check.name for check in checks if not check.holds]
    print(f"does not hold: {', '.join(failed)}" if failed else "everything that can be checked from a release holds")
    return 1 if failed else 0
