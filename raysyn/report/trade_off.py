"""Epsilon against accuracy over several runs: a chart per data set, drawn from their reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from raysyn.report.figures import COLOURS, Line, Panel, charts

Point = tuple[float, float]
LEVELS = {
    "real images": ("accuracy_real_data", "--"),
    "largest class": ("largest_class", ":"),
}
"""What no method can be expected to surpass, and what guessing reaches; the same whatever the epsilon."""
TEXT = (
    "The mean over a run's classifiers; of several runs of one method, preset and ε, their mean. Dashed is what real "
    "images teach, dotted always answering with the largest class. Choosing by this picture is a look at private "
    "images that nobody pays for."
)


def panels(reports: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """One per data set (by name and number of images) that has private runs of several epsilons, methods or presets.

    Lines are methods (with their presets, where a method has several), the floor, and levels: real images and the
    largest class. Of runs without a guarantee, or without classifiers, nothing is drawn.
    """
    by_data: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for report in reports:
        if report["privacy"]["guarantee"] == "dp" and _reached(report, "accuracy") is not None:
            by_data.setdefault((report["dataset"]["name"], report["dataset"]["n_train"]), []).append(report)
    return [
        Panel(_lines(some), "ε", "accuracy on real test images, %", f"{name}, {count:,} images", log_x=True)
        for (name, count), some in by_data.items()
        if len({(one["method"], one["preset"], _epsilon(one)) for one in some}) > 1
    ]


def picture(reports: Sequence[Mapping[str, Any]]) -> str | None:
    """The chart as a data URI; None where there is nothing to compare."""
    found = panels(reports)
    return charts(found) if found else None


def _lines(reports: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    points: dict[tuple[str, str], list[Point]] = {}
    for report in reports:
        reached = _reached(report, "accuracy")
        assert reached is not None
        points.setdefault((report["method"], report["preset"]), []).append((_epsilon(report), reached))
    methods = [method for method, _ in points]
    lines = {
        (method if methods.count(method) == 1 else f"{method} {preset}"): _through(some, "o-", COLOURS[at % 4])
        for at, ((method, preset), some) in enumerate(points.items())
    }
    if floors := [(_epsilon(one), value) for one in reports if (value := _reached(one, "accuracy_floor")) is not None]:
        lines["floor"] = _through(floors, "s--", COLOURS[-1])
    ends = [min(map(_epsilon, reports)), max(map(_epsilon, reports))]
    for name, (field, style) in LEVELS.items():
        if known := [value for one in reports if (value := _reached(one, field)) is not None]:
            lines[name] = Line(ends, [100 * mean(known)] * 2, style, "#333333")
    return lines


def _through(points: Sequence[Point], style: str, colour: str) -> Line:
    """By rising epsilon, runs of the same one as their mean."""
    same: dict[float, list[float]] = {}
    for epsilon, reached in points:
        same.setdefault(epsilon, []).append(100 * reached)
    return Line(sorted(same), [mean(same[epsilon]) for epsilon in sorted(same)], style, colour)


def _epsilon(report: Mapping[str, Any]) -> float:
    """The budget, which runs of one command share; what they spent of it differs in the last digits."""
    privacy = report["privacy"]
    return float(privacy.get("epsilon_budget") or privacy["epsilon"])


def _reached(report: Mapping[str, Any], field: str) -> float | None:
    metrics = report["metrics"]
    known = {**(metrics.get("utility_mean") or {}), **(metrics.get("utility_guessing") or {})}
    return known.get(field)
