"""Train the GANs that PIGAN compares, but for the private one: GAN, PIGAN, PrivGAN.

All three are pairs of generator and discriminator that play on their own images, and a classifier Q that tells the
parts of the training images apart by what is generated; see `Kind`. PIGAN, algorithm 1 and appendix A.2; PrivGAN after
Mukherjee et al. 2021.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.data.by_person import in_order
from raysyn.data.images import Images
from raysyn.models.dcgan import DCGANConfig
from raysyn.models.norm import across_ranks
from raysyn.train.adversarial import descend, discriminator_loss, generator_loss, real_batch, wishes
from raysyn.train.diverged import Diverged
from raysyn.train.loop import on_cpu
from raysyn.train.paired_networks import Kind, new_networks

SAVES = 20


@dataclass(frozen=True, kw_only=True)
class AdversarialConfig:
    """Training of generators and discriminators (PIGAN 5.1.1, A.1)."""

    epochs: int = 300
    """Passes over the training images."""
    batch_size: int = 128
    """Real images per step of a pair, over all workers."""
    learning_rate: float = 2e-4
    """Adam's rate, for all networks."""
    beta1: float = 0.5
    """Adam's first decay."""
    label_smoothing: float = 0.0
    """Discriminators are asked to be sure of real images only up to 1 minus this (the paper: 0.1 on CIFAR-10)."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"gan.{name} is {getattr(self, name)}: give at least 1")
        if not self.learning_rate > 0:
            raise ValueError(f"gan.learning_rate is {self.learning_rate}: give a number above 0")
        for name in ("beta1", "label_smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"gan.{name} is {getattr(self, name)}: give a number from 0 up to below 1")


@dataclass(frozen=True, kw_only=True)
class PenaltyConfig:
    """What keeps generators from learning whose images they saw (PIGAN 3.1, A.2)."""

    weight: float = 1.0
    """The paper's lambda; 0 does without the penalty."""
    parts: int = 2
    """The paper's N: equal parts of the training images, or where they are named of the persons, at random."""
    pretrain_epochs: int = 50
    """Passes of Q over the real images, with the part as the class, before all else."""
    delay_epochs: int = 200
    """The paper's K for PIGAN: epochs in which Q stays as pre-trained, while the generator is already penalised."""
    privgan_delay_epochs: int = 100
    """The same for PrivGAN."""

    def __post_init__(self) -> None:
        if not 0 <= self.weight < math.inf or self.parts < 2:
            raise ValueError(
                f"penalty.weight is {self.weight} and penalty.parts {self.parts}: give a finite weight of at least 0 "
                "and at least 2 parts"
            )
        for name in ("pretrain_epochs", "delay_epochs", "privgan_delay_epochs"):
            if getattr(self, name) < 0:
                raise ValueError(f"penalty.{name} is {getattr(self, name)}: give at least 0")

    def delay(self, kind: Kind) -> int:
        """Epochs before Q learns from generated images."""
        return self.privgan_delay_epochs if kind == "privgan" else self.delay_epochs


def parts_of(images: Images, parts: int, seed: int) -> np.ndarray:
    """The part of each training image, int64 (N,): equally many in each, to one, at random; where persons are named
    equally many of these, each with all images, for a generator must pass for one that never saw the person."""
    part_U = np.random.default_rng([seed, 10]).permutation(np.arange(images.units) % parts)
    return part_U if images.persons_N is None else part_U[in_order(images.persons_N)]


