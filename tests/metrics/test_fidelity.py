"""Fidelity with and without Inception weights (random ones here, in the real file format)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from raysyn.compute.local import Local
from raysyn.data.images import DataConfig, Images, load
from raysyn.metrics import fidelity as fidelity_module
from raysyn.metrics import inception, inception_figures
from raysyn.metrics.distances import kernel_distance
from raysyn.metrics.fidelity import feature_cnn, fidelity
from raysyn.metrics.inception_score import inception_score, over_splits, split_sums, splits_of
from raysyn.metrics.utility import EvalConfig
from raysyn.train.classifier import answers, share_right


def blobs(count: int, seed: int, brightness: int = 120) -> Images:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    pixels = rng.integers(100, size=(count, 8, 8, 1))
    for label in range(3):
        pixels[labels == label, 2 * label : 2 * label + 3] += brightness
    return Images(pixels.astype(np.uint8), labels, ("top", "middle", "bottom"))


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
    """Random weights under the names and shapes of the real file."""
    torch.manual_seed(0)
    monkey = pytest.MonkeyPatch()
    caught = {}

    def remember(self, state_dict):
        caught.update(torch.nn.Module.state_dict(self))

    monkey.setattr("torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url", lambda *_, **__: {})
    monkey.setattr(FeatureExtractorInceptionV3, "load_state_dict", remember)
    FeatureExtractorInceptionV3("inception-v3", ["2048"])
    monkey.undo()
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save(caught, path)
    return path


def test_without_weights_fid_is_null_with_the_reason_and_the_stand_in_has_its_own_name(tmp_path):
    real = blobs(300, 0)
    config = EvalConfig(feature_epochs=3, precision_recall_images=100)
    report = fidelity(Local(tmp_path), blobs(200, 1), real, config, 0)
    assert report["fid"]["value"] is None and "--eval.inception-weights" in report["fid"]["reason"]
    assert report["inception_score"]["value"] is None
    assert report["reference"] == "real training images"
    assert report["images"]["frechet_distance"] == {"synthetic": 200, "real": 300}
    worse = fidelity(Local(tmp_path / "worse"), blobs(200, 1, brightness=0), real, config, 0)
    floor = report["frechet_distance_one_half_real_halves"]
    assert floor == worse["frechet_distance_one_half_real_halves"] < worse["frechet_distance_one_half"]
    assert report["frechet_distance_one_half"] < worse["frechet_distance_one_half"]
    assert report["frechet_distance_cnn_features"] < worse["frechet_distance_cnn_features"]
    assert report["recall"] > worse["recall"]
    beside_real_halves(report, worse)


def beside_real_halves(report, worse):
    """Each measure has the same between halves of the real images, of as many, and what is worse is told to be."""
    for name in ("kernel_distance_cnn_features", "precision", "recall", "density", "coverage"):
        assert report[f"{name}_real_halves"] == worse[f"{name}_real_halves"], name
    assert report["images"]["halves"] == {"synthetic": 100, "real": 100}
    assert worse["kernel_distance_cnn_features"] > report["kernel_distance_cnn_features"]
    assert worse["kernel_distance_cnn_features"] > 10 * abs(worse["kernel_distance_cnn_features_real_halves"])
    for name in ("density", "coverage"):
        assert worse[name] < 0.8 * worse[f"{name}_real_halves"] and worse[name] < report[name], name


def test_a_set_compared_with_itself_is_perfect(tmp_path):
    images = blobs(60, 0)
    report = fidelity(Local(tmp_path), images, images, EvalConfig(feature_epochs=1), 0)
    assert report["frechet_distance_cnn_features"] == pytest.approx(0, abs=1e-6)
    for name in ("precision", "recall"):  # of one half beside the other
        assert abs(report[name] - report[f"{name}_real_halves"]) < 0.2


def test_few_real_images_teach_the_features_too(tmp_path):
    """In features of a network that learned nothing, images of noise are as near as others."""
    real = load(DataConfig(limit=540))
    noise = np.random.default_rng(0).integers(0, 256, real.test.images_NHWC.shape).astype(np.uint8)
    config, seed = EvalConfig(feature_epochs=10), 0
    assert share_right(answers(feature_cnn(real.train, config, seed), real.test), real.test) > 0.65
    near, far = (
        fidelity(Local(tmp_path / name), images, real.train, config, seed)["frechet_distance_cnn_features"]
        for name, images in (("real", real.test), ("noise", replace(real.test, images_NHWC=noise)))
    )
    assert far > 30 * near and far > 10


def test_zero_feature_epochs_skip_the_stand_in_and_say_so(tmp_path):
    images = blobs(10, 0)
    report = fidelity(Local(tmp_path), images, images, EvalConfig(feature_epochs=0), 0)
    assert report["precision"] is None and "feature_epochs" in report["reason"]
    assert report["coverage"] is None and report["kernel_distance_cnn_features_real_halves"] is None


def test_four_real_images_have_halves_too(tmp_path):
    config = EvalConfig(feature_epochs=1, neighbours=1)
    report = fidelity(Local(tmp_path), blobs(3, 1), blobs(4, 0), config, 0)
    assert report["images"]["halves"] == {"synthetic": 2, "real": 2} and 0 <= report["coverage"] <= 1


@pytest.mark.slow  # five networks and two eigenvalue problems of size 2,048
def test_inception_weights_from_a_file_give_fid_and_inception_score(tmp_path, weights_file, monkeypatch):
    monkeypatch.setattr(fidelity_module, "CHUNK", 3)
    config = EvalConfig(feature_epochs=0, inception_weights=str(weights_file), inception_images=5)
    report = fidelity(Local(tmp_path), blobs(4, 1), blobs(7, 0), config, 0)
    assert report["fid"]["value"] > 0 and report["fid"]["reason"] is None
    assert report["fid"]["images"] == {"synthetic": 4, "real": 5}
    assert 1 <= report["inception_score"]["value"] < 1008
    assert report["kid"]["images"] == {"synthetic": 4, "real": 5} and isinstance(report["kid"]["value"], float)
    assert isinstance(report["kid_real_halves"]["value"], float)


def test_grey_and_rgb_copies_of_an_image_have_the_same_inception_features(weights_file):
    grey = blobs(2, 0)
    colour = Images(grey.images_NHWC.repeat(3, axis=3), grey.labels_N, grey.class_names)
    network = inception.extractor(inception.load_weights(str(weights_file)), torch.device("cpu"))
    (first, p), (second, _) = inception.outputs(network, grey), inception.outputs(network, colour)
    assert first.shape == (2, 2048) and p.shape == (2, 1008)
    assert torch.equal(first, second)


@pytest.mark.parametrize("content", [None, b"not weights", {"fc.weight": torch.zeros(2)}])
def test_unusable_weights_leave_null_with_the_reason(tmp_path, content):
    path = tmp_path / "w.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    images = blobs(10, 0)
    config = EvalConfig(feature_epochs=0, inception_weights=str(path))
    report = fidelity(Local(tmp_path), images, images, config, 0)
    assert report["fid"]["value"] is None and "cannot be used" in report["fid"]["reason"]


def test_weights_that_would_run_code_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"fc.weight": print}, path)
    with pytest.raises(ValueError, match="cannot be used"):
        inception.load_weights(str(path))


def test_a_failed_download_leaves_null_with_the_reason(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    images = blobs(10, 0)
    report = fidelity(Local(tmp_path), images, images, EvalConfig(feature_epochs=0, inception_weights="download"), 0)
    assert "no route to host" in report["fid"]["reason"]


def test_a_download_that_is_only_tried_refuses_no_run_and_its_answers_are_not_taken_for_measured_ones(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    tried, asked, without = (EvalConfig(inception_weights=name) for name in (inception.TRY, "download", None))
    fidelity_module.check_weights(tried)
    with pytest.raises(ValueError, match="no route to host"):
        fidelity_module.check_weights(asked)
    had = fidelity_module.inception_weights(tried)
    said = fidelity_module.left_out(tried, had)
    assert had[0] is None and "no route to host" in said and "--eval.inception-weights FILE" in said
    assert fidelity_module.as_had(tried, had) == without
    # With weights it is what was asked for; without being asked for, nothing is missing.
    assert fidelity_module.as_had(tried, ({"any": 1}, "")) == tried
    assert fidelity_module.left_out(tried, ({"any": 1}, "")) is None
    assert fidelity_module.left_out(without, fidelity_module.inception_weights(without)) is None


def test_inception_score_spans_1_to_the_number_of_classes():
    assert inception_score(8, torch.full((4,), 2.0), 0.0) == pytest.approx(4)
    uniform = torch.full((4,), 0.25, dtype=torch.float64)
    assert inception_score(8, 8 * uniform, float(8 * torch.xlogy(uniform, uniform).sum())) == pytest.approx(1)


def test_the_score_over_ten_splits_is_that_of_each_split_over_the_first_1000_classes():
    """From sums over chunks; torch-fidelity's own function is told the same logits in the order of the splits."""
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = torch.randn(205, 1008, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    which = splits_of(205, 0)
    assert set(np.bincount(which)) == {20, 21} and not np.array_equal(which, np.sort(which))
    parts = [slice(0, 90), slice(90, 205)]
    found = over_splits([split_sums(logits[part].softmax(1), which[part]) for part in parts])
    alone = [
        isc_features_to_metric(logits[which == one][:, :1000], splits=1, shuffle=False)["inception_score_mean"]
        for one in range(10)
    ]
    assert found["value"] == pytest.approx(np.mean(alone)) and found["std"] == pytest.approx(np.std(alone))
    few = over_splits([split_sums(logits[:9].softmax(1), splits_of(9, 0))])
    assert few == {"value": None, "std": None, "reason": "fewer than 10 images"}


def test_intra_distances_see_classes_that_were_swapped(tmp_path, monkeypatch):
    """The same pixels under each other's labels: no distance, but within classes a large one."""
    monkeypatch.setattr(fidelity_module, "CHUNK", 40)
    monkeypatch.setattr(fidelity_module, "inception_weights", lambda config: ({"any": 1}, ""))
    monkeypatch.setattr(inception, "extractor", lambda weights, device: None)

    def outputs(network, images):
        pixels = torch.from_numpy(images.images_NHWC[:, ::4, ::4, 0].reshape(len(images), -1).copy()).float()
        return pixels, torch.full((len(images), 4), 0.25)

    monkeypatch.setattr(inception, "outputs", outputs)
    real, config = blobs(200, 0), EvalConfig(feature_epochs=2, precision_recall_images=50)
    swapped = Images(real.images_NHWC, (real.labels_N + 1) % real.classes, real.class_names)
    for made, low, high in ((real, 0, 1e-3), (swapped, 1, np.inf)):
        report = fidelity(None, made, real, config, 0, intra=True)
        assert report["fid"]["value"] < 1e-3 and report["frechet_distance_cnn_features"] < 1e-3
        assert report["inception_score_ten_splits"] == {
            "value": pytest.approx(1),
            "std": pytest.approx(0),
            "reason": None,
        }
        assert low <= report["intra_fid"]["value"] <= high and report["intra_fid"]["reason"] is None
        assert low / 100 <= report["intra_frechet_distance_cnn_features"] <= high
    plain = fidelity(Local(tmp_path), real, real, config, 0)
    assert "intra_fid" not in plain and plain["fid"]["value"] == pytest.approx(0, abs=1e-3) and "fld" not in plain
    beside = fidelity(Local(tmp_path / "test"), blobs(200, 2), real, config, 0, intra=True, test=blobs(70, 3))
    assert beside["fld"]["images"] == {"synthetic": 100, "real": 200, "test": 70}
    copied = fidelity(Local(tmp_path / "copied"), real, real, config, 0, test=blobs(70, 3))
    assert copied["fld_gap"]["value"] < beside["fld_gap"]["value"] - 100
    assert beside["fld_gap_real_halves"]["value"] == pytest.approx(copied["fld_gap_real_halves"]["value"], abs=100)


def test_intra_distances_equal_distances_of_each_class():
    from raysyn.metrics.distances import frechet_distance, moments

    rng = np.random.default_rng(0)
    made, real = (torch.from_numpy(rng.normal(size=(60, 3))) for _ in range(2))
    labels = np.arange(60) % 3
    found = fidelity_module._mean_distance(
        fidelity_module._by_class(made, labels), fidelity_module._by_class(real, labels)
    )
    each = [frechet_distance(moments(made[labels == k]), moments(real[labels == k])) for k in range(3)]
    assert found == pytest.approx(np.mean(each))
    lonely = fidelity_module._by_class(made[:2], np.array([0, 1]))
    assert fidelity_module._mean_distance(lonely, lonely) is None


@pytest.mark.parametrize("count", [80, 300, 1500])
def test_what_is_as_good_as_real_is_told_so_however_many_images_there_are(count, tmp_path):
    """Fréchet distances are larger the fewer images there are: the figure beside halves is of as many."""
    report = fidelity(Local(tmp_path), blobs(count, 1), blobs(300, 0), EvalConfig(feature_epochs=3), 0)
    halves = report["images"]["halves"]
    assert halves == {"synthetic": min(150, count), "real": 150}
    assert 0.6 < report["frechet_distance_one_half"] / report["frechet_distance_one_half_real_halves"] < 1.6


def test_a_class_that_is_missing_does_not_flatter_the_mean_over_classes():
    vectors, labels = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)), np.arange(60) % 3
    real = fidelity_module._by_class(vectors, labels)
    for made in (
        real,
        {label: real[label] for label in (0, 1)},
        real | {2: fidelity_module._by_class(vectors[:1], [2])[2]},
    ):
        assert (fidelity_module._mean_distance(made, real) is None) == (made is not real)


def test_halves_of_real_images_are_of_all_classes_also_where_these_come_in_turn():
    """For KID: every other image would be of one class each."""
    vectors = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    vectors[::2] += 5
    chunk = {
        "vectors": vectors, "count": 400, "sum": torch.zeros(4), "outer": torch.zeros(4, 4),
        "probabilities": torch.ones(4), "negative_entropy": 0.0, "splits": {},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        for name in ("inception_score", "over_splits"):
            patch.setattr(inception_figures, name, lambda *_: 0.0)
        parts = {"synthetic": [chunk | {"vectors": vectors + 1}], "real": [chunk], "test": []}
        found = inception_figures.figures(parts, "", 0)
    apart = kernel_distance(vectors[::2], vectors[1::2])
    assert abs(found["kid_real_halves"]["value"]) < apart / 20
    assert found["fid_one_half"]["value"] > 3 > 1 > found["fid_one_half_real_halves"]["value"]
    assert "fld" not in found, "there are no test images"
