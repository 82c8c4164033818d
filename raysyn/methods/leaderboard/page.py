"""What is shown of a leaderboard: a page, a CSV, and a table on the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from raysyn.methods.leaderboard.config import Run
from raysyn.methods.leaderboard.judging import Verdict
from raysyn.methods.leaderboard.rows import Row
from raysyn.methods.varied import spelled
from raysyn.report.tables import MISSING, UNIT, figure, in_words, percent, tells_units
from raysyn.screen.words import rounded_up

REPORT, SAMPLES = "runs/{}/internal/report.html", "runs/{}/release/samples.png"
"""From the page's folder."""
WORDS = frozenset({"method", "preset", "data", "differs in", UNIT, "device"})
"""Columns that hold no figures."""


def page(rows: Sequence[Row], told: Sequence[str], among: int, columns: Sequence[str], picture: str | None) -> str:
    """table.html; `told` are sentences, `columns` names of further figures, `picture` a data URI."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("raysyn.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    beside = [_promise(row) | _common(row) | _guessing(row) | _distances(row) | _asked(row, columns) for row in rows]
    own = [_promise(row) | _own(row) for row in rows]
    return made.get_template("leaderboard.html.j2").render(
        refuted=[row["refuted"] > 0 for row in rows],
        tables=[(_filled(beside), "report", [_links(row, REPORT) for row in rows]),
                (_filled(own), "samples", [_links(row, SAMPLES) for row in rows])],
        words=WORDS, runs=sum(row["runs"] for row in rows), among=among, told=told, picture=picture,
        judges=any(map(_judges, rows)),
    )  # fmt: skip


def csv_text(rows: Sequence[Row]) -> str:
    """The same in plain figures."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def runs_text(
    units: Sequence[Run], found: Sequence[Mapping[str, Any]], judged: Sequence[Verdict], lost: Sequence[Run]
) -> str:
    """runs.csv: a row for each run and classifier; of runs that did not end no figure."""
    rows = []
    for at, (unit, report) in enumerate(zip(units, found, strict=True)):
        sides = _sides(report) if not judged else judged[at]
        for name in sides.run:
            reached = {"classifier": name, "accuracy": sides.run[name]}
            rows.append(_run(unit) | reached | {
                "floor": sides.floor.get(name), "real_images": sides.real.get(name), "ended": "yes",
            })  # fmt: skip
    return csv_text(rows + [_run(unit) | {"ended": "no"} for unit in lost])


def _run(unit: Run) -> Row:
    return {
        "method": unit.method, "preset": unit.preset, "differs_in": ", ".join(map(spelled, unit.varied)),
        "epsilon_asked": unit.epsilon, "seed": unit.seed, "folder": unit.name,
    }  # fmt: skip


def _sides(report: Mapping[str, Any]) -> Verdict:
    """By the run's own classifiers."""
    utility = report["metrics"]["utility"].items()
    fields = ("accuracy", "accuracy_floor", "accuracy_real_data")
    return Verdict(*({name: one[field] for name, one in utility if field in one} for field in fields))


def console_rows(rows: Sequence[Row], columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """What has room on a screen: no column without a figure, nor preset or data where all have one; and those that were
    asked for, in place of the largest class."""
    told = _filled([_on_screen(row, columns) for row in rows])
    left = {name for name in ("preset", "data") if len({row[name] for row in told}) == 1}
    left |= {*OFF_SCREEN, *(name for row in rows for name in _each(row))}
    return [{name: cell for name, cell in row.items() if name not in left} for row in told]


def _on_screen(row: Row, columns: Sequence[str]) -> dict[str, str]:
    known = _promise(row) | (_common(row) or _own(row)) | ({} if columns else _guessing(row)) | _distances(row)
    # A heading of several words may be folded.
    asked = {name.replace(".", " "): figure for name, figure in _asked(row, columns).items()}
    return known | {name: figure for name, figure in asked.items() if name not in known}


OFF_SCREEN = ("δ", "chance", "best of its own", "wall, s", "CPU, s", "device")


def _filled(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Without columns in which no row has anything to tell."""
    known = [name for name in rows[0] if any(row[name] not in ("", MISSING) for row in rows)]
    return [{name: row[name] for name in tells_units(known, rows)} for row in rows]


def _promise(row: Row) -> dict[str, str]:
    promised, mark = row["epsilon"] is not None, ", REFUTED" if row["refuted"] else ""
    return {
        "method": row["method"], "preset": row["preset"], "data": row["data"], "differs in": row["differs_in"],
        UNIT: row["unit"] or MISSING,
        "ε": f"{rounded_up(row['epsilon'])}{mark}" if promised else "none",
        "δ": rounded_up(row["delta"]) if promised else MISSING,
        "runs": str(row["runs"]),
    }  # fmt: skip


def _common(row: Row) -> dict[str, str]:
    """By the classifiers that all runs share; nothing where there are none."""
    if "judged_mean" not in row:
        return {}
    return {
        "accuracy": _spread(row, "judged_mean"), "floor": percent(row["judged_floor"]),
        "real images": percent(row["judged_real_images"]),
        **_each(row),
    }  # fmt: skip


def _guessing(row: Row) -> dict[str, str]:
    return {"largest class": percent(row["largest_class"]), "chance": percent(row["chance"])}


def _each(row: Row) -> dict[str, str]:
    return {in_words(name): percent(row[f"judged_{name}"]) for name in _judges(row)}


def _distances(row: Row) -> dict[str, str]:
    known = {"FID": row["fid"], "Fréchet distance": row["frechet_distance"]}
    return {name: MISSING if value is None else f"{value:.4g}" for name, value in known.items()}


def _asked(row: Row, columns: Sequence[str]) -> dict[str, str]:
    return {name: MISSING if row[name] is None else figure(row[name]) for name in columns}


def _own(row: Row) -> dict[str, str]:
    """By the classifiers of the runs' own reports, and what these took."""
    return {
        "mean of its own": _spread(row, "mean_classifier"), "best of its own": _spread(row, "best_classifier"),
        "floor of its own": percent(row["floor"]), "real images of its own": percent(row["real_images"]),
        "wall, s": f"{row['wall_s']:.0f}", "CPU, s": f"{row['cpu_s']:.0f}", "device": row["device"],
    }  # fmt: skip


def _judges(row: Row) -> list[str]:
    """The classifiers that all runs were judged by."""
    beside = ("mean", "mean_std", "floor", "real_images")
    names = [name.removeprefix("judged_") for name in row if name.startswith("judged_")]
    return [name for name in names if name not in beside]


def _spread(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None or row[f"{name}_std"] is None:
        return percent(row[name])
    return f"{100 * row[name]:.1f} ± {100 * row[f'{name}_std']:.1f} %"


def _links(row: Row, place: str) -> list[tuple[str, str]]:
    """(seed, address) of a file of each run of a row."""
    return [(name.rpartition("-seed")[2], quote(place.format(name))) for name in row["folders"].split()]
