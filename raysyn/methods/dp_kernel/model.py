"""DP-Kernel's generator: how it is taught, and what it says of single images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.data.rbf import Kernel, as_vectors, squared_distances
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_kernel.config import Config
from raysyn.methods.matching import new_generator
from raysyn.models.upsampler import Upsampler
from raysyn.privacy.queries import functions
from raysyn.privacy.queries.functions import FUNCTIONS
from raysyn.train.pulled import Pulled

DRAWN = 500
"""Images of each class by which the generator is asked how like it a private one is."""
BLOCK = 500
"""Images that are looked at together."""


def pupil(config: Config, like: Images) -> Pulled:
    """What learns, untrained."""
    generator = new_generator(config.network, like, config.seed)
    return Pulled(generator, config.kernel, config.training, config.rounds.count, config.seed)


def taught(setting: PrivateSetting) -> Upsampler:
    """The generator, trained as a stage of the run that is paid for once it is done."""
    config, private, plan, folder = setting.config, setting.dataset.train, setting.plan, setting.folder

    def paid() -> dict[str, Any]:
        found = functions.train(
            setting.compute, pupil(config, private), private, config.kernel, config.rounds, plan.stages[FUNCTIONS],
            folder.secret, epsilon_at=partial(plan.epsilon_after, FUNCTIONS),
        )  # fmt: skip
        return setting.ledger.pay(FUNCTIONS, found)

    answer, generator = folder.stage(FUNCTIONS, paid), new_generator(config.network, private, config.seed)
    generator.load_state_dict(answer["model"])
    setting.console.stage(FUNCTIONS, f"{config.rounds.count:,} rounds of noisy functions, {setting.spent()}")
    return generator


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How near each image is to those that the generator makes of its class. Answers of rounds are not kept: the
    weights are all that there is of them."""
    generator = new_generator(config.network, like, config.seed)
    generator.load_state_dict(answer(FUNCTIONS)["model"])
    return resemblance(config, generator, images)


def shown(config: Config) -> slice:
    """See `Method.shown`: all of it is the generator's."""
    return slice(1) if config.release.network else slice(0)


@torch.inference_mode()
def resemblance(config: Config, generator: Upsampler, images: Images) -> Tensor:
    """That, (N, 1): the logarithm of the kernel's mean over DRAWN images, which tells far ones apart too."""
    device, of = best_device(), Kernel.of(config.kernel, images.shape)
    generator.to(device).eval()
    drawn = torch.randn(DRAWN, generator.config.latent, generator=torch.Generator().manual_seed(config.seed))
    found = torch.zeros(len(images), dtype=torch.float64)
    for label in range(images.classes):
        made = generator(drawn.to(device), torch.full((DRAWN,), label, device=device))
        made_MP = made.permute(0, 2, 3, 1).flatten(1).double().cpu() * 2 - 1
        mine = torch.from_numpy(images.labels_N == label).nonzero()[:, 0]
        for some in mine.split(BLOCK):
            own_BP = as_vectors(images.images_NHWC[some.numpy()])
            found[some] = of.log_mean(squared_distances(own_BP, made_MP))
    return found.float()[:, None]


def unlike(config: Config, generator: Upsampler, images: Images) -> Tensor:
    """The same for guesses about canaries: smaller where an image was rather learned from."""
    return -resemblance(config, generator, images)
