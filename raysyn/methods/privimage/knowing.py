"""What PrivImage's weights know of images, for attacks on the method; and a run that measures nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods import denoising
from raysyn.methods.privimage.config import Config
from raysyn.methods.privimage.models import new_gan, task_of, tuned_denoiser
from raysyn.models.private_discriminator import PrivateDiscriminator
from raysyn.train.diffusion import to_network
from raysyn.train.memory import at_once


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor | None:
    """How well its denoiser denoises each image, or how real it looks to its discriminator, if that was kept."""
    tuned = answer("finetune")
    if config.generator == "diffusion":
        denoiser, rows = tuned_denoiser(config, like, tuned)
        return denoising.known(denoiser, task_of(config, rows), images)
    if "model" not in tuned:
        return None
    _, discriminator = new_gan(config, like)
    discriminator.load_state_dict(tuned["model"])
    return seen_by(discriminator, images)


@torch.inference_mode()
def seen_by(discriminator: PrivateDiscriminator, images: Images) -> Tensor:
    """(N, 1): how real each image looks."""
    device, found, size = best_device(), [], at_once(denoising.BATCH, images.shape)
    discriminator.to(device).eval()
    for at in range(0, len(images), size):
        some = images.select(slice(at, at + size))
        pixels = (to_network(torch.tensor(some.images_NHWC)) + 1) / 2
        found.append(discriminator(pixels.to(device), torch.tensor(some.labels_N, device=device)).double().cpu())
    return torch.cat(found)[:, None]


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`."""
    return {"word_vectors": None}
