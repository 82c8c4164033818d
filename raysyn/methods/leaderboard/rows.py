"""The leaderboard's table: a row per method, preset, setting and epsilon, over its seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from raysyn.methods.leaderboard.config import Run
from raysyn.methods.leaderboard.judging import Verdict
from raysyn.methods.varied import spelled
from raysyn.metrics.yardsticks import SOFT_LABELS
from raysyn.privacy.cost import unit_of
from raysyn.report.columns import FID, STAND_IN, distances
from raysyn.report.refuted import by_canaries

Row = dict[str, Any]


def table(
    units: Sequence[Run], found: Sequence[Mapping[str, Any]], judged: Sequence[Verdict] = (),
    columns: Mapping[str, Sequence[float | None]] | None = None,
) -> list[Row]:  # fmt: skip
    """Accuracies as shares, None where there is none; `columns` are further figures of each run, by their names.

    Raises ValueError where a run had other images than the runs of its row.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for at, (unit, report) in enumerate(zip(units, found, strict=True)):
        same = groups.setdefault(unit.row, [])
        if same and any(found[same[0]][told] != report[told] for told in ("dataset", "data_fingerprint")):
            raise ValueError(f"{unit.name} ran on other images than the runs beside it: choose another --out")
        same.append(at)
    rows = []
    for group in groups.values():
        some, reports = [units[at] for at in group], [found[at] for at in group]
        row = facts(some, reports)
        row |= common([judged[at] for at in group]) if judged else {}
        rows.append(row | measured(reports) | {
            name: average([values[at] for at in group]) for name, values in (columns or {}).items()
        })  # fmt: skip
    return rows


def facts(units: Sequence[Run], reports: Sequence[Mapping[str, Any]]) -> Row:
    """Which runs these are, and what they promise."""
    privacy, first = [report["privacy"] for report in reports], units[0]
    promised = all(one["guarantee"] == "dp" for one in privacy)
    return {
        "method": reports[0].get("method", first.method), "command": first.method, "preset": first.preset,
        "data": reports[0]["dataset"]["name"], "guarantee": "dp" if promised else "none",
        "unit": units_of(privacy) if promised else None, "epsilon_asked": first.epsilon,
        # Every run of a row kept its promise: the weakest of them is theirs.
        **{key: max(one[key] for one in privacy) if promised else None for key in ("epsilon", "delta")},
        "differs_in": ", ".join(map(spelled, first.varied)),
        "test_images": reports[0]["dataset"].get("n_test"),
        "runs": len(units), "refuted": sum(map(by_canaries, reports)), "folders": " ".join(unit.name for unit in units),
    }  # fmt: skip


def units_of(privacy: Sequence[Mapping[str, Any]]) -> str:
    """Whom these promises are to: all of a row are on the same images, whose persons are named or are not."""
    (unit,) = {unit_of(one["adjacency"]) for one in privacy}
    return unit


def common(judged: Sequence[Verdict]) -> Row:
    """What the classifiers that all runs share learned from these runs, from the floor of their budget and from real
    images."""
    row: Row = spread("judged_mean", [mean(one.run.values()) for one in judged if one.run])
    row |= {"judged_floor": average([mean(one.floor.values()) if one.floor else None for one in judged])}
    row |= {"judged_real_images": average([mean(one.real.values()) if one.real else None for one in judged])}
    names = dict.fromkeys(name for one in judged for name in one.run)
    return row | {f"judged_{name}": average([one.run.get(name) for one in judged]) for name in names}


def as_judged(report: Mapping[str, Any], verdict: Verdict) -> Mapping[str, Any]:
    """The report as if its own classifiers were those that all runs share; as it is where these judged no run."""
    if not verdict.run:
        return report
    sides = {"accuracy": verdict.run, "accuracy_floor": verdict.floor, "accuracy_real_data": verdict.real}
    reached = {name: mean(values.values()) for name, values in sides.items() if values}
    return {**report, "metrics": {**report["metrics"], "utility_mean": reached, "utility_interval": None}}


