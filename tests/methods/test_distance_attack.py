"""What a run says of the attack by distances and of its control."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from raysyn.attacks.found import RELEASED, found
from raysyn.data.images import Images
from raysyn.methods.distances import attack_by_distances

RNG = np.random.default_rng(0)
RECORD = found("Nearest released image", RELEASED, RNG.normal(1, 1, 300), RNG.normal(0, 1, 300), unit="image")


@pytest.mark.parametrize(
    ("control", "warned"),
    [
        (None, False),
        ({"value": 0.52, "low": 0.47, "high": 0.57}, False),
        ({"value": 0.7, "low": 0.65, "high": 0.75}, True),
        ({"value": 0.4, "low": 0.35, "high": 0.45}, True),
    ],
)
def test_a_control_is_in_the_report_and_a_difference_of_the_sides_on_the_console(
    control: dict[str, float] | None, warned: bool, tmp_path: Path
) -> None:
    said, nobody = list[str](), Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a",))
    stand_in = None if control is None else {"images": 300, "auc": control}
    told: dict[str, Any] = {
        "found": RECORD, "closer": {"pixels": {"value": 0.5, "low": 0.4, "high": 0.6}}, "released": 300,
        "closest": {"released": [], "private": [], "distances": []}, "control": stand_in,
    }  # fmt: skip
    setting: Any = SimpleNamespace(
        folder=SimpleNamespace(internal=tmp_path, stage=lambda *_: [told]),
        dataset=SimpleNamespace(train=nobody, test=nobody),
        config=SimpleNamespace(seed=0),
        console=SimpleNamespace(stage=lambda name, text: said.append(text)),
    )
    measured = attack_by_distances(setting, nobody, 300)["distances"]
    assert measured.get("control") == stand_in and ("control" in measured) == (control is not None)
    assert ("differ by more than membership" in said[0]) == warned and "advantage " in said[0]
