"""What is written last is tried first: release and report of blank images, in memory."""

from __future__ import annotations

import json

import numpy as np

from raysyn.data import Dataset, Images
from raysyn.names import check_class_names, check_name
from raysyn.release import certificate, release_files
from raysyn.report import Report, environment, no_dp_section, render

MOST = 25
"""Blank images, one per class: as many as there are rows in samples.png."""


def rehearse(method: str, dataset: Dataset, *, soft_labels: bool = False) -> None:
    """ValueError, before anything is spent, where names or shape of these images cannot be written as a release and a
    report; reads no image."""
    names, train = dataset.train.class_names, dataset.train
    check_name("data", "the data set", dataset.name)
    check_class_names("data", names)
    labels_N = np.arange(min(MOST, len(names)), dtype=np.int64)
    blank = Images(np.zeros((len(labels_N), *train.shape), np.uint8), labels_N, names)
    soft = np.zeros((len(labels_N), len(names)), np.float32) if soft_labels else None
    privacy = no_dp_section()
    terms = certificate(privacy, method=method, name=dataset.name, n=len(train), shape=train.shape, class_names=names)
    release_files(blank, terms, name=f"synthetic {dataset.name}", soft_labels=soft)
    about = {"name": dataset.name, "n_train": len(train), "n_test": len(dataset.test)}
    report = Report(
        method=method, preset="", config={}, dataset={**about, "shape": train.shape, "classes": names},
        privacy=privacy, metrics={}, attacks={}, timings={}, environment=environment(),
    )  # fmt: skip
    page, text = render(report.as_dict(), blank), json.dumps(report.as_dict(), allow_nan=False)
    assert page.encode() and text.encode()
