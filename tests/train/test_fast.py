"""The fast recipe."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.models.fast_net import FastNet
from raysyn.train.classifier import accuracy
from raysyn.train.fast import FastConfig, FastRecipe, fit

RECIPE = FastRecipe(config=FastConfig(epochs=6, widths=(16, 32, 32)))


def trained(images: Images, seed: int, recipe: FastRecipe = RECIPE) -> FastNet:
    torch.manual_seed(seed)
    return fit(Alone(), recipe.network().build(images.shape[2], images.classes), images, recipe, seed)


def noise(size: int, channels: int) -> Images:
    pixels = np.random.default_rng(0).integers(0, 256, (24, size, size, channels), dtype=np.uint8)
    return Images(pixels, np.arange(24) % 3, ("a", "b", "c"))


def test_a_few_epochs_learn_digits_far_better_than_chance() -> None:
    data = load_digits()
    names, labels = tuple(map(str, range(10))), data.target.astype(np.int64)
    pixels = np.minimum(data.images * 16, 255).astype(np.uint8)[..., None]
    model = trained(Images(pixels[:600], labels[:600], names), 0)
    assert accuracy(model, Images(pixels[1000:], labels[1000:], names)) > 0.6


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (8, 3), (28, 1), (32, 3), (64, 1), (64, 3)])
def test_grey_and_colour_of_every_size_are_trained_by_the_seed_alone(size: int, channels: int) -> None:
    recipe = FastRecipe(config=FastConfig(epochs=1, widths=(2, 2, 2)), flip=True, shift=1)
    images = noise(size, channels)
    first, again, other = (trained(images, seed, recipe).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["patches.bias"], other["patches.bias"])
    assert all(bool(torch.isfinite(value).all()) for value in first.values())
