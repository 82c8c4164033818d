"""Every classifier takes every image size and says what its layers are."""

import pytest
import torch

from raysyn.models.classifiers import BUILT, build


@pytest.mark.parametrize("name", BUILT)
@pytest.mark.parametrize(
    "shape", [(8, 8, 1), (10, 12, 1), (17, 9, 3), (18, 18, 1), (28, 28, 1), (32, 32, 3), (64, 48, 3)]
)
def test_any_image_of_at_least_8x8_gives_logits_and_features(name, shape):
    model = build(name, shape, 7, width=0.25).eval()
    images = torch.zeros(2, shape[2], shape[0], shape[1])
    assert model(images).shape == (2, 7)
    assert model.features(images).shape == (2, model.head.in_features)


def test_the_cnn_at_28_pixels_is_the_published_one():
    shapes = [tuple(p.shape) for p in build("cnn", (28, 28, 1), 10).parameters() if p.ndim > 1]
    assert shapes == [(32, 1, 3, 3), (64, 32, 3, 3), (128, 64, 3, 3), (128, 1152), (10, 128)]


def test_mlp_and_logistic_regression_have_the_published_sizes():
    assert [tuple(p.shape) for p in build("mlp", (28, 28, 1), 10).parameters()][::2] == [(100, 784), (10, 100)]
    assert [tuple(p.shape) for p in build("logreg", (28, 28, 1), 10).parameters()] == [(10, 784), (10,)]


def test_resnet9_has_nine_weight_layers_and_width_thins_it():
    full, thin = (build("resnet9", (32, 32, 3), 10, width) for width in (1.0, 0.125))
    assert sum(p.ndim > 1 for p in full.parameters()) == 9
    assert full.head.in_features == 512 and thin.head.in_features == 64


def test_ffcv_s_resnet9_has_its_weights():
    full = build("resnet9_ffcv", (32, 32, 3), 10)
    assert sum(p.numel() for p in full.parameters()) == 2_274_880 and full.head.bias is None
    assert [tuple(p.shape[2:]) for p in full.parameters() if p.ndim == 4] == [(3, 3), (5, 5)] + [(3, 3)] * 6


def test_bad_requests_say_what_to_change():
    with pytest.raises(ValueError, match="too small"):
        build("cnn", (7, 8, 1), 10)
    with pytest.raises(ValueError, match=r"'forest'.*choose from cnn"):
        build("forest", (8, 8, 1), 10)
    with pytest.raises(ValueError, match="width"):
        build("cnn", (8, 8, 1), 10, width=0)
