"""Will a training of the user's do? Asked on a few made-up images, before any work."""

from __future__ import annotations

import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.lira.target import check_network
from raysyn.methods.outlook import made_up
from raysyn.train.own_recipe import TRIED_ON, OwnRecipe
from raysyn.train.recipe import predict

APART = 1e-3
"""Relative difference that is more than rounding."""
_CHECKED: dict[tuple[object, tuple[int, int, int], int], list[str]] = {}
"""Warnings about trainings that will do, as two whole ones may take long: by source and what images are like."""


def check_training(recipe: OwnRecipe, like: Images) -> tuple[OwnRecipe, list[str]]:
    """The same with its code fixed, and warnings; ValueError, in one sentence, where it returns nothing that answers
    images like these with logits, or answers differently each time. Asked again by this process it answers at once."""
    fixed = recipe.fixed()
    if (known := (fixed.identity(), like.shape, like.classes)) in _CHECKED:
        return fixed, _CHECKED[known]
    images = made_up(like, max(TRIED_ON, 2 * like.classes))
    first, again = (_answers(recipe, images) for _ in range(2))
    if not _alike(*first):
        raise ValueError(
            f"{recipe.name}: what it returned answers the same images differently each time: leave dropout and random "
            "layers out where it answers (a torch.nn.Module is in evaluation mode)"
        )
    # Once more, for what it imported only as it trained.
    fixed, doubts = recipe.fixed(), _otherwise(recipe, first[0], again[0], best_device())
    _CHECKED[fixed.identity(), like.shape, like.classes] = doubts
    return fixed, doubts


def _answers(recipe: OwnRecipe, images: Images) -> tuple[Tensor, Tensor]:
    """What a fresh one answers, asked twice."""
    # Where it was trained: a function's own tensors stay there.
    model = recipe.trained(images, 0, best_device())
    first = predict(model, images.images_NHWC)
    check_network(model, images, f"{recipe.name}: what it returned", None)
    return first, predict(model, images.images_NHWC)


def _otherwise(recipe: OwnRecipe, first: Tensor, again: Tensor, device: torch.device) -> list[str]:
    """A warning where two trainings by one seed gave these answers, and they differ; on a CPU, whose sums have one
    order, ValueError."""
    if _alike(first, again):
        return []
    mend = "draw all random numbers from the seed that it is given"
    if device.type == "cpu":
        raise ValueError(
            f"{recipe.name} trains otherwise each time, whatever its seed says, so that a run could not be continued: "
            f"{mend}"
        )
    return [
        f"{recipe.name} trained otherwise a second time by the same seed, as sums on a GPU in another order may do, "
        f"and draws that do not follow from the seed: {mend}"
    ]


def _alike(one: Tensor, other: Tensor) -> bool:
    return float((one - other).norm()) <= APART * float(one.norm() + other.norm()) + 1e-6
