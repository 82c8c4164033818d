"""How long judging will take here: from a moment's measurement on made-up images, before there is anything to judge."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.metrics import inception
from raysyn.metrics.distances import (
    ROWS,
    density_coverage,
    frechet_distance,
    kernel_distance,
    moments,
    precision_recall,
)
from raysyn.metrics.embedding import DRAWN, EPOCHS, TRAINED_ON
from raysyn.metrics.fidelity import CHUNK, KEPT, inception_weights
from raysyn.metrics.likelihood import feature_likelihood
from raysyn.metrics.utility import SLOWEST_FIRST, EvalConfig
from raysyn.models.classifiers import build
from raysyn.train.classifier import ClassifierConfig, as_float, enough, images_per_step, stepper
from raysyn.train.loop import Ema
from raysyn.train.memory import at_once
from raysyn.train.outlook import now, one_thread, seconds

Shape = tuple[int, int, int]
MLP_EPOCHS, MLP_MOST, LOGREG_ITERATIONS = 60, 200, 100
"""Of scikit-learn's classifiers: where the MLP's early stop usually comes, its most, and the other's most."""
FEW = 64
"""Images to measure with."""
TSNE_S = 2.5e-3
"""Seconds per point of t-SNE."""


def made_up(shape: Shape, classes: int, n: int) -> Images:
    """Noise with labels in turn."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    return Images(pixels, np.arange(n, dtype=np.int64) % classes, tuple(str(label) for label in range(classes)))


@functools.cache
def classifier_pace(name: str, shape: Shape, classes: int, width: float, batch: int) -> tuple[float, float]:
    """Seconds of one training step on `batch` images, and of asking about one image."""
    few, device = min(batch, at_once(FEW, shape)), best_device()
    few = max(few, 2)
    model = build(name, shape, classes, width).to(device).to(memory_format=torch.channels_last)
    ema, step = Ema(model), stepper(name, model, ClassifierConfig(), 100)
    images = made_up(shape, classes, few)
    pixels, labels = torch.tensor(images.images_NHWC, device=device), torch.tensor(images.labels_N, device=device)

    def train() -> None:
        step(as_float(pixels), labels)
        ema.update(model)

    @torch.inference_mode()
    def ask() -> None:
        model(as_float(pixels))

    with one_thread(), torch.random.fork_rng():
        step_s = seconds(train) * max(1.0, batch / few)
        model.eval()
        return step_s, seconds(ask) / few


def classifier_seconds(
    name: str, config: EvalConfig, shape: Shape, classes: int, images: int, epochs: int, asked: int
) -> float:
    """Of training one classifier on `images`, a tenth of them for validation, and asking about `asked` others."""
    if name.startswith("sklearn_"):
        return images * scikit_pace(name, shape, classes)
    training, held = ClassifierConfig(epochs=epochs), _held_out(images)
    batch = images_per_step(name, training, images - held)
    width = config.resnet9_width if name == "resnet9" else 1.0
    step_s, ask_s = classifier_pace(name, shape, classes, width, batch)
    return epochs * (math.ceil((images - held) / batch) * step_s + held * ask_s) + asked * ask_s


def _held_out(images: int) -> int:
    return min(max(1, round(ClassifierConfig().validation_share * images)), images - 1)


def judge_seconds(name: str, config: EvalConfig, shape: Shape, classes: int, images: int, asked: int) -> float:
    """Of `utility.judge`, which gives few images more epochs."""
    images = min(images, config.images or images)
    training = ClassifierConfig(epochs=config.epochs, learning_rate=config.learning_rate)
    epochs = enough(name, training, images - _held_out(images)).epochs
    return classifier_seconds(name, config, shape, classes, images, epochs, asked)


@functools.cache
def scikit_pace(name: str, shape: Shape, classes: int) -> float:
    """Seconds per image that one of scikit-learn's classifiers learns from, by so many iterations as are usual."""
    few = max(300, 3 * classes)
    images = made_up(shape, classes, few)
    pixels = images.images_NHWC.reshape(few, -1).astype(np.float32) / 255
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    iterations = {"sklearn_mlp": MLP_EPOCHS, "sklearn_mlp_default": MLP_MOST, "sklearn_logreg": LOGREG_ITERATIONS}
    brief, usual = 5 if name == "sklearn_logreg" else 2, iterations[name]
    model: Any = (LogisticRegression if name == "sklearn_logreg" else MLPClassifier)(max_iter=brief)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _once(lambda: model.fit(pixels, images.labels_N)) / few / brief * usual


