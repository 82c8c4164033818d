"""What --dry-run adds to the plan of prototypes: how long each stage would take here, and how much memory."""

from __future__ import annotations

from functools import partial

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.dp_prototypes.config import Config
from raysyn.methods.dp_prototypes.model import LABELS, SHARD, SPACE, blank_space
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, naming_need, per_worker, refuse_too_large
from raysyn.methods.perceiving import asking_seconds, resembling_seconds
from raysyn.methods.public_classifier import QUERY, new_query, teaching_seconds
from raysyn.methods.soft_outlook import dissimilarity_seconds, student_seconds
from raysyn.models.students import student
from raysyn.privacy.queries.perceptual import MEANS
from raysyn.screen.console import Console
from raysyn.train.memory import Need


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    found = partial(needs, private=private, public=prepared.more)
    refuse_too_large(console, config, private.shape, found, machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images, public: Public) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    width, classes, many = blank_space(config, private).directions.shape[0], public.train.classes, len(public.train)
    parts = -(-many // SHARD)
    sums, image = 8 * (classes * (width + 1) + width**2), shape[0] * shape[1] * shape[2]
    labels, taught = 4 * many * private.classes, min(config.distillation.batch_size, config.synthetic)
    learners = [(who, student(who, shape, private.classes, config.distillation.width)) for who in config.students]
    found = [
        # As they come, and side by side.
        Need(SPACE, 2 * parts * sums, f"{parts:,} sums of {width:,} features, and of their products"),
        # Scores, their order, and probabilities, most of these in double precision.
        Need(LABELS, 8 * labels + config.synthetic * image, f"{many:,} scores of {private.classes} classes"),
        *(naming_need(f"student {who}", network, shape, taught) for who, network in learners),
    ]
    if config.query.checkpoint is None:
        size = per_worker(min(config.query.batch_size, many), machines)
        found.insert(0, naming_need(QUERY, new_query(config, public), shape, size))
    return found + classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic))


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from measurements that read no image; answered too."""
    private, public, test = prepared.dataset.train, prepared.more, len(prepared.dataset.test)
    space, asked, images = blank_space(config, private), config.prototypes.asked(), config.synthetic
    found = [shared.start_up(machines)]
    if config.query.checkpoint is None:
        found.append(shared.Stage(QUERY, teaching_seconds(config, private, public)))
    look_s = asking_seconds(asked, private, space) / len(private)
    found += [
        shared.units(SPACE, [look_s * len(public.train)]),
        shared.Stage(MEANS, look_s * len(private)),
        shared.units(LABELS, [look_s * len(public.train)]),
    ]
    students = {who: student_seconds(who, config.distillation, private, images, test) for who in config.students}
    floored = config.eval.floor and bool(students)
    if floored:
        found.append(shared.alone("floor", shared.floor_seconds(private, images)))
    lessons = 1 + config.real_students + floored
    found.append(shared.units("students", [*(lessons * [*students.values()]), test * look_s]))
    judged = shared.judging(config.eval, private, synthetic=images, test=test)
    found += [stage for stage in judged if not (floored and stage.name == "floor")]
    if config.dissimilarity.images:
        seconds = dissimilarity_seconds(config.dissimilarity, private, released=images, test=test)
        found.append(shared.alone("dissimilarity", seconds))
    found += auditing(config, prepared, images, partial(resembling_seconds, asked, private, space))
    shared.show(console, found, machines, title="Outlook")
    return found