def fit(
    worker: Worker, kind: Kind, network: DCGANConfig, images: Images, config: AdversarialConfig,
    penalty: PenaltyConfig, seed: int,
) -> dict[str, Any]:  # fmt: skip
    """Train all networks of one kind; a killed run goes on from its last state and ends bit for bit the same.

    Weights, parts, batches, noise, classes and codes follow from `seed` and the step alone and batch statistics span
    all ranks, so that the number of workers changes no more than rounding.

    Returns {"weights": state dict of `Networks` on the CPU, "history": [{"epoch", "discriminator_loss",
    "generator_loss"[, "classifier_loss"]}, ...]}; losses are means over pairs. Raises ValueError for fewer images (or
    persons) than parts or a batch smaller than the number of workers, Diverged where a loss is not finite.
    """
    if kind != "gan" and images.units < penalty.parts:
        what = "images" if images.persons_N is None else "persons"
        raise ValueError(f"penalty.parts is {penalty.parts}, but there are {images.units} {what}: lower it")
    if worker.world_size > config.batch_size:
        raise ValueError(f"on.workers is {worker.world_size}, but gan.batch_size {config.batch_size}: lower on.workers")
    # Denormal numbers, common in Adam's second moment, slow a CPU down many times.
    torch.set_flush_denormal(True)
    game = _Game(worker, kind, network, images, config, penalty, seed)
    if (state := worker.resume()) is not None:
        game.load(state)
    else:
        game.pretrain()
        worker.save(game.state())
    every = math.ceil(config.epochs / SAVES)
    while game.epoch < config.epochs:
        shown = game.play()
        if not all(map(math.isfinite, shown.values())):
            raise Diverged(f"epoch {game.epoch} of the GAN ended with the losses {shown}: lower gan.learning_rate")
        if worker.leaving() or game.epoch % every == 0 or game.epoch == config.epochs:
            worker.save(game.state())
        worker.progress(game.pretrained + game.epoch, game.pretrained + config.epochs, **shown)
    return {"weights": on_cpu(game.networks.state_dict()), "history": game.history}


