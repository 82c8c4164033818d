"""Runs beside each other: which of them have ended, and the tables that a paper makes of several, from their reports.

Knowledge Recycling's tables 1 and 2 (Lomurno and Matteucci 2024) have a row per data set.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raysyn.report import trade_off
from raysyn.report.tables import WORDS, table_rows
from raysyn.runs.folder import REPORT_JSON
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import folders_in, read_bytes, under

KNOWLEDGE_RECYCLING = "knowledge_recycling"
BOARD = ("internal", "runs")
"""Where the leaderboard keeps its runs."""
DRAWN = "draw of "
"""What the method of `raysyn draw` begins with, before that of the run."""
ATTACKED = "attack on "
"""And that of `raysyn attack`."""
PARAMETERS = {
    "standard_deviation": "Standard deviation",
    "regeneration_rate": "Regeneration rate",
    "cardinality_scale": "Cardinality scale",
}
MODELS = ("teacher", "student")
MEASURES = {"Accuracy ↑": 1, "AUC ↓": -1, "AOP ↑": 1}
"""Of table 2; 1 where more is better."""
VANILLA = ", vanilla BigGAN-deep"
MISSING = "-"
DAMAGE = (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RecursionError)
"""What anything else than a report may raise where a table is made of it."""


@dataclass
class Runs:
    """What lies in some folders."""

    finished: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    """Where each run is, and its report.json."""
    commands: list[str] = field(default_factory=list)
    """The first word of each one's command, whatever papers call its setting."""
    unfinished: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """Folders whose report is none, or that of another version."""
    drawn: list[str] = field(default_factory=list)
    """Folders of more images from a run, which have no report."""
    strange: list[str] = field(default_factory=list)
    """Folders without any run."""

    def left_out(self) -> dict[str, list[str]]:
        """What no table speaks of, by why."""
        reasons = {"not finished": self.unfinished, "drawn from a run, without a report": self.drawn}
        reasons["damaged, or of another version of raysyn"] = self.damaged
        return {why: places for why, places in reasons.items() if places}


@dataclass(frozen=True)
class Table:
    """One table: the first row is its heading, the first cell of each row the row's name."""

    title: str
    text: str
    rows: Sequence[Sequence[str]]


def find(places: Sequence[str]) -> Runs:
    """The runs at these places, each a run folder (or its URI) or a folder that holds some, one level down."""
    found = Runs()
    for place in places:
        if not _note(place, found) and not any([_note(inner, found) for inner in _inside(place)]):
            found.strange.append(place)
    return found


def _note(place: str, found: Runs) -> bool:
    """Whether `place` is a run; then it is noted, and where it is a comparison, its runs are."""
    try:
        report, about = _content(place, REPORT_JSON), _content(place, RUN_JSON)
        if report is not None:
            # What a table cannot be made of is noticed while others still can.
            table_rows([report]), paper_tables([(place, report)]), trade_off.picture([report])
    except DAMAGE:
        found.damaged.append(place)
        return True
    if report is not None:
        found.finished.append((place, report))
        found.commands.append((about or {}).get("method", report["method"]))
        return True
    if about is None:
        return False
    if str(about.get("method")).startswith(ATTACKED):
        return True  # what it found is in the report of the run
    if str(about.get("method")).startswith(DRAWN):
        found.drawn.append(place)
    elif not any([_note(inner, found) for inner in _inside(under(place, *BOARD))]):
        found.unfinished.append(place)
    return True


def _content(place: str, name: str) -> dict[str, Any] | None:
    """A file of a run; None where it is not there, ValueError where it is damaged."""
    try:
        there = read_bytes(place, name)
    except (OSError, ValueError):
        return None
    content = json.loads(there)
    if not isinstance(content, dict):
        raise ValueError(f"{under(place, name)} holds no fields")
    return content


def _inside(place: str) -> Iterator[str]:
    try:
        names = folders_in(place)
    except (OSError, ValueError):
        return
    yield from (under(place, name) for name in names)


def paper_tables(finished: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Table]:
    """The tables of the papers that some of these runs belong to."""
    recycled = [(place, report) for place, report in finished if report["method"] == KNOWLEDGE_RECYCLING]
    return [table_1(recycled), table_2(recycled)] if recycled else []


