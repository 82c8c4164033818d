"""What --dry-run adds to DP-ImgSyn's plan: how long each stage would take here, and how much memory."""

from __future__ import annotations

import math
from functools import partial

import torch

from raysyn.data.images import Images
from raysyn.methods.dp_imgsyn.config import Config, new_teacher
from raysyn.methods.dp_imgsyn.experiments import asked
from raysyn.methods.dp_imgsyn.units import synthesis_of
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, naming_need, private_need, refuse_too_large
from raysyn.models.students import student
from raysyn.models.teacher import Teacher
from raysyn.screen.console import Console
from raysyn.train.alignment import MOST_STEPS, AlignmentConfig, losses, weighted
from raysyn.train.memory import Need, peak_bytes
from raysyn.train.naming import Naming
from raysyn.train.norm_inputs import norm_inputs
from raysyn.train.outlook import measure


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    released = len(synthesis_of(config, private).chosen(prepared.more.own, len(private), config.synthetic))
    refuse_too_large(console, config, private.shape, partial(needs, private=private, released=released), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images, released: int) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""

    def new() -> Teacher:
        return Teacher(config.teacher, shape, private.classes)

    training, taught = config.training, min(config.distillation.batch_size, released)
    learners = [(who, student(who, shape, private.classes, config.distillation.width)) for who in config.students]
    return [
        private_need(new, Naming(), shape, training, machines, training.noise_multiplicity, "teacher"),
        alignment_need(new(), shape, config.alignment, released),
        *(naming_need(f"student {who}", network, shape, taught) for who, network in learners),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), released)),
    ]


def alignment_need(teacher: Teacher, shape: Shape, config: AlignmentConfig, released: int) -> Need:
    """Of one step on a batch of images, Adam's two moments of them included; the teacher becomes weightless."""
    teacher = teacher.to("meta").eval().requires_grad_(False)
    # Batches are as equal as can be.
    images = math.ceil(released / max(1, round(released / config.batch_size)))
    x = torch.empty(images, shape[2], *shape[:2], device="meta", requires_grad=True)
    labels = torch.empty(images, dtype=torch.int64, device="meta")
    with torch.no_grad(), norm_inputs(teacher) as seen:
        teacher(x[:1])
    wanted = [(torch.empty(h.shape[1], device="meta"),) * 2 for h in seen]

    def step() -> None:
        torch.autograd.grad(weighted(losses(teacher, x, labels, wanted)[0], config), x)

    weights = sum(value.numel() * value.element_size() for value in teacher.parameters())
    return Need("align", peak_bytes(step) + 3 * x.numel() * x.element_size() + weights, f"a batch of {images:,} images")


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """Hours of each stage, from a moment's measurement that reads no image."""
    private, public, task = prepared.dataset.train, prepared.more.own, Naming()
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