class _Game:
    """One rank's share of a training: what a state holds, and the epoch that advances it."""

    def __init__(
        self, worker: Worker, kind: Kind, network: DCGANConfig, images: Images, config: AdversarialConfig,
        penalty: PenaltyConfig, seed: int,
    ) -> None:  # fmt: skip
        self.worker, self.kind, self.config, self.penalty, self.seed = worker, kind, config, penalty, seed
        self.networks = new_networks(kind, network, images.shape, images.classes, penalty.parts, seed)
        self.networks.to(worker.device).to(memory_format=torch.channels_last).train()
        across_ranks(self.networks, worker.sum_ if worker.world_size > 1 else None)
        self.penalised = kind != "gan" and penalty.weight > 0
        self.pretrained = penalty.pretrain_epochs if self.penalised else 0
        self.images, self.part_N = images, parts_of(images, penalty.parts, seed)
        # Each pair plays on its own images: those of its part, or all.
        own = [np.arange(len(images))]
        if kind == "privgan":
            own = [np.flatnonzero(self.part_N == pair) for pair in range(penalty.parts)]
        self.pools = [(images.select(which), self.part_N[which]) for which in own]
        # Persons' images are not shared out to one: an epoch is as many as a part has in the mean.
        self.steps = math.ceil(len(images) / (len(own) * config.batch_size))
        self.optimizers = {
            name: torch.optim.Adam(
                module.parameters(), lr=config.learning_rate, betas=(config.beta1, 0.999), fused=True
            )
            for name, module in self._modules().items()
        }
        self.epoch, self.history = 0, list[dict[str, float]]()

    def _modules(self) -> dict[str, nn.Module]:
        found = {"generators": self.networks.generators, "discriminators": self.networks.discriminators}
        return found | ({"classifier": self.networks.classifier} if self.penalised else {})

    def pretrain(self) -> None:
        """Q learns to tell the parts of the real images apart."""
        size, steps = self.config.batch_size, math.ceil(len(self.images) / self.config.batch_size)
        for epoch in range(self.pretrained):
            total = torch.zeros((), device=self.worker.device)
            for step in range(epoch * steps, (epoch + 1) * steps):
                real, _, chosen = real_batch(self.worker, self.images, size, self.seed, step)
                parts = torch.from_numpy(self.part_N[chosen.numpy()]).to(self.worker.device)
                loss = F.cross_entropy(self.networks.classifier(2 * real - 1), parts, reduction="sum") / size
                total += descend(self.worker, self.networks.classifier, self.optimizers["classifier"], loss)
            told = float(total / steps)
            self.worker.progress(epoch + 1, self.pretrained + self.config.epochs, classifier_loss=told)

    def play(self) -> dict[str, float]:
        """One epoch: discriminators, then Q, then generators, step by step; mean losses."""
        learns = self.penalised and self.epoch >= self.penalty.delay(self.kind)
        losses = torch.zeros(3, device=self.worker.device)
        for step in range(self.epoch * self.steps, (self.epoch + 1) * self.steps):
            z, labels, codes = self._wishes(1, step)
            with torch.no_grad():
                made = [generator(z, labels, codes) for generator in self.networks.generators]
            losses[0] += self._discriminators_step(step, made, labels, codes)
            if learns:
                losses[1] += self._classifier_step(made, codes)
            losses[2] += self._generators_step(step)
        self.epoch += 1
        means = (losses / self.steps).tolist()
        shown = {"discriminator_loss": means[0], "generator_loss": means[2]}
        shown |= {"classifier_loss": means[1]} if learns else {}
        self.history.append({"epoch": self.epoch, **shown})
        return shown

    def _wishes(self, stream: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Noise, classes and codes of one batch; pairs share them."""
        size, worker = self.config.batch_size, self.worker
        z, labels, rng = wishes(worker, self.images.labels_N, size, self.networks.latent, [self.seed, stream, step])
        codes = torch.from_numpy(rng.integers(self.penalty.parts, size=size)[worker.rank :: worker.world_size])
        return z, labels, codes.to(worker.device)

    def _discriminators_step(self, step: int, made: Sequence[Tensor], labels: Tensor, codes: Tensor) -> Tensor:
        total = torch.zeros((), device=self.worker.device)
        for (pool, part_N), discriminator, fakes in zip(self.pools, self.networks.discriminators, made, strict=True):
            real, own_labels, chosen = real_batch(self.worker, pool, self.config.batch_size, self.seed, step)
            own_codes = torch.from_numpy(part_N[chosen.numpy()]).to(self.worker.device)
            logits = discriminator(
                torch.cat([2 * real - 1, fakes]), torch.cat([own_labels, labels]), torch.cat([own_codes, codes])
            )
            on_real, on_made = logits.split([len(real), len(fakes)])
            total = total + discriminator_loss(on_real, on_made, self.config.label_smoothing)
        loss = total / self.config.batch_size
        return descend(self.worker, self.networks.discriminators, self.optimizers["discriminators"], loss) / len(made)

    def _classifier_step(self, made: Sequence[Tensor], codes: Tensor) -> Tensor:
        """Q learns whose images the generators make."""
        loss = torch.stack([self._told_apart(fakes, self._of(pair, codes)) for pair, fakes in enumerate(made)]).mean()
        return descend(self.worker, self.networks.classifier, self.optimizers["classifier"], loss)

    def _generators_step(self, step: int) -> Tensor:
        """Generators learn to be taken for real, and for another's."""
        z, labels, codes = self._wishes(2, step)
        rng = np.random.default_rng([self.seed, 3, step])
        shifts = rng.integers(1, self.penalty.parts, size=self.config.batch_size)
        shift = torch.from_numpy(shifts[self.worker.rank :: self.worker.world_size]).to(self.worker.device)
        total = torch.zeros((), device=self.worker.device)
        pairs = zip(self.networks.generators, self.networks.discriminators, strict=True)
        for pair, (generator, discriminator) in enumerate(pairs):
            made = generator(z, labels, codes)
            total = total + generator_loss(discriminator(made, labels, codes)) / self.config.batch_size
            if self.penalised:
                wrong = (self._of(pair, codes) + shift) % self.penalty.parts
                total = total + self.penalty.weight * self._told_apart(made, wrong)
        descended = descend(self.worker, self.networks.generators, self.optimizers["generators"], total)
        return descended / self.networks.pairs

    def _told_apart(self, made: Tensor, parts: Tensor) -> Tensor:
        """Q's cross-entropy on generated images, a mean over all ranks' batches once these are summed."""
        return F.cross_entropy(self.networks.classifier(made), parts, reduction="sum") / self.config.batch_size

    def _of(self, pair: int, codes: Tensor) -> Tensor:
        """The part that a pair's images are of: its own, or where one pair plays for all, the code."""
        return torch.full_like(codes, pair) if self.kind == "privgan" else codes

    def state(self) -> dict[str, Any]:
        """All that a restart needs, as tensors and plain values."""
        optimizers = {f"{name}_optimizer": one.state_dict() for name, one in self.optimizers.items()}
        return {"epoch": self.epoch, "history": self.history, "networks": self.networks.state_dict(), **optimizers}

    def load(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.history = state["epoch"], list(state["history"])
        self.networks.load_state_dict(state["networks"])
        for name, one in self.optimizers.items():
            one.load_state_dict(state[f"{name}_optimizer"])
