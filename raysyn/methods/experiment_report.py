"""What a report says of experiments that compare whole runs: a table each, curves, some of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from raysyn.data.images import Images
from raysyn.methods.common import Setting
from raysyn.methods.ends import Beside
from raysyn.methods.experiment_units import Begun, Parts
from raysyn.methods.experiments import Compared, compare, own_result
from raysyn.methods.sweep import Group, Variant, unlike
from raysyn.report.figures import Line, Panel, charts
from raysyn.report.pictures import mosaic, png_uri
from raysyn.report.report import Section
from raysyn.report.tables import MISSING, in_words

FID, FRECHET = "fid", "frechet_distance_cnn_features"
DISTANCES = {FID: "FID", FRECHET: "Fréchet distance"}
SHORT = {FID: "FID", FRECHET: "Fréchet"}
"""The same at the head of a column, and"""
NAMES = {"logreg": "log. reg.", "sklearn_logreg": "log. reg. (sk.)", "sklearn_mlp": "MLP (sk.)"}
"""classifiers whose name would make it wide."""
NOT_PAID = (
    "Nothing of these runs is released, and nobody pays for them: a setting chosen by these figures is a look at "
    "private images."
)
LEFT_OUT = "Those of runs without privacy are left out, because this page stays when the run is sealed."
Result = Mapping[str, Any]


class Row(NamedTuple):
    """One run, in a table."""

    title: str
    result: Result
    own: bool
    """The run itself."""
    promises: bool
    """Whether there is any privacy: what there is none in must not be seen on a page that stays."""


def beside(setting: Setting, parts: Parts, groups: Mapping[str, Group], synthetic: Images, begun: Begun) -> Beside:
    """What `ends.finish` is to measure and show beside the run itself."""
    return partial(_beside, setting, parts, groups, synthetic, begun)


def _beside(
    setting: Setting, parts: Parts, groups: Mapping[str, Group], synthetic: Images, begun: Begun,
    metrics: Mapping[str, Any],
) -> tuple[dict[str, Any], list[Section]]:  # fmt: skip
    if not groups:
        return {}, []
    found = compare(setting, parts, groups, own_result(setting, synthetic, metrics, begun))
    return in_figures(found), sections(found, setting.config)


def in_figures(found: Compared) -> dict[str, Any]:
    """The experiments, for report.json."""
    return {"experiments": {name: [_told(found, one) for one in unlike(group.variants, found.reads)]
                            for name, group in found.groups.items()}}  # fmt: skip


def _told(found: Compared, one: Variant) -> dict[str, Any]:
    promises = getattr(one.config, "private", True)
    about = {"title": one.title, "method": one.method, "epsilon": one.config.budget.epsilon if promises else None}
    return about | _figures(_result(found, one)) | _before(found, one)


def _before(found: Compared, one: Variant) -> dict[str, Any]:
    there = found.before.get(found.reads.begun(one.config))
    return {} if there is None else {"before_fine_tuning": _figures(there)}


def _figures(result: Result) -> dict[str, Any]:
    told = {key: value for key, value in result.items() if key != "shown"}
    return told | {"mean_accuracy": _mean(result)}


def _mean(result: Result) -> float | None:
    reached = list(result["accuracy"].values())
    return float(np.mean(reached)) if reached else None


def sections(found: Compared, config: Any) -> list[Section]:
    """The parts of the page."""
    parts = []
    for name, group in found.groups.items():
        rows = [_row(found, one, config, _result(found, one)) for one in unlike(group.variants, found.reads)]
        results = [row.result for row in rows]
        parts.append(_table(group, rows))
        if group.x and any(one.x is not None for one in group.variants) and (_classifiers(results) or _known(results)):
            parts.append(_curves(found, group))
        parts += _pictures(name, rows)
        if _known(results) and any("along" in result for result in results):
            parts.append(_along(rows))
    return [*parts, *_before_parts(found, config)]


def _row(found: Compared, one: Variant, config: Any, result: Result) -> Row:
    own = found.reads.whole(one.config) == found.reads.whole(config)
    return Row(one.title, result, own, getattr(one.config, "private", True))


def _before_parts(found: Compared, config: Any) -> list[Section]:
    """Of all models that are different before fine-tuning, once."""
    first = dict[Any, Variant]()
    for one in (one for group in found.groups.values() for one in group.variants):
        first.setdefault(found.reads.begun(one.config), one)
    pairs = [(one, found.before[key]) for key, one in first.items() if key in found.before]
    if not pairs:
        return []
    taught = [_row(found, one, config, before) for one, before in pairs]
    return [_before_table(taught, [_result(found, one) for one, _ in pairs]), *_pictures("before", taught)]


def _result(found: Compared, one: Variant) -> Result:
    return found.whole[found.reads.whole(one.config)]


def _table(group: Group, found: Sequence[Row]) -> Section:
    results = [row.result for row in found]
    facts = list(dict.fromkeys(name for result in results for name in result["facts"]))
    rows = [
        (
            f"{title} (this run)" if own else title, *(_number(result["facts"].get(fact)) for fact in facts),
            _number(result["noise_multiplier"]), *_judged(result, _classifiers(results), _known(results)),
        )
        for title, result, own, _ in found
    ]  # fmt: skip
    head = ("run", *facts, "noise", *_heading(_classifiers(results), _known(results)))
    text = (
        f"{group.text} Noise is the noise multiplier of DP-SGD. {_columns(_known(results))} One seed each. {NOT_PAID}"
    )
    return Section(title=group.title, text=text, rows=[head, *rows])


def _columns(known: Sequence[str]) -> str:
    """What the columns show."""
    far = " Fréchet is the Fréchet distance on the features of a CNN trained here, not FID." if FRECHET in known else ""
    return f"Classifiers learned from the images and were tested on real ones, in percent.{far}"


def _heading(classifiers: Sequence[str], known: Sequence[str]) -> list[str]:
    mean = ["mean"] if len(classifiers) > 1 else []
    return [*(NAMES.get(name) or in_words(name) for name in classifiers), *mean, *(SHORT[name] for name in known)]


def _judged(result: Result, classifiers: Sequence[str], known: Sequence[str]) -> list[str]:
    reached = [_percent(result["accuracy"][name]) for name in classifiers]
    mean = [_percent(_mean(result))] if len(classifiers) > 1 else []
    return [*reached, *mean, *(_number(result[name]) for name in known)]


def _classifiers(results: Sequence[Result]) -> list[str]:
    return list(results[0]["accuracy"])


def _known(results: Sequence[Result]) -> list[str]:
    """Distances that are known of any run."""
    return [name for name in DISTANCES if any(result[name] is not None for result in results)]


def _percent(share: float | None) -> str:
    return MISSING if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}"


def _curves(found: Compared, group: Group) -> Section:
    """Accuracy and distance over what is changed, a line for each kind of run."""
    placed = [one for one in group.variants if one.x is not None]
    results = [_result(found, one) for one in placed]

    def lines(read: Any) -> dict[str, Line]:
        told: dict[str, list[tuple[float, float]]] = {}
        for one in placed:
            if (value := read(_result(found, one))) is not None:
                told.setdefault(one.line, []).append((one.x or 0.0, value))
        # The run itself may stand there twice.
        curves = {name: sorted(set(points)) for name, points in told.items()}
        return {name: Line([x for x, _ in some], [y for _, y in some], "o-") for name, some in curves.items()}

    panels = []
    if _classifiers(results):
        percent = lines(lambda result: 100 * (_mean(result) or 0.0))
        panels.append(Panel(percent, group.x, "mean accuracy, %", log_x=group.log_x))
    for name in _known(results):
        panels.append(Panel(lines(lambda result, name=name: result[name]), group.x, DISTANCES[name], log_x=group.log_x))
    return Section(
        title=f"{group.title}: curves", picture=charts(panels),
        alt=f"mean accuracy of the classifiers and distance to real images over {group.x}",
    )  # fmt: skip


def _pictures(name: str, rows: Sequence[Row]) -> list[Section]:
    """The first images of each run with a promise, a row each."""
    shown = [row for row in rows if row.promises]
    if not shown:
        return []
    sheets = [row.result["shown"].numpy() for row in shown]
    across = min(map(len, sheets))
    every = np.concatenate([sheet[:across] for sheet in sheets])
    picture = png_uri(mosaic(every, across, max(1, round(40 / every.shape[1])), 2))
    what = "before fine-tuning on private images" if name == "before" else "as they would be released"
    text = "A row each, classes in turn: " + "; ".join(row.title for row in shown) + "."
    section = Section(
        title=f"Their first images, {what}", text=text if len(shown) == len(rows) else f"{text} {LEFT_OUT}",
        picture=picture, alt="images of each run in a row of its own",
    )  # fmt: skip
    return [section]


def _before_table(taught: Sequence[Row], results: Sequence[Result]) -> Section:
    """Before and after."""
    before = [row.result for row in taught]
    classifiers, known = _classifiers(before), _known(before)
    after = [f"{SHORT[name]} after" for name in known]
    rows = [
        (
            row.title, *_judged(row.result, classifiers, known), _number(row.result["loss"]),
            *(_number(after_it[name]) for name in known),
        )
        for row, after_it in zip(taught, results, strict=True)
    ]  # fmt: skip
    return Section(
        title="Before fine-tuning on private images",
        text="The models as they are then, with the weights that it begins with, and what they come to after it. The "
        f"loss is that of the training, on private images with their classes. {_columns(known)} {NOT_PAID}",
        rows=[("run", *_heading(classifiers, known), "loss", *after), *rows],
    )


def _along(rows: Sequence[Row]) -> Section:
    """Distances over the steps of DP-SGD."""
    known = [(row.title, row.result["along"]) for row in rows if "along" in row.result]
    # A line each, also of runs that are called alike.
    titles = [title for title, _ in known]
    names = [title if titles.count(title) == 1 else f"{title}, {at}" for at, title in enumerate(titles, 1)]
    panels = [
        Panel(
            {title: Line([one["step"] for one in points], [one[name] for one in points], "o-")
             for title, (_, points) in zip(names, known, strict=True)},
            "steps of DP-SGD", DISTANCES[name],
        )
        for name in DISTANCES if known[0][1][0][name] is not None
    ]  # fmt: skip
    return Section(
        title="Distance to real images along the fine-tuning",
        text="Of images drawn from the averaged weights at points between, in the same way as those of the table's "
        "distances; step 0 is what comes before private images. Fewer images make a distance larger than in the table. "
        "The run itself was trained once more for this.",
        picture=charts(panels), alt="distance to real images over the steps of DP-SGD, a line for each run",
    )  # fmt: skip
