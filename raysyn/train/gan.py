"""Train a class-conditional GAN where nothing is secret: logistic loss, several discriminator steps per generator step.

The generator is kept at regular intervals, as Knowledge Recycling asks (section 3.2); what is kept is the moving
average of its weights with the spectral normalisation worked in.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.models.biggan import BigGANConfig, Discriminator, Generator
from raysyn.models.norm import across_ranks
from raysyn.models.private_discriminator import PrivateDiscriminator, PrivateDiscriminatorConfig
from raysyn.train.adversarial import descend, discriminator_loss, generator_loss, real_batch, wishes
from raysyn.train.diverged import Diverged
from raysyn.train.loop import Ema, on_cpu
from raysyn.train.memory import at_once

DEAD = 0.01
"""Distance between the highest and the lowest logit of an epoch below which a discriminator tells nothing any more; it
fades into that, and one that learns is hundreds of times above."""


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """Training of generator and discriminator (Knowledge Recycling 3.2; rates and batch: BigGAN's CIFAR recipe)."""

    epochs: int = 500
    """Passes of the discriminator over the training images."""
    batch_size: int = 50
    """Real images per discriminator step, over all workers."""
    discriminator_steps: int = 4
    """Discriminator steps per generator step."""
    learning_rate: float = 2e-4
    """AdamW's rate for the generator, and for the discriminator unless it has its own."""
    discriminator_learning_rate: float | None = None
    """AdamW's rate for the discriminator. A higher one helps small networks, whose generator else finds a few images
    per class that the discriminator cannot tell, and stays there."""
    weight_decay: float = 5e-4
    """AdamW's weight decay, for both networks."""
    beta1: float = 0.0
    """AdamW's first decay, for both networks."""
    label_smoothing: float = 0.1
    """The discriminator is asked to be sure of real images only up to 1 minus this (the paper does not say)."""
    hinge: bool = False
    """Hinge loss in place of the logistic one."""
    ema: float = 0.9999
    """Decay of the moving average of the generator's weights, which is what is kept."""
    checkpoint_every: int = 5
    """Epochs between kept generators."""
    epoch_steps: int | None = None
    """Discriminator steps that count as an epoch; by default as many as make a pass over the images."""

    def __post_init__(self) -> None:
        for field in ("epochs", "batch_size", "discriminator_steps", "checkpoint_every"):
            if getattr(self, field) < 1:
                raise ValueError(f"gan.{field} is {getattr(self, field)}: give at least 1")
        if self.epoch_steps is not None and self.epoch_steps < 1:
            raise ValueError(f"gan.epoch_steps is {self.epoch_steps}: give at least 1, or leave it out")
        if not self.learning_rate > 0 or self.weight_decay < 0:
            raise ValueError(
                f"gan.learning_rate is {self.learning_rate} and gan.weight_decay {self.weight_decay}: give a rate "
                "above 0 and a decay of at least 0"
            )
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"gan.beta1 is {self.beta1}: give a decay from 0 up to below 1")
        if self.discriminator_learning_rate is not None and not self.discriminator_learning_rate > 0:
            raise ValueError(
                f"gan.discriminator_learning_rate is {self.discriminator_learning_rate}: give a rate above 0, or leave "
                "it out"
            )
        for field in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, field) < 1:
                raise ValueError(f"gan.{field} is {getattr(self, field)}: give a number from 0 up to below 1")
        if self.checkpoint_every > self.epochs:
            raise ValueError(
                f"gan.checkpoint_every is {self.checkpoint_every}, but gan.epochs {self.epochs}: no generator would be "
                "kept"
            )

    def kept(self) -> list[int]:
        """Epochs after which the generator is kept; the last is among them."""
        epochs = range(self.checkpoint_every, self.epochs + 1, self.checkpoint_every)
        return sorted({*epochs, self.epochs})

    def steps(self, images: int) -> int:
        """Of the discriminator, in all, of so many images."""
        return self.epochs * (self.epoch_steps or math.ceil(images / self.batch_size))


def checkpoint_name(epoch: int) -> str:
    """Under which a kept generator is found (`Compute.kept`)."""
    return f"generator-{epoch:05d}"


def new_networks(
    network: BigGANConfig, images: Images, seed: int, private: PrivateDiscriminatorConfig | None = None
) -> tuple[Generator, nn.Module]:
    """Generator and discriminator with their first weights; ValueError where they cannot take the images' sides."""
    torch.manual_seed(seed)
    generator = Generator(network, images.shape, images.classes)
    if private is not None:
        return generator, PrivateDiscriminator(private, images.shape, images.classes)
    return generator, Discriminator(network, images.shape, images.classes)


