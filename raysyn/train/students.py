"""Teacher and students of Knowledge Recycling: one architecture, one recipe, real or recycled images.

Generative Knowledge Distillation (section 3.4): a student's images come from a generator, its soft labels from the
teacher, and the set is drawn anew every few epochs. Beside it the kinds of labels it is compared with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.told import Told
from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.models.biggan import BigGANConfig, Generator
from raysyn.models.resnet import ResNetConfig
from raysyn.train.classifier import accuracy
from raysyn.train.gan import checkpoint_name, draw
from raysyn.train.recipe import Examples, Feed, Judge, RecipeConfig, fit, one_hot, predict

FILTER_ROUNDS = 10

Labels = Literal["soft", "hard", "agree", "confident"]


@dataclass(frozen=True, kw_only=True)
class RecyclingConfig:
    """How a student's synthetic set is made (3.4); the tuning step varies the last three."""

    labels: Labels = "soft"
    """`soft`: the teacher's probabilities (Generative Knowledge Distillation); `hard`: the class asked for; `agree`:
    the same, only images that the teacher calls so (Dat et al. 2019); `confident`: and is sure of (Lampis et al.
    2023)."""
    confidence: float = 0.9
    """Probability from which `confident` counts the teacher as sure (the paper does not say)."""
    regeneration_rate: int = 10
    """The set is drawn anew every so many epochs."""
    cardinality_scale: int = 1
    """Images in the set, as a multiple of the real training images."""
    standard_deviation: float = 1.0
    """Of the generator's Gaussian noise."""

    def __post_init__(self) -> None:
        for name in ("regeneration_rate", "cardinality_scale"):
            if getattr(self, name) < 1:
                raise ValueError(f"recycling.{name} is {getattr(self, name)}: give at least 1")
        if not self.standard_deviation > 0 or not 0 < self.confidence < 1:
            raise ValueError(
                f"recycling.standard_deviation is {self.standard_deviation} and recycling.confidence "
                f"{self.confidence}: give a deviation above 0 and a probability between 0 and 1"
            )


class NothingPassed(Told):
    """No generated image passed the filter of the labels."""


class Real(NamedTuple):
    """All that training and selection may see. The test images are not among it."""

    train: Images
    valid: Images


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What teacher and students have in common."""

    real: Real
    classifier: ResNetConfig
    network: BigGANConfig
    recipe: RecipeConfig
    recycling: RecyclingConfig = field(default_factory=RecyclingConfig)
    teacher: Mapping[str, Tensor] | None = None
    """Its weights, once it is trained."""
    shares: tuple[float, ...] | None = None
    """How often each class is asked of a generator, as numbers of any sum; by default equally often."""
    seed: int = 0

    def mix(self) -> np.ndarray:
        """These shares, float64 (K,), of sum 1."""
        shares = np.array(self.shares or (1.0,) * self.real.train.classes)
        return shares / shares.sum()

    def new_classifier(self) -> nn.Module:
        """The one architecture of teacher, students and shadow models, with its first weights."""
        torch.manual_seed(self.seed)
        return self.classifier.build(self.real.train.shape[2], self.real.train.classes)

    def load_teacher(self, device: torch.device) -> nn.Module:
        teacher = self.new_classifier()
        assert self.teacher is not None, "the teacher is not trained yet"
        teacher.load_state_dict(self.teacher)
        return teacher.to(device).eval()

    def load_generator(self, weights: Mapping[str, Tensor], device: torch.device) -> Generator:
        """A kept generator, ready to draw from."""
        generator = Generator(self.network, self.real.train.shape, self.real.train.classes, spectral=False)
        generator.load_state_dict(weights)
        return generator.to(device).eval()

    def varied(self, params: Mapping[str, Any]) -> RecyclingConfig:
        """The settings of `recycling` with those that a search varies put in."""
        return replace(self.recycling, **{key: value for key, value in params.items() if key != "checkpoint"})


def fit_teacher(worker: Worker, lesson: Lesson) -> dict[str, Any]:
    """The teacher's weights and its accuracy on the validation images, as `taught` answers."""
    return fit_labelled(worker, lesson.real.train, lesson)


