"""`raysyn verify RELEASE_FOLDER`: whoever is handed a release checks what its certificate says.

Nothing but the folder is needed: epsilon and the limits of attacks are computed anew from the rows of the ledger, the
sentences from these figures, and every file is compared with its hash. What nobody can check from a release is whether
the rows are what was done: that is the word of the one who made it.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from raysyn.privacy.cost import ADD_REMOVE_PERSON, UNITS, Cost, delta_beside, priced, unit_of
from raysyn.privacy.ledger import cost_of
from raysyn.privacy.many import composed
from raysyn.report import account_told, verify_contents, verify_meaning, verify_network, verify_samples
from raysyn.report.card import IMAGES
from raysyn.report.earlier import as_now, earlier_delta, earlier_terms
from raysyn.report.layouts import MANIFEST
from raysyn.report.release import (
    ALWAYS,
    CERTIFICATE,
    RELEASE,
    SPENT,
    pages_of,
    statement,
)
from raysyn.report.terms import terms
from raysyn.report.verify_contents import Check, at_most, made_anew, parsed
from raysyn.report.verify_network import NetworkFits
from raysyn.runs import may_leave
from raysyn.runs.may_leave import FOLDERS, NETWORK_ABOUT, NETWORK_WEIGHTS
from raysyn.runs.versions import other_version, version
from raysyn.screen.words import rounded_up

OF_A_PROMISE = {*SPENT, "account", "delta_beside", "does_not_cover"}
"""Fields that a certificate has where there is a guarantee, and only there."""
ROUGHLY = 5e-3
"""How far the price of many runs may lie below that of one of them, as its grid is another one."""
DAMAGE = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError, MemoryError)
"""What anything else than a certificate may raise where it is read as one."""


def verify(release: Path, laid_out: bool = True, fits: NetworkFits | None = None) -> list[Check]:
    """Every check of the release in this folder, its layouts left out where these are not there to be read, and what
    network.json says to its method where nobody who knows methods `fits` it; ValueError, in one sentence, for what is
    no such folder."""
    try:
        if (path := release / CERTIFICATE).exists() and not path.is_file():
            raise ValueError("it is no file")  # whose reader may wait
        signed = parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        if os.path.isfile(release):
            raise ValueError(f"{release} is a file: name the folder that it lies in, {release.parent}") from error
        inside = release / RELEASE
        why = (isinstance(error, OSError) and error.strerror) or error
        mend = f"name {inside}" if os.path.isfile(inside / CERTIFICATE) else "name the folder release/ of a run"
        raise ValueError(f"{release / CERTIFICATE} cannot be read ({why}): {mend}") from error
    try:
        said = _promise(signed) if signed["guarantee"] != "none" else _no_promise(signed)
        checks = [*said, _fields(signed), *_files(release, signed, laid_out, fits)]
    except OSError as error:
        raise ValueError(f"{release} cannot be read ({error})") from error
    except DAMAGE as error:
        told = f"{release / CERTIFICATE} is damaged{other_version(signed)}: {type(error).__name__} {error}"
        raise ValueError(_in_a_line(told)) from error
    return [check._replace(found=_in_a_line(check.found)) for check in checks]


def _no_promise(signed: Mapping[str, Any]) -> Iterator[Check]:
    yield Check("promise", True, "none: there is no differential privacy guarantee to check")
    yield _statement(signed)
    covered = signed["covers"] == []
    yield Check("terms", covered, "nothing is covered" if covered else "covers is not empty, and there is no guarantee")


def _promise(signed: Mapping[str, Any]) -> Iterator[Check]:
    costs = [cost_of(row) for row in signed["ledger"]]
    yield _statement(signed)
    yield _adjacency(signed, costs)
    if len({cost.adjacency for cost in costs}) == 1:
        yield _epsilon(signed, costs)
        yield _figures(signed, costs)
        yield verify_meaning.attacks(signed["what_an_attacker_can_do"], costs)
        yield verify_meaning.meaning(signed, costs)
    else:
        why = "mixed adjacencies do not compose" if costs else "the ledger has no row, so that nothing was paid for"
        for name in ("epsilon", "figures", "attacks", "meaning"):
            yield Check(name, False, f"cannot be: {why}")
    yield _delta(signed)
    yield _terms(signed)
    yield _account(signed, costs)


def _account(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """All runs on these images cost no less than this one; what else the account holds is the word of its keeper."""
    told = signed["account"]
    if (again := account_told.sentence(told, signed["adjacency"])) != told["sentence"]:
        return Check("account", False, f"the sentence should be: {again}")
    if "runs" not in told:
        more = sorted(set(told) - {"sentence"})
        return Check("account", not more, f"there is none, but {', '.join(more)}" if more else told["sentence"])
    if not (told["runs"] >= 1 and told["delta"] == signed["delta"]):
        return Check("account", False, "it is of other runs, or at another delta, than the one that is certified")
    if not (told["without_guarantee"] >= 0 and told["of_other_units"] >= 0):
        return Check("account", False, "it counts fewer than no runs")
    # Where it is no number, it is not as large either.
    if not told["epsilon"] >= signed["epsilon_prv"] * (1 - ROUGHLY):
        return Check("account", False, f"all runs cost {told['epsilon']:.4g}, less than this one alone")
    if told["runs"] == 1 and not _is(told["epsilon"], one := composed(costs, signed["delta"]).epsilon):
        return Check("account", False, f"its only run, this one, costs {one:.6g} and not {told['epsilon']:.6g}")
    return Check("account", True, told["sentence"])


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
    claimed, again = signed["epsilon"], priced(costs, signed["delta"], signed["accountant"])
    told = f"{again.epsilon:.6g} by {again.by.upper()} from the {len(costs)} rows of the ledger"
    # The exact one: what is printed is rounded up, and would hide a little less.
    enough = claimed >= again.epsilon or _is(claimed, again.epsilon)
    return Check("epsilon", enough, f"{rounded_up(claimed, 6)} claimed, {told}")


def _figures(signed: Mapping[str, Any], costs: Sequence[Cost]) -> Check:
    """The epsilons beside the one that is promised: by either accountant, and of each stage alone."""
    delta, accountant = signed["delta"], signed["accountant"]
    again = {f"epsilon_{by}": (signed[f"epsilon_{by}"], priced(costs, delta, by).epsilon) for by in ("prv", "rdp")}
    if len({row["stage"] for row in signed["ledger"]}) < len(costs):
        return Check("figures", False, "the ledger names a stage twice")
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
    now = terms(signed)
    others = [name for name, lines in now.items() if signed[name] != lines]
    if others and all([as_now(line) for line in signed[name]] == lines for name, lines in now.items()):
        return Check("terms", True, "are what an earlier raysyn certified")
    if others and all(signed[name] == lines for name, lines in earlier_terms(signed["adjacency"]).items()):
        return Check("terms", True, "are what an earlier raysyn certified")
    told = (
        f"{' and '.join(others)} are not what raysyn {version()} certifies" if others else "are what raysyn certifies"
    )
    return Check("terms", not others, told)


def _fields(signed: Mapping[str, Any]) -> Check:
    """All that a certificate says is said, and nothing else."""
    try:
        may_leave.check(signed, signed["files"])
    except ValueError as error:
        return Check("fields", False, str(error))
    if signed["guarantee"] not in ("dp", "none"):
        return Check("fields", False, f"guarantee is {signed['guarantee']}: it is dp or none")
    without = OF_A_PROMISE if signed["guarantee"] == "none" else set[str]()
    if more := sorted(without & set(signed)):
        return Check("fields", False, f"there is no guarantee, but {', '.join(more)}")
    if missing := sorted(set(may_leave.CERTIFICATE) - without - {"drawn_anew"} - set(signed)):
        return Check("fields", False, f"{CERTIFICATE} says nothing of {', '.join(missing)}")
    return Check("fields", True, "all is said, and nothing that may not leave")


def _delta(signed: Mapping[str, Any]) -> Check:
    unit = unit_of(signed["adjacency"])
    told = delta_beside(signed["delta"], n := may_leave.units_of(signed["public_facts"]), unit)
    if not n >= 1:
        return Check("delta", False, f"there are {n} private {unit}s, beside which no delta means anything")
    if not signed["delta"] * n < 1:
        return Check("delta", False, f"{told}: the promise holds for publishing one {unit} outright, so it is void")
    same = signed["delta_beside"] in (told, earlier_delta(signed["delta"], n, unit))
    return Check("delta", same, signed["delta_beside"] if same else f"should say: {told}")


def _files(
    release: Path, signed: Mapping[str, Any], laid_out: bool, fits: NetworkFits | None
) -> Iterator[Check]:  # fmt: skip
    known = {name: one["sha256"] for name, one in signed["files"].items()}
    if strange := sorted(set(known) - set(may_leave.FILES)):
        # Such a name may lead anywhere: nothing is read by it.
        yield Check("files", False, f"not looked at, since no release has {at_most(strange)}")
        return
    here = verify_contents.there(release)
    # A link is no file or folder of the release, wherever it leads.
    links = {path for path in here if path.is_symlink()}
    wrong = [f"{name} is not among them, and every release has it" for name in ALWAYS if name not in known]
    linked = {CERTIFICATE: ""} if release / CERTIFICATE in links else {}
    wrong += _wrong(release, known | linked, links)
    yield Check("files", not wrong, "; ".join(wrong) or f"{len(known)} are those that the certificate names")
    if not wrong:
        yield from _contents(release, signed, known, laid_out, links, fits)
    # Layouts are known once all else is as it was: else nothing is said of what may lie in them.
    unknown = bool(wrong) and MANIFEST in known
    names = {path.relative_to(release).as_posix() for path in here} - set(known) - {CERTIFICATE}
    more = sorted(name for name in names if not (unknown and (name in FOLDERS or may_leave.is_laid_out(name))))
    yield Check("nothing else", not more, f"not covered: {at_most(more)}" if more else "no file that is not covered")


def _contents(
    release: Path, signed: Mapping[str, Any], known: dict[str, str], laid_out: bool, links: AbstractSet[Path],
    fits: NetworkFits | None,
) -> Iterator[Check]:  # fmt: skip
    """Checks of what is inside the files that the certificate names; `known` gains those of layouts."""
    if {NETWORK_ABOUT, NETWORK_WEIGHTS} & set(known):
        yield verify_network.network(release, signed, fits)
    yield _pages(release, signed)
    try:
        images = verify_contents.images_in(release)
        yield verify_contents.as_said(signed, images)
        yield verify_contents.cards(release, signed, images)
        yield verify_samples.samples(release, images)
        if MANIFEST in known and laid_out:
            wrong, within = verify_contents.layouts(release, images)
            wrong = wrong or _wrong(release, within, links)
            yield Check("layouts", not wrong, at_most(wrong) or f"{len(within):,} files hold the images of {IMAGES}")
            known |= within
    except (ValueError, RecursionError) as error:
        yield Check("contents", False, str(error))


def _pages(release: Path, signed: Mapping[str, Any]) -> Check:
    """Whoever reads a page that repeats the certificate reads nothing else."""
    try:
        made = pages_of(signed)
    except DAMAGE as error:
        return Check("pages", False, f"cannot be made of this certificate ({type(error).__name__}: {error})")
    return made_anew("pages", release, made, "are what the certificate gives")


def _wrong(release: Path, known: Mapping[str, str], links: AbstractSet[Path]) -> list[str]:
    """What is missing or another file than the one of this SHA-256, in words."""
    wrong, linked = list[str](), list[str]()
    for name, sha256 in known.items():
        path = release / name
        if links and not links.isdisjoint((path, *path.parents)):
            linked.append(name)
        elif not path.is_file():
            wrong.append(f"{name} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
            wrong.append(f"{name} is not the file that the certificate names")
    if linked:
        # As in the cache of the Hugging Face Hub.
        a_link = "is a link" if len(linked) == 1 else "are links"
        wrong.append(f"{at_most(linked)} {a_link}: put the files themselves there, as cp -rL FOLDER COPY does")
    return wrong


def _in_a_line(text: str) -> str:
    """Somebody's words, which begin no line of ours and move no cursor."""
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in text)


def main(arguments: Sequence[str], fits: NetworkFits | None = None) -> int:
    """Prints a line per check; 0 where all hold, 1 where one does not, 2 for what is no release."""
    try:
        if len(arguments) != 1:
            raise ValueError("name one folder: raysyn verify RELEASE_FOLDER")
        checks = verify(Path(arguments[0]), fits=fits)
    except ValueError as error:
        print(f"error: {_in_a_line(' '.join(str(error).split()))}", file=sys.stderr)
        return 2
    width = max(len(check.name) for check in checks)
    for check in checks:
        print(f"{'holds' if check.holds else 'FAILS'}  {check.name:<{width}}  {check.found}")
    failed = [check.name for check in checks if not check.holds]
    print(f"does not hold: {', '.join(failed)}" if failed else "everything that can be checked from a release holds")
    return 1 if failed else 0
