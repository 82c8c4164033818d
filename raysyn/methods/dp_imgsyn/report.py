"""What DP-ImgSyn's report says: the losses over the steps, how far from private images the released ones are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from raysyn.data.public import Public, comparison
from raysyn.methods import soft_students
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import declared
from raysyn.methods.dp_imgsyn import experiments
from raysyn.methods.dp_imgsyn.config import Config
from raysyn.methods.dp_imgsyn.experiments import Compared
from raysyn.methods.dp_imgsyn.plane import EDGE, inside
from raysyn.methods.soft_config import MOST_SHARED
from raysyn.metrics.yardsticks import best_uncharged
from raysyn.privacy.cost import unit_of
from raysyn.privacy.queries.layer_statistics import Layers
from raysyn.report.figures import Line, chart, maps
from raysyn.report.report import Section
from raysyn.train.alignment import LOSSES, AlignmentConfig

TITLES = {
    "iterations": ("Numbers of steps (figure 4 of the paper)", "Student accuracy after k steps of alignment."),
    "public": ("Public sets and budgets (table 2 of the paper)", "With and without alignment."),
    "students": ("Students (table 4 of the paper)", "Each trained on the same syntheses."),
    "losses": (
        "Terms of the loss (table 8 of the paper)",
        "What is kept, beginning with public images or noise.",
    ),
    "weights": ("Weights of the loss (table 6 of the paper)", "One weight multiplied, the others as they were."),
    "starts": ("Noise to begin with (tables 9 and 11 of the paper)", "With and without alignment."),
}


def losses_over_steps(told: np.ndarray, config: AlignmentConfig) -> list[Section]:
    """Figure 4's losses: (steps + 1, 5) means over batches, of the terms and the total; nothing of no steps."""
    if not config.iterations:
        return []
    steps = list(range(len(told)))
    shown = {"layer statistics": "feature", "classification": "classification", "total": "total"}
    lines = {name: Line(steps, _shares(told[:, (*LOSSES, "total").index(term)])) for name, term in shown.items()}
    lines["total variation"] = Line(steps, _shares(told[:, LOSSES.index("total_variation")]), style="--")
    section = Section(
        title="Alignment (figure 4 of the paper)",
        text=f"Losses over {config.iterations} steps, each as a share of what it was before the first; the last ones "
        "are those of the images as they are released, rounded to whole numbers. Where the total variation climbs, "
        "images become artificial: stop before that.",
        picture=chart(lines, x="step", y="share of the first loss"),
        alt="four losses over the steps of the alignment",
    )
    return [section]


def about_teacher(config: Config, reached: float) -> Section:
    """What the students can hope for."""
    return Section(
        title="The teacher",
        text=f"A {config.teacher.name} of width {config.teacher.width}, trained on the private images with DP-SGD, "
        f"recognises {100 * reached:.1f} % of the real test images. It is not released: students learn from its "
        "labels.",
    )


def asked_of_layers(config: Config, layers: Layers, noise: Sequence[float]) -> Section:
    """What one image can change, layer by layer, and how much noise that made."""
    asked, whole = config.statistics, layers.sensitivity(config.statistics)
    rows = [
        (str(at + 1), f"{channels:,}", f"{scale:.3g}", f"{asked.clip_norm * scale:.3g}", f"{ratio:.2g}")
        for at, (channels, scale, ratio) in enumerate(zip(layers.channels, layers.scales, noise, strict=True))
    ]
    return Section(
        title="What was asked of the teacher's layers",
        text="Of each image, each layer gives away the means of its channels and of their squares. As a multiple of "
        f"what public images show (the scale), both together are clipped to {asked.clip_norm:g}; all layers together "
        f"change by {whole:.3g} at most when one image is added or removed, and the noise is scaled to that. The paper "
        "scales its noise to one layer, as if an image showed itself in no other, clips whole feature maps and adds "
        "noise to each image's; under adding or removing one image that has no price, and was not used.",
        rows=[("layer", "channels", "scale", "one image changes at most", "noise / what images show"), *rows],
    )


def look_alike(found: Mapping[str, Any]) -> list[Section]:
    """As `soft_students.look_alike`, of aligned images."""
    about = (
        "The same images before the alignment (where it began with noise, other noise of that kind) owe nothing to the "
        "private ones"
    )
    return soft_students.look_alike(found, "the same before alignment", about)


def in_figures(teachers: Mapping[float, float], tables: Mapping[str, Sequence[Compared]]) -> dict[str, Any]:
    """The experiments, for report.json."""
    if not tables:
        return {}
    return {
        "teachers": {f"{epsilon:g}": reached for epsilon, reached in teachers.items()},
        "experiments": {
            name: [{"title": variant.title, "epsilon": variant.epsilon, **_spread(found)} for variant, found in group]
            for name, group in tables.items()
        },
    }


