"""What DP-ImgSyn's report says: the losses over the steps, how far from private images the released ones are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from raysyn.figures import Line, chart
from raysyn.methods.common import PrivateSetting
from raysyn.public import Public
from raysyn.report import Section
from raysyn.train.alignment import AlignmentConfig

if TYPE_CHECKING:
    from raysyn.methods.dp_imgsyn import Config

KINDS = {"released": "released", "public": "raw public", "held_out": "real, held out"}


def losses_over_steps(told: np.ndarray, config: AlignmentConfig) -> Section:
    """Figure 4's losses: (steps + 1, 5) means over batches, in the order of `dp_imgsyn.LOSSES`."""
    steps = list(range(len(told)))
    names = {"layer statistics": 0, "classification": 1, "total": 4}
    lines = {name: Line(steps, (told[:, at] / max(told[0, at], 1e-12)).tolist()) for name, at in names.items()}
    lines["total variation"] = Line(steps, (told[:, 2] / max(told[0, 2], 1e-12)).tolist(), style="--")
    return Section(
        title="Alignment (figure 4 of the paper)",
        text=f"Losses over {config.iterations} steps, each as a share of what it was before the first. Where the total "
        "variation climbs, images become artificial: stop before that.",
        picture=chart(lines, x="step", y="share of the first loss"),
        alt="four losses over the steps of the alignment",
    )


def look_alike(found: Mapping[str, Any]) -> Section:
    """Nearest private neighbours, in a table."""
    if not found:
        return Section(
            title="Do released images look like private ones?", text="Not measured: dissimilarity.images is 0."
        )
    rows = [
        (
            KINDS[kind],
            *(
                f"{found[space][kind][figure]:.3f}"
                for space in ("pixels", "features")
                for figure in ("median", "nearest_5_percent")
            ),
        )
        for kind in KINDS
        if kind in found["pixels"]
    ]
    head = ("images", "pixels, median", "pixels, nearest 5 %", "features, median", "features, nearest 5 %")
    return Section(
        title="Do released images look like private ones?",
        text="Distance to the nearest private training image: root mean square difference of pixels, and in the "
        "features of a CNN trained on private images (1 is the median of real images that were held out). Images that "
        "owe nothing to the private ones, the raw public ones, are as far as can be expected; copies would be at 0.",
        rows=[head, *rows],
    )


def story(setting: PrivateSetting, public: Public | None) -> list[str]:
    """One plain sentence per stage, for the report."""
    config: Config = setting.config
    training, asked = setting.plan.stages["teacher"], setting.plan.stages["statistics"]
    begun = f"public images ({public.name})" if public is not None else f"{config.alignment.start} noise"
    return [
        f"Trained a teacher ({config.teacher.name}, group norm) with {training.steps:,} steps of DP-SGD at noise "
        f"multiplier {training.noise_multiplier:.3g}, expected batch {config.training.batch_size:,}.",
        f"Asked for the means and variances of its layers' inputs over the private images in {asked.steps:,} answers, "
        f"with noise of {asked.noise_multiplier:g} times what one image can change in all layers together: stricter "
        "than the paper, whose noise is scaled to one layer.",
        f"Changed {begun} in {config.alignment.iterations} steps towards these statistics and uniform labels.",
        "Labelled them with the teacher's probabilities, and released both.",
        f"Trained {len(config.students)} kinds of students on the release and tested them on real images.",
    ]
