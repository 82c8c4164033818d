"""How the classifiers of an attack learn, target, shadow and control models alike: by the paper's recipe, by the fast
one, or by a function of the user's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.models.fast_net import FastNet
from raysyn.train import fast
from raysyn.train.fast import FastRecipe
from raysyn.train.own_recipe import OwnRecipe
from raysyn.train.recipe import RecipeConfig, fit, one_hot

Recipe = RecipeConfig | FastRecipe | OwnRecipe


class Architecture(Protocol):
    """What target and shadow models have in common: a frozen dataclass whose fields are plain values."""

    def build(self, channels: int, classes: int) -> nn.Module:
        """An untrained network for float images (N, channels, H, W) in [-1, 1] to logits (N, classes)."""


class Learns(NamedTuple):
    """A target without weights that could be handed on: it is trained where it is asked."""

    images: Images
    seed: int
    look: Callable[[nn.Module, Images], list[str]]
    """What is doubtful about it, asked where it is trained; other processes must find this function."""


def teach(
    worker: Worker, network: Architecture, recipe: Recipe, parts: Sequence[Images], size: int, starts: Sequence[int],
    seeds: Sequence[int],
) -> list[nn.Module]:  # fmt: skip
    """A classifier trained on each of `parts`, on the worker's device; by RecipeConfig all together.

    Args:
        size: images that make an epoch of RecipeConfig (see `recipe.fit`).
        starts: seeds of first weights, one each; a function of the user's builds its own, from `seeds`.
        seeds: of all other draws.
    """
    if isinstance(recipe, OwnRecipe):
        return [recipe.trained(part, seed, worker.device) for part, seed in zip(parts, seeds, strict=True)]
    networks = fresh(network, parts[0], starts)
    if isinstance(recipe, FastRecipe):
        found = list[nn.Module]()
        for one, part, seed in zip(networks, parts, seeds, strict=True):
            assert isinstance(one, FastNet), type(one)
            found.append(fast.fit(worker, one, part, recipe, seed))
        return found
    examples = [one_hot(part.images_NHWC, part.labels_N, part.classes) for part in parts]
    states = fit(worker, networks, lambda epoch, m: examples[m], size, recipe, seeds)
    for one, state in zip(networks, states, strict=True):
        one.load_state_dict(state)
    return networks


def fresh(network: Architecture, images: Images, starts: Sequence[int]) -> list[nn.Module]:
    """Untrained networks for such images."""
    networks = list[nn.Module]()
    for start in starts:
        torch.manual_seed(start)
        networks.append(network.build(images.shape[2], images.classes))
    return networks


def identity(recipe: Recipe) -> Any:
    """What answers depend on of a recipe, as part of the name that they are stored under."""
    return asdict(recipe) if isinstance(recipe, RecipeConfig) else recipe.identity()
