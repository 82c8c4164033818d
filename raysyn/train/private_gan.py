"""DPGAN (Xie et al. 2018): the discriminator learns by DP-SGD, the generator from the discriminator.

The discriminator's part is a task for `privacy.sgd`: each private image is paired with a generated one, and the
gradient of the pair is clipped and noised. The generator sees nothing but the noised discriminator, so its steps are
post-processing. In the discriminator's steps it generates in evaluation mode: batch normalisation would let the image
paired with one record depend on how many others take part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.models.biggan import Generator as BigGenerator
from raysyn.models.dcgan import Generator
from raysyn.models.norm import across_ranks
from raysyn.train.adversarial import descend, generator_loss, wishes
from raysyn.train.loop import Ema


@dataclass(frozen=True, kw_only=True)
class PlayConfig:
    """How the generator learns beside a discriminator under DP-SGD, and what both want."""

    batch_size: int
    """Generated images per step of the generator, over all workers."""
    learning_rate: float = 2e-4
    """Adam's rate for the generator."""
    beta1: float = 0.5
    """Adam's first decay."""
    label_smoothing: float = 0.0
    """The discriminator is asked to be sure of real images only up to 1 minus this; for the logistic loss."""
    hinge: bool = False
    """Hinge loss in place of the logistic one."""
    discriminator_steps: int = 1
    """Steps of the discriminator per step of the generator."""
    ema: float = 0.0
    """Decay of the moving average of the generator's weights, which is what is released; 0 releases the last ones."""


class PrivateGame:
    """The task of the discriminator (`train.loop.Task`) and the generator that plays with it (`privacy.sgd.Partner`).

    Classes are asked for equally often: how frequent they are among the private images is private.
    """

    def __init__(self, generator: Generator | BigGenerator, config: PlayConfig, seed: int) -> None:
        self.generator, self.config, self.seed = generator, config, seed

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        """(images, classes, whether real) with leading dimensions (B, 2 copies): the real image, then generated ones,
        each as often as `copies` says; those of an image depend on its seed alone."""
        black = self.generator.black
        real = images_BHWC.movedim(-1, -3).float() * ((1 - black) / 255) + black
        if real.ndim == 4:  # or each copy is of an image of its own
            real, labels_B = real[:, None].expand(-1, copies, -1, -1, -1), labels_B[:, None].expand(-1, copies)
        randoms = [np.random.default_rng(seed) for seed in seeds]
        shape = (copies, self.generator.config.latent)
        noise = np.stack([random.standard_normal(shape, np.float32) for random in randoms])
        asked = np.stack([random.integers(self.generator.classes, size=copies) for random in randoms])
        z, wanted = torch.from_numpy(noise).flatten(0, 1), torch.from_numpy(asked).to(labels_B)
        was_training, home = self.generator.training, next(self.generator.parameters()).device
        with torch.no_grad():
            made = self.generator.eval()(z.to(home), wanted.flatten().to(home)).to(real).view_as(real)
        self.generator.train(was_training)
        classes = torch.cat([labels_B, wanted], 1)
        is_real = torch.arange(2 * copies, device=real.device).expand(len(real), -1) < copies
        return torch.cat([real, made], 1), classes, is_real.to(real)

    def loss(self, model: nn.Module, *inputs_M: Tensor) -> Tensor:
        """(M,) losses."""
        images, labels, is_real = inputs_M
        if self.config.hinge:
            return F.relu(1 - (2 * is_real - 1) * model(images, labels))
        targets = is_real * (1 - self.config.label_smoothing)
        return F.binary_cross_entropy_with_logits(model(images, labels), targets, reduction="none")

    def join(self, worker: Worker) -> None:
        self.generator.to(worker.device).to(memory_format=torch.channels_last).train()
        across_ranks(self.generator, worker.sum_ if worker.world_size > 1 else None)
        config = self.config
        self.optimizer = torch.optim.Adam(
            self.generator.parameters(), lr=config.learning_rate, betas=(config.beta1, 0.999), fused=True
        )
        self.ema = Ema(self.generator, config.ema)

    def step(self, worker: Worker, model: nn.Module, done: int) -> None:
        """A step of the generator on a batch of public size, once the discriminator has made enough of its own."""
        if done % self.config.discriminator_steps:
            return
        classes, size = np.arange(self.generator.classes), self.config.batch_size
        z, labels, _ = wishes(worker, classes, size, self.generator.config.latent, [self.seed, 2, done])
        # Only the generator's parameters are asked for their gradient: the discriminator stays as it is.
        loss = generator_loss(model(self.generator(z, labels), labels), self.config.hinge) / size
        descend(worker, self.generator, self.optimizer, loss)
        self.ema.update(self.generator)

    def state_dict(self) -> dict[str, Any]:
        return {
            "generator": self.generator.state_dict(), "optimizer": self.optimizer.state_dict(),
            "ema": self.ema.state_dict(),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.generator.load_state_dict(state["generator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.ema.load_state_dict(state["ema"])

    def released(self) -> dict[str, Tensor]:
        return self.ema.weights
