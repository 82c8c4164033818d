"""What --dry-run adds to DP-ImgSyn's plan: how long each stage would take here, and how much memory."""

from __future__ import annotations

from raysyn.console import Console
from raysyn.data import Dataset
from raysyn.methods.dp_imgsyn import Config, new_teacher, synthesis_of
from raysyn.methods.dp_imgsyn_experiments import asked
from raysyn.models.students import student
from raysyn.public import Public
from raysyn.train.alignment import MOST_STEPS, AlignmentConfig
from raysyn.train.naming import Naming
from raysyn.train.outlook import measure


def show_outlook(console: Console, config: Config, dataset: Dataset, public: Public | None) -> None:
    """Hours of each stage, from a moment's measurement that reads no image."""
    private, task = dataset.train, Naming()
    teacher = new_teacher(config, private)
    pace = measure(teacher, task, private.shape)
    images = len(synthesis_of(config, private).chosen(public, len(private), config.synthetic))
    steps = steps_of(config.alignment)
    seconds = {
        "teacher": config.training.cost(len(private)).steps * config.training.batch_size * pace.gradient_s,
        "statistics": len(private) * pace.call_s,
        "align": images * (steps * pace.gradient_s + 2 * pace.call_s),
    }
    students = {
        name: measure(student(name, private.shape, private.classes, config.distillation.width), task, private.shape)
        for name in config.students
    }
    taught = {name: config.distillation.epochs * images * one.gradient_s for name, one in students.items()}
    seconds["students"] = sum(taught.values())
    variants = {(one.public, *one.key()): one for group in asked(config).values() for one in group}.values()
    if variants:
        budgets = {one.epsilon for one in variants} - {config.budget.epsilon}
        each = sum(steps_of(one.alignment) * images * pace.gradient_s + taught[one.student] for one in variants)
        seconds["experiments"] = len(budgets) * seconds["teacher"] + config.experiment.repeats * each
    size = sum(parameter.numel() for parameter in teacher.parameters())
    console.plan_table(
        [
            {"stage": stage, "hours of one worker with one CPU or GPU": round(value / 3600, 3)}
            for stage, value in seconds.items()
        ],
        title=f"Outlook: a teacher of {size:,} parameters, {images:,} images",
        caption=f"measured on made-up images; per worker at least {pace.memory_bytes / 2**30:.1f} GiB. Start-up and "
        "the comparison with private images come on top.",
    )


def steps_of(alignment: AlignmentConfig) -> int:
    """At most so many."""
    return MOST_STEPS if alignment.iterations is None else alignment.iterations
