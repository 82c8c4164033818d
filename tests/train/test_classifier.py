"""Training of the judging classifiers: they learn, repeat themselves, and never see a test set."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from raysyn.data.images import Images
from raysyn.models.classifiers import NAMES
from raysyn.train.classifier import ClassifierConfig, accuracy, features, fit, fit_to_the_end, hold_out

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Images]:
    raw = load_digits()
    pixels = np.round(raw.images * 255 / 16).astype(np.uint8)[..., None]
    images = Images(pixels, raw.target.astype(np.int64), tuple("0123456789"))
    return images.select(slice(0, 1400)), images.select(slice(1400, None))


@pytest.mark.parametrize(
    ("name", "epochs", "at_least"), [("cnn", 6, 0.85), ("mlp", 5, 0.8), ("logreg", 10, 0.7), ("resnet9", 4, 0.85)]
)
def test_each_classifier_learns_the_digits(digits, name, epochs, at_least):
    train, valid = hold_out(digits[0], 0.1, seed=0)
    # 20 steps an epoch are few for the default rate, which is meant for 60,000 images.
    width, rate = (0.125 if name == "resnet9" else 1.0), 3e-3
    trained = fit(train, valid, name, ClassifierConfig(epochs=epochs, width=width, learning_rate=rate), 0, CPU)
    assert accuracy(trained.model, digits[1]) > at_least
    assert 1 <= trained.epoch <= epochs
    assert trained.valid_accuracy == accuracy(trained.model, valid), "the best epoch's weights are the ones returned"


def test_ffcv_s_resnet9_learns_from_all_images_to_its_last_step(digits):
    """Digits are told apart mirrored too, and nobody's images choose an epoch."""
    images, config = digits[0].select(slice(0, 300)), ClassifierConfig(epochs=8, width=0.125)
    first, again = (fit_to_the_end(images, "resnet9_ffcv", config, 0, CPU) for _ in range(2))
    assert accuracy(first, digits[1]) > 0.6 and not first.training
    mirrored = Images(digits[1].images_NHWC[:, :, ::-1].copy(), digits[1].labels_N, digits[1].class_names)
    assert accuracy(first, mirrored) > 0.6
    assert all(torch.equal(first.state_dict()[key], value) for key, value in again.state_dict().items())


def test_trap_12_fit_has_no_way_to_see_test_data():
    assert list(inspect.signature(fit).parameters) == [
        "images",
        "valid",
        "name",
        "config",
        "seed",
        "device",
        "earliest",
    ]


def test_the_epoch_is_the_best_on_the_validation_images(digits):
    """Validation labels shifted by one are matched best before anything is learned."""
    train, valid = hold_out(digits[0].select(slice(0, 600)), 0.2, seed=0)
    wrong = Images(valid.images_NHWC, (valid.labels_N + 1) % 10, valid.class_names)
    config = ClassifierConfig(epochs=8, learning_rate=3e-3)
    right, misled = fit(train, valid, "mlp", config, 0, CPU), fit(train, wrong, "mlp", config, 0, CPU)
    assert misled.epoch < right.epoch


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_weights_and_the_global_generator_is_left_alone(digits, name):
    train, valid = hold_out(digits[0].select(slice(0, 200)), 0.1, seed=0)
    config = ClassifierConfig(epochs=2, width=0.125)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second, other = (fit(train, valid, name, config, seed, CPU).model.state_dict() for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_a_last_batch_of_one_image_does_no_harm(digits):
    train, valid = digits[0].select(slice(0, 33)), digits[0].select(slice(33, 40))
    fit(train, valid, "resnet9", ClassifierConfig(epochs=1, width=0.125), 0, CPU)


def test_read_only_arrays_as_ray_gives_them_are_fine(digits):
    images = digits[0].select(slice(0, 64))
    images.images_NHWC.flags.writeable = images.labels_N.flags.writeable = False
    model = fit(images, images, "logreg", ClassifierConfig(epochs=1), 0, CPU).model
    assert features(model, images).shape == (64, 64)


def test_hold_out_splits_without_overlap(digits):
    train, valid = hold_out(digits[0], 0.1, seed=3)
    assert (len(train), len(valid)) == (1260, 140)
    rows = np.concatenate([train.images_NHWC, valid.images_NHWC]).reshape(1400, -1)
    assert np.array_equal(np.sort(rows, 0), np.sort(digits[0].images_NHWC.reshape(1400, -1), 0))
    assert [len(part) for part in hold_out(train.select(slice(0, 2)), 0.01, 0)] == [1, 1]
    with pytest.raises(ValueError, match="at least 2"):
        hold_out(train.select(slice(0, 1)), 0.1, 0)


def test_bad_settings_say_what_to_change():
    with pytest.raises(ValueError, match="epochs is 0"):
        ClassifierConfig(epochs=0)
    with pytest.raises(ValueError, match="validation_share is 1"):
        ClassifierConfig(validation_share=1.0)


def test_hold_out_keeps_persons_whole(digits):
    persons = np.random.default_rng(0).permutation(np.repeat(np.arange(30), 10))
    images = replace(digits[0].select(np.arange(300)), persons_N=persons)
    # Whose an image is can be seen in its first pixel.
    images.images_NHWC[:, 0, 0, 0] = persons
    train, valid = hold_out(images, 0.2, seed=0)
    sides = [set(part.images_NHWC[:, 0, 0, 0].tolist()) for part in (train, valid)]
    assert not sides[0] & sides[1] and len(sides[1]) == 6 and len(valid) == 60 and valid.units == 6
    # Of one person alone, images are divided.
    alone = replace(images, persons_N=np.zeros(300, np.int64))
    assert [len(part) for part in hold_out(alone, 0.2, seed=0)] == [240, 60]


@pytest.mark.parametrize("seed", range(4))
def test_hold_out_leaves_two_images_to_train_on_where_one_of_two_persons_has_one(digits, seed):
    images = replace(digits[0].select(np.arange(10)), persons_N=np.array([0] + [1] * 9))
    train, valid = hold_out(images, 0.1, seed)
    assert len(train) == 9 and len(valid) == 1
