"""What central images are divided by tells nothing of who takes part, and where it does, that is seen."""

from __future__ import annotations

import pytest
from mutants import rewritten

from raysyn.audits import findings, query_sides
from raysyn.audits.findings import LOOSE, REFUTED, Finding
from raysyn.privacy.queries import central

CASES = {case.name.rpartition(" ")[2]: case for case in query_sides.cases(1.0)}
EXPECTED = "config.sampling_rate * private.units / cells"
TAKING = "participants(stream, step, private.units, config.sampling_rate)"
MUTANTS = {
    "realised units as denominator": f"np.mean([len({TAKING}) for step in range(cost.steps)]) / cells",
    "realised images as denominator": (
        f"np.mean([len(units.images_of(private, {TAKING})) for step in range(cost.steps)]) / cells"
    ),
    "denominator in images": EXPECTED.replace("private.units", "len(private)"),
}
CAUGHT = [
    ("realised units as denominator", "images"),
    ("realised images as denominator", "images"),
    ("realised images as denominator", "persons"),
    ("denominator in images", "persons"),
]
"""(what is wrong, whose row must say so)."""


def found(whose: str) -> Finding:
    return findings.judge(CASES[whose], CASES[whose].play(128, 0), 0.9995)


@pytest.mark.parametrize("whose", CASES)
def test_central_images_tell_nobody_by_their_denominator(whose: str) -> None:
    one = found(whose)
    assert (one.verdict, one.fails) == (LOOSE, False) and abs(one.mu) < 0.7, one


@pytest.mark.parametrize(("mutant", "whose"), CAUGHT)
def test_each_wrong_denominator_is_caught_by_name(mutant: str, whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rewritten(monkeypatch, central, "central_images", EXPECTED, MUTANTS[mutant])
    one = found(whose)
    assert one.verdict == REFUTED and one.over > 0.1, one


def test_every_mutant_is_asked_for() -> None:
    assert {mutant for mutant, _ in CAUGHT} == set(MUTANTS)