def fit(
    worker: Worker, network: BigGANConfig, images: Images, config: GANConfig, seed: int,
    private: PrivateDiscriminatorConfig | None = None, start: Mapping[str, dict[str, Tensor]] | None = None,
    group: str = "gan",
) -> dict[str, Any]:  # fmt: skip
    """Train a generator and a discriminator; after each of `config.kept()` a killed run can go on, and `worker.keep`
    has the generator.

    All that is random follows from `seed` and the step alone and statistics span all ranks, so that the number of
    workers changes no more than rounding. Where the discriminator has died (it answers all images alike, for good),
    training ends early. With `private` the discriminator is one that DP-SGD can go on training, no generator is kept,
    and the answer has the weights of both; `start` are such weights to begin with. `group` is what the flags of
    `config` begin with.

    Returns {"history": [{"epoch", "discriminator_loss"[, "generator_loss", where it made a step]}, ...], "kept":
    [epoch, ...][, "generator", "discriminator": last weights, "averaged": the generator's moving average, on the
    CPU]}.
    Raises ValueError for more workers than images in a batch, Diverged where a loss is not finite, or the
    discriminator dies before the first generator is kept.
    """
    if worker.world_size > config.batch_size:
        raise ValueError(
            f"on.workers is {worker.world_size}, but {group}.batch_size {config.batch_size}: lower on.workers"
        )
    networks = _begun(worker, network, images, seed, private, start)
    averaged = copy.deepcopy(networks["generator"])
    across_ranks(networks["generator"], worker.sum_ if worker.world_size > 1 else None)
    optimizers = _optimizers(networks, config)
    ema, epoch, history = Ema(networks["generator"], config.ema), 0, []
    if (state := worker.resume()) is not None:
        epoch, history = state["epoch"], state["history"]
        _load(state, networks, optimizers, ema)

    kept, steps = config.kept(), config.steps(len(images)) // config.epochs
    while epoch < config.epochs:
        span = range(epoch * steps, (epoch + 1) * steps)
        losses, spread = _epoch(worker, networks, optimizers, images, config, seed, span, ema)
        if worker.sum_(spread) < DEAD:
            break
        epoch += 1
        # An epoch of few steps may have none of the generator.
        shown = dict(zip(("discriminator_loss", "generator_loss"), losses.tolist(), strict=False))
        if not all(map(math.isfinite, shown.values())):
            raise Diverged(f"epoch {epoch} of the GAN ended with the losses {shown}: lower {group}.learning_rate")
        history.append({"epoch": epoch, **shown})
        if epoch in kept and private is None:
            ema.copy_to(averaged)
            worker.keep(checkpoint_name(epoch), averaged.plain())
        if worker.leaving() or epoch in kept:
            worker.save({"epoch": epoch, "history": history, "ema": ema.state_dict()} | _states(networks, optimizers))
        worker.progress(epoch, config.epochs, **shown)
    answer: dict[str, Any] = {"history": history, "kept": _kept_until(config, epoch, group)}
    if private is not None:
        weights = {name: on_cpu(one.state_dict()) for name, one in networks.items()}
        answer |= weights | {"averaged": on_cpu(ema.weights)}
    return answer


def _begun(
    worker: Worker, network: BigGANConfig, images: Images, seed: int, private: PrivateDiscriminatorConfig | None,
    start: Mapping[str, dict[str, Tensor]] | None,
) -> dict[str, Any]:  # fmt: skip
    """{"generator", "discriminator"}, with first weights or those to start with, on the worker's device."""
    generator, discriminator = new_networks(network, images, seed, private)
    networks: dict[str, Any] = {"generator": generator, "discriminator": discriminator}
    for name, one in networks.items():
        if start is not None:
            one.load_state_dict(start[name])
        one.to(worker.device).to(memory_format=torch.channels_last).train()
    return networks


def _optimizers(networks: Mapping[str, nn.Module], config: GANConfig) -> dict[str, torch.optim.Optimizer]:
    """One for each network, by its name."""
    rates = {"generator": config.learning_rate, "discriminator": config.discriminator_learning_rate}
    return {name: _adamw(one, config, rates[name] or config.learning_rate) for name, one in networks.items()}


def _kept_until(config: GANConfig, epoch: int, group: str) -> list[int]:
    """Epochs of the generators that were kept; Diverged where there is none."""
    if not (done := [one for one in config.kept() if one <= epoch]):
        raise Diverged(
            f"in epoch {epoch + 1} of the GAN the discriminator answered all images alike: lower "
            f"{group}.discriminator_learning_rate or {group}.learning_rate"
        )
    return done