def utility_units(
    config: EvalConfig, shape: Shape, classes: int, *, synthetic: int, real: int, test: int
) -> list[float]:
    """Seconds of each unit of `utility.utility`: each classifier on synthetic, on real and on the floor's images."""
    return [
        judge_seconds(name, config, shape, classes, count, test)
        for name in SLOWEST_FIRST if name in config.classifiers
        for count in (synthetic, real, *([synthetic] if config.floor else []))
    ]  # fmt: skip


def fidelity_units(
    config: EvalConfig, shape: Shape, classes: int, *, synthetic: int, real: int, test: int = 0
) -> list[float]:
    """Seconds of each unit of `fidelity.fidelity`: all that is seen by the CNN's features, and chunks of images that
    Inception sees, where there are its weights, with what its features are compared by."""
    units = []
    if config.feature_epochs:
        images = min(real, config.images or real)
        epochs = enough("cnn", ClassifierConfig(epochs=config.feature_epochs), images - _held_out(images)).epochs
        taught = classifier_seconds("cnn", config, shape, classes, images, epochs, synthetic + real)
        units.append(taught + _distances(config, shape, classes, synthetic, real))
    if config.inception_weights is not None and (weights := inception_weights(config)[0]) is not None:
        network = inception.extractor(weights, best_device())
        with one_thread():
            each = _once(lambda: inception.outputs(network, made_up(shape, classes, 2))) / 2
        seen = (min(synthetic, config.inception_images), min(real, config.inception_real_images or real))
        for count in (*seen, min(test, KEPT)):
            units += [each * min(CHUNK, count - at) for at in range(0, count, CHUNK)]
        units.append(_likelihood(*(min(count, KEPT) for count in (*seen, test))))
    return units


def _likelihood(synthetic: int, real: int, test: int) -> float:
    """Of FLD, which grows with the pairs of a centre and a vector; no unit, but about as long as one."""
    few = torch.rand(200, inception.FEATURES)
    with one_thread():
        pair = _once(lambda: feature_likelihood(few[:100], few, few, 0)) / (100 * 300)
    return pair * min(synthetic, real // 2) * (real + real // 2) if test > 1 else 0.0


def _distances(config: EvalConfig, shape: Shape, classes: int, synthetic: int, real: int) -> float:
    """Of comparing features: Frechet distances grow with the features, the others with the square of the images."""
    few, width = 200, build("cnn", shape, classes).head.in_features
    features = torch.rand(2, few, width)
    with one_thread():
        compared = seconds(lambda: precision_recall(features[0], features[1]))
        distance = _once(lambda: frechet_distance(moments(features[0]), moments(features[1])))
        held = seconds(lambda: (kernel_distance(*features), density_coverage(*features)))
    half = min(real // 2, config.precision_recall_images)
    in_halves = (min(synthetic, half) + half) ** 2 / (2 * few) ** 2
    looked = (synthetic + ROWS) * real / few**2 if config.nearest else 0.0
    # Of all images; then between the two sides, and between halves of one. `compared` is of four times as many pairs.
    return 3 * distance + in_halves * 2 * (held + compared) + looked / 4 * compared


def plane_seconds(config: EvalConfig, shape: Shape, classes: int, *, synthetic: int, test: int) -> float:
    """Of `embedding.tsne`."""
    points = min(synthetic, DRAWN) + min(test, DRAWN)
    trained = min(synthetic, TRAINED_ON)
    taught = classifier_seconds("cnn", config, shape, classes, trained, min(config.epochs, EPOCHS), points)
    return taught + points * TSNE_S


def _once(action: Callable[[], object]) -> float:
    started = now()
    action()
    return now() - started