def measured(reports: Sequence[Mapping[str, Any]]) -> Row:
    """What the runs' own reports say: their own classifiers, what these stand beside, distances, time."""
    reached = [[one["accuracy"] for one in report["metrics"]["utility"].values()] for report in reports]
    metrics, far = [report["metrics"] for report in reports], [distances(report) for report in reports]
    spent = {
        clock: mean(sum(stage[clock] for stage in report["timings"].values()) for report in reports)
        for clock in ("wall_s", "cpu_s")
    }
    return {
        **spread("mean_classifier", [mean(some) for some in reached if some]),
        **spread("best_classifier", [max(some) for some in reached if some]),
        **yardsticks(metrics),
        "fid": average([one[FID] for one in far]), "frechet_distance": average([one[STAND_IN] for one in far]),
        **spent,
        "device": ", ".join(sorted({str(report["environment"].get("device", "cpu")) for report in reports})),
    }  # fmt: skip


def other_features(units: Sequence[Run], reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence where the runs' networks, by whose features the Fréchet distance is, were taught otherwise."""
    alike: dict[str, list[str]] = {}
    seen: dict[str, set[str]] = {}
    for unit, report in zip(units, reports, strict=True):
        if distances(report)[STAND_IN] is not None:
            told = report["config"].get("eval", {})
            names = [name for name in ("feature_epochs", "images") if told.get(name) is not None]
            taught = ", ".join(f"--eval.{name.replace('_', '-')} {told[name]}" for name in names)
            alike.setdefault(taught, []).append(unit.method)
            seen.setdefault(str(report["dataset"]["name"]), set()).add(taught)
    if all(len(taught) < 2 for taught in seen.values()):  # those of different images are not compared anyway
        return []
    each = "; ".join(f"{', '.join(dict.fromkeys(methods))} ({taught})" for taught, methods in alike.items())
    return [f"Fréchet distances are by features of differently taught networks: compare within each of {each}."]


def by_soft_labels(units: Sequence[Run], reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence where runs released soft labels, of which the classifiers that all runs share see the likeliest."""
    reached: dict[str, list[float]] = {}
    for unit, report in zip(units, reports, strict=True):
        learned = [one for one in report["metrics"]["utility"].values() if one.get("learned") == SOFT_LABELS]
        if learned:
            preset = [unit.preset] if len({one.preset for one in units}) > 1 else []
            paid = [] if unit.epsilon is None else [f"at ε {unit.epsilon:g}"]
            called = " ".join([unit.method, *preset, *map(spelled, unit.varied), *paid])
            reached.setdefault(called, []).append(max(one["accuracy"] for one in learned))
    if not reached:
        return []
    each = ", ".join(f"{name} {100 * mean(values):.1f} %" for name, values in reached.items())
    return [
        f"By soft labels, released too, the best student of a run reaches, on average over its seeds: {each}. The "
        "classifiers that all runs share learn from the likeliest labels alone."
    ]


def by_chance(rows: Sequence[Row]) -> list[str]:
    """A sentence that says how far an accuracy may be off by the choice of test images alone."""
    # Of the seldom case of several sets the fewest; of a share the standard error is largest at a half.
    known = [(row["test_images"], row.get("judged_mean", row["mean_classifier"])) for row in rows]
    errors = [(math.sqrt(share * (1 - share) / n), n) for n, share in known if n and share is not None]
    if not errors:
        return []
    error, n = max(errors)
    return [
        f"Of {n:,} real test images one accuracy has a standard error of about {math.ceil(1000 * error) / 10:g} points "
        "(± is over seeds alone), and a floor is one draw of noise: smaller differences may be chance."
    ]


def yardsticks(metrics: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """What the mean classifier stands beside, over runs that know it: what it learns from the floor's images and from
    real ones, the share of the largest class of the test images, and any class at random."""
    known = {
        "floor": [(one.get("utility_mean") or {}).get("accuracy_floor") for one in metrics],
        "real_images": [(one.get("utility_mean") or {}).get("accuracy_real_data") for one in metrics],
        "largest_class": [(one.get("utility_guessing") or {}).get("largest_class") for one in metrics],
        "chance": [(one.get("utility_guessing") or {}).get("chance") for one in metrics],
    }
    return {name: average(values) for name, values in known.items()}


def average(values: Sequence[float | None]) -> float | None:
    """Of those that are known; None where none is."""
    known = [value for value in values if value is not None]
    return mean(known) if known else None


def spread(name: str, values: Sequence[float]) -> dict[str, float | None]:
    """{name: mean, name_std: of the sample} of some values, None where there are too few."""
    return {name: mean(values) if values else None, f"{name}_std": stdev(values) if len(values) > 1 else None}
