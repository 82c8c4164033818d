"""How far several sets of images are from the same real ones: the networks that look at them are made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.metrics import inception
from raysyn.metrics.distances import Moments, frechet_distance, moments
from raysyn.metrics.fidelity import CHUNK, Inception, feature_cnn
from raysyn.metrics.utility import EvalConfig, subset
from raysyn.train.classifier import features

Look = Callable[[Images], Moments]


def distances(
    sets: Sequence[Images], real: Images, config: EvalConfig, seed: int, loaded: Inception
) -> list[dict[str, float | None]]:
    """{"fid", "frechet_distance_cnn_features"} of each of the sets, as `fidelity` measures both; None where there are
    no Inception weights, or `config.feature_epochs` is 0. `config.inception_images` cuts what Inception sees alone."""
    cnn = between(sets, real, _cnn(real, config, seed)) if config.feature_epochs else [None] * len(sets)
    fid: Sequence[float | None] = [None] * len(sets)
    if loaded[0] is not None:
        some = [subset(one, config.inception_images, seed) for one in sets]
        fid = between(some, subset(real, config.inception_real_images, seed), _inception(loaded[0]))
    return [
        {"fid": one, "frechet_distance_cnn_features": other} for one, other in zip(fid, cnn, strict=True)
    ]  # fmt: skip


def between(sets: Sequence[Images], real: Images, look: Look) -> list[float]:
    """Frechet distances of what `look` sees in each set and in the real images."""
    true = look(real)
    return [frechet_distance(look(one), true) for one in sets]


def _cnn(real: Images, config: EvalConfig, seed: int) -> Look:
    model = feature_cnn(real, config, seed)
    return lambda one: moments(features(model, one))


def _inception(weights: dict[str, object]) -> Look:
    network = inception.extractor(weights, best_device())

    def look(images: Images) -> Moments:
        parts = [np.arange(at, min(at + CHUNK, len(images))) for at in range(0, len(images), CHUNK)]
        first, *rest = (moments(inception.outputs(network, images.select(part))[0]) for part in parts)
        return sum(rest, start=first)

    return look
