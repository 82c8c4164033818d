"""Epsilon against accuracy over several runs: a chart per data set, drawn from their reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from raysyn.report.columns import differences
from raysyn.report.figures import COLOURS, Line, Panel, charts

Point = tuple[float, ...]
"""Epsilon, accuracy, and the ends of the accuracy's interval where they are known."""
Run = tuple[tuple[str, str, str], Mapping[str, Any]]
"""(method, preset, what it differs in) and its report."""
GUESSING, LEAST_POINTS = "largest class", 5.0
LEVELS = {
    "real images": ("accuracy_real_data", "--"),
    GUESSING: ("largest_class", ":"),
}
"""What no method can be expected to surpass, and what guessing reaches; the same whatever the epsilon."""
TEXT = (
    "The mean over a run's classifiers; of runs that differ in their seeds alone, their mean. Bars are where other "
    "test images would have put it (95 % interval; noise and seeds come on top). Dashed is what real images teach, "
    "dotted always answering with the largest class. Choosing by this picture is a look at private images that nobody "
    "pays for."
)


def panels(reports: Sequence[Mapping[str, Any]], commands: Sequence[str] = ()) -> list[Panel]:
    """One per data set (by name and numbers of images and persons) that has private runs of several epsilons, methods
    or settings.

    Lines are methods (with their presets, and what else they differ in, where a method has several), the floor, and
    levels: real images and the largest class. Of runs without a guarantee, or without classifiers, nothing is drawn.
    """
    # Accuracies of other classifiers have no mean.
    differ = differences(reports, commands or [report["method"] for report in reports], but=["seed"], judging=True)
    by_data: dict[tuple[str, str], list[Run]] = {}
    for report, differs in zip(reports, differ, strict=True):
        if report["privacy"]["guarantee"] == "dp" and _reached(report, "accuracy") is not None:
            by_data.setdefault(_data(report), []).append(((report["method"], report["preset"], differs), report))
    return [
        _panel(_lines(some), f"{name}, {count}")
        for (name, count), some in by_data.items()
        if len({(*setting, _epsilon(one)) for setting, one in some}) > 1
    ]


def _panel(lines: dict[str, Line], title: str) -> Panel:
    """Guessing is told in words where, far below all else, it would press everything else into one line."""
    others = [y for name, line in lines.items() if name != GUESSING for y in line.y]
    guess = lines[GUESSING].y[0] if GUESSING in lines else None
    if guess is not None and min(others) - guess > 2 * max(max(others) - min(others), LEAST_POINTS):
        del lines[GUESSING]
        title += f"; {GUESSING} {guess:.1f} %, far below"
    return Panel(lines, "ε", "accuracy on real test images, %", title, log_x=True)


def _data(report: Mapping[str, Any]) -> tuple[str, str]:
    """What it is called, and how much there is; an epsilon for persons has no place beside one for images."""
    data = report["dataset"]
    persons = f" of {data['n_persons']:,} persons" if "n_persons" in data else ""
    return data["name"], f"{data['n_train']:,} images{persons}"


def picture(reports: Sequence[Mapping[str, Any]], commands: Sequence[str] = ()) -> str | None:
    """The chart as a data URI; None where there is nothing to compare."""
    found = panels(reports, commands)
    return charts(found) if found else None


def why_none(reports: Sequence[Mapping[str, Any]]) -> str:
    """The sentence where there is no chart."""
    private = [one for one in reports if one["privacy"]["guarantee"] == "dp"]
    if not private:
        return "no accuracy by epsilon is drawn: none of these runs has a guarantee"
    if all(_reached(one, "accuracy") is None for one in private):
        return "no accuracy by epsilon is drawn: no run with a guarantee was judged by classifiers (--eval.classifiers)"
    return (
        "no accuracy by epsilon is drawn: of no data set are there runs of several epsilons, methods or settings; name "
        "more runs"
    )


def _lines(runs: Sequence[Run]) -> dict[str, Line]:
    points: dict[tuple[str, str, str], list[Point]] = {}
    for setting, report in runs:
        reached = _reached(report, "accuracy")
        assert reached is not None
        points.setdefault(setting, []).append((_epsilon(report), reached, *_interval(report)))
    names = _names(list(points))
    lines = {
        name: _through(some, "o-", COLOURS[at % 4])
        for at, (name, some) in enumerate(zip(names, points.values(), strict=True))
    }
    reports = [report for _, report in runs]
    if floors := [(_epsilon(one), value) for one in reports if (value := _reached(one, "accuracy_floor")) is not None]:
        lines["floor"] = _through(floors, "s--", COLOURS[-1])
    ends = [min(map(_epsilon, reports)), max(map(_epsilon, reports))]
    for name, (field, style) in LEVELS.items():
        if known := [value for one in reports if (value := _reached(one, field)) is not None]:
            lines[name] = Line(ends, [100 * mean(known)] * 2, style, "#333333")
    return lines


def _names(settings: Sequence[tuple[str, str, str]]) -> list[str]:
    """Of lines, each as short as tells it from the others: the method, its preset too, what it differs in."""
    methods = [method for method, _, _ in settings]
    names = []
    for method, preset, differs in settings:
        presets = {other for name, other, _ in settings if name == method}
        told = [method, preset if len(presets) > 1 else "", differs if methods.count(method) > len(presets) else ""]
        names.append(" ".join(filter(None, told)))
    return names if len(set(names)) == len(names) else [" ".join(filter(None, one)) for one in settings]


def _through(points: Sequence[Point], style: str, colour: str) -> Line:
    """By rising epsilon, runs of the same one as their mean."""
    same: dict[float, list[Sequence[float]]] = {}
    for epsilon, *reached in points:
        same.setdefault(epsilon, []).append([100 * value for value in reached])
    means = [[mean(values) for values in zip(*same[epsilon], strict=False)] for epsilon in sorted(same)]
    spread = [(one[1], one[2]) for one in means if len(one) == 3]
    return Line(
        sorted(same), [one[0] for one in means], style, colour, spread=spread if len(spread) == len(means) else ()
    )


def _epsilon(report: Mapping[str, Any]) -> float:
    """The budget, which runs of one command share; what they spent of it differs in the last digits."""
    privacy = report["privacy"]
    return float(privacy.get("epsilon_budget") or privacy["epsilon"])


def _interval(report: Mapping[str, Any]) -> tuple[float, ...]:
    """Ends of the mean's interval; none in a report of an earlier raysyn."""
    known = report["metrics"].get("utility_interval")
    return (known["low"], known["high"]) if known else ()


def _reached(report: Mapping[str, Any], field: str) -> float | None:
    metrics = report["metrics"]
    known = {**(metrics.get("utility_mean") or {}), **(metrics.get("utility_guessing") or {})}
    return known.get(field)