def _load(
    state: Mapping[str, Any], networks: Mapping[str, nn.Module], optimizers: Mapping[str, torch.optim.Optimizer],
    ema: Ema,
) -> None:  # fmt: skip
    """What `_states` saved."""
    for name, one in networks.items():
        one.load_state_dict(state[name])
        optimizers[name].load_state_dict(state[f"{name}_optimizer"])
    ema.load_state_dict(state["ema"])


def _states(networks: Mapping[str, Any], optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, Any]:
    """Of all of them, by their names."""
    states = {name: one.state_dict() for name, one in networks.items()}
    return states | {f"{name}_optimizer": one.state_dict() for name, one in optimizers.items()}


def _epoch(
    worker: Worker, networks: dict[str, Any], optimizers: dict[str, torch.optim.Optimizer], images: Images,
    config: GANConfig, seed: int, steps: range, ema: Ema,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Mean losses of the discriminator and, if it made any, of the generator over their own steps among these (2,) or
    (1,), and the widest spread of the answers of this rank's discriminator (1,)."""
    losses, spread, moves = torch.zeros(2, device=worker.device), torch.zeros(1, device=worker.device), 0
    for step in steps:
        loss, apart = _discriminator_step(worker, networks, optimizers, images, config, seed, step)
        losses[0] += loss / len(steps)
        spread = torch.maximum(spread, apart)
        if (step + 1) % config.discriminator_steps == 0:
            loss = _generator_step(worker, networks, optimizers, images, config, seed, step)
            losses[1] += loss
            moves += 1
            ema.update(networks["generator"])
    return torch.cat((losses[:1], losses[1:] / moves)) if moves else losses[:1], spread


def _adamw(network: nn.Module, config: GANConfig, rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        network.parameters(), lr=rate, betas=(config.beta1, 0.999), eps=1e-6, weight_decay=config.weight_decay,
        fused=True,
    )  # fmt: skip


def _discriminator_step(
    worker: Worker, networks: dict[str, Any], optimizers: dict[str, Any], images: Images, config: GANConfig,
    seed: int, step: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One step on a batch of real and one of generated images; the loss over all ranks, and how far apart this rank's
    logits lie."""
    real, labels, _ = real_batch(worker, images, config.batch_size, seed, step)
    with torch.no_grad():
        made, asked = _made(worker, networks["generator"], images, config, [seed, 1, step])
    # One pass over both, so that the power iteration takes one step.
    logits = networks["discriminator"](torch.cat([real, made]), torch.cat([labels, asked]))
    on_real, on_made = logits.float().split([len(real), len(made)])
    loss = discriminator_loss(on_real, on_made, config.label_smoothing, config.hinge) / config.batch_size
    total = descend(worker, networks["discriminator"], optimizers["discriminator"], loss)
    return total, (logits.detach().max() - logits.detach().min()).float()


def _generator_step(
    worker: Worker, networks: dict[str, Any], optimizers: dict[str, Any], images: Images, config: GANConfig,
    seed: int, step: int,
) -> Tensor:  # fmt: skip
    """One step towards images that the discriminator takes for real; the loss over all ranks."""
    made, asked = _made(worker, networks["generator"], images, config, [seed, 2, step])
    loss = generator_loss(networks["discriminator"](made, asked).float(), config.hinge) / config.batch_size
    return descend(worker, networks["generator"], optimizers["generator"], loss)


def _made(
    worker: Worker, generator: Generator, images: Images, config: GANConfig, key: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """This rank's share of a batch of generated images and the classes asked for, as frequent as in `images`."""
    noise, asked, _ = wishes(worker, images.labels_N, config.batch_size, generator.config.latent, key)
    return generator(noise, asked), asked


def draw(generator: Generator, labels_N: Tensor, std: float, seed: int, batch_size: int = 500) -> Tensor:
    """One image per label from latents of standard deviation `std`: uint8 (N, H, W, C) on the generator's device.

    The same seed gives the same latents whatever the standard deviation.
    """
    device = next(generator.parameters()).device
    latent = np.random.default_rng(seed).standard_normal((len(labels_N), generator.config.latent), np.float32)
    parts, batch_size = [], at_once(batch_size, generator.shape)
    with torch.inference_mode():
        for at in range(0, len(labels_N), batch_size):
            noise = torch.from_numpy(latent[at : at + batch_size]).to(device) * std
            made = generator.eval()(noise, labels_N[at : at + batch_size].to(device))
            parts.append((made.float() * 255).round_().to(torch.uint8).permute(0, 2, 3, 1))
    return torch.cat(parts)
