"""The section of a report on what attackers found: figures beside the claim, and what is said where they refute it."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from report_stand_in import privacy, report

from raysyn.attacks.found import ANSWERS, RELEASED, WEIGHTS, found
from raysyn.privacy.cost import ADD_REMOVE_PERSON
from raysyn.report.attackers import NONE, TITLE, guessing, of_report, section, within
from raysyn.report.refuted import refuted
from raysyn.report.report import no_dp_section
from raysyn.report.run_page import render
from raysyn.screen.words import rounded_down

CLAIMED = privacy()
DELTA = CLAIMED["delta"]


def record(apart: float, count: int = 400, **more: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    given = {"attack": "Threshold", "sees": ANSWERS, "delta": DELTA} | more
    return found(members=rng.normal(apart, 1, count), others=rng.normal(0, 1, count), **given)


def told(*records: dict[str, Any], claimed: dict[str, Any] | None = CLAIMED) -> tuple[Any, dict[str, str]]:
    """The one section, and the first row by its headings."""
    (one,) = section(records, claimed)
    head, row, *_ = one.rows
    return one, {name.replace("\n", " "): cell.replace("\n", " ") for name, cell in zip(head, row, strict=True)}


def test_an_attack_stands_beside_the_claim() -> None:
    one, row = told(record(1.0, note="It looks at one number."))
    assert one.title == TITLE and list(one.notes) == ["Threshold: It looks at one number."] and not one.warnings
    assert (row["Attack"], row["It sees"], row["Members / others"]) == ("Threshold", ANSWERS, "400 / 400 images")
    assert row["Shown ε, at least"].startswith("1.") and row["Claimed ε, at most"] == "10"
    assert row["Caught at 0.1 % false alarms, %"].endswith(" at none"), "400 others tell no such rate"
    assert "at none" not in row["Caught at 1 % false alarms, %"]
    shown = record(1.0)
    shown["epsilon"] = {**shown["epsilon"], "delta": 0.00038456}
    assert told(shown)[1]["Shown ε, at least"].endswith("(δ 0.000384)"), "of what is shown, not claimed"
    drawn = base64.b64decode(one.picture.partition(",")[2]).decode()
    assert "no attack may cross (certificate)" in drawn and "Threshold" in drawn
    assert [one.rows[0][at] for at in one.words] == ["Attack", "It sees"], "figures alone are set to the right"


@pytest.mark.parametrize(
    ("claimed", "note"),
    [(CLAIMED, "and erased when the run is sealed."), (no_dp_section(), "and yours to erase.")],
    ids=["promise", "no promise"],
)
def test_what_becomes_of_the_closest_pairs_is_said(claimed: dict[str, Any], note: str) -> None:
    pairs = {"distances": [0.1], "file": "internal/closest.png"}
    *_, one = of_report({"attacks": {"distances": {"closest": pairs}}, "privacy": claimed})
    assert [said.endswith(note) for said in one.notes] == [True]


@pytest.mark.parametrize(
    ("more", "claimed", "warned"),
    [
        ({}, CLAIMED | {"epsilon": 1.0}, True),
        ({}, CLAIMED, False),
        ({}, CLAIMED | {"epsilon": 1.0, "adjacency": ADD_REMOVE_PERSON}, False),
        ({"unit": "person"}, CLAIMED | {"epsilon": 1.0, "adjacency": ADD_REMOVE_PERSON}, True),
        ({"delta": None}, CLAIMED | {"epsilon": 1.0}, False),
        ({"delta": 1e-3}, CLAIMED | {"epsilon": 1.0}, True),
        ({}, no_dp_section(), False),
        ({}, None, False),
    ],
    ids=["refuted", "held", "of a person", "persons", "at δ 0", "at a larger δ", "no promise", "no claim"],
)
def test_a_claim_is_refuted_by_attacks_on_its_own_terms_alone(
    more: dict[str, Any], claimed: dict[str, Any] | None, warned: bool
) -> None:
    found = record(5.0, **more) | {"roc": None}
    one, row = told(found, claimed=claimed)
    assert bool(one.warnings) == warned
    # And so does the table over several runs.
    report = {"privacy": claimed or no_dp_section(), "attacks": {"found": [found]}}
    assert refuted(report) == warned and not refuted(report | {"attacks": {}})
    assert refuted(report | {"attacks": {"audit": {"refuted": True}}}) == (report["privacy"]["guarantee"] == "dp")
    if warned:
        assert (
            one.warnings[0].startswith("Threshold shows an epsilon of at least ") and "above the 1 " in one.warnings[0]
        )
        assert "do not hand on" in one.warnings[0] and "SECURITY.md" in one.warnings[0]
    if claimed is None or claimed["guarantee"] == "none":
        assert row["Claimed ε, at most"] == "none" and "claims no ε" in one.text


def test_an_attack_without_scores_and_one_of_two_scores_are_rows_too() -> None:
    bare = dict.fromkeys(("auc", "advantage", "tpr", "roc")) | {"members": 512, "others": None, "note": ""}
    bare |= {"attack": "Canaries", "sees": WEIGHTS, "unit": "image"}
    one, row = told(bare | {"epsilon": {"value": 1.26, "confidence": 0.95, "delta": DELTA}})
    assert one.picture is None and row["Advantage, points"] == "-" == row["Caught at 1 % false alarms, %"]
    assert row["Shown ε, at least"] == f"1.26 (δ {rounded_down(DELTA)})" and row["Members / others"] == "512 / - images"
    one, row = told(record(0.0, count=1) | {"roc": None})
    assert row["Shown ε, at least"] == "-" == row["Advantage, points"]


def test_an_advantage_that_is_none_is_called_so() -> None:
    for figures, said in (((0.2, 0.1, 0.3), ""), ((0.1, -0.1, 0.3), "which may be guessing"),
                          ((0.0, -0.05, 0.1), "no better than guessing"),
                          ((-0.111, -0.283, 0.64), "too few to tell it from guessing"),
                          ((-0.19, -0.3, -0.1), "no better than guessing")):  # fmt: skip
        ahead = dict(zip(("value", "low", "high"), figures, strict=True))
        one, row = told(record(1.0) | {"advantage": ahead})
        shown = row["Advantage, points"]
        assert shown == f"{100 * figures[0]:.2f} ({100 * figures[1]:.2f} to {100 * figures[2]:.2f}) {said}".rstrip()
        assert guessing(ahead) == (f", {said}" if said else "") and "so is what is below it" in one.text
    assert guessing({"value": None}) == ""


def test_two_attacks_of_one_name_are_two_curves() -> None:
    one, _ = told(record(1.0), record(2.0, sees=RELEASED))
    drawn = base64.b64decode(one.picture.partition(",")[2]).decode()
    assert "Threshold (2)" in drawn and len(one.rows) == 3


def test_without_an_attack_the_report_says_so_and_how_to_run_one() -> None:
    (one,) = section([], CLAIMED)
    assert one.text == NONE and "No attack was run" in NONE and "--eval.distances" in NONE
    page = render(report().as_dict(), None)
    assert NONE in page.partition(TITLE)[2].partition("</section>")[0]


def test_nothing_is_no_negative_number() -> None:
    assert within({"value": -0.00004, "low": -0.02, "high": 0.01}) == "0.00 (-2.00 to 1.00)"
