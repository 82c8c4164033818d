"""certificate.html: the certificate on two sheets of paper, for whoever answers for data protection.

Made of certificate.json alone, byte for byte the same wherever it is made; nothing is fetched, and nothing runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from raysyn.report import disclosure
from raysyn.report.card import IMAGES, maker
from raysyn.report.card import unit as whose
from raysyn.report.meaning import CAPTION, corners
from raysyn.screen.words import rounded_up

PAGE = "certificate.html"
MOST_NAMES = 12
"""Of classes: those of many would fill a sheet."""
LEFT, TOP, SIDE = 58, 8, 252
"""Of the picture: where its square begins, and how long a side is."""


def page(signed: Mapping[str, Any]) -> str:
    """certificate.html, of a certificate with the hash of its images. ValueError for what is no certificate."""
    import jinja2

    promised = signed["guarantee"] != "none"
    names = signed["public_facts"]["classes"]
    known: dict[str, Any] = {
        "sha256": signed["files"][IMAGES]["sha256"],
        "data_flow": disclosure.DATA_FLOW if promised else disclosure.DATA_FLOW_WITHOUT_PROMISE,
        "public": disclosure.public(signed),
        "maker": maker(signed),
        "choices": disclosure.choices(signed),
        "names": [*names[:MOST_NAMES], *([f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else [])],
    }
    if promised:
        known |= {"whose": whose(signed), "picture": _picture(signed), "found": _found(signed)}
        known |= {"accounting": disclosure.accounting(signed), "neighbours": signed["adjacency"], "caption": CAPTION}
        known |= {"trust": disclosure.TRUST, "adapted": disclosure.adapted(signed), "security": disclosure.SECURITY}
        known |= {"post_processing": disclosure.POST_PROCESSING}
    try:
        return str(_template().render(c=signed, promised=promised, **known))
    except jinja2.TemplateError as error:
        raise ValueError(f"{PAGE} cannot be made ({error})") from error


@cache
def _template() -> Any:
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(up=rounded_up, whole="{:,}".format, plain="{:.5g}".format)
    return made.get_template("certificate.html.j2")


def _found(signed: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(false alarms, members found at most, what epsilon and delta alone would allow), in percent."""
    most = signed["what_an_attacker_can_do"]["most_found_at_false_alarms"]
    alone = {share: _alone(signed["epsilon"], signed["delta"], float(share)) for share in most}
    return [tuple(rounded_up(round(100 * one, 9)) for one in (float(at), most[at], alone[at])) for at in most]  # type: ignore[misc]


def _alone(epsilon: float, delta: float, false_alarms: float) -> float:
    few = math.exp(min(epsilon, 700)) * false_alarms + delta
    return min(1.0, few, 1 - math.exp(-epsilon) * (1 - delta - false_alarms))


def _picture(signed: Mapping[str, Any]) -> dict[str, str]:
    """The lines of the trade-off curve, as SVG has their points."""
    missed = signed["meaning"]["trade_off"]["least_missed_at_false_alarms"]
    lines = {
        "attack": [(float(share), least) for share, least in missed.items()],
        "alone": corners(signed["epsilon"], signed["delta"]),
        "guessing": [(0.0, 1.0), (1.0, 0.0)],
    }
    return {
        name: " ".join(f"{LEFT + SIDE * x:.1f},{TOP + SIDE * (1 - y):.1f}" for x, y in points)
        for name, points in lines.items()
    }
