"""Accuracy of classifiers trained on synthetic images, beside real-trained ones, through compute.map."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from raysyn.compute.local import Local
from raysyn.data.images import Images
from raysyn.metrics import utility as utility_module
from raysyn.metrics.utility import EvalConfig, judge, raised, utility
from raysyn.metrics.yardsticks import joined
from raysyn.train import classifier
from raysyn.train.classifier import ClassifierConfig, enough


def stripes(count: int, seed: int) -> Images:
    """Two classes that any classifier tells apart: bright left or bright right half."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(2, size=count)
    pixels = rng.integers(60, size=(count, 8, 8, 1))
    for label in (0, 1):
        pixels[labels == label, :, 4 * label : 4 * label + 4] += 180
    return Images(pixels.astype(np.uint8), labels, ("left", "right"))


def mirrored(images: Images) -> Images:
    return Images(images.images_NHWC[:, :, ::-1].copy(), images.labels_N, images.class_names)


# Of so few images 100 passes: see MOST_PASSES.
CONFIG = EvalConfig(classifiers=("logreg", "mlp"), epochs=5)


def test_the_report_has_every_classifier_then_mean_and_best(tmp_path):
    train, test = stripes(400, 0), stripes(100, 1)
    report = utility(Local(tmp_path), mirrored(train), train, test, CONFIG, 0)
    assert set(report) == {"logreg", "mlp", "mean", "best", "images", "guessing", "interval", "below_real", "classes"}
    behind = report["below_real"]
    assert behind["value"] == pytest.approx(report["mean"]["accuracy_real_data"] - report["mean"]["accuracy"])
    assert report["images"] == {"synthetic": 400, "real": 400}
    assert "accuracy_floor" not in {*report["logreg"], *report["mean"], *report["best"]}
    most = max(np.bincount(test.labels_N)) / 100
    assert report["guessing"] == {"chance": 0.5, "largest_class": most}
    for name in CONFIG.classifiers:
        assert {"accuracy", "accuracy_real_data", "epoch", "epoch_real_data"} <= set(report[name])
    assert report["logreg"]["accuracy"] < 0.3 < 0.7 < report["logreg"]["accuracy_real_data"]
    for field in ("accuracy", "accuracy_real_data"):
        values = [report[name][field] for name in CONFIG.classifiers]
        assert report["mean"][field] == pytest.approx(sum(values) / 2)
        assert report["best"][field] == max(values)
    assert report[report["best"]["classifier"]]["accuracy"] == report["best"]["accuracy"]


def test_the_floor_is_judged_as_the_others_are(tmp_path):
    train, test = stripes(100, 0), stripes(50, 1)
    report = utility(Local(tmp_path), train, mirrored(train), test, CONFIG, 0, stripes(300, 2))
    assert report["images"] == {"synthetic": 100, "real": 100, "floor": 300}
    for name in CONFIG.classifiers:
        assert report[name]["accuracy_real_data"] < 0.3 < 0.7 < report[name]["accuracy_floor"]
        assert report[name]["epoch_floor"] >= 1
    floors = {name: report[name]["accuracy_floor"] for name in CONFIG.classifiers}
    assert report["mean"]["accuracy_floor"] == pytest.approx(sum(floors.values()) / 2)
    assert report["best"]["accuracy_floor"] == max(floors.values())
    gained = report["above_floor"]
    assert gained["value"] == pytest.approx(report["mean"]["accuracy"] - report["mean"]["accuracy_floor"])


def test_each_class_is_counted_for_every_source_and_its_failures_are_named(tmp_path):
    train, test = stripes(100, 0), stripes(50, 1)
    report = utility(Local(tmp_path), mirrored(train), train, test, CONFIG, 0, train)
    told, right = report["classes"], np.bincount(test.labels_N)
    assert told["test_images"] == right.tolist()
    for field in ("accuracy", "accuracy_real_data", "accuracy_floor"):
        assert np.average(told[field], weights=right) == pytest.approx(report["mean"][field])
    for source, counts in told["confusion"].items():
        assert np.sum(counts, axis=1).tolist() == (2 * right).tolist(), source
    assert [(one["class"], one["why"]) for one in told["failed"]] == [
        ("left", ["chance", "floor"]), ("right", ["chance", "floor"]),
    ]  # fmt: skip
    assert report["interval"]["low"] <= report["mean"]["accuracy"] < report["interval"]["high"]


