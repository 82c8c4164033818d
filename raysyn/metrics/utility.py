"""Usefulness of synthetic images: classifiers trained on them, tested on real images, beside real-trained ones.

Everything here looks at real data after the release is made; the numbers belong in the internal report.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from raysyn.compute.doorway import Compute, digest
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.metrics.yardsticks import FIELDS, NOBODY, told
from raysyn.models.classifiers import NAMES
from raysyn.train.classifier import ClassifierConfig, answers, enough, fit, fit_to_the_end, hold_out, share_right

Name = Literal[
    "cnn", "resnet9", "mlp", "logreg", "resnet9_ffcv", "sklearn_mlp", "sklearn_mlp_default", "sklearn_logreg"
]
SLOWEST_FIRST: tuple[Name, ...] = (
    "resnet9", "resnet9_ffcv", "cnn", "sklearn_mlp_default", "sklearn_mlp", "sklearn_logreg", "mlp", "logreg",
)  # fmt: skip
PRIVIMAGE: tuple[Name, ...] = ("resnet9_ffcv", "sklearn_mlp_default", "sklearn_logreg")
"""The classifiers of PrivImage's table 2 (its appendix C.3)."""
ONE_CLASS = "all training images are of one class, which is the answer to every image"
PASSES = "epochs_raised_to"
"""Of a classifier, by what it learned from: see `train.classifier.enough`."""
FAR_MORE = 1.25
NO_EARLY_STOP = "trained without early stopping: too few images of a class to hold some out"


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """How the synthetic images are judged; nothing here changes them."""

    classifiers: tuple[Name, ...] = NAMES
    """Classifiers trained on synthetic and, for comparison, on real images; none skips this part. resnet9_ffcv,
    sklearn_mlp_default and sklearn_logreg are PrivImage's: FFCV's ResNet-9, half of the images mirrored and the last
    epoch kept, and scikit-learn's with its defaults. sklearn_mlp stops early, which is faster."""
    epochs: int = 50
    """Passes of each classifier over its training images; more where there are few, up to 20 times as many: of cnn, mlp
    and logreg as make 300 steps and 0.2 / learning_rate, of resnet9 100 steps. The epoch kept is the best on held-out
    training images, of resnet9_ffcv the last."""
    learning_rate: float = 3e-4
    """Adam's learning rate for cnn, mlp and logreg (DPDM's)."""
    beta1: float = 0.9
    """Adam's first decay, for the same."""
    images: int | None = None
    """Train each classifier (and the feature network) on at most this many images, synthetic and real alike; by
    default on all."""
    resnet9_width: float = 1.0
    """Multiplies the channels of resnet9; 0.125 is affordable on a CPU. The report states it."""
    feature_epochs: int = 10
    """Epochs of the CNN on real training images whose features stand in for Inception's, more where these are few; 0
    skips these measures."""
    neighbours: int = 3
    """Nearest neighbours that span the manifolds of precision and recall; fewer where half of the images are as few."""
    precision_recall_images: int = 10_000
    """At most this many images a side for all that is compared beside halves of the real ones."""
    nearest: int = 0
    """Draw so many synthetic images, the closest ones, beside their nearest real training images, in
    internal/nearest.png: a file with private images in it, which stays inside and is erased by --seal. 0 draws none."""
    distances: int = 2_000
    """Attack the released images by their distances to at most so many private training images (or persons), and to as
    many held-out ones, for the report's section on what attackers found, which stays inside; 0 leaves it out."""
    floor: bool = True
    """Train each classifier also on what `noisy_means` would release for the same budget: the least that the images
    should be better than."""
    inception_weights: str | None = None
    """File with the standard FID weights in torch-fidelity's format, or `download`; without it FID is left out.
    `try-download` does without where the download fails, and says why."""
    inception_images: int = 60_000
    """At most this many synthetic images for FID and inception score."""
    inception_real_images: int | None = None
    """At most this many real images for FID; by default all."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.classifiers) - set(SLOWEST_FIRST))
        if unknown or len(set(self.classifiers)) != len(self.classifiers):
            raise ValueError(
                f"eval.classifiers is {self.classifiers}: name each of {', '.join(SLOWEST_FIRST)} at most once"
            )
        lowest = {
            "epochs": 1,
            "feature_epochs": 0,
            "nearest": 0,
            "distances": 0,
            "neighbours": 1,
            "precision_recall_images": 2,
        }
        for field, least in {**lowest, "inception_images": 2}.items():
            if getattr(self, field) < least:
                raise ValueError(f"eval.{field} is {getattr(self, field)}: give at least {least}")
        if self.precision_recall_images <= self.neighbours:
            raise ValueError(
                f"eval.precision_recall_images is {self.precision_recall_images}: give more than eval.neighbours, "
                f"{self.neighbours}"
            )
        if self.nearest and not self.feature_epochs:
            raise ValueError(
                f"eval.nearest is {self.nearest}, but eval.feature_epochs is 0, and what is near is told by these "
                "features: give 1 or more, or leave it out"
            )
        for field in ("images", "inception_real_images"):
            if (most := getattr(self, field)) is not None and most < 2:
                raise ValueError(f"eval.{field} is {most}: give at least 2, or leave it out")
        # Adam moves each weight by its rate, and beyond 1 they come to no numbers: here, as it would be seen last.
        if not 0 < self.learning_rate <= 1 or not 0 <= self.beta1 < 1:
            raise ValueError(
                f"eval.learning_rate is {self.learning_rate} and eval.beta1 {self.beta1}: give a rate above 0, up to "
                "1, and a decay from 0 up to below 1"
            )
        if self.resnet9_width <= 0:
            raise ValueError(f"eval.resnet9_width is {self.resnet9_width}: give a number above 0")


QUICK = EvalConfig(epochs=15, learning_rate=1e-3, resnet9_width=0.125)
"""Of presets for a few thousand small images. 30 passes at DPDM's rate take twice as long and teach no more: means of
the four and of three seeds on real digits, 100, 200, 600, 1,000 and all 1,498 of them: 83.6, 90.6, 93.5, 94.4 and
94.8 %, here 86.5, 91.3, 94.9, 95.5 and 95.8."""


READS = {
    "utility": ("classifiers", "epochs", "learning_rate", "beta1", "images", "resnet9_width", "floor"),
    "fidelity": (
        *("images", "feature_epochs", "neighbours", "precision_recall_images"),
        *("inception_weights", "inception_images", "inception_real_images", "nearest"),
    ),
}
"""Which settings each measure depends on."""
SAYS: dict[str, dict[str, Any]] = {
    "utility": {"answers": True, "enough": 300},
    "fidelity": {"halves": True, "alike": True},
}
"""What results say that they did not say in an earlier version."""


def unit_name(measure: str, config: EvalConfig) -> str:
    """Name of a measure's durable results: another way of judging must not find those of this one."""
    read = {name: getattr(config, name) for name in READS[measure]}
    says = SAYS.get(measure, {})
    if measure == "fidelity" and config.inception_weights is not None:
        says = says | {"splits": True, "fld": True}
    # Results of an earlier version, which say less, are not found either.
    return f"{measure}-{digest(read | says)}"


