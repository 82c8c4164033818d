"""Students of a release of public images with soft labels (DP-ImgSyn, prototypes): what they learn, beside others, and
how far the released images are from the private ones. For the report alone, which stays inside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch

from raysyn.compute.doorway import digest
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting
from raysyn.methods.floor import floor_images
from raysyn.metrics.dissimilarity import SHARES, DissimilarityConfig, dissimilarity
from raysyn.metrics.utility import EvalConfig, subset
from raysyn.metrics.yardsticks import FIELDS, SOFT_LABELS, Judged
from raysyn.models import students
from raysyn.models.students import NAMES, Name, student
from raysyn.report.figures import Line, chart
from raysyn.report.report import Section
from raysyn.train.classifier import answers, share_right
from raysyn.train.distillation import DistillationConfig, distill

Lessons = Mapping[str, tuple[Images, np.ndarray | None]]
"""What students learn from, by its name: images with soft labels (N, K), or with their own."""


class Judging(Protocol):
    """The settings of a method whose release teaches students."""

    @property
    def students(self) -> tuple[students.Name, ...]: ...
    @property
    def real_students(self) -> bool: ...
    @property
    def distillation(self) -> DistillationConfig: ...
    @property
    def dissimilarity(self) -> DissimilarityConfig: ...
    @property
    def eval(self) -> EvalConfig: ...
    @property
    def seed(self) -> int: ...


def teach(
    setting: PrivateSetting, released: Images, soft: np.ndarray, teacher: str, known: Callable[[], float]
) -> tuple[Judged, float, Images | None]:
    """What the students of the release reached on the real test images, beside students of the same recipe of as many
    real images and of the floor's, if these are asked for; what their `teacher` itself did, which `known` says; and the
    floor's images."""
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
        own = known()
        shared = (lessons, test, config.distillation, config.seed)
        found = setting.compute.map(teach_one, units, name="students", shared=shared, keys=keys)
        return {"teacher": own, "students": dict(zip(keys, found, strict=True))}

    reached = setting.folder.stage(f"students-{digest(keys)}", learned)
    found = {unit: reached["students"][key] for unit, key in zip(units, keys, strict=True)}
    words = [f"{who} {100 * found[who, 'synthetic']['accuracy']:.1f} %" for who in config.students]
    said = ", ".join([f"{teacher} {100 * reached['teacher']:.1f} %", *words])
    setting.console.stage("students", f"accuracy on real test images: {said}")
    entries: dict[str, dict[str, Any]] = {
        who: {"accuracy_real_data": None, "width": config.distillation.width, "learned": SOFT_LABELS}
        for who in config.students
    }
    for (who, lesson), one in found.items():
        entries[who][FIELDS[lesson]] = one["accuracy"]
    judged = {
        "classifiers": entries,
        "said": {lesson: [found[who, lesson]["said"] for who in config.students] for lesson in lessons},
        "images": {lesson: len(images) for lesson, (images, _) in lessons.items()},
    }
    return judged, reached["teacher"], floor


def teach_one(unit: tuple[Name, str], shared: tuple[Lessons, Images, DistillationConfig, int]) -> dict[str, Any]:
    """One unit: the student unit[0] of the lesson unit[1], as `teach_student` answers."""
    (name, lesson), (lessons, test, config, seed) = unit, shared
    images, soft = lessons[lesson]
    if soft is None:
        soft = np.eye(images.classes, dtype=np.float32)[images.labels_N]
    return teach_student(name, (images, soft, test, config, seed))


def teach_student(name: Name, shared: tuple[Images, np.ndarray, Images, DistillationConfig, int]) -> dict[str, Any]:
    """A student trained on a release: {"accuracy": on real test images, "said": of each, int32 (N,), "width"}."""
    released, soft, test, config, seed = shared
    own = seed_for(seed, 11, NAMES.index(name))
    with torch.random.fork_rng():  # dropout and first weights draw from the global generator: leave it as found
        torch.manual_seed(own)
        network = student(name, released.shape, released.classes, config.width)
        distill(network, released.images_NHWC, soft, config, own, best_device())
    said_N = answers(network, test)
    return {"accuracy": share_right(said_N, test), "said": said_N.int(), "width": config.width}


def seed_for(seed: int, *who: int) -> int:
    """A seed of its own for each use: a student that began with its teacher's first weights would learn too easily."""
    return int(np.random.SeedSequence([seed, *who]).generate_state(1)[0])


def compare(setting: PrivateSetting, released: Images, raw: Images) -> dict[str, Any]:
    """How far released images are from their nearest private one, beside `raw` ones, which owe nothing to these. Both
    in random order; {} where nothing is asked."""
    config, dataset = setting.config, setting.loaded
    if not config.dissimilarity.images:
        return {}
    shared = (released, raw, dataset.train, dataset.test, config.dissimilarity, config.seed)
    name = f"dissimilarity-{digest(config.dissimilarity)}"
    (found,) = setting.folder.stage(
        name, lambda: setting.compute.map(measure_distances, [None], name=name, shared=shared)
    )
    nearer = found["features"]["released"]["median"]
    setting.console.stage("dissimilarity", f"nearest private image {nearer:.2f} times as far as of real images")
    return dict(found)


def measure_distances(
    _: None, shared: tuple[Images, Images, Images, Images, DissimilarityConfig, int]
) -> dict[str, Any]:
    """`dissimilarity` as the one unit of a fan-out."""
    return dissimilarity(*shared)


def look_alike(found: Mapping[str, Any], raw: str, about_raw: str) -> list[Section]:
    """How far their nearest private neighbours are, in a table and a picture; what the raw images are called, and what
    is to be said of them."""
    title = "Do released images look like private ones?"
    if not found:
        return [Section(title=title, text="Not measured: dissimilarity.images is 0.")]
    kinds = {"released": "released", "before": raw, "held_out": "real, held out"}
    figures = ("median", "nearest_5_percent", "nearest")
    rows = [
        (f"{title}: {space}", *(f"{found[space][kind][figure]:.3f}" for figure in figures))
        for space in ("features", "pixels")
        for kind, title in kinds.items()
    ]
    lines = {title: Line(found["curves"][kind], (100 * SHARES).tolist()) for kind, title in kinds.items()}
    return [
        Section(
            title=title,
            text="Distance to the nearest of all private training images: root mean square difference of pixels, and "
            "in the features of a CNN trained on private images (1 is the median of real images that were held out). "
            f"{about_raw}, and are as far as can be expected; a copy would be at 0.",
            rows=[("images", "median", "nearest 5 %", "nearest"), *rows],
            picture=chart(lines, x="distance to the nearest private image, in features", y="% of images within it"),
            alt=f"how many released images, images of the kind “{raw}” and held-out images lie within each distance",
        ),
    ]
