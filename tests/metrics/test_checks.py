"""A measure that has too little to work on is refused with the flag that mends it; all others work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysyn.attacks.checks import check_classes
from raysyn.attacks.shadows import AttackConfig
from raysyn.compute.local import Local
from raysyn.data.images import Images
from raysyn.metrics.checks import check_measures
from raysyn.metrics.fidelity import fidelity
from raysyn.metrics.utility import NO_EARLY_STOP, ONE_CLASS, EvalConfig, judge, utility

SCIKIT = ("sklearn_mlp", "sklearn_logreg")


def noise(counts: list[int], seed: int = 0) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 8, 8, 1), dtype=np.uint8)
    return Images(pixels, labels, tuple(f"kind {label}" for label in range(len(counts))))


@pytest.mark.parametrize(
    ("settings", "numbers", "says"),
    [
        (
            {},
            {"classes": 1},
            "eval.classifiers is cnn .* there is one class .* --eval.classifiers and no name after it",
        ),
        ({"classifiers": ("resnet9",)}, {"train": 2}, "has resnet9, which needs 3 training images, and there are 2"),
        ({"classifiers": ("cnn",)}, {"train": 1}, "has cnn, which needs 2 training images, and there are 1"),
        (
            {"classifiers": ("cnn",)},
            {"synthetic": 1},
            "has cnn, which needs 2 synthetic images, and there are 1",
        ),
        (
            {"classifiers": ("mlp", "resnet9"), "images": 2},
            {},
            "has resnet9, which needs 3 training images, and there are 20, of which eval.images takes 2: leave it out",
        ),
        ({"neighbours": 1}, {"train": 3}, "distances in features need 4 real images and there are 3.*feature-epochs 0"),
        ({"neighbours": 6}, {"train": 6}, "eval.neighbours is 6, but there are 6 real images.*--eval.neighbours 5"),
        ({"neighbours": 6}, {"synthetic": 5}, "there are 5 synthetic images"),
        ({}, {"train": 9, "compared": 3}, "need 4 real images and there are 3"),
    ],
)
def test_what_cannot_be_measured_is_named(settings: dict[str, Any], numbers: dict[str, int], says: str) -> None:
    asked = {"classes": 2, "synthetic": 20, "train": 20, **numbers}
    with pytest.raises(ValueError, match=says):
        check_measures(EvalConfig(**settings), asked.pop("classes"), **asked)


def test_what_is_left_out_needs_nothing() -> None:
    check_measures(EvalConfig(classifiers=(), feature_epochs=0), 1, synthetic=1, train=1)
    check_classes(AttackConfig(shadow_models=0), 1, "")
    with pytest.raises(ValueError, match=r"attack\.shadow_models is 8, but there is one class.*: do this"):
        check_classes(AttackConfig(shadow_models=8), 1, "do this")


@pytest.mark.parametrize("train", [3, 4, 5, 9])
def test_what_the_check_lets_pass_is_measured(train: int, tmp_path: Path) -> None:
    """The check and the measures must not come apart: with each number of images, every measure that passes works."""
    real, made = noise([train - 1, 1]), noise([10, 10], 1)
    names = ("cnn", "resnet9", "resnet9_ffcv", "mlp", "logreg", "sklearn_mlp_default", *SCIKIT)
    config = EvalConfig(classifiers=names, epochs=1, feature_epochs=1, resnet9_width=0.0625)
    try:
        check_measures(config, 2, synthetic=20, train=train)
    except ValueError:
        with pytest.raises(ValueError):
            utility(Local(tmp_path), made, real, made, config, 0)
            fidelity(None, made, real, config, 0)
        return
    assert set(names) < set(utility(Local(tmp_path), made, real, made, config, 0))
    assert fidelity(None, made, real, config, 0, intra=True)["precision"] is not None


@pytest.mark.parametrize(
    ("counts", "note"),
    [([30, 30], None), ([59, 1], NO_EARLY_STOP), ([2] * 12, NO_EARLY_STOP), ([0, 30, 30], None), ([0, 40], ONE_CLASS)],
)
def test_how_many_images_a_class_has_ends_no_measure_and_is_said(counts: list[int], note: str | None) -> None:
    shared = {"real": noise(counts), "test": noise([5] * len(counts), 2), "config": EvalConfig(), "seed": 0}
    told = {name: judge((name, "real"), shared) for name in SCIKIT}  # type: ignore[arg-type]
    assert told["sklearn_mlp"].get("note") == note
    assert told["sklearn_logreg"].get("note") == (note if note == ONE_CLASS else None)
    assert all(0 <= one["accuracy"] <= 1 for one in told.values())
    if note == ONE_CLASS:
        assert told["sklearn_mlp"]["accuracy"] == 0.5 and told["sklearn_mlp"]["epoch"] == 0


def test_the_report_has_the_note(tmp_path: Path) -> None:
    config = EvalConfig(classifiers=("sklearn_mlp",))
    found = utility(Local(tmp_path), noise([20, 20], 1), noise([39, 1]), noise([5, 5], 2), config, 0)
    assert found["sklearn_mlp"]["notes"] == {"real": NO_EARLY_STOP}
