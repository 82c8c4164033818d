"""What students learn from DP-ImgSyn's release (4), and how far its images are from the private ones (5.5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn.units import (
    measure_distances,
    synthesis_of,
    teach_student,
    teacher_accuracy,
)
from raysyn.models.teacher import Teacher
from raysyn.train.diffusion import to_images


def teach(
    setting: PrivateSetting, teacher: Teacher, released: Images, soft: np.ndarray
) -> tuple[dict[str, Any], float]:
    """Accuracy on the real test images of each student of the release, and of the teacher."""
    config, test = setting.config, setting.dataset.test
    keys = [f"{who}-{digest(config.distillation)}" for who in config.students]

    def learned() -> dict[str, Any]:
        (own,) = setting.compute.map(teacher_accuracy, [None], name="teacher-accuracy", shared=(teacher, test))
        shared = (released, soft, test, config.distillation, config.seed)
        found = setting.compute.map(teach_student, config.students, name="students", shared=shared, keys=keys)
        return {"teacher": own, "students": dict(zip(config.students, found, strict=True))}

    reached = setting.folder.stage(f"students-{digest(keys)}", learned)
    words = [f"{who} {100 * found['accuracy']:.1f} %" for who, found in reached["students"].items()]
    said = ", ".join([f"teacher {100 * reached['teacher']:.1f} %", *words])
    setting.console.stage("students", f"accuracy on real test images: {said}")
    useful = {who: {**found, "accuracy_real_data": None} for who, found in reached["students"].items()}
    return useful, reached["teacher"]


def compare(setting: PrivateSetting, released: Images, public: Public | None, chosen: np.ndarray) -> dict[str, Any]:
    """How far released images are from their nearest private one, beside the public images that they were, or noise
    like that which they were."""
    config, dataset = setting.config, setting.dataset
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
