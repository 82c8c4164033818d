"""Figures in words, and the table over several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from raysyn.report.release import (
    rounded_up,
)
from raysyn.screen.console import duration

NAMES = {
    "cnn": "CNN",
    "resnet9": "ResNet-9",
    "mlp": "MLP",
    "logreg": "logistic regression",
    "resnet14": "ResNet-14",
    "resnet18": "ResNet-18",
    "vgg11": "VGG11",
    "mobilenet_v2": "MobileNetV2",
    "shufflenet_v2": "ShuffleNetV2",
    "sklearn_mlp": "MLP (scikit-learn)",
    "sklearn_logreg": "logistic regression (scikit-learn)",
    "fid": "FID (Inception)",
    "nearest_pair": "Closest synthetic and real image; 1: a real image and its nearest other, in the median",
    "nearest_pairs": "Picture of the closest pairs, with private images in it",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    "frechet_distance_cnn_features": "Fréchet distance, features of a CNN trained here (not FID)",
    "kid": "KID (Inception)",
    "kernel_distance_cnn_features": "Kernel distance, same features (not KID)",
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


def table(reports: Sequence[Mapping[str, Any]]) -> str:
    """Several report.json contents as one Markdown table, a run per row."""
    head, *rows = table_rows(reports)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def table_rows(reports: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    classifiers = list(dict.fromkeys(key for report in reports for key in report["metrics"].get("utility") or {}))
    head = ["method", "preset", "data", "epsilon", "delta", *map(in_words, classifiers), "mean", "best", "wall"]
    rows = [head]
    for report in reports:
        privacy, metrics = report["privacy"], report["metrics"]
        promise = [rounded_up(privacy[key]) if privacy["guarantee"] == "dp" else "none" for key in ("epsilon", "delta")]
        utility = metrics.get("utility") or {}
        reached = [percent(utility.get(key, {}).get("accuracy")) for key in classifiers]
        wall = sum(spent["wall_s"] for spent in report["timings"].values())
        rows.append(
            [
                report["method"],
                report["preset"],
                report["dataset"]["name"],
                *promise,
                *reached,
                _summary(metrics, "mean"),
                _summary(metrics, "best"),
                duration(wall),
            ]
        )
    return rows


def _summary(metrics: Mapping[str, Any], key: str) -> str:
    return percent((metrics.get(f"utility_{key}") or {}).get("accuracy"))


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