def test_classifiers_of_scikit_learn_stand_beside_ours(tmp_path):
    train, test = stripes(200, 0), stripes(100, 1)
    config = EvalConfig(classifiers=("sklearn_logreg", "sklearn_mlp"))
    report = utility(Local(tmp_path), mirrored(train), train, test, config, 0)
    for name in config.classifiers:
        assert report[name]["accuracy"] < 0.3 < 0.7 < report[name]["accuracy_real_data"] and report[name]["epoch"] >= 1
    assert report["classes"]["accuracy"][0] < 0.3 < 0.7 < report["classes"]["accuracy_real_data"][0]


def test_privimage_s_classifiers_are_asked_for_by_name(tmp_path):
    """scikit-learn's MLP with its defaults goes on where the other one stops; FFCV's ResNet-9 has no epoch to choose.
    Both are shown images mirrored or not, and tell nothing of stripes to the left and to the right."""
    train, test = stripes(60, 0), stripes(40, 1)
    config = EvalConfig(classifiers=utility_module.PRIVIMAGE, epochs=2)
    report = utility(Local(tmp_path), mirrored(train), train, test, config, 0)
    assert report["resnet9_ffcv"]["epoch"] == report["resnet9_ffcv"]["epoch_real_data"] == 2
    assert report["sklearn_mlp_default"]["accuracy"] < 0.3 < 0.7 < report["sklearn_mlp_default"]["accuracy_real_data"]
    shared = {"real": train, "test": test, "config": config, "seed": 0}
    stopped = judge(("sklearn_mlp", "real"), shared)
    assert stopped["valid_accuracy"] is not None and stopped["epoch"] < report["sklearn_mlp_default"]["epoch_real_data"]
    assert "notes" not in report["sklearn_mlp_default"] and 0 <= report["resnet9_ffcv"]["accuracy"] <= 1


def test_trap_13_trap_21_best_of_classifiers_is_named_an_uncharged_choice(tmp_path):
    train = stripes(50, 0)
    config = EvalConfig(classifiers=("logreg", "mlp"), epochs=1)
    assert "real test images" in utility(Local(tmp_path), train, train, train, config, 0)["best"]["uncharged_choice"]
    alone = EvalConfig(classifiers=("logreg",), epochs=1)
    assert "uncharged_choice" not in utility(Local(tmp_path), train, train, train, alone, 0)["best"]


def test_trap_12_the_epoch_does_not_depend_on_the_test_images():
    train, test = stripes(200, 0), stripes(50, 1)
    shared = {"synthetic": train, "test": test, "config": EvalConfig(epochs=4), "seed": 0}
    honest = judge(("mlp", "synthetic"), shared)
    turned = judge(("mlp", "synthetic"), shared | {"test": mirrored(test)})
    assert {key: honest[key] for key in ("epoch", "valid_accuracy")} == {
        key: turned[key] for key in ("epoch", "valid_accuracy")
    }
    assert honest["accuracy"] != turned["accuracy"]


def test_finished_units_are_not_trained_again_and_the_width_is_told(tmp_path, monkeypatch):
    train = stripes(60, 0)
    config = EvalConfig(classifiers=("resnet9",), epochs=1, resnet9_width=0.0625)
    first = utility(Local(tmp_path), train, train, train, config, 0)
    assert first["resnet9"]["width"] == 0.0625
    monkeypatch.setattr(utility_module, "fit", None)
    assert utility(Local(tmp_path), train, train, train, config, 0) == first


def test_the_longest_units_go_first_and_data_is_limited_alike(tmp_path):
    seen: dict[str, Any] = {}

    class Spy(Local):
        def map(self, f, items, *, name, shared=None):
            seen.update(items=items, sizes=(len(shared["synthetic"]), len(shared["real"])))
            return super().map(f, items, name=name, shared=shared)

    config = EvalConfig(classifiers=("logreg", "mlp"), epochs=1, images=30)
    utility(Spy(tmp_path), stripes(40, 0), stripes(60, 1), stripes(20, 2), config, 0)
    assert [name for name, _ in seen["items"]] == ["mlp", "mlp", "logreg", "logreg"]
    assert seen["sizes"] == (30, 30)


