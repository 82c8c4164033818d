"""A picture of synthetic beside real images: t-SNE of what a classifier of synthetic ones sees (PrivImage, figure 4).

For the report, which stays inside: each real image is a point of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.metrics.utility import EvalConfig, subset
from raysyn.train.classifier import ClassifierConfig, features, fit, hold_out

TRAINED_ON, EPOCHS, DRAWN = 5000, 5, 500
ITERATIONS = 500
"""Of t-SNE: of 1,000 digits its divergence was 0.54 after so many, 0.53 after twice as many."""


def tsne(shared: dict[str, Any]) -> dict[str, Any]:
    """Points of `shared` synthetic and real images in one plane, as plain lists: {synthetic, real: [[x, y], ...],
    synthetic_labels, real_labels}.

    Args: shared: synthetic, real: Images; config: EvalConfig, of which the CNN's training is read; seed.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from sklearn.manifold import TSNE

    config, seed = shared["config"], shared["seed"]
    assert isinstance(config, EvalConfig)
    training = ClassifierConfig(
        epochs=min(config.epochs, EPOCHS), learning_rate=config.learning_rate, beta1=config.beta1
    )
    images, valid = hold_out(subset(shared["synthetic"], TRAINED_ON, seed), training.validation_share, seed)
    model = fit(images, valid, "cnn", training, seed, best_device()).model
    sides: dict[str, Images] = {side: subset(shared[side], DRAWN, seed) for side in ("synthetic", "real")}
    seen = np.concatenate([features(model, part).cpu().numpy() for part in sides.values()])
    if len(seen) < 4:
        raise ValueError(f"{len(seen)} images make no picture: give at least 4")
    perplexity = min(30, (len(seen) - 1) / 3)
    plane = TSNE(2, perplexity=perplexity, init="pca", max_iter=ITERATIONS, random_state=seed, n_jobs=1)
    points = plane.fit_transform(seen)
    cut = len(sides["synthetic"])
    return {
        "synthetic": points[:cut].tolist(), "real": points[cut:].tolist(),
        "synthetic_labels": sides["synthetic"].labels_N.tolist(), "real_labels": sides["real"].labels_N.tolist(),
    }  # fmt: skip
