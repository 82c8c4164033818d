"""Can these images be judged like this? Asked before the first stage, because measures come last.

Numbers of images and of classes are public; how many images a class has is not, and no measure may fail for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from raysyn.metrics.fidelity import check_weights
from raysyn.metrics.utility import EvalConfig

FEWEST = {"resnet9": 3}
"""Training images of a classifier, of which one is held out; else 2. Batch normalisation needs two at a time."""


def check_measures(
    config: EvalConfig, classes: int, *, synthetic: int, train: int, compared: int | None = None
) -> None:
    """ValueError, in one sentence with the flag that mends it, where a measure of `config` has too little to work on.

    Args: numbers of classes (those without an image included), of synthetic images, of real training images, and of
    real images that fidelity compares with, if these are others.
    """
    check_weights(config)
    if config.classifiers:
        _check_classifiers(config, classes, {"training": train, "synthetic": synthetic})
    sides = {"synthetic": synthetic, "real": train if compared is None else compared}
    if config.feature_epochs:
        _check_features(config, sides)
    for side, count in sides.items():
        if config.inception_weights is not None and count < 2:
            raise ValueError(
                f"eval.inception_weights is {config.inception_weights}, but FID needs 2 {side} images and there are "
                f"{count}: give more, or leave it out"
            )


def _check_classifiers(config: EvalConfig, classes: int, sides: Mapping[str, int]) -> None:
    names = " ".join(config.classifiers)
    if classes < 2:
        raise ValueError(
            f"eval.classifiers is {names}, but there is one class and nothing to classify: ask for none with "
            "--eval.classifiers and no name after it"
        )
    for name, (side, count) in product(config.classifiers, sides.items()):
        fewest, most = FEWEST.get(name, 2), count if config.images is None else min(count, config.images)
        if most < fewest:
            of_them = "" if most == count else f", of which eval.images takes {most}"
            raise ValueError(
                f"eval.classifiers has {name}, which needs {fewest} {side} images, and there are {count}{of_them}: "
                "leave it out (--eval.classifiers with the others, or with no name after it)"
            )


def _check_features(config: EvalConfig, sides: dict[str, int]) -> None:
    for side, count in sides.items():
        # Each half of the real images has a distance of its own.
        if side == "real" and count < 4:
            raise ValueError(
                f"eval.feature_epochs is {config.feature_epochs}, but distances in features need 4 real images and "
                f"there are {count}: give more, or --eval.feature-epochs 0, which leaves them out"
            )
        if count <= config.neighbours:
            raise ValueError(
                f"eval.neighbours is {config.neighbours}, but there are {count} {side} images, and precision and "
                f"recall need more: --eval.neighbours {max(1, count - 1)}, or --eval.feature-epochs 0, which leaves "
                "them out"
            )
