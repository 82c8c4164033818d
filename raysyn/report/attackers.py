"""What attackers found, as the section of a report: every attack beside the promise that it may not break."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from raysyn.privacy.cost import unit_of
from raysyn.report.figures import Line, chart
from raysyn.report.refuted import breaks
from raysyn.report.section import Section
from raysyn.report.shadowed import LEFT_OUT
from raysyn.report.tables import MISSING
from raysyn.screen.words import rounded_down, rounded_up

TITLE = "What attackers found"
RATES = ("0.001", "0.01")
"""False alarms at which members caught are told."""
LIMIT, BLUE, GREY = "#d1242f", "#1f6feb", "#8a97a6"
COLOURS = (BLUE, "#1a7f37", "#8250df", "#9a6700", "#0b7285")
CLOSEST = "closest.png"
"""The picture of released images beside their nearest private ones; beside the page."""
NONE = (
    "No attack was run on this run, so that this page says nothing of what one would find. One that sees the released "
    "images alone is run with --eval.distances 2000: the same command again, with it, trains and releases nothing anew."
)
HOW_TO_READ = (
    "Members are private {units} that were learned from, others {units} that were not. The advantage is members caught "
    "less false alarms, in points, above a threshold that those it is measured on have not chosen: 0 is guessing, and "
    "so is what is below it, by chance; 100 is knowing. A shown ε is what these scores show at least; {claim} "
    "Intervals and bounds are of 95 %, exactly so for the bound of canaries alone: the others take {units}, or pairs "
    "of shadow runs, as independent. An attack that finds little shows that this attack finds little."
)


def of_report(content: Mapping[str, Any]) -> list[Section]:
    """Of a run's report.json."""
    attacks = content["attacks"]
    left_out = [attacks[LEFT_OUT]] if LEFT_OUT in attacks else []
    pairs = (attacks.get("distances") or {}).get("closest")
    return [*section(attacks.get("found") or [], content["privacy"], left_out), *_closest(pairs, content["privacy"])]


def _closest(pairs: Mapping[str, Any] | None, claimed: Mapping[str, Any]) -> Iterator[Section]:
    """The closest pairs, in a picture that lies beside the page."""
    if not pairs:
        return
    far = ", ".join(f"{one:.3f}" for one in pairs["distances"])
    # A run that promises nothing need not be sealed, and of some methods cannot be.
    erased = "erased when the run is sealed" if claimed["guarantee"] == "dp" else "yours to erase"
    yield Section(
        title="The released images nearest to a private one",
        text="Each on the left, and on its right the private training image of its class that is nearest to it in "
        f"pixels, the closest pair first: root mean square differences, of 1 at most, are {far}. A copy is at 0; "
        "images that many others are like are near to something whatever was learned from.",
        notes=[f"The picture is {pairs['file']}, which holds private images: it is no part of this page, "
               f"and {erased}."],
        picture=CLOSEST,
        alt=f"{CLOSEST}, which holds private images, is not beside this page: it was erased, or lies elsewhere.",
    )  # fmt: skip


def section(
    found: Sequence[Mapping[str, Any]], claimed: Mapping[str, Any] | None, left_out: Sequence[str] = ()
) -> list[Section]:
    """Of records as `attacks.found` makes them, and of what is promised: the `privacy` of report.json, or a
    certificate; None, or one without a guarantee, where nothing is. `left_out`: what has been found and is not among
    them, a sentence each without a full stop."""
    if claimed is not None and claimed["guarantee"] != "dp":
        claimed = None
    if not found:
        return [Section(title=TITLE, text=NONE, warnings=left_out)]
    units = " or ".join(f"{unit}s" for unit in dict.fromkeys(one["unit"] for one in found))
    claim = "this run claims no ε, so that nothing bounds what an attack may find."
    if claimed is not None:
        claim = f"no attack may show more than is claimed, at δ = {rounded_up(claimed['delta'])} or more."
    notes = [f"{one['attack']}: {one['note']}" for one in found if one["note"]]
    picture = _picture(found, claimed)
    return [
        Section(
            title=TITLE,
            text=" ".join([HOW_TO_READ.format(units=units, claim=claim), *_of_picture(picture, claimed)]),
            notes=notes,
            warnings=[*_broken(found, claimed), *left_out],
            rows=[HEAD, *(_row(one, claimed) for one in found)],
            words=(0, 1),
            picture=picture,
            alt="ROC curves of the attacks on logarithmic axes, below what the certificate allows",
        )
    ]


HEAD = (
    "Attack", "It sees", "Members\n/ others", "Advantage,\npoints", "Caught at 0.1 %\nfalse alarms, %",
    "Caught at 1 %\nfalse alarms, %", "Shown ε,\nat least", "Claimed ε,\nat most",
)  # fmt: skip


