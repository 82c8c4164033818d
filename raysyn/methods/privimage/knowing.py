"""What PrivImage's weights know of images, for attacks on the method; and a run that measures nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods import denoising
from raysyn.methods.privimage.config import Config
from raysyn.methods.privimage.models import new_gan, task_of, tuned_denoiser
from raysyn.methods.weighing import doubts


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor | None:
    """How well its denoiser denoises each image, or how real it looks to its discriminator, if that was kept."""
    tuned = answer("finetune")
    if config.generator == "diffusion":
        denoiser, rows = tuned_denoiser(config, like, tuned)
        return denoising.known(denoiser, task_of(config, rows), images)
    if "model" not in tuned:
        return None
    generator, discriminator = new_gan(config, like)
    discriminator.load_state_dict(tuned["model"])
    return -doubts(discriminator, float(generator.black), images).double()


def shown(config: Config) -> slice:
    """See `Method.shown`: the denoiser, and no discriminator."""
    return slice(denoising.LEVELS) if config.release.network and config.generator == "diffusion" else slice(0)


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`."""
    return {"word_vectors": None}
