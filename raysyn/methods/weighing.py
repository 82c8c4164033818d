"""What weights say of single images, for guesses about canaries: smaller where an image was learned from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.train.memory import at_once
from raysyn.train.naming import Naming

Weighed = Callable[[Images], Tensor]
"""weighed(images) -> losses (N, L) of images with their classes; can travel."""
BATCH = 250
"""Images that are looked at together."""


def surprise(classifier: nn.Module, images: Images) -> Tensor:
    """The loss of a classifier on each image, (N, 1)."""
    task = Naming()

    def of(pixels: Tensor, labels: Tensor) -> Tensor:
        inputs = task.draw(pixels, labels, (), 1)
        return task.loss(classifier, *(one.flatten(0, 1) for one in inputs))

    return _each(classifier, images, of)


def doubts(discriminator: nn.Module, black: float, images: Images) -> Tensor:
    """How little a GAN's discriminator, which sees pixels from `black` to 1, takes each image for a private one,
    (N, 1)."""

    def of(pixels: Tensor, labels: Tensor) -> Tensor:
        return -discriminator(pixels.movedim(-1, -3).float() * ((1 - black) / 255) + black, labels)

    return _each(discriminator, images, of)


@torch.inference_mode()
def _each(network: nn.Module, images: Images, of: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    device, size = best_device(), at_once(BATCH, images.shape)
    network.to(device).eval()
    found = []
    for at in range(0, len(images), size):
        part = slice(at, at + size)
        pixels = torch.tensor(images.images_NHWC[part], device=device)
        found.append(of(pixels, torch.tensor(images.labels_N[part], device=device)).flatten().cpu())
    return torch.cat(found)[:, None]
