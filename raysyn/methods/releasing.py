"""What every pipeline does when its images are made: say what was spent, certify it, write release/."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysyn.data.images import Images
from raysyn.methods import account, network
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.report.release import certificate, write_release
from raysyn.report.report import dp_section, no_dp_section
from raysyn.runs.storage import load_saved


def release(
    setting: Setting,
    name: str,
    synthetic: Images,
    uncharged: Sequence[str],
    *,
    soft_labels: np.ndarray | None = None,
    files: Mapping[str, bytes] | None = None,
    **public: Any,
) -> Mapping[str, Any]:
    """Write the images, with `soft_labels` (N, classes) and further `files` if there are, and their certificate; the
    report's privacy section.

    `name` is what the certificate calls the method, `uncharged` what was chosen by looking at private data and paid for
    by nobody, `public` the public_images and public_networks that it was made from (see `certificate`).
    """
    dataset, train = setting.dataset, setting.dataset.train
    privacy = no_dp_section(uncharged)
    if isinstance(setting, PrivateSetting):
        told = account.certified(setting.kept, setting.folder, setting.plan)
        privacy = dp_section(setting.plan, setting.ledger, uncharged, told)
    promise = certificate(
        privacy,
        method=name,
        name=dataset.name,
        n=len(train),
        shape=train.shape,
        class_names=train.class_names,
        persons=None if train.persons_N is None else train.units,
        package=setting.package,
        **public,
    )
    about = f"synthetic {dataset.name}"
    written = setting.config.release
    if written.network:
        files = {**(files or {}), **drawn_from(setting, promise["statement"], name)}
    write_release(
        setting.folder, synthetic, promise, name=about, soft_labels=soft_labels, more=files,
        written=written,
    )  # fmt: skip
    return privacy


def drawn_from(setting: Setting, statement: str, made_by: str) -> dict[str, bytes]:
    """The files of the network, of nothing but answers that were paid for; in a run without a promise, learned.
    ValueError for what was not, and where `drawing` needs more than these files."""
    assert setting.network is not None, "`Method.begin` refuses it before"
    known = set(setting.network.made)
    if isinstance(setting, PrivateSetting):
        known |= {entry["stage"] for entry in setting.ledger.entries()}

    def answer(stage: str) -> Any:
        if isinstance(setting, PrivateSetting) and stage not in known:
            raise ValueError(f"{stage} was not paid for: the ledger has no such row, and nothing of it may leave")
        return load_saved(setting.folder.internal / "stages" / f"{stage}.pt")

    about = json.loads(setting.folder.run_json.read_text())
    files = network.files(
        setting.network, setting.config, answer, method=about["method"], preset=about["preset"], statement=statement,
        made_by=made_by,
    )  # fmt: skip
    if setting.drawing is not None:
        network.check_drawn(setting.network, setting.drawing, setting.config, setting.dataset.train, files)
    return files
