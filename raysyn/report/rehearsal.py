"""What is written last is tried first: release and report of blank images, in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from raysyn.data.images import Dataset, Images
from raysyn.data.names import check_class_names, check_name, check_text
from raysyn.report.release import AS_USUAL, certificate, release_files
from raysyn.report.release_config import ReleaseConfig
from raysyn.report.report import Report, environment, no_dp_section
from raysyn.report.run_page import render


class Told(Protocol):
    """What is needed of a method's configuration."""

    @property
    def tuned_on(self) -> str | None: ...
    @property
    def chosen_among(self) -> str | None: ...
    @property
    def release(self) -> ReleaseConfig: ...


MOST = 25
"""Blank images, one per class: as many as there are rows in samples.png."""


BLANK = {"images": 0, "sha256": "0" * 64, "validation_images": 0, "validation_sha256": "0" * 64}
"""What a certificate will say of public images beside the names of their sets."""


def rehearse(
    method: str, dataset: Dataset, *, soft_labels: bool = False, told: Told | None = None,
    uncharged: Sequence[str] = (), sets: Sequence[str] = (), networks: Mapping[str, str | None] | None = None,
) -> None:  # fmt: skip
    """ValueError, before anything is spent, where names or shape of these images, or another text of the certificate,
    cannot be written as a release and a report; reads no image.

    `told` is the configuration that says what was chosen by looking at private data, `uncharged` what the certificate
    will list, `sets` the names of public ones, `networks` the files of public networks by their fields.
    """
    for field in ("tuned_on", "chosen_among"):
        if text := getattr(told, field, None):
            check_text(field, text)
    for one in sets:
        check_name("public.path", "the public set", one)
    files = {field: Path(given).name for field, given in (networks or {}).items() if given is not None}
    for field, name in files.items():
        check_name(field, "the file", name)
    names, train = dataset.train.class_names, dataset.train
    check_name("data", "the data set", dataset.name)
    check_class_names("data", names)
    labels_N = np.arange(min(MOST, len(names)), dtype=np.int64)
    blank = Images(np.zeros((len(labels_N), *train.shape), np.uint8), labels_N, names)
    soft = np.zeros((len(labels_N), len(names)), np.float32) if soft_labels else None
    privacy = no_dp_section(uncharged)
    terms = certificate(
        privacy, method=method, name=dataset.name, n=len(train), shape=train.shape, class_names=names,
        persons=None if train.persons_N is None else train.units,
        public_images=[{"sets": list(sets), **BLANK}] if sets else [],
        public_networks=[{"name": name, "sha256": "0" * 64} for name in files.values()],
    )  # fmt: skip
    release_files(
        blank,
        terms,
        name=f"synthetic {dataset.name}",
        soft_labels=soft,
        written=AS_USUAL if told is None else told.release,
    )
    about = {"name": dataset.name, "n_train": len(train), "n_test": len(dataset.test)}
    report = Report(
        method=method, preset="", config={}, dataset={**about, "shape": train.shape, "classes": names},
        privacy=privacy, metrics={}, attacks={}, timings={}, environment=environment(),
    )  # fmt: skip
    page, text = render(report.as_dict(), blank), json.dumps(report.as_dict(), allow_nan=False)
    assert page.encode() and text.encode()
