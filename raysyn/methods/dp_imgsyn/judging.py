"""What students learn from DP-ImgSyn's release (4), and how far its images are from the private ones (5.5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn import units as units_of
from raysyn.methods.dp_imgsyn.units import (
    measure_distances,
    synthesis_of,
    teacher_accuracy,
)
from raysyn.methods.floor import floor_images
from raysyn.metrics.utility import subset
from raysyn.metrics.yardsticks import FIELDS, Judged
from raysyn.models.teacher import Teacher
from raysyn.train.diffusion import to_images


def teach(
    setting: PrivateSetting, teacher: Teacher, released: Images, soft: np.ndarray
) -> tuple[Judged, float, Images | None]:
    """What the students of the release reached on the real test images, beside students of the same recipe of as many
    real images and of the floor's, if these are asked for; the teacher's accuracy there; and the floor's images."""
    config, test, private = setting.config, setting.dataset.test, setting.loaded.train
    lessons: dict[str, tuple[Images, np.ndarray | None]] = {"synthetic": (released, soft)}
    if config.students and config.real_students:
        lessons["real"] = subset(private, len(released), config.seed), None
    floor = floor_images(setting, len(released)) if config.students and config.eval.floor else None
    if floor is not None:
        lessons["floor"] = floor, None
    units = [(who, lesson) for who in config.students for lesson in lessons]
    keys = [f"{who}-{lesson}-{digest(config.distillation)}" for who, lesson in units]

    def learned() -> dict[str, Any]:
        (own,) = setting.compute.map(teacher_accuracy, [None], name="teacher-accuracy", shared=(teacher, test))
        shared = (lessons, test, config.distillation, config.seed)
        found = setting.compute.map(units_of.teach, units, name="students", shared=shared, keys=keys)
        return {"teacher": own, "students": dict(zip(keys, found, strict=True))}

    reached = setting.folder.stage(f"students-{digest(keys)}", learned)
    found = {unit: reached["students"][key] for unit, key in zip(units, keys, strict=True)}
    words = [f"{who} {100 * found[who, 'synthetic']['accuracy']:.1f} %" for who in config.students]
    said = ", ".join([f"teacher {100 * reached['teacher']:.1f} %", *words])
    setting.console.stage("students", f"accuracy on real test images: {said}")
    entries: dict[str, dict[str, Any]] = {
        who: {"accuracy_real_data": None, "width": config.distillation.width} for who in config.students
    }
    for (who, lesson), one in found.items():
        entries[who][FIELDS[lesson]] = one["accuracy"]
    judged = {
        "classifiers": entries,
        "said": {lesson: [found[who, lesson]["said"] for who in config.students] for lesson in lessons},
        "images": {lesson: len(images) for lesson, (images, _) in lessons.items()},
    }
    return judged, reached["teacher"], floor


def compare(setting: PrivateSetting, released: Images, public: Public | None, chosen: np.ndarray) -> dict[str, Any]:
    """How far released images are from their nearest private one, beside the public images that they were, or noise
    like that which they were."""
    config, dataset = setting.config, setting.loaded
    if not config.dissimilarity.images:
        return {}
    # Those that are released first are in random order.
    some = slice(0, config.dissimilarity.images)
    begun = to_images(synthesis_of(config, dataset.train).begin(public, chosen[some])).numpy()
    raw = Images(begun, released.labels_N[some], released.class_names)
    shared = (released.select(some), raw, dataset.train, dataset.test, config.dissimilarity, config.seed)
    name = f"dissimilarity-{digest(config.dissimilarity)}"
    (found,) = setting.folder.stage(
        name, lambda: setting.compute.map(measure_distances, [None], name=name, shared=shared)
    )
    nearer = found["features"]["released"]["median"]
    setting.console.stage("dissimilarity", f"nearest private image {nearer:.2f} times as far as of real images")
    return found
