"""What --dry-run adds to DP-ImgSyn's plan: how long each stage would take here, and how much memory."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.audit_outlook import auditing, by_weights
from raysyn.methods.dp_imgsyn.config import Config, new_teacher
from raysyn.methods.dp_imgsyn.experiments import asked
from raysyn.methods.dp_imgsyn.units import CHOOSE_ON, sum_shard, synthesis_of
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, naming_need, private_need, refuse_too_large
from raysyn.methods.outlook import (
    FEW,
    Stage,
    alone,
    floor_seconds,
    judging,
    made_up,
    private_seconds,
    show,
    start_up,
    units,
)
from raysyn.methods.soft_outlook import dissimilarity_seconds, student_seconds
from raysyn.methods.weighing import surprise
from raysyn.models.students import student
from raysyn.models.teacher import Teacher
from raysyn.privacy.queries.layer_statistics import Layers
from raysyn.screen.console import Console, duration
from raysyn.train import alignment
from raysyn.train.alignment import MOST_STEPS, AlignmentConfig, losses, weighted
from raysyn.train.classifier import as_float
from raysyn.train.memory import Need, at_once, peak_bytes
from raysyn.train.naming import Naming
from raysyn.train.norm_inputs import norm_inputs
from raysyn.train.outlook import one_thread, seconds

LIKELY_STEPS = 10
"""Of the alignment, where their number is chosen by the run: the paper's for MNIST."""
PLANE_S = 20.0
"""Of the points of figure 5, whatever the images are."""


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    released = len(synthesis_of(config, private).chosen(prepared.more.own, private.units, config.synthetic))
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


def stages(config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """Every stage of a run, from moments' measurements that read no image; where the number of steps is chosen by the
    run itself, for the number that is likely."""
    private, public, test = prepared.dataset.train, prepared.more.own, len(prepared.dataset.test)
    teacher = new_teacher(config, private)
    images = len(synthesis_of(config, private).chosen(public, private.units, config.synthetic))
    taught = private_seconds(teacher, Naming(), private, config.training, machines.sgd)
    asked_s = asking_seconds(teacher, config, private)
    step_s, label_s = align_pace(teacher.eval().requires_grad_(False), config.alignment, private)
    found = [start_up(machines), Stage("teacher", taught), Stage("statistics", asked_s)]
    if config.alignment.iterations is None:
        few = CHOOSE_ON * config.alignment.batch_size
        few = few if public is None else min(few, len(public.train))
        found.append(units("steps", [few * (MOST_STEPS * step_s + label_s)]))
    found.append(Stage("align", images * (likely_steps(config.alignment) * step_s + label_s)))
    students = {who: student_seconds(who, config.distillation, private, images, test) for who in config.students}
    floored = config.eval.floor and bool(students)
    if floored:
        found.append(alone("floor", floor_seconds(private, images)))
    lessons = 1 + config.real_students + floored
    found.append(units("students", [*(lessons * [*students.values()]), test * label_s]))
    judged = judging(config.eval, private, synthetic=images, test=test)
    found += [stage for stage in judged if not (floored and stage.name == "floor")]
    if config.dissimilarity.images:
        seen = {"released": images, "test": test}
        found.append(alone("dissimilarity", dissimilarity_seconds(config.dissimilarity, private, **seen)))
    different = {(one.public, *one.key()): one for group in asked(config).values() for one in group}.values()
    if different:
        budgets = {one.epsilon for one in different} - {config.budget.epsilon}
        each = [images * (likely_steps(one.alignment) * step_s + label_s) + students[one.student] for one in different]
        again = len(budgets) * (taught + asked_s)
        found.append(Stage("experiments", again + config.experiment.repeats * sum(each), max(each)))
    if config.experiment.plane:
        found.append(alone("plane", PLANE_S))
    return found + auditing(config, prepared, images, by_weights(partial(surprise, teacher), private))


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """The stages as a table, which are answered too."""
    private, found, caption = prepared.dataset.train, stages(config, prepared, machines), ""
    if config.alignment.iterations is None:
        longest = next(stage for stage in found if stage.name == "align").seconds * MOST_STEPS / LIKELY_STEPS
        caption = (
            f"How many steps the alignment takes is chosen by then, at most {MOST_STEPS}, which would be "
            f"{duration(longest)}; {LIKELY_STEPS} are counted here."
        )
    size = sum(parameter.numel() for parameter in new_teacher(config, private).parameters())
    images = len(synthesis_of(config, private).chosen(prepared.more.own, private.units, config.synthetic))
    show(
        console, found, machines, title=f"Outlook: a teacher of {size:,} parameters, {images:,} images", caption=caption
    )
    return found


def likely_steps(alignment: AlignmentConfig) -> int:
    """Those that are asked for, or that are likely to be chosen."""
    return LIKELY_STEPS if alignment.iterations is None else alignment.iterations


@one_thread()
def asking_seconds(teacher: Teacher, config: Config, private: Images) -> float:
    """Of the exact sums of the layer statistics, on a few made-up images."""
    few = made_up(private, min(FEW, len(private)))
    scales = Layers.of(teacher, as_float(torch.from_numpy(few.images_NHWC))).scales
    shared = (teacher, few, np.ones(len(few), np.int64), scales, config.statistics.clip_norm)
    return len(private) / len(few) * seconds(lambda: sum_shard((0, len(few)), shared))


@one_thread()
def align_pace(teacher: Teacher, config: AlignmentConfig, like: Images) -> tuple[float, float]:
    """Seconds per image of one step of the alignment, and of its label in the end."""
    few = at_once(min(config.batch_size, FEW), like.shape)
    images, device = made_up(like, few), best_device()
    x = as_float(torch.tensor(images.images_NHWC, device=device))
    y = torch.tensor(images.labels_N, device=device)
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    with torch.no_grad(), norm_inputs(teacher) as seen:
        teacher(x)
    wanted = [(h.mean((0, 2, 3)), h.var((0, 2, 3))) for h in seen]
    one = replace(config, iterations=1)
    step_s = seconds(lambda: alignment.align(teacher, x, y, wanted, one))
    return step_s / few, seconds(lambda: alignment.label(teacher, x, y, wanted, one)) / few
