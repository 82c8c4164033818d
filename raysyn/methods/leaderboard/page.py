"""What is shown of a leaderboard: a page, a CSV, and a table on the console."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from raysyn.methods.leaderboard.rows import Row
from raysyn.report.tables import MISSING, figure, in_words, percent

REPORT, SAMPLES = "runs/{}/internal/report.html", "runs/{}/release/samples.png"
"""From the page's folder."""


def page(rows: Sequence[Row], told: Sequence[str], among: int, columns: Sequence[str], picture: str | None) -> str:
    """table.html; `told` are sentences, `columns` names of further figures, `picture` a data URI."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("raysyn.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    cells = [_cells(row, columns) for row in rows]
    known = [name for name in cells[0] if any(line[name] not in ("", MISSING) for line in cells)]
    lines = [{"cells": line, "links": _links(row)} for line, row in zip(cells, rows, strict=True)]
    return made.get_template("leaderboard.html.j2").render(
        lines=lines, known=known, words=WORDS, runs=sum(row["runs"] for row in rows), among=among, told=told,
        picture=picture, judges=_judges(rows),
    )  # fmt: skip


WORDS = frozenset({"method", "preset", "data", "differs in", "device"})
"""Columns that hold no figures."""


def csv_text(rows: Sequence[Row]) -> str:
    """The same in plain figures."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def console_rows(rows: Sequence[Row]) -> list[dict[str, str]]:
    """What has room on a screen; columns without any figure are left out."""
    told = [_few(row) for row in rows]
    known = [name for name in told[0] if any(row[name] not in ("", MISSING) for row in told)]
    return [{name: row[name] for name in known} for row in told]


def _few(row: Row) -> dict[str, str]:
    own = "" if "judged_mean" in row else " of its own"
    reached = [f"mean{own}" if own else "accuracy", f"floor{own}", f"real images{own}"]
    kept = ("method", "preset", "data", "differs in", "ε", "runs", *reached, "largest class", "FID", "Fréchet distance")
    cells = _cells(row, ())
    return {name: cells[name] for name in kept}


def _cells(row: Row, columns: Sequence[str]) -> dict[str, str]:
    """A row of the page, by its headings."""
    promised = row["epsilon"] is not None
    return {
        "method": row["method"], "preset": row["preset"], "data": row["data"], "differs in": row["differs_in"],
        "ε": f"{row['epsilon']:.4g}" if promised else "none", "δ": f"{row['delta']:.2g}" if promised else MISSING,
        "runs": str(row["runs"]),
        **({"accuracy": _spread(row, "judged_mean"), "floor": percent(row["judged_floor"]),
            "real images": percent(row["judged_real_images"]), **{
                in_words(name): percent(row.get(f"judged_{name}")) for name in _judges([row])}}
           if "judged_mean" in row else {}),
        "largest class": percent(row["largest_class"]), "chance": percent(row["chance"]),
        "FID": _number(row["fid"]), "Fréchet distance": _number(row["frechet_distance"]),
        "mean of its own": _spread(row, "mean_classifier"), "best of its own": _spread(row, "best_classifier"),
        "floor of its own": percent(row["floor"]), "real images of its own": percent(row["real_images"]),
        **{name: MISSING if row[name] is None else figure(row[name]) for name in columns},
        "wall, s": f"{row['wall_s']:.0f}", "CPU, s": f"{row['cpu_s']:.0f}", "device": row["device"],
    }  # fmt: skip


def _judges(rows: Sequence[Row]) -> list[str]:
    """The classifiers that all runs were judged by."""
    beside = ("mean", "mean_std", "floor", "real_images")
    names = dict.fromkeys(name.removeprefix("judged_") for row in rows for name in row if name.startswith("judged_"))
    return [name for name in names if name not in beside]


def _spread(row: Mapping[str, Any], name: str) -> str:
    if row[name] is None or row[f"{name}_std"] is None:
        return percent(row[name])
    return f"{100 * row[name]:.1f} ± {100 * row[f'{name}_std']:.1f} %"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _links(row: Row) -> list[dict[str, str]]:
    """To the report and the samples of each run of a row."""
    return [
        {"seed": name.rpartition("-seed")[2]}
        | {kind: quote(place.format(name)) for kind, place in {"report": REPORT, "samples": SAMPLES}.items()}
        for name in row["folders"].split()
    ]