def fit_labelled(worker: Worker, images: Images, lesson: Lesson) -> dict[str, Any]:
    """The same of a classifier that learns from `images` with their own labels."""
    examples = one_hot(images.images_NHWC, images.labels_N, images.classes)
    return taught(worker, lesson, lambda epoch, m: examples, len(images))


def fit_student(worker: Worker, params: Mapping[str, Any], lesson: Lesson) -> dict[str, Any]:
    """A student of the generator's checkpoint `params["checkpoint"]`, with the other `params` over the lesson's.

    The images of one set follow from the seed and from which set of the training it is.
    """
    config = lesson.varied(params)
    generator = lesson.load_generator(worker.kept(checkpoint_name(params["checkpoint"])), worker.device)
    teacher = lesson.load_teacher(worker.device)
    size = len(lesson.real.train) * config.cardinality_scale
    now: dict[int, Examples] = {}

    def feed(epoch: int, m: int) -> Examples:
        index = epoch // config.regeneration_rate
        if index not in now:
            now.clear()
            now[index] = recycle(generator, teacher, lesson.mix(), size, config, [lesson.seed, 5, index])
        return now[index]

    return taught(worker, lesson, feed, size)


def try_student(worker: Worker, params: Mapping[str, Any], lesson: Lesson) -> None:
    """One trial of a search: CAS 0 for a student that the filter of its labels leaves without images."""
    try:
        fit_student(worker, params, lesson)
    except NothingPassed:
        worker.progress(lesson.recipe.epochs, lesson.recipe.epochs, accuracy=0.0)


def taught(worker: Worker, lesson: Lesson, feed: Feed, size: int) -> dict[str, Any]:
    """Weights after the last epoch, what they reach on the validation images (for a student: its CAS), and what those
    after each epoch did."""
    model, valid = lesson.new_classifier(), lesson.real.valid
    judge = Judge(lambda network: accuracy(network, valid))
    (weights,) = fit(worker, [model], feed, size, lesson.recipe, [lesson.seed], judge)
    model.load_state_dict(weights)
    return {"weights": weights, "valid_accuracy": accuracy(model.eval(), valid), "valid_by_epoch": judge.values}


def recycle(
    generator: Generator, teacher: nn.Module, mix_K: np.ndarray, size: int, config: RecyclingConfig, key: Sequence[int]
) -> Examples:
    """One synthetic set: `size` images of classes drawn with the chances `mix_K`, labelled as `config` says.

    The filters draw again for what they drop, at most ten times as many images as asked for; what has passed by then
    is the set, and a class asked for in vain is missing in it. NothingPassed where that is none at all.
    """
    rng = np.random.default_rng(key)
    images, targets, found = [], [], 0
    for _ in range(1 if config.labels in ("soft", "hard") else FILTER_ROUNDS):
        asked = torch.from_numpy(rng.choice(len(mix_K), size=size, p=mix_K))
        made = draw(generator, asked, config.standard_deviation, int(rng.integers(2**32)))
        teacher_NK = predict(teacher, made).softmax(1)
        target_NK = teacher_NK if config.labels == "soft" else nn.functional.one_hot(asked, generator.classes).float()
        surest, called = teacher_NK.max(1)
        passed = torch.ones(size, dtype=torch.bool)
        if config.labels in ("agree", "confident"):
            passed = called == asked
        if config.labels == "confident":
            passed &= surest >= config.confidence
        images.append(made.cpu()[passed])
        targets.append(target_NK[passed])
        found += int(passed.sum())
        if found >= size:
            break
    if not found:
        raise NothingPassed(f"no generated image passed the filter of recycling.labels {config.labels!r}")
    return Examples(torch.cat(images)[:size], torch.cat(targets)[:size])
