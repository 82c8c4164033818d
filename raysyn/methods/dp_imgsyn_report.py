"""What DP-ImgSyn's report says: the losses over the steps, how far from private images the released ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from raysyn.figures import Line, chart, maps
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn_experiments import Variant
from raysyn.public import Public
from raysyn.report import Section
from raysyn.train.alignment import LOSSES, AlignmentConfig

if TYPE_CHECKING:
    from raysyn.methods.dp_imgsyn import Config

Compared = tuple[Variant, Sequence[Mapping[str, Any]]]
"""A synthesis, and what each of its repeats came to."""
TITLES = {
    "iterations": ("Numbers of steps (figure 4 of the paper)", "Student accuracy after k steps of alignment."),
    "public": ("Public sets and budgets (table 2 of the paper)", "With and without alignment."),
    "losses": (
        "Terms of the loss (table 8 of the paper)",
        "What is kept, beginning with public images or noise.",
    ),
    "weights": ("Weights of the loss (table 6 of the paper)", "One weight multiplied, the others as they were."),
    "starts": ("Noise to begin with (tables 9 and 11 of the paper)", "With and without alignment."),
}
KINDS = {"released": "released", "public": "raw public", "held_out": "real, held out"}


def losses_over_steps(told: np.ndarray, config: AlignmentConfig) -> Section:
    """Figure 4's losses: (steps + 1, 5) means over batches, of the terms and the total."""
    steps = list(range(len(told)))
    shown = {"layer statistics": "feature", "classification": "classification", "total": "total"}
    lines = {name: Line(steps, _shares(told[:, (*LOSSES, "total").index(term)])) for name, term in shown.items()}
    lines["total variation"] = Line(steps, _shares(told[:, LOSSES.index("total_variation")]), style="--")
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


def in_figures(tables: Mapping[str, Sequence[Compared]]) -> dict[str, Any]:
    """The experiments, for report.json."""
    if not tables:
        return {}
    return {
        "experiments": {
            name: [{"title": variant.title, "epsilon": variant.epsilon, **_spread(found)} for variant, found in group]
            for name, group in tables.items()
        }
    }


def _spread(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    reached = [one["accuracy"] for one in found]
    return {
        "mean": float(np.mean(reached)),
        "std": float(np.std(reached, ddof=1)) if len(reached) > 1 else None,
        "repeats": reached,
    }


def compared(tables: Mapping[str, Sequence[Compared]]) -> list[Section]:
    """A table per experiment, and figure 4's curves."""
    parts = []
    for name, group in tables.items():
        title, text = TITLES[name]
        repeats = len(group[0][1])
        text += " One seed." if repeats == 1 else f" Mean ± standard deviation over {repeats} seeds."
        rows = [("synthesis", "student accuracy, %"), *((variant.title, _cell(found)) for variant, found in group)]
        text += " Choosing by these figures is a look at private images that nobody pays for."
        parts.append(Section(title=title, text=text, rows=rows))
        if name == "iterations" and len(group) > 1:
            parts.append(_over_steps(group))
    return parts


def _cell(found: Sequence[Mapping[str, Any]]) -> str:
    spread = _spread(found)
    mean = f"{100 * spread['mean']:.2f}"
    return mean if spread["std"] is None else f"{mean} ± {100 * spread['std']:.2f}"


def _over_steps(group: Sequence[Compared]) -> Section:
    """Figure 4: accuracy, total loss and total variation over k."""
    steps = [variant.alignment.iterations for variant, _ in group]
    longest = group[-1][1][0]["losses"].numpy()
    every = list(range(len(longest)))
    return Section(
        title="Accuracy and losses over the steps (figure 4 of the paper)",
        picture=chart(
            {
                "student accuracy": Line(steps, [_spread(found)["mean"] for _, found in group], "o-"),
                "total loss": Line(every, _shares(longest[:, -1])),
                "total variation": Line(every, _shares(longest[:, LOSSES.index("total_variation")]), "--"),
            },
            x="steps k", y="accuracy; share of the first loss",
        ),
        alt="student accuracy, total loss and total variation over the number of steps",
    )  # fmt: skip


def _shares(losses: np.ndarray) -> list[float]:
    return (losses / max(float(losses[0]), 1e-12)).tolist()


def plane_section(points: Mapping[str, Tensor]) -> Section:
    """Figure 5, and how much of the unit square each student sees as its teacher does."""
    drawn = {name: value.numpy() for name, value in points.items()}
    sides = [drawn["private"][drawn["labels"] == label] for label in (0, 1)]
    clouds = {"#ffffff": drawn["public"]}
    aligned = {"#e7298a": drawn["aligned"]}
    agree = {
        name: f"{100 * float(((drawn[name] > 0.5) == (drawn['teacher'] > 0.5)).mean()):.0f} %"
        for name in ("vanilla", "student")
    }
    return Section(
        title="Alignment in a plane (figure 5 of the paper)",
        text="Made-up points, without privacy: what a teacher, a student of unaligned points and a student of aligned "
        f"ones say over the unit square. The students say the same as the teacher in {agree['vanilla']} and in "
        f"{agree['student']} of it.",
        picture=maps(
            {
                "teacher and its points": (drawn["teacher"], {"#f97316": sides[0], "#16a34a": sides[1]}),
                "student of public points": (drawn["vanilla"], clouds),
                "teacher and aligned points": (drawn["teacher"], aligned),
                "student of aligned points": (drawn["student"], aligned),
            }
        ),
        alt="four decision boundaries over the unit square",
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
