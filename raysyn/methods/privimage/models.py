"""The two generators of PrivImage: a diffusion model (+D) and a GAN (+G). Each learns from public images, is fine-tuned
on the sensitive ones, and draws; the pipeline does not care which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import denoising, experiment_units
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.denoising import Denoising
from raysyn.methods.network import Network
from raysyn.methods.own_network import check_denoiser
from raysyn.methods.privimage.config import Config
from raysyn.methods.privimage.gan_config import GANPretrainConfig
from raysyn.methods.synthesis import Drawing, synthesise
from raysyn.methods.weighing import Weighed, doubts
from raysyn.models import denoiser
from raysyn.models.biggan import BigGANConfig, Generator
from raysyn.models.denoiser import table_of_labels
from raysyn.models.private_discriminator import PrivateDiscriminator
from raysyn.models.warm_start import OF_ALL_CLASSES, lessened
from raysyn.privacy import sgd
from raysyn.privacy.ledger import Release
from raysyn.train import gan, loop
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import ALL
from raysyn.train.loop import LoopConfig
from raysyn.train.private_gan import PrivateGame
from raysyn.train.samplers import SamplerConfig


class Model(experiment_units.Model, Protocol):
    """What the pipeline asks of a generator, beside what experiments do."""

    def pretrain(self, images: Images, conditional: bool) -> None:
        """Learn from images that are public or paid for."""

    def warm_up(self, central: Images) -> None:
        """Learn from noisy central images after that."""


def pay(setting: Setting, release: Release[dict[str, Any]]) -> dict[str, Any]:
    """What DP-SGD released, once the ledger has its price."""
    assert isinstance(setting, PrivateSetting)
    return setting.ledger.pay("finetune", release)


class Diffusion(Denoising):
    """PRIVIMAGE+D: a denoiser, whose table of labels has the sensitive classes first and `others` after them."""

    def __init__(self, setting: Setting, others: int) -> None:
        self.setting, self.config, self.private = setting, setting.config, setting.dataset.train
        rows = self.private.classes + others
        self.denoiser = new_denoiser(self.config, self.private, rows)
        self.task = task_of(self.config, rows)
        self.knows_classes = False

    def pretrain(self, images: Images, conditional: bool) -> None:
        self._learn(images, conditional, self.config.pretrain, "pretrain", None)

    def warm_up(self, central: Images) -> None:
        self._learn(central, self.config.central.conditional, self.config.warmup, "warmup", self.config.augment)

    def fine_tune(self) -> dict[str, Any]:
        tuned = self.setting.folder.stage("finetune", self._tuned)
        self.denoiser.load_state_dict(tuned["ema"])
        return tuned

    def _learn(
        self, images: Images, conditional: bool, config: LoopConfig, stage: str, augment: AugmentConfig | None
    ) -> None:
        """Train on what is not secret, and go on from the raw weights, as published."""
        # Images of no one class teach what "no class" looks like, and nothing about a class.
        lesson = self.task if conditional else replace(self.task, label_dropout=1.0)
        before = {name: value.clone() for name, value in self.denoiser.state_dict().items()}
        fit = partial(self.setting.compute.train, loop.fit, self.denoiser, lesson, images, config, name=stage)
        trained = self.setting.folder.stage(stage, lambda: fit(self.config.seed, augment, ALL, stage))
        blurred = stage == "warmup" and not conditional and self.private.classes > 1
        self.denoiser.load_state_dict(lessened(before, trained["model"], OF_ALL_CLASSES if blurred else 1.0))
        if not conditional and not blurred and not self.knows_classes:
            # Rows that nothing has been learned about would be noise: all classes begin as "no class".
            table = table_of_labels(self.denoiser, self.task.classes)
            assert table is not None, "checked before the run"
            with torch.no_grad():
                table.weight[:] = table.weight[-1].clone()
        self.knows_classes |= conditional
        self.taught |= config.iterations > 0
        self.setting.console.stage(stage, f"{config.iterations:,} steps on {len(images):,} images: no further cost")

    def _tuned(self) -> dict[str, Any]:
        setting, tuning = self.setting, self.config.finetune
        if not isinstance(setting, PrivateSetting):
            plain = LoopConfig(
                iterations=tuning.cost(self.private.units).steps, batch_size=tuning.batch_size,
                copies=tuning.noise_multiplicity, learning_rate=tuning.learning_rate, ema=tuning.ema,
            )  # fmt: skip
            fit = partial(setting.compute.train, loop.fit, name="finetune")
            return fit(self.denoiser, self.task, self.private, plain, self.config.seed, None, tuning.layers, "finetune")
        release = sgd.train(
            setting.compute, self.denoiser, self.task, self.private, tuning, setting.plan.stages["finetune"],
            setting.folder.secret, setting.machines.sgd, epsilon_at=partial(setting.plan.epsilon_after, "finetune"),
            seed=self.config.seed, snapshots=self.moments(),
        )  # fmt: skip
        return pay(setting, release)


def check_diffusion(config: Config, private: Images, rows: int) -> dict[str, str]:
    """What tells the denoiser from another one, as facts of the run; ValueError, in one sentence, where it could not be
    trained or drawn with. `rows`: labels, with those of public images."""
    own = new_denoiser(config, private, rows)
    facts = check_denoiser(own, private.shape, task_of(config, rows), config.sampler, config.finetune.layers)
    told = {"selected": config.semantic.conditional, "all": private.classes > 1, "none": False}[config.pretraining]
    central = config.warms_up() and not config.central.conditional and private.classes == 1
    if not told and (config.reads_public or central) and table_of_labels(own, rows) is None:
        raise ValueError(
            f"network.factory {config.network.factory} has no nn.Embedding of {rows + 1} rows called label, which "
            "are made alike after learning from images that tell no classes: add it, or leave pretraining at selected, "
            "and semantic.conditional and central.conditional at True"
        )
    return facts


def task_of(config: Config, rows: int) -> DiffusionTask:
    """What the denoiser learns from one image."""
    return DiffusionTask(classes=rows, **asdict(config.noise))


def new_denoiser(config: Config, private: Images, rows: int) -> nn.Module:
    """The network with its first weights, which `config.seed` decides; ValueError where it cannot take the images."""
    torch.manual_seed(config.seed)
    return denoiser.new_denoiser(config.network, private.shape[2], private.shape[:2], rows)


class GAN:
    """PRIVIMAGE+G: a generator that never meets a sensitive image, and a discriminator that DP-SGD trains."""

    def __init__(self, setting: Setting, others: int) -> None:
        self.setting, self.config, self.private = setting, setting.config, setting.dataset.train
        self.generator, self.discriminator = new_gan(self.config, self.private)

    def pretrain(self, images: Images, conditional: bool) -> None:
        own, classes = self.config.gan, self.private.classes
        if not conditional:
            # A GAN has no "no class": every class begins alike.
            images = replace(images, labels_N=np.arange(len(images), dtype=np.int64) % classes)
        fit = partial(self.setting.compute.train, gan.fit, own.network, images, own.pretrain.recipe(), name="pretrain")
        start = self.config.seed, own.discriminator, None, "gan.pretrain"
        trained = self.setting.folder.stage("pretrain", lambda: fit(*start))
        # Where public images have classes of their own, sensitive ones begin untaught but different.
        self.generator.load_state_dict(_first_rows(trained["generator"], classes))
        self.discriminator.load_state_dict(_first_rows(trained["discriminator"], classes))
        steps = f"{own.pretrain.iterations:,} steps of the discriminator"
        self.setting.console.stage("pretrain", f"{steps} on {len(images):,} images: no further cost")

    def warm_up(self, central: Images) -> None:
        raise AssertionError("central images go with diffusion")

    def fine_tune(self) -> dict[str, Any]:
        tuned = self.setting.folder.stage("finetune", self._tuned)
        self.generator.load_state_dict(tuned["partner"])
        self.discriminator.load_state_dict(tuned["ema"] if "ema" in tuned else self.discriminator.state_dict())
        return tuned

    def draw(self, name: str = "synthesise", count: int | None = None, sampler: SamplerConfig | None = None) -> Images:
        assert sampler is None, "a GAN has no sampler"
        return synthesise(self.setting, of_generator(self.config, self.generator.plain(), self.private), name, count)

    def loss(self, images: Images) -> None:
        """That of a game says nothing alone."""

    def weighed(self) -> Weighed:
        return partial(doubts, self.discriminator.cpu(), float(self.generator.black))

    def drawn_from(self, state: Mapping[str, Any]) -> Mapping[str, Tensor]:
        return denoising.averaged(state["partner"])

    def load(self, weights: Mapping[str, Tensor]) -> None:
        self.generator.load_state_dict(weights)

    def _tuned(self) -> dict[str, Any]:
        setting, own, tuning = self.setting, self.config.gan, self.config.finetune
        if not isinstance(setting, PrivateSetting):
            plain = GANPretrainConfig(
                iterations=tuning.cost(self.private.units).steps, batch_size=tuning.batch_size,
                discriminator_steps=own.discriminator_steps, learning_rate=own.learning_rate,
                discriminator_learning_rate=tuning.learning_rate, ema=own.ema, beta1=own.beta1,
            )  # fmt: skip
            start = {"generator": self.generator.state_dict(), "discriminator": self.discriminator.state_dict()}
            fit = partial(setting.compute.train, gan.fit, own.network, self.private, plain.recipe(), name="finetune")
            return {"partner": fit(self.config.seed, own.discriminator, start)["averaged"]}
        game = PrivateGame(self.generator, own.play(tuning.batch_size), self.config.seed)
        release = sgd.train(
            setting.compute, self.discriminator, game, self.private, tuning, setting.plan.stages["finetune"],
            setting.folder.secret, setting.machines.sgd, epsilon_at=partial(setting.plan.epsilon_after, "finetune"),
            partner=game,
        )  # fmt: skip
        return pay(setting, release)


def new_gan(config: Config, private: Images) -> tuple[Generator, PrivateDiscriminator]:
    """Both networks with their first weights; ValueError where they cannot take the images."""
    generator, discriminator = gan.new_networks(config.gan.network, private, config.seed, config.gan.discriminator)
    assert isinstance(discriminator, PrivateDiscriminator)
    return generator, discriminator


def _first_rows(weights: Mapping[str, Tensor], rows: int) -> dict[str, Tensor]:
    """The weights of the same network for the sensitive classes alone, which come first in its table of classes."""
    return {name: value[:rows] if name == "embedding.weight" else value for name, value in weights.items()}


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the generator as it was when the sensitive images had been learned from."""
    tuned = answer("finetune")
    if config.generator == "gan":
        generator, _ = new_gan(config, like)
        generator.load_state_dict(tuned["partner"])
        return of_generator(config, generator.plain(), like)
    return denoising.of_denoiser(tuned_denoiser(config, like, tuned)[0], config.sampler, like.shape)