def utility(
    compute: Compute, synthetic: Images, real_train: Images, real_test: Images, config: EvalConfig, seed: int,
    floor: Images | None = None,
) -> dict[str, Any]:  # fmt: skip
    """`yardsticks.told` of what `judge_all` finds."""
    return told(judge_all(compute, synthetic, real_train, real_test, config, seed, floor), real_test)


def judge_all(
    compute: Compute, synthetic: Images, real_train: Images, real_test: Images, config: EvalConfig, seed: int,
    floor: Images | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Accuracy on `real_test` of every classifier, trained on `synthetic`, on `real_train` and on `floor`, if given.

    Returns `yardsticks.Judged`, classifiers in the order of the config, each with {accuracy, accuracy_real_data,
    accuracy_floor} and the epochs chosen, {epoch, epoch_real_data, epoch_floor}, for resnet9 its width, and by source
    `notes` where something was done in another way than usual, and PASSES where there are more than were asked for.
    """
    if not config.classifiers:
        return dict(NOBODY)
    assert synthetic.shape == real_train.shape == real_test.shape, "synthetic and real images differ in shape"
    assert synthetic.classes == real_train.classes == real_test.classes, "synthetic and real classes differ"
    sources = {"synthetic": synthetic, "real": real_train} | ({} if floor is None else {"floor": floor})
    trained_on = {source: subset(images, config.images, seed) for source, images in sources.items()}
    shared: dict[str, Any] = {**trained_on, "test": real_test, "config": config, "seed": seed}
    # The longest first, so that no worker starts a long one when the others are done.
    units = [(name, source) for name in SLOWEST_FIRST if name in config.classifiers for source in sources]
    judged = dict(zip(units, compute.map(judge, units, name=unit_name("utility", config), shared=shared), strict=True))
    result: dict[str, Any] = {}
    for name in config.classifiers:
        found = {source: judged[name, source] for source in sources}
        result[name] = {FIELDS[source]: answer["accuracy"] for source, answer in found.items()}
        result[name] |= {
            FIELDS[source].replace("accuracy", "epoch"): answer["epoch"] for source, answer in found.items()
        }
        notes = {source: answer["note"] for source, answer in found.items() if "note" in answer}
        raised = {source: answer[PASSES] for source, answer in found.items() if PASSES in answer}
        result[name] |= ({"notes": notes} if notes else {}) | ({PASSES: raised} if raised else {})
    if "resnet9" in result:
        result["resnet9"]["width"] = config.resnet9_width
    return {
        "classifiers": result,
        "said": {source: [judged[name, source]["said"] for name in config.classifiers] for source in sources},
        "images": {source: len(images) for source, images in trained_on.items()},
    }


def judge(unit: tuple[Name, str], shared: dict[str, Any]) -> dict[str, Any]:
    """Train the classifier unit[0] on the source unit[1]; its test accuracy, what it `said` of each test image, int32
    (N,), and the epoch chosen without the test.

    The epoch is the best on a tenth of the same source held out, so for "synthetic" on synthetic images.
    """
    name, source = unit
    config: EvalConfig = shared["config"]
    if name.startswith("sklearn_"):
        return _scikit(name, shared[source], shared["test"], shared["seed"])
    training = ClassifierConfig(epochs=config.epochs, learning_rate=config.learning_rate, beta1=config.beta1)
    if name == "resnet9_ffcv":
        said_N = answers(fit_to_the_end(shared[source], name, training, shared["seed"], best_device()), shared["test"])
        share = share_right(said_N, shared["test"])
        return {"accuracy": share, "epoch": config.epochs, "valid_accuracy": None, "said": said_N.int()}
    if name == "resnet9":
        training = replace(training, width=config.resnet9_width)
    images, valid = hold_out(shared[source], training.validation_share, shared["seed"])
    training = enough(name, training, len(images))
    trained = fit(images, valid, name, training, shared["seed"], best_device())
    said_N = answers(trained.model, shared["test"])
    return {
        "accuracy": share_right(said_N, shared["test"]),
        "epoch": trained.epoch,
        "valid_accuracy": trained.valid_accuracy,
        "said": said_N.int(),
        **({PASSES: training.epochs} if training.epochs > config.epochs else {}),
    }


def raised(useful: Mapping[str, Any], asked: int) -> str:
    """The sentence on classifiers that had far more passes than were asked for; empty where none had."""
    most = {name: max(one[PASSES].values()) for name, one in useful.items() if PASSES in one}
    most = {name: passes for name, passes in most.items() if passes >= FAR_MORE * asked}
    told = ", ".join(f"{name} {passes:,}" for name, passes in most.items())
    return f"Few images to learn from, so more passes than eval.epochs, which is {asked}: {told}" if most else ""


def _scikit(name: Name, images: Images, test: Images, seed: int) -> dict[str, Any]:
    """The accuracy of scikit-learn's classifier on pixels in [0, 1]; an epoch is one of its iterations. Where there are
    too few images for what it does by default, `note` says what was done instead."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    counts = np.bincount(images.labels_N)
    if np.count_nonzero(counts) == 1:
        # Neither of the two takes images of one class.
        said_N = torch.full((len(test),), int(counts.argmax()), dtype=torch.int32)
        share = share_right(said_N, test)
        return {"accuracy": share, "epoch": 0, "valid_accuracy": None, "said": said_N, "note": ONE_CLASS}
    stops = name == "sklearn_mlp" and _can_hold_out(counts)
    if name != "sklearn_logreg":
        # Of sklearn_mlp its own early stop, on a tenth of the training images: 200 iterations are many for large ones.
        model: Any = MLPClassifier(early_stopping=stops, random_state=seed)
    else:
        model = LogisticRegression(random_state=seed)
    pixels, test_pixels = (part.images_NHWC.reshape(len(part), -1).astype(np.float32) / 255 for part in (images, test))
    with warnings.catch_warnings():
        # A hundred iterations are its default, and what papers quote, converged or not.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(pixels, images.labels_N)
    said_N = torch.from_numpy(model.predict(test_pixels).astype(np.int32))
    found = {
        "accuracy": share_right(said_N, test),
        "said": said_N,
        "epoch": int(np.max(model.n_iter_)),
        "valid_accuracy": getattr(model, "best_validation_score_", None),
    }
    return found | ({"note": NO_EARLY_STOP} if name == "sklearn_mlp" and not stops else {})


def _can_hold_out(counts_K: np.ndarray) -> bool:
    """Whether a tenth of the images can be held out with an image of every class on both sides, as the MLP's early stop
    asks; how many images a class has must not end a run."""
    there, held = np.count_nonzero(counts_K), math.ceil(0.1 * counts_K.sum())
    return bool(counts_K[counts_K > 0].min() > 1 and there <= held <= counts_K.sum() - there)


def subset(images: Images, most: int | None, seed: int) -> Images:
    """`images`, or `most` of them drawn at random without replacement where there are more."""
    if most is None or len(images) <= most:
        return images
    return images.select(np.sort(np.random.default_rng(seed).choice(len(images), most, replace=False)))
