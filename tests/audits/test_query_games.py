"""Canaries of one-shot questions add as much as one may, so that the noise they meet is what is accounted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from raysyn.audits import findings, query_games
from raysyn.audits.findings import REFUTED
from raysyn.audits.played import Case
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central, counts, layer_statistics, moments, noise, semantic

CASES = {case.name: case for case in query_games.cases(1.0)}
DRAWS = 100
WHERE = (central, counts, layer_statistics, moments, semantic)


def drawn(case: Case, there: bool) -> np.ndarray:
    """Answers to so many games, (T, DRAWS)."""
    answer = case.play.args[1]  # type: ignore[attr-defined]
    secrets = (bytes([there, draw]) + bytes(30) for draw in range(DRAWS))
    return np.array([answer(there, Stream(secret, "audit")) for secret in secrets]).T


@pytest.mark.parametrize("name", CASES)
def test_a_canary_adds_one_and_meets_the_noise_that_is_paid_for(name: str) -> None:
    case = CASES[name]
    promised = ADD_REMOVE_PERSON if name.endswith("persons") else ADD_REMOVE
    assert case.cost.adjacency == promised and case.cost.noise_multiplier is not None
    steps, rate = case.cost.steps, case.cost.sampling_rate
    inside, outside = drawn(case, True), drawn(case, False)
    # Of layer statistics all steps' sum alone is told.
    free = 1 if name.startswith("layer statistics") else steps
    spread = case.cost.noise_multiplier * np.sqrt(free / steps)
    assert outside.std() == pytest.approx(spread, rel=5 / np.sqrt(2 * DRAWS * free))
    reach = 5 * np.sqrt(spread**2 + rate * (1 - rate)) / np.sqrt(DRAWS * free)
    assert inside.mean() == pytest.approx(rate, abs=reach) and outside.mean() == pytest.approx(0, abs=reach)


def quieter(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    def noisy_sum(parts: Any, sensitivity: float, noise_multiplier: float, drawn: Any) -> Any:
        return noise.noisy_sum(parts, sensitivity, factor * noise_multiplier, drawn)

    for module in WHERE:
        monkeypatch.setattr(module, "noisy_sum", noisy_sum)


def judged(name: str, games: int) -> findings.Finding:
    return findings.judge(CASES[name], CASES[name].play(games, 0), 0.999)


def test_half_the_noise_of_counts_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    quieter(monkeypatch, 0.5)
    assert judged("noisy class counts, images", 1500).verdict == REFUTED


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_half_the_noise_of_every_question_is_refuted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quieter(monkeypatch, 0.5)
    assert judged(name, 2048).verdict == REFUTED


@pytest.mark.slow
def test_all_of_a_persons_images_in_the_sum_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of their mean."""
    monkeypatch.setattr(query_games.units, "weights", lambda private: np.ones(len(private)))
    for name in CASES:
        if name.endswith("persons") and not name.startswith("central"):
            assert judged(name, 2048).verdict == REFUTED, name
