"""What Knowledge Recycling's student stands beside on the test images, which nothing before has looked at: its teacher,
which learned from real images, a student of the floor's images, and guessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from raysyn.attacks.membership import loaded
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.common import Setting
from raysyn.methods.floor import floor_images
from raysyn.methods.synthesis import beside
from raysyn.metrics.yardsticks import FIELDS, told
from raysyn.train.classifier import answers, share_right
from raysyn.train.students import Lesson, fit_labelled

STUDENT = "resnet14"
"""What the classifier is called in the report."""


def judge(
    setting: Setting, lesson: Lesson, teacher: Mapping[str, Tensor], student: Mapping[str, Tensor], released: int
) -> dict[str, Any]:
    """`yardsticks.told` of the student, whose set to release has `released` images."""
    compute, folder, train, test = setting.compute, setting.folder, lesson.real.train, setting.dataset.test
    models = {"synthetic": student, "real": teacher}
    counts = {"synthetic": released, "real": len(train)}
    if setting.config.floor and (floor := floor_images(setting, len(train))) is not None:
        taught = folder.stage(
            "floor_student", lambda: compute.once(fit_labelled, floor, lesson, name="floor_student")
        )  # fmt: skip
        models["floor"], counts["floor"] = taught["weights"], len(floor)
    stage = f"utility-{len(models)}"
    said = folder.stage(
        stage, lambda: dict(zip(models, compute.map(say, list(models), name=stage, shared=(models, lesson, test)),
                                strict=True)),
    )  # fmt: skip
    entry = {FIELDS[source]: share_right(said[source], test) for source in models}
    told_N = {source: [said[source]] for source in models}
    useful = told({"classifiers": {STUDENT: entry}, "said": told_N, "images": counts}, test)
    setting.console.stage("utility", f"accuracy on real test images: student {beside(useful)}")
    return useful


def say(source: str, shared: tuple[Mapping[str, Mapping[str, Tensor]], Lesson, Images]) -> Tensor:
    """One unit: what the classifier of one source calls each test image, int32 (N,)."""
    models, lesson, test = shared
    with torch.random.fork_rng():
        network = lesson.new_classifier()
    return answers(loaded(network, dict(models[source])).to(best_device()), test).int()
