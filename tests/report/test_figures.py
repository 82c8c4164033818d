"""ROC curves are drawn as they were measured, and axes can be read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.axes import Axes

from raysyn.attacks.verdict import tpr_at, verdict
from raysyn.report.figures import Line, chart, legible


def line(members: np.ndarray, others: np.ndarray) -> Line:
    points = verdict(members, others)["roc"]
    return Line(points["fpr"], points["tpr"], resolution=1 / len(others))


def height(line: Line, rate: float, lowest: float) -> float:
    """Where the picture stands at a rate."""
    (x, y), below = line.stair(lowest)
    if rate < line.resolution:  # type: ignore[operator]
        x, y = below
    return float(y[np.searchsorted(x, rate * (1 + 1e-9), "right") - 1])


@settings(deadline=None)
@given(st.integers(20, 390), st.integers(0, 9), st.sampled_from([0.0, 1.0, 3.0]), st.booleans())
def test_picture_and_table_agree_at_every_rate(others: int, seed: int, shift: float, tied: bool) -> None:
    rng = np.random.default_rng(seed)
    inside, outside = rng.normal(shift, 1, 100), rng.normal(0, 1, others)
    if tied:
        inside, outside = inside.round(), outside.round()
    drawn = line(inside, outside)
    for rate in (0.0005, 0.001, 0.01, 0.5 / others, 1 / others, 1.0):
        assert height(drawn, rate, 1e-4) == pytest.approx(tpr_at(rate, inside, outside)[0] / 100), rate


def test_half_of_the_members_above_all_others_are_seen_at_the_left_end() -> None:
    """Thinned to its first false alarm, the curve would have started at 0 there."""
    inside, outside = np.r_[np.full(50, 9.0), np.zeros(50)], np.linspace(-1, 1, 5000)
    points = verdict(inside, outside)["roc"]
    assert [0.0, 0.5] in [list(point) for point in zip(points["fpr"], points["tpr"], strict=True)]
    assert height(line(inside, outside), 1e-3, 1e-4) == height(line(inside, outside), 1e-4, 1e-5) == 0.5


def test_a_curve_is_a_stair_where_it_was_measured_and_dotted_below(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[Any, ...]] = []
    real = Axes.plot

    def noted(self: Axes, *args: Any, **more: Any) -> Any:
        drawn.append((*args, more))
        return real(self, *args, **more)

    monkeypatch.setattr(Axes, "plot", noted)
    inside, outside = np.r_[np.full(30, 9.0), np.zeros(30)], np.linspace(-1, 1, 100)
    chart({"target": line(inside, outside)}, x="x", y="y", log=True, lowest=1e-3)
    (x, y, style, more), (below_x, below_y, below_style, _) = drawn
    assert min(x) == 0.01 and y[0] == 0.5 and style == "-" and more["drawstyle"] == "steps-post"
    assert (below_x, below_y, below_style) == ([1e-3, 0.01], [0.5, 0.5], ":")


@pytest.mark.parametrize(
    ("marks", "kept"),
    [
        ([0.192, 0.385, 0.4, 1.0], [0.192, 0.385, 1.0]),
        ([1.0, 1.01, 10.0], [1.0, 10.0]),
        ([1.0, 9.9, 10.0], [1.0, 10.0]),
        ([1.0, 1.01], [1.0, 1.01]),
        ([3.0], [3.0]),
        ([], []),
        ([1.0, 3.0, 10.0], [1.0, 3.0, 10.0]),
    ],
)
def test_numbers_of_a_logarithmic_axis_do_not_lie_on_each_other(marks: list[float], kept: list[float]) -> None:
    assert legible(marks) == kept
