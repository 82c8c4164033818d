"""Figures in words, and the table over several runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from raysyn.privacy.cost import unit_of
from raysyn.report.columns import FID, STAND_IN, differences, distances, named
from raysyn.report.refuted import refuted
from raysyn.screen.console import duration
from raysyn.screen.words import rounded_down, rounded_up

NAMES = {
    "cnn": "CNN",
    "resnet9": "ResNet-9",
    "resnet9_ffcv": "ResNet-9 (FFCV)",
    "mlp": "MLP",
    "logreg": "logistic regression",
    "resnet14": "ResNet-14",
    "resnet18": "ResNet-18",
    "vgg11": "VGG11",
    "mobilenet_v2": "MobileNetV2",
    "shufflenet_v2": "ShuffleNetV2",
    "sklearn_mlp": "MLP (scikit-learn)",
    "sklearn_mlp_default": "MLP (scikit-learn, without early stop)",
    "sklearn_logreg": "logistic regression (scikit-learn)",
    "fid": "FID (Inception)",
    "nearest_pair": "Closest synthetic and real image; 1: a real image and its nearest other, in the median",
    "nearest_pairs": "Picture of the closest pairs, with private images in it",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "frechet_distance_cnn_features": "Fréchet distance, features of a CNN trained here (not FID)",
    "frechet_distance_one_half": "Fréchet distance, same features, of half as many",
    "kid": "KID (Inception)",
    "fid_one_half": "FID (Inception), of half as many",
    "fld": "FLD (Inception)",
    "fld_gap": "FLD, training beside test images",
    "kernel_distance_cnn_features": "Kernel distance, same features (not KID)",
    "inception_score_ten_splits": "Inception score, mean over ten splits, 1,000 classes",
    "memory_bytes": "Memory of the largest process",
    "gpu_memory_bytes": "Of its GPU",
    "intra_fid": "intra-FID (Inception, mean over classes)",
    "intra_frechet_distance_cnn_features": "Fréchet distance within classes, mean, same features (not intra-FID)",
}


MISSING = "-"
MEMORY = ("memory_bytes", "gpu_memory_bytes")
"""Of a stage, beside its times."""


def size(count: int) -> str:
    """Bytes, as people say them."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"


def table(reports: Sequence[Mapping[str, Any]], commands: Sequence[str] = (), columns: Sequence[str] = ()) -> str:
    """Several report.json contents as one Markdown table, a run per row; see `table_rows`."""
    return markdown(table_rows(reports, commands, columns), WORDS)


def table_rows(
    reports: Sequence[Mapping[str, Any]], commands: Sequence[str] = (), columns: Sequence[str] = ()
) -> list[list[str]]:
    """A heading and a row per run. `commands` are the runs' first words, where papers call their settings otherwise;
    `columns` are figures by name. Other columns about which no run has anything to tell are left out. Where a promise
    is to persons each row says to whom it is: their epsilon is another thing than one for images.

    Raises ValueError, in one sentence, for a column that there is not.
    """
    classifiers = list(dict.fromkeys(key for report in reports for key in report["metrics"].get("utility") or {}))
    asked = named(reports, columns)
    differ = differences(reports, commands or [report["method"] for report in reports])
    rows = [_cells(report, differs, classifiers) for report, differs in zip(reports, differ, strict=True)]
    keep = [name for name in rows[0] if name not in OPTIONAL or any(row[name] not in ("", MISSING) for row in rows)]
    keep = tells_units(keep, rows)
    told = [[row[name] for name in keep] for row in rows]
    for at, line in enumerate(told):
        line += [MISSING if values[at] is None else figure(values[at]) for values in asked.values()]
    return [[*keep, *asked], *told]


def tells_units(names: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """`names` of columns, without that of the unit where all promises are to images, as they are unless one says so."""
    of_others = {row[UNIT] for row in rows} - {MISSING, IMAGE}
    return [name for name in names if name != UNIT or of_others]


UNIT, IMAGE = "unit", "image"
ADVANTAGE, SHOWN = "attack advantage", "shown ε"
OPTIONAL = (
    *("differs in", "real images", "floor", "largest class", "chance", "FID", "Fréchet distance"),
    *(ADVANTAGE, SHOWN),
)


def _cells(report: Mapping[str, Any], differs: str, classifiers: Sequence[str]) -> dict[str, str]:
    privacy, metrics = report["privacy"], report["metrics"]
    utility, far = metrics.get("utility") or {}, distances(report)
    guessing = metrics.get("utility_guessing") or {}
    promised = privacy["guarantee"] == "dp"
    return {
        "method": report["method"],
        "preset": report["preset"],
        "data": report["dataset"]["name"],
        "differs in": differs,
        UNIT: unit_of(privacy["adjacency"]) if promised else MISSING,
        **{key: rounded_up(privacy[key]) if promised else "none" for key in ("epsilon", "delta")},
        **({"epsilon": f"{rounded_up(privacy['epsilon'])}, REFUTED"} if refuted(report) else {}),
        **{in_words(key): percent(utility.get(key, {}).get("accuracy")) for key in classifiers},
        "mean": _summary(metrics, "mean"),
        "best": _summary(metrics, "best"),
        "real images": _summary(metrics, "mean", "accuracy_real_data"),
        "floor": _summary(metrics, "mean", "accuracy_floor"),
        "largest class": percent(guessing.get("largest_class")),
        "chance": percent(guessing.get("chance")),
        "FID": _number(far[FID]),
        "Fréchet distance": _number(far[STAND_IN]),
        **_attacked(report),
        "wall": duration(sum(spent["wall_s"] for spent in report["timings"].values())),
    }


def _attacked(report: Mapping[str, Any]) -> dict[str, str]:
    """What shadow runs found in released images, in points, and the epsilon that this shows at least; of other attacks
    figures are of one run alone, and not to compare."""
    found = (report.get("attacks") or {}).get("found") or []
    one = next((one for one in found if one.get("targets") and one["sees"] == "released images"), None)
    if one is None:
        return {ADVANTAGE: MISSING, SHOWN: MISSING}
    value, low, high = (f"{100 * one['advantage'][key]:.1f}" for key in ("value", "low", "high"))
    return {ADVANTAGE: f"{value} ({low} to {high})", SHOWN: rounded_down(one["epsilon"]["value"])}


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _summary(metrics: Mapping[str, Any], key: str, field: str = "accuracy") -> str:
    return percent((metrics.get(f"utility_{key}") or {}).get(field))


WORDS = ("preset", "data", "differs in")
"""Columns of a table over runs, beside the first one, that hold words: they stand to the left."""


def markdown(rows: Sequence[Sequence[str]], words: Collection[str] = ()) -> str:
    """Rows as a Markdown table, the first one being its heading, and `words` those of columns that hold no figures;
    padded, so that it reads as one on a screen, too."""
    # Else a name would begin a column.
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    # Columns of figures are set to the right where Markdown is rendered.
    left = [at == 0 or heading in words for at, heading in enumerate(rows[0])]
    rule = ["-" * width if here else "-" * (width - 1) + ":" for here, width in zip(left, widths, strict=True)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [lines[0], rule, *lines[1:]])


def percent(value: float | None) -> str:
    return MISSING if value is None else f"{100 * value:.1f} %"


def figure(value: Any) -> str:
    """Any plain value for a reader: four significant digits, and a word for what is not there."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return ", ".join(map(figure, value)) or "none"
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def in_words(key: str) -> str:
    return NAMES.get(key, key.replace("_", " ").replace(".", ", "))