def tuned_denoiser(config: Config, like: Images, tuned: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """The denoiser as it was released, and its labels: public classes may stand after the sensitive ones."""
    table = tuned["ema"].get("label.weight")
    rows = like.classes if table is None else len(table) - 1
    network = new_denoiser(config, like, rows)
    network.load_state_dict(tuned["ema"])
    return network, rows


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    drawn_from = "partner" if config.generator == "gan" else "ema"
    return {"finetune": {drawn_from: answer("finetune")[drawn_from]}}


NETWORK = Network(("generator", "network", "gan", "noise", "sampler", "classes", "synthetic", "seed"), parts)


def of_generator(config: Config, weights: dict[str, Tensor], like: Images) -> Drawing:
    """The same of a GAN."""
    return Drawing(draw_of_gan, (weights, config.gan.network, like.shape, like.classes), "one network call each")


def draw_of_gan(
    chunk: tuple[int, np.ndarray], shared: tuple[dict[str, Tensor], BigGANConfig, tuple[int, int, int], int]
) -> Tensor:
    """One unit of a GAN's synthesis: (seed, labels) to uint8 (N, H, W, C)."""
    (seed, labels_N), (weights, network, shape, classes) = chunk, shared
    generator = Generator(network, shape, classes, spectral=False)
    generator.load_state_dict(weights)
    return gan.draw(generator.to(best_device()), torch.from_numpy(labels_N), 1.0, seed).cpu()


def has_images(public: Public) -> np.ndarray:
    """Which public classes have training images: bool (classes,)."""
    return np.bincount(public.train.labels_N, minlength=public.train.classes) > 0


def others(config: Config, public: Public | None) -> int:
    """Labels beside those of the sensitive classes: the public ones, where all their images are learned from."""
    return public.train.classes if public is not None and config.pretraining == "all" else 0