def _spread(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    reached = [one["accuracy"] for one in found]
    return {
        "mean": float(np.mean(reached)),
        "std": float(np.std(reached, ddof=1)) if len(reached) > 1 else None,
        "repeats": reached,
    }


def compared(teachers: Mapping[float, float], tables: Mapping[str, Sequence[Compared]]) -> list[Section]:
    """A table per experiment, and figure 4's curves."""
    parts = []
    if len(teachers) > 1:
        reached = [(f"{epsilon:g}", f"{100 * teachers[epsilon]:.2f}") for epsilon in sorted(teachers)]
        parts.append(
            Section(
                title="Teachers (table 1 of the paper)",
                text="Trained with the settings of this run, whatever their budget.",
                rows=[("ε", "accuracy on real test images, %"), *reached],
            )
        )
    for name, group in tables.items():
        title, text = TITLES[name]
        repeats = len(group[0][1])
        over = f" Mean ± standard deviation over {repeats} seeds of the synthesis and the student, under one teacher."
        if name in ("losses", "weights", "students"):
            text += f" k = {group[0][0].alignment.iterations}."
        text += " One seed." if repeats == 1 else over
        text += f" Of {group[0][1][0]['images']:,} images each. Choosing by these figures is a look at private images "
        text += "that nobody pays for."
        if name == "public":
            text += f" k_opt, the best of those tried: {_best_steps(group)}."
        rows = [("synthesis", "student accuracy, %"), *((variant.title, _cell(found)) for variant, found in group)]
        parts.append(Section(title=title, text=text, rows=rows))
        if name == "iterations" and len(group) > 1:
            parts.append(_over_steps(group))
    return parts


def _best_steps(group: Sequence[Compared]) -> str:
    """Of each public set at each budget."""
    best = dict[str, tuple[float, str]]()
    for variant, found in group:
        of, _, steps = variant.title.rpartition(", k = ")
        best[of] = max(best.get(of, (-1.0, "")), (_spread(found)["mean"], steps), key=lambda one: one[0])
    return "; ".join(f"{of}: {steps}" for of, (_, steps) in best.items())


def _cell(found: Sequence[Mapping[str, Any]]) -> str:
    spread = _spread(found)
    mean = f"{100 * spread['mean']:.2f}"
    return mean if spread["std"] is None else f"{mean} ± {100 * spread['std']:.2f}"


def _over_steps(group: Sequence[Compared]) -> Section:
    """Figure 4: accuracy, total loss and total variation over k."""
    steps = [variant.alignment.iterations or 0 for variant, _ in group]
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
        name: f"{100 * inside((drawn[name] > 0.5) == (drawn['teacher'] > 0.5)).mean():.1f} %"
        for name in ("vanilla", "student")
    }
    return Section(
        title="Alignment in a plane (figure 5 of the paper)",
        text="Made-up points, without privacy: what a teacher, a student of unaligned points and a student of aligned "
        f"ones say. In the unit square, where the teacher has learned, the students say the same in {agree['vanilla']} "
        f"and in {agree['student']} of it.",
        picture=maps(
            {
                "teacher and its points": (drawn["teacher"], {"#f97316": sides[0], "#16a34a": sides[1]}),
                "student of public points": (drawn["vanilla"], clouds),
                "teacher and aligned points": (drawn["teacher"], aligned),
                "student of aligned points": (drawn["student"], aligned),
            },
            EDGE,
        ),
        alt="four decision boundaries over the unit square",
    )


def story(setting: PrivateSetting, public: Public | None) -> list[str]:
    """One plain sentence per stage, for the report."""
    config: Config = setting.config
    training, asked = setting.plan.stages["teacher"], setting.plan.stages["statistics"]
    begun = f"public images ({public.name})" if public is not None else f"{config.alignment.start} noise"
    changed = f"Changed {begun} in {config.alignment.iterations} steps towards these statistics and uniform labels"
    if not config.alignment.iterations:
        changed = f"Left {begun} as they are: no step was taken towards these statistics"
    return [
        f"Trained a teacher ({config.teacher.name}, group norm) with {training.steps:,} steps of DP-SGD at noise "
        f"multiplier {training.noise_multiplier:.3g}, expected batch {config.training.batch_size:,}.",
        f"Asked {asked.steps:,} times for the means and variances of its layers' inputs over the private images, with "
        f"noise of {asked.noise_multiplier:.3g} times what one {unit_of(asked.adjacency)} can change in all layers "
        "together.",
        f"{changed}; so many steps because the preset or the command says so, or because of losses on public images "
        "and the noise of the statistics, never because of an accuracy measured in this run.",
        "Labelled them with the teacher's probabilities, and released both.",
        f"Trained students ({', '.join(config.students) or 'none'}), {config.distillation.width:g} times as wide as "
        "published, on the release, and tested them on real images.",
    ]


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    choices = best_uncharged(config.eval.classifiers, config.students)
    if config.alignment.start == "public" or experiments.public_places(config):
        choices.append(comparison(MOST_SHARED))
    if experiments.asked(config):
        choices.append(
            "the experiments train further teachers and students and test them on private images; nothing of these is "
            "released, but a setting chosen by them is a look at these images"
        )
    return [*choices, *declared(config)]
