"""A run about persons, of several copies, of several workers, image by image: its audit plays it so, and names what is
wrong with that alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from test_own_run import ENGINE, found, honest, learned, wrong

from raysyn.audits import own_run
from raysyn.audits.findings import REFUTED
from raysyn.audits.own_run import Run
from raysyn.privacy.cost import ADD_REMOVE_PERSON

GAMES = 1024


def small(persons: bool = False, copies: int = 1, ranks: int = 1, engine: str = "bookkeeping") -> Run:
    """DP-SGD alone, at a quarter."""
    run = honest(0.25, persons, ranks)
    one = learned(run)
    asked = replace(
        one,
        config=replace(one.config, noise_multiplicity=copies),
        choice=replace(ENGINE, engine=engine),  # type: ignore[arg-type]
    )
    return replace(run, plan={"finetune": run.plan["finetune"]}, asked={"finetune": asked})


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "how",
    [
        {"persons": True, "copies": 4, "ranks": 2},
        {"engine": "loop"},
        *(pytest.param(one, marks=SLOW) for one in ({"persons": True}, {"copies": 4}, {"ranks": 2})),
    ],
)
def test_an_honest_run_is_not_blamed_however_it_was_made(how: dict[str, Any]) -> None:
    """By findings of 99.9 %."""
    run = small(**how)
    one = found(run, "finetune", GAMES, confidence=0.999)
    assert not one.fails and f"K {how.get('copies', 1)}" in one.name and how.get("engine", "bookkeeping") in one.name
    case = own_run.cases(run, GAMES, None, lambda *_: None)[0]
    assert (case.cost.adjacency == ADD_REMOVE_PERSON) is how.get("persons", False)


def test_a_run_about_persons_at_the_rate_of_its_plan_is_not_blamed() -> None:
    one = found(honest(None, True), "finetune", GAMES, confidence=0.999)
    assert not one.fails and one.claimed > 0, one


@pytest.mark.parametrize(
    ("mutant", "how"),
    [
        ("images sampled instead of persons", {"persons": True}),
        pytest.param("denominators in images", {"persons": True}, marks=SLOW),
        pytest.param("noise x 0.8", {"persons": True}, marks=SLOW),
        pytest.param("clip per copy, summed", {"copies": 4}, marks=SLOW),
        ("a part of the noise on every rank", {"ranks": 2}),
    ],
)
def test_what_is_wrong_with_units_copies_or_workers_alone_is_caught(
    mutant: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch, mutant)
    one = found(small(**how), "finetune", GAMES)
    assert one.verdict == REFUTED, one