def _row(one: Mapping[str, Any], claimed: Mapping[str, Any] | None) -> tuple[str, ...]:
    ahead, low = one["advantage"], [one["tpr"].get(rate) if one["tpr"] else None for rate in RATES]
    counted = [MISSING if one[side] is None else f"{one[side]:,}" for side in ("members", "others")]
    return (
        one["attack"],
        one["sees"],
        f"{counted[0]}\n/ {counted[1]}\n{one['unit']}s",
        MISSING if not ahead or ahead["value"] is None else f"{_two_lines(ahead)}{_narrow(guessing(ahead, chr(10)))}",
        *map(_caught, low),
        _shown(one["epsilon"]),
        _claim(one, claimed),
    )


TOLD = 0.1
"""An advantage that an attack may have had, by its interval, is not called none where it is above this."""


def guessing(ahead: Mapping[str, Any], between: str = ", ") -> str:
    """What stands behind an advantage that is none, or may be none by its interval; empty of any other."""
    if ahead["value"] is None:
        return ""
    if ahead["value"] <= 0:
        few = ahead["high"] > TOLD
        return f"{between}{'too few to tell it from guessing' if few else 'no better than guessing'}"
    return f"{between}which may be guessing" if ahead["low"] <= 0 else ""


def _narrow(text: str) -> str:
    """In lines that leave the other columns room."""
    return text.replace(" it from", "\nit from")


def _shown(epsilon: Mapping[str, Any] | None) -> str:
    if epsilon is None or epsilon["value"] is None:
        return MISSING
    # Both down: what was shown at a delta holds at smaller ones alone.
    return f"{rounded_down(epsilon['value'])}\n(δ {rounded_down(epsilon['delta'])})"


def _claim(one: Mapping[str, Any], claimed: Mapping[str, Any] | None) -> str:
    if claimed is None:
        return "none"
    of = unit_of(claimed["adjacency"])
    about = "" if of == one["unit"] else f"\nfor one {of}"
    return f"{rounded_up(claimed['epsilon'])}{about}"


def _broken(found: Sequence[Mapping[str, Any]], claimed: Mapping[str, Any] | None) -> Iterator[str]:
    """A sentence for each attack that refutes the claim."""
    for one in found:
        if claimed is not None and breaks(one, claimed):
            yield (
                f"{one['attack']} shows an epsilon of at least {rounded_down(one['epsilon']['value'])}, above the "
                f"{rounded_up(claimed['epsilon'])} that is claimed: do not hand on this release, and take back what "
                "was handed on. Make sure that training and test images are of one source, divided at random, for else "
                "an attack may tell the sources apart. If they are, or these are canaries, take the promise for "
                "broken: run raysyn audit engine on this machine, and report it as SECURITY.md says"
            )


def _picture(found: Sequence[Mapping[str, Any]], claimed: Mapping[str, Any] | None) -> str | None:
    drawn = [one for one in found if one["roc"]]
    if not drawn:
        return None
    lowest = min(1e-3, *(1 / one["others"] for one in drawn))
    lines = {}
    if claimed is not None:
        missed = claimed["meaning"]["trade_off"]["least_missed_at_false_alarms"]
        # Of a logarithmic axis 0 has no place.
        most = {float(alarms): 1 - least for alarms, least in missed.items() if float(alarms) > 0}
        lines["no attack may cross (certificate)"] = Line(list(most), list(most.values()), "-", LIMIT)
    for one, colour in zip(drawn, itertools.cycle(COLOURS), strict=False):
        lines[_name(one, lines)] = Line(one["roc"]["fpr"], one["roc"]["tpr"], "-", colour, resolution=1 / one["others"])
    lines["guessing"] = Line([lowest, 1], [lowest, 1], "--", GREY)
    return chart(lines, x="false alarms", y="members caught", log=True, lowest=lowest)


def _name(one: Mapping[str, Any], taken: Mapping[str, Line]) -> str:
    """Of two attacks of one name the later one is counted."""
    number = sum(name == one["attack"] or name.startswith(f"{one['attack']} (") for name in taken)
    return f"{one['attack']} ({number + 1})" if number else str(one["attack"])


def _of_picture(picture: str | None, claimed: Mapping[str, Any] | None) -> list[str]:
    if picture is None:
        return []
    limit = (
        " The red line is what the certificate allows any attack on average, joined between the points that it names: "
        "a curve that is whole there, above it by more than its interval, is a broken promise. Where a curve is "
        "dotted, and in the table where it says 'at none', nothing is resolved by so few others: that may lie above "
        "it by chance."
    )
    return [
        "Where there are too few others for so few false alarms, the table tells what is caught at none, which the "
        "picture dots." + (limit if claimed is not None else "")
    ]


def _caught(one: Mapping[str, Any] | None) -> str:
    if one is None:
        return MISSING
    return _two_lines(one) if one["measurable"] else f"{_two_lines(one['bound'])}\nat none"


def _two_lines(figure: Mapping[str, float]) -> str:
    return within(figure).replace(" (", "\n(")


def within(figure: Mapping[str, float], scale: int = 100, key: str = "value") -> str:
    """A figure with its interval, by default in percent."""
    digits = 2 if scale == 100 else 3
    # Adding 0 makes -0 a 0.
    shown = [f"{round(scale * figure[name], digits) + 0.0:.{digits}f}" for name in (key, "low", "high")]
    return f"{shown[0]} ({shown[1]} to {shown[2]})"