def test_no_classifiers_no_work(tmp_path):
    train = stripes(10, 0)
    assert utility(Local(tmp_path), train, train, train, EvalConfig(classifiers=()), 0) == {}


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"classifiers": ("cnn", "cnn")}, "eval.classifiers"),
        ({"epochs": 0}, "eval.epochs is 0"),
        ({"images": 1}, "eval.images is 1"),
        ({"nearest": 2, "feature_epochs": 0}, "eval.nearest is 2"),
        ({"resnet9_width": -1.0}, "eval.resnet9_width"),
    ],
)
def test_bad_settings_say_what_to_change(wrong, says):
    with pytest.raises(ValueError, match=says):
        EvalConfig(**wrong)


def test_what_learns_from_few_images_takes_as_many_steps_as_what_learns_from_many():
    """The yardstick of 60 real images is not one of classifiers that have hardly begun."""
    few, test = stripes(60, 0), stripes(200, 1)
    config = EvalConfig(classifiers=("logreg",), epochs=40)
    reached = judge(("logreg", "real"), {"real": few, "test": test, "config": config, "seed": 0})
    assert reached["accuracy"] > 0.9 and reached["epoch"] > 40
    for name, count, asked, given in (
        ("mlp", 54, 40, 667),
        ("cnn", 54, 2, 40),
        ("cnn", 54_000, 2, 2),
        ("resnet9", 54, 2, 40),
        ("resnet9", 54, 40, 50),
        ("resnet9", 54_000, 2, 2),
        ("resnet9_ffcv", 54, 2, 2),
    ):
        assert enough(name, ClassifierConfig(epochs=asked), count).epochs == given, name
    assert enough("cnn", ClassifierConfig(epochs=15, learning_rate=1e-3), 900).epochs == 20, "300 steps at any rate"


def test_more_passes_than_were_asked_for_are_told(tmp_path, monkeypatch):
    few, many, test = stripes(60, 0), stripes(300, 1), stripes(50, 2)
    config = EvalConfig(classifiers=("logreg", "resnet9"), epochs=4, resnet9_width=0.1)
    report = utility(Local(tmp_path / "few"), few, many, test, config, 0)
    assert report["logreg"]["epochs_raised_to"] == {"synthetic": 80, "real": 80}
    assert report["resnet9"]["epochs_raised_to"] == {"synthetic": 50, "real": 12}
    said = "Few images to learn from, so more passes than eval.epochs, which is 4: logreg 80, resnet9 50"
    assert raised(report, 4) == said
    # A fifth of the way, of which more are told as of the whole one.
    monkeypatch.setattr(classifier, "LEAST_WAY", classifier.LEAST_WAY / 5)
    monkeypatch.setattr(classifier, "LEAST_STEPS", classifier.LEAST_STEPS // 5)
    config = EvalConfig(classifiers=("logreg",), epochs=27)
    report = utility(Local(tmp_path / "asked"), few, many, test, config, 0)
    assert report["logreg"]["epochs_raised_to"] == {"synthetic": 134} and raised(report, 27).endswith(": logreg 134")
    for epochs, there in ((120, True), (140, False)):
        report = utility(Local(tmp_path / "enough"), few, few, test, replace(config, epochs=epochs), 0)
        assert ("epochs_raised_to" in report["logreg"]) == there and raised(report, epochs) == "", "a few more, or none"


def test_numbers_of_images_are_told_of_both_judges_where_they_are_the_same():
    said = {"synthetic": [], "real": []}
    one, other = (
        {"classifiers": {name: {}}, "said": said, "images": {"synthetic": 30, "real": count}}
        for name, count in (("a", 10), ("b", 60))
    )
    assert joined(one, other)["images"] == {"synthetic": 30}
    assert joined(one, {**other, "images": one["images"]})["images"] == {"synthetic": 30, "real": 10}
