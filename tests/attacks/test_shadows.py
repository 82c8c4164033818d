"""The sweep of shadow models around its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from raysyn.attacks import shadows
from raysyn.local import Local


@pytest.mark.parametrize(
    ("seconds", "stack"),
    [({"1": 1.0, "2": 0.8, "4": 0.5}, 4), ({"1": 1.0, "2": 0.97}, 1), ({"1": 1.0, "2": 0.5, "4": float("inf")}, 2)],
)
def test_the_fastest_stack_is_taken_where_it_is_worth_it_and_stands_for_a_larger_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float], stack: int
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(shadows, "time_stacks", lambda sizes, shared: (asked.append(sizes), seconds)[1])
    for models in (4, 16):
        assert shadows.fastest_stack(Local(tmp_path), (), models, "sweep") == stack
    assert asked == [[1, 2, 4]]
