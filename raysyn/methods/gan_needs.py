"""How much memory the stages of GANs, classifiers and shadow models hold (see `methods.needs`)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.attacks.teaching import Architecture
from raysyn.methods.needs import Shape
from raysyn.train.memory import Need, step_bytes


def game_needs(
    generator: Callable[..., Tensor], discriminator: Callable[..., Tensor], networks: list[nn.Module], latent: int,
    shape: Shape, batch: int, stage: str = "generator", pairs: int = 1,
) -> list[Need]:  # fmt: skip
    """Of a discriminator's step on a batch of real and one of generated images, and of a generator's; `pairs` of them
    in one step. The networks become weightless."""
    for one in networks:
        one.to("meta").train()
    z, labels = torch.empty(batch, latent, device="meta"), torch.empty(batch, dtype=torch.int64, device="meta")
    both = torch.empty(2 * batch, shape[2], *shape[:2], device="meta")
    steps = (lambda: discriminator(both, labels.repeat(2)), lambda: discriminator(generator(z, labels), labels))
    size = max(step_bytes(networks, step) for step in steps)
    return [Need(stage, pairs * size, f"{pairs} x a batch of {batch:,} images" if pairs > 1 else f"{batch:,} images")]


def taught_need(stage: str, network: Architecture, shape: Shape, classes: int, batch: int) -> Need:
    """Of a classifier taught by the recipe: teacher, student, target or shadow model."""
    model = network.build(shape[2], classes).to("meta")

    def loss() -> Tensor:
        labels = torch.empty(batch, dtype=torch.int64, device="meta")
        return F.cross_entropy(model(torch.empty(batch, shape[2], *shape[:2], device="meta")), labels)

    return Need(stage, step_bytes([model], loss), f"a batch of {batch:,} images")
