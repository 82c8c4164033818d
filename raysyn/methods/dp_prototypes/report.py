"""What the report of a run with prototypes says beside what all reports do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.data.public import Public
from raysyn.methods import soft_students
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_prototypes.config import Config
from raysyn.report.report import Section

CHOICES = {"surest": "of each class those whose label says it most", "random": "at random"}


def about_labels(
    config: Config, reached: float, soft_NK: NDArray[np.float32], taken: NDArray[np.int64]
) -> Section:  # fmt: skip
    """What students can hope for, and what the labels are like."""
    rows = [("images", "number", "largest probability, mean")]
    for name, some in {"all public ones": soft_NK, "released": soft_NK[taken]}.items():
        rows.append((name, f"{len(some):,}", f"{100 * some.max(1).mean():.0f} %"))
    return Section(
        title="The prototypes",
        text=f"The noisy prototypes themselves recognise {100 * reached:.1f} % of the real test images. They are not "
        f"released: students learn from the labels that they give to public images, which were chosen "
        f"{CHOICES[config.prototypes.choice]}. A label says which private class a public image is most like: it need "
        "not show anything of it.",
        rows=rows,
    )


def look_alike(found: Mapping[str, Any]) -> list[Section]:
    """As `soft_students.look_alike`, of public images."""
    about = "Released images are public ones as they were. Public images at random owe nothing to the private ones"
    return soft_students.look_alike(found, "public, at random", about)


def story(setting: PrivateSetting, public: Public, features: int) -> list[str]:
    """One plain sentence per stage, for the report."""
    config, private = setting.config, setting.dataset.train
    given = config.query.checkpoint is not None
    who = "a classifier that was given" if given else f"a classifier of {len(public.train):,} public images"
    return [
        f"Asked for the noisy sum of {features:,} features of each of {private.classes} classes, as {who} sees them "
        "along the directions that tell public classes apart.",
        f"Labelled {len(public.train):,} public images ({public.name}) by the cosine to these prototypes, and released "
        f"{config.synthetic:,} of them, {CHOICES[config.prototypes.choice]}, as they were, with these labels.",
        f"Trained students ({', '.join(config.students) or 'none'}), {config.distillation.width:g} times as wide as "
        "published, on the release, and tested them on real images.",
    ]
