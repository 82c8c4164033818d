"""Views are what training makes of an image, and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from raysyn.train.recipe import Examples, RecipeConfig, _draw
from raysyn.train.views import ITSELF, flip_and_shift, moved

RECIPES = [
    RecipeConfig(flip=flip, shift=shift, trivial_augment=trivial, mixup=0.0)
    for flip, shift, trivial in itertools.product((False, True), (0, 1, 2), (False, True))
]


@pytest.mark.parametrize(
    "recipe", RECIPES, ids=lambda r: f"flip {r.flip}, shift {r.shift}, trivial {r.trivial_augment}"
)
def test_every_view_is_one_that_training_draws(recipe: RecipeConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image as a whole batch of copies, so that thousands of draws are cheap. The rarest view, a corner mirrored
    and untouched by TrivialAugment, comes up once in about 1,000 draws: missed once in e^16 by 16,000."""
    monkeypatch.setattr("raysyn.train.recipe.batch", lambda count, size, seed, step: np.zeros(4000, np.int64))
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8))
    seen = set()
    for step in range(4):
        images, _ = _draw(Examples(image[None], torch.ones(1, 1)), step, recipe, 0, torch.device("cpu"))
        pixels = images.mul(127.5).add(127.5).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
        seen |= {one.tobytes() for one in pixels}
    views = recipe.views()
    assert next(iter(views)) == ITSELF and len(views) <= 18
    asked = {name: view(image[None])[0].contiguous().numpy().tobytes() for name, view in views.items()}
    assert len(set(asked.values())) == len(asked), "all differ"
    assert not {name for name, view in asked.items() if view not in seen}
    if not recipe.flip:
        assert image.flip(1).numpy().tobytes() not in {*seen, *asked.values()}
    if not (recipe.flip or recipe.shift or recipe.trivial_augment):
        assert list(views) == [ITSELF]
    without = replace(recipe, trivial_augment=False).views()
    assert list(views)[: recipe.usual_views()] == list(without), "first those that training keeps showing"


def test_images_are_moved_each_by_its_own_way() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), dtype=np.uint8))
    down, right = torch.tensor([0, 1, -2, 3, -12]), torch.tensor([0, -3, 2, 1, 12])
    found = moved(images, down, right)
    for image, y, x, got in zip(images.numpy(), down, right, found.numpy(), strict=True):
        padded = np.pad(image, ((12, 12), (12, 12), (0, 0)), mode="edge")
        np.testing.assert_array_equal(got, padded[12 - y : 21 - y, 12 - x : 19 - x])


def test_without_flips_and_shifts_nothing_is_drawn() -> None:
    """Recipes without them train as they always did."""
    images, rng = torch.zeros(3, 8, 8, 1, dtype=torch.uint8), np.random.default_rng(0)
    assert flip_and_shift(images, False, 0, rng) is images
    assert rng.random() == np.random.default_rng(0).random()
    with pytest.raises(ValueError, match=r"recipe\.shift is -1: give at least 0"):
        RecipeConfig(shift=-1)
