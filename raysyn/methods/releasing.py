"""What every pipeline does when its images are made: say what was spent, certify it, write release/."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.report.release import certificate, write_release
from raysyn.report.report import dp_section, no_dp_section


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
        privacy = dp_section(setting.plan, setting.ledger, uncharged)
    promise = certificate(
        privacy,
        method=name,
        name=dataset.name,
        n=len(train),
        shape=train.shape,
        class_names=train.class_names,
        **public,
    )
    about = f"synthetic {dataset.name}"
    write_release(
        setting.folder, synthetic, promise, name=about, soft_labels=soft_labels, more=files,
        written=setting.config.release,
    )  # fmt: skip
    return privacy