def table_1(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Generation parameters after tuning, and what they gained."""
    rows = [("Data set", *PARAMETERS.values(), "Δ CAS, points")]
    for name, report in _named(runs):
        tuned = report["metrics"]["table_1"]
        values = [f"{tuned[key]:.2f}" if key == "standard_deviation" else str(tuned[key]) for key in PARAMETERS]
        rows.append((name, *values, f"{100 * tuned['delta_cas']:+.2f}"))
    return Table(
        "Knowledge Recycling, table 1: generation parameters after tuning",
        "Δ CAS: gain in accuracy on validation images over the default parameters, on the images that chose.",
        rows,
    )


def table_2(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """Accuracy on test images, AUC of the attack and accuracy over privacy of teacher and student; improvements."""
    head = ["Data set", *(f"{measure}, {model}" for measure in MEASURES for model in MODELS)]
    rows, gains = [head], [list[float]() for _ in MEASURES]
    for name, report in _named(runs):
        row = [name]
        for sign, gained, pair in zip(MEASURES.values(), gains, _pairs(report), strict=True):
            row += _cells(pair, sign)
            if None not in pair and not _vanilla(report):
                gained.append(_points(pair))
        rows.append(row)
    for title, pick in (("Min", min), ("Mean", _mean), ("Max", max)):
        row = [f"{title} improvement"]
        for sign, gained in zip(MEASURES.values(), gains, strict=True):
            # The smallest improvement of what should fall is the fall nearest to 0.
            row += [MISSING, f"{sign * pick([sign * one for one in gained]):+.2f}" if gained else MISSING]
        rows.append(row)
    return Table(
        "Knowledge Recycling, table 2: teacher and student on test images",
        "In percent. AUC: area under the ROC curve of the membership attack in the variant that turned out most "
        "effective, as in the paper, 50 being chance; AOP = accuracy / "
        "(2 · max(AUC, ½))². Improvement: student less teacher, in points, over the runs above but those of a vanilla "
        "BigGAN-deep; an AUC improves where it falls. Better of two in bold; - where a run did without the attack.",
        rows,
    )


def _pairs(report: Mapping[str, Any]) -> list[tuple[float | None, float | None]]:
    """(teacher, student) per measure, as shares."""
    (useful,), attacks = report["metrics"]["utility"].values(), report["attacks"]
    leaked = [attacks.get(model) or {} for model in MODELS]
    return [
        (useful["accuracy_real_data"], useful["accuracy"]),
        *((leaked[0].get(measure), leaked[1].get(measure)) for measure in ("best_auc", "best_aop")),
    ]


def _cells(pair: tuple[float | None, float | None], sign: int) -> list[str]:
    told = [MISSING if one is None else f"{100 * one:.2f}" for one in pair]
    if MISSING in told or told[0] == told[1]:
        return told
    better = int(sign * _points(pair) > 0)
    return [f"**{one}**" if index == better else one for index, one in enumerate(told)]


def _points(pair: tuple[float | None, float | None]) -> float:
    teacher, student = pair
    assert teacher is not None and student is not None
    return 100 * (student - teacher)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _vanilla(report: Mapping[str, Any]) -> bool:
    """Whether its generator was the original one, with hinge loss and tanh, which the paper compares its own with."""
    config = report.get("config", {})
    return bool(config.get("gan", {}).get("hinge")) and config.get("network", {}).get("output") == "tanh"


def _named(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Runs by their data set (and generator, if it is not the paper's), and where several share it, by folder too."""
    names = [report["dataset"]["name"] + (VANILLA if _vanilla(report) else "") for _, report in runs]
    for (place, report), name in zip(runs, names, strict=True):
        folder = place.partition("?")[0].rstrip("/").rpartition("/")[2]
        yield (f"{name} ({folder})" if names.count(name) > 1 else name), report


def page(tables: Sequence[Table], left_out: Mapping[str, Sequence[str]], picture: str | None = None) -> str:
    """A self-contained page of tables, under a `picture` (a data URI) of epsilon against accuracy, if there is one;
    what is `left_out`, by why."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return made.get_template("tables.html.j2").render(
        tables=tables, left_out=left_out, picture=picture, about_picture=trade_off.TEXT, words=WORDS
    )  # fmt: skip
