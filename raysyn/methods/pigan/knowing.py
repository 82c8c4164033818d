"""What PIGAN's weights know of images, for attacks on the method; and a run that measures nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from raysyn.attacks.gan_attacks import MonteCarloConfig
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.pigan.config import Config
from raysyn.methods.pigan.experiments import loaded
from raysyn.methods.pigan.variants import released
from raysyn.train import paired_networks


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How real each image looks to each discriminator, or under each code."""
    networks = loaded(config.network, released(config), like, answer("generator"), best_device())
    return torch.from_numpy(paired_networks.discriminator_logits(networks, images))


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`: members are the training images, as they are."""
    return {"member_share": None, "monte_carlo": MonteCarloConfig(fakes=1, suspects=1, components=1, repeats=1)}
