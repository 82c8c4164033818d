"""What is needed last is tried first: images too few or too alike for a method or a measure are refused by `prepare`,
and with all others a run ends with its report. A declared class without an image is served by every method."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_dp_feta
import test_dp_imgsyn
import test_dp_kernel
import test_dp_mepf
import test_dp_merf
import test_dp_ntk
import test_dp_prototypes
import test_evolution
import test_knowledge_recycling
import test_lira_method
import test_noisy_means
import test_p3gm
import test_pigan
import test_privimage

from raysyn.attacks.gan_attacks import MonteCarloConfig
from raysyn.attacks.shadows import AttackConfig
from raysyn.data.images import DataConfig
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_mepf import pipeline as dp_mepf
from raysyn.methods.dp_merf import pipeline as dp_merf
from raysyn.methods.dp_ntk import pipeline as dp_ntk
from raysyn.methods.dp_prototypes import pipeline as dp_prototypes
from raysyn.methods.evolution import pipeline as evolution
from raysyn.methods.knowledge_recycling import pipeline as knowledge_recycling
from raysyn.methods.lira import pipeline as lira
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.p3gm import pipeline as p3gm
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.privimage import pipeline as privimage
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy.cost import Budget

pytestmark = pytest.mark.usefixtures("letters")

EVERY = EvalConfig(
    classifiers=("cnn", "resnet9", "mlp", "logreg", "sklearn_mlp", "sklearn_logreg"), epochs=1, feature_epochs=1,
    resnet9_width=0.0625, precision_recall_images=50,
)  # fmt: skip
BUDGET = Budget(epsilon=200.0, delta=1e-3, accountant="rdp")
FEW = {"batch_size": 2, "epochs": 1.0}
HALF = AttackConfig(shadow_models=8, design="half", queries=1)

Run = Callable[[Any, Path], Any]
METHODS: dict[str, tuple[Any, Run, Callable[[Any], Any]]] = {
    "noisy_means": (
        replace(test_noisy_means.TINY, budget=BUDGET, eval=replace(EVERY, floor=False), synthetic=30),
        test_noisy_means.run, noisy_means.prepare,
    ),
    "evolution": (
        replace(test_evolution.PUBLIC, budget=BUDGET, eval=EVERY, synthetic=30), test_evolution.run, evolution.prepare,
    ),
    "dp_merf": (replace(test_dp_merf.TINY, budget=BUDGET, eval=EVERY, synthetic=30), test_dp_merf.run, dp_merf.prepare),
    "dp_ntk": (replace(test_dp_ntk.TINY, budget=BUDGET, eval=EVERY, synthetic=30), test_dp_ntk.run, dp_ntk.prepare),
    "dp_mepf": (replace(test_dp_mepf.TINY, budget=BUDGET, eval=EVERY, synthetic=30), test_dp_mepf.run, dp_mepf.prepare),
    "dp_prototypes": (
        replace(test_dp_prototypes.TINY, budget=BUDGET, eval=EVERY, synthetic=30), test_dp_prototypes.run,
        dp_prototypes.prepare,
    ),
    "dp_kernel": (
        replace(
            test_dp_kernel.TINY, budget=BUDGET, eval=EVERY, synthetic=30,
            rounds=replace(test_dp_kernel.TINY.rounds, batch_size=2),
        ),
        test_dp_kernel.run, dp_kernel.prepare,
    ),
    "p3gm": (
        replace(
            test_p3gm.TINY, budget=BUDGET, eval=EVERY, synthetic=30, finetune=replace(test_p3gm.TINY.finetune, **FEW),
        ),
        test_p3gm.run, p3gm.prepare,
    ),
    "dp_feta": (
        replace(
            test_dp_feta.TINY, budget=BUDGET, eval=EVERY, synthetic=30,
            central=replace(test_dp_feta.TINY.central, count=4),
            finetune=replace(test_dp_feta.TINY.finetune, **FEW),
        ),
        test_dp_feta.run, dp_feta.prepare,
    ),
    "privimage": (
        replace(
            test_privimage.TINY, budget=BUDGET, eval=EVERY, synthetic=30,
            finetune=replace(test_privimage.TINY.finetune, **FEW),
        ),
        test_privimage.run, privimage.prepare,
    ),
    "privimage_gan": (
        replace(
            test_privimage.TINY, budget=BUDGET, eval=EVERY, synthetic=30, generator="gan",
            finetune=replace(test_privimage.TINY.finetune, **{**FEW, "epochs": 4.0}),
        ),
        test_privimage.run, privimage.prepare,
    ),
    "dp_imgsyn": (
        replace(
            test_dp_imgsyn.TINY, budget=BUDGET, students=("resnet18",), synthetic=None,
            training=replace(test_dp_imgsyn.TINY.training, **FEW),
            statistics=replace(test_dp_imgsyn.TINY.statistics, batch_size=2, epochs=1.0), eval=EVERY,
        ),
        test_dp_imgsyn.run, dp_imgsyn.prepare,
    ),
    "knowledge_recycling": (
        replace(test_knowledge_recycling.TINY, attack=HALF),
        test_knowledge_recycling.run, knowledge_recycling.prepare,
    ),
    "lira": (replace(test_lira_method.TINY, attack=HALF), test_lira_method.run, lira.prepare),
    "pigan": (
        replace(
            test_pigan.TINY, eval=replace(EVERY, floor=False), member_share=None, budget=BUDGET,
            monte_carlo=MonteCarloConfig(fakes=50, suspects=1, components=1, repeats=2, fit_share=0.5),
        ),
        test_pigan.run, pigan.prepare,
    ),
}  # fmt: skip

CASES = {
    "an empty class": ([12, 0, 12], [6, 0, 6], True),
    "empty in test too late": ([12, 12, 12], [6, 6, 0], True),
    "one image in a class": ([23, 1], [6, 6], False),
    "all of one declared class": ([12, 0], [6, 0], True),
    "five images": ([3, 2], [2, 2], False),
    "one class": ([24], [8], False),
    "three images": ([2, 1], [1, 1], False),
}
"""Training and test images of each class, and whether the classes are named."""
LONGEST = ("privimage", "privimage_gan", "lira", "dp_imgsyn", "knowledge_recycling")
ATTACKED = ("lira", "knowledge_recycling")
"""By LiRA, which sees nothing of one class."""
ONE_CLASS = {"--eval.classifiers", "--attack.shadow-models 0", "at least 2 classes"}


def small(path: Path, train: list[int], test: list[int], named: bool) -> DataConfig:
    """8 x 8 stripes and noise, so many of each class."""
    rng, arrays = np.random.default_rng(0), {}
    for split, counts in (("train", train), ("test", test)):
        labels = np.repeat(np.arange(len(counts)), counts)
        pixels = rng.integers(0, 120, (len(labels), 8, 8), dtype=np.uint8)
        pixels[np.arange(len(labels)), :, labels] += 120
        arrays |= {f"{split}_images": pixels, f"{split}_labels": labels}
    if named:
        arrays["class_names"] = np.array([f"kind {label}" for label in range(len(train))])
    np.savez(path / "small.npz", **arrays)
    return DataConfig(path=str(path / "small.npz"))


def outcome(method: str, case: str, path: Path) -> str:
    """ "done", or the sentence with which `prepare` refuses; what fails after it fails the test."""
    config, run, prepare = METHODS[method]
    config = replace(config, data=small(path, *CASES[case]))
    try:
        prepare(config)
    except ValueError as error:
        assert "\n" not in str(error) and not list(path.glob("run/*"))
        return str(error)
    run(config, path / "run")
    report = json.loads((path / "run" / "internal" / "report.json").read_text())
    assert method == "lira" or (path / "run" / "release" / "certificate.json").exists()
    counts, _, _ = CASES[case]
    empty = [f"kind {label}" for label, count in enumerate(counts) if not count]
    assert report["metrics"].get("classes_without_training_image", []) == empty
    if empty:
        assert (
            f"Classes without a training image:\n{', '.join(empty)}"
            in (path / "run" / "internal" / "report.html").read_text()
        )
    return "done"


@pytest.mark.parametrize(
    "method", [pytest.param(name, marks=[pytest.mark.slow] if name in LONGEST else []) for name in METHODS]
)
def test_a_declared_class_without_an_image_is_served_to_the_end(method: str, tmp_path: Path) -> None:
    assert outcome(method, "an empty class", tmp_path) == "done"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["empty in test too late", "one image in a class", "all of one declared class"])
@pytest.mark.parametrize("method", METHODS)
def test_how_many_images_a_class_has_ends_no_run(method: str, case: str, tmp_path: Path) -> None:
    said = outcome(method, case, tmp_path)
    if case == "all of one declared class" and method in ATTACKED:
        assert "attack: training and test images have 1 class in common" in said and "at least 2 classes" in said
    else:
        assert said == "done"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["five images", "three images", "one class"])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_too_little_is_refused_before_the_first_stage(method: str, case: str, tmp_path: Path) -> None:
    said = outcome(method, case, tmp_path)
    if case == "one class":
        assert any(mend in said for mend in ONE_CLASS), said


def test_one_class_is_refused_with_a_mend_that_works(tmp_path: Path) -> None:
    said = outcome("dp_feta", "one class", tmp_path)
    assert "eval.classifiers is cnn resnet9" in said and "--eval.classifiers and no name after it" in said
    config, run, prepare = METHODS["dp_feta"]
    config = replace(config, data=DataConfig(path=str(tmp_path / "small.npz")), eval=replace(EVERY, classifiers=()))
    prepare(config)
    run(config, tmp_path / "mended")
    assert (tmp_path / "mended" / "internal" / "report.json").exists()


@pytest.mark.slow
def test_the_mend_for_one_class_of_knowledge_recycling_works(tmp_path: Path) -> None:
    said = outcome("knowledge_recycling", "one class", tmp_path)
    assert "--attack.shadow-models 0" in said
    config, run, _ = METHODS["knowledge_recycling"]
    config = replace(
        config, data=DataConfig(path=str(tmp_path / "small.npz")), attack=AttackConfig(shadow_models=0)
    )  # fmt: skip
    run(config, tmp_path / "mended")
    assert (tmp_path / "mended" / "internal" / "report.json").exists()
