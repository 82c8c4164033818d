"""What students learn from DP-ImgSyn's release (4), and how far its images are from the private ones (5.5)."""

from __future__ import annotations

from typing import Any

import numpy as np

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import soft_students
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn.units import synthesis_of, teacher_accuracy
from raysyn.metrics.yardsticks import Judged
from raysyn.models.teacher import Teacher
from raysyn.train.diffusion import to_images


def teach(
    setting: PrivateSetting, teacher: Teacher, released: Images, soft: np.ndarray
) -> tuple[Judged, float, Images | None]:
    """As `soft_students.teach` answers, of the private teacher."""

    def known() -> float:
        shared = (teacher, setting.dataset.test)
        (own,) = setting.compute.map(teacher_accuracy, [None], name="teacher-accuracy", shared=shared)
        return float(own)

    return soft_students.teach(setting, released, soft, "teacher", known)


def compare(setting: PrivateSetting, released: Images, public: Public | None, chosen: np.ndarray) -> dict[str, Any]:
    """How far released images are from their nearest private one, beside the public images that they were, or noise
    like that which they were."""
    if not setting.config.dissimilarity.images:
        return {}
    # Those that are released first are in random order.
    some = slice(0, setting.config.dissimilarity.images)
    begun = to_images(synthesis_of(setting.config, setting.loaded.train).begin(public, chosen[some])).numpy()
    raw = Images(begun, released.labels_N[some], released.class_names)
    return soft_students.compare(setting, released.select(some), raw)
