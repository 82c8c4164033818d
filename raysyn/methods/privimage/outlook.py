"""What --dry-run adds to PrivImage's plan: how long each stage would take here, and how much memory."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn

from raysyn.compute.worker import Clock
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.gan_needs import game_needs
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import (
    Shape,
    classifier_needs,
    denoiser_needs,
    naming_need,
    per_worker,
    private_need,
    refuse_too_large,
)
from raysyn.methods.privimage.config import Config
from raysyn.methods.privimage.models import new_denoiser, new_gan, new_query, others
from raysyn.models.biggan import Generator
from raysyn.models.private_discriminator import PrivateDiscriminator
from raysyn.models.unet import UNet
from raysyn.privacy import sgd
from raysyn.privacy.trial import SGDSpeed
from raysyn.screen.console import Console
from raysyn.train import gan
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.memory import Need, at_once
from raysyn.train.naming import Naming
from raysyn.train.outlook import measure, shortest
from raysyn.train.private_gan import PrivateGame
from raysyn.train.samplers import network_calls


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    measured = partial(needs, private=private, public=prepared.more)
    refuse_too_large(console, config, private.shape, measured, machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images, public: Public | None) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the sensitive ones."""
    found = gan_needs(config, shape, private, public is not None, machines)
    if config.generator == "diffusion":
        found = diffusion_needs(config, shape, private, public, machines)
    if public is not None and config.pretraining == "selected":
        batch = per_worker(min(config.query.batch_size, len(public.train)), machines)
        found.append(naming_need("query", new_query(config, public), shape, batch))
    return found + classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic))


def diffusion_needs(
    config: Config, shape: Shape, private: Images, public: Public | None, machines: On
) -> list[Need]:  # fmt: skip
    """Of PRIVIMAGE+D."""
    rows, tuning, plain = private.classes + others(config, public), config.finetune, dict[str, tuple[int, int]]()
    if public is not None:
        plain["pretrain"] = per_worker(config.pretrain.batch_size, machines), config.pretrain.copies
    if config.warms_up():
        plain["warmup"] = per_worker(config.warmup.batch_size, machines), config.warmup.copies
    if not config.private:
        plain["finetune"] = per_worker(tuning.batch_size, machines), tuning.noise_multiplicity

    def new() -> UNet:
        return UNet(config.network, shape[2], shape[:2], rows)

    return denoiser_needs(new, shape, plain, tuning if config.private else None, machines)


def gan_needs(config: Config, shape: Shape, private: Images, pretrains: bool, machines: On) -> list[Need]:
    """Of PRIVIMAGE+G."""
    if config.generator != "gan":
        return []
    own, tuning = config.gan, config.finetune
    latent = own.network.latent

    def new() -> tuple[Generator, PrivateDiscriminator]:
        classes = private.classes
        return Generator(own.network, shape, classes), PrivateDiscriminator(own.discriminator, shape, classes)

    batches = {"pretrain": own.pretrain.batch_size} if pretrains else {}
    found = []
    for stage, batch in {**batches, "finetune": tuning.batch_size}.items():
        generator, discriminator = new()
        found += game_needs(
            generator, discriminator, [generator, discriminator], latent, shape, per_worker(batch, machines), stage
        )
    if config.private:
        generator, discriminator = new()
        task = PrivateGame(generator, own.play(1), config.seed)
        found.append(private_need(lambda: discriminator, task, shape, tuning, machines, 2))
    return found


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """Hours of each stage, from a moment's measurement that reads no image."""
    private, seconds = prepared.dataset.train, dict[str, float]()
    public: Public | None = prepared.more
    if public is not None and config.pretraining == "selected":
        pace, train = measure(new_query(config, public), Naming(), private.shape), public.train
        if config.query.checkpoint is None:
            seconds["query"] = config.query.epochs * len(train) * pace.gradient_s
        seconds["semantic"] = len(private) * pace.call_s
    generator: nn.Module
    if config.generator == "gan":
        generator, _ = new_gan(config, private)
        seconds |= gan_seconds(config, private, public, machines.sgd)
    else:
        generator = new_denoiser(config, private, private.classes + others(config, public))
        pace = measure(generator, DiffusionTask(classes=private.classes), private.shape)
        tuning = config.finetune
        copies = tuning.cost(len(private)).steps * tuning.batch_size * tuning.noise_multiplicity
        gradients = {
            "pretrain": config.pretrain.iterations * config.pretrain.batch_size if public is not None else 0,
            "warmup": config.warmup.iterations * config.warmup.batch_size if config.warms_up() else 0,
            "finetune": copies,
        }
        seconds |= {stage: count * pace.gradient_s for stage, count in gradients.items() if count}
        seconds["synthesise"] = config.synthetic * network_calls(config.sampler) * pace.call_s
    rows = [
        {"stage": stage, "hours of one worker with one CPU or GPU": round(value / 3600, 3)}
        for stage, value in seconds.items()
    ]
    size = sum(parameter.numel() for parameter in generator.parameters())
    console.plan_table(
        rows,
        title=f"Outlook: {size:,} parameters of the {config.generator} generator",
        caption="measured on made-up images. Classifiers and start-up come on top.",
    )


def gan_seconds(config: Config, private: Images, public: Public | None, speed: SGDSpeed) -> dict[str, float]:
    """Of pre-training, fine-tuning and drawing, from a few steps on noise."""
    own, tuning, seconds, clock = config.gan, config.finetune, dict[str, float](), Clock()
    if public is not None:
        some = at_once(own.pretrain.batch_size, private.shape)
        images = made_up(private, some)
        four = replace(own.pretrain.recipe(), epochs=4, epoch_steps=1, discriminator_steps=1, batch_size=some)
        gan.fit(clock, own.network, images, four, config.seed, own.discriminator)
        # Each timed step has one of the generator, which has fewer of its own: a little too much.
        seconds["pretrain"] = own.pretrain.iterations * shortest(clock.times) * own.pretrain.batch_size / some
    count, batch = tuning.cost(len(private)).steps, at_once(min(tuning.batch_size, 256), private.shape)
    images, clock = made_up(private, batch), Clock()
    if config.private:
        generator, discriminator = gan.new_networks(own.network, images, config.seed, own.discriminator)
        game, brief = PrivateGame(generator, own.play(batch), config.seed), replace(tuning, batch_size=batch, epochs=4)
        price = replace(brief.cost(batch), noise_multiplier=1.0)
        sgd.fit(clock, discriminator, game, images, brief, price, bytes(32), speed, partner=game)
    else:
        plain = replace(own.pretrain.recipe(), epochs=4, epoch_steps=1, batch_size=batch)
        gan.fit(clock, own.network, images, plain, config.seed, own.discriminator)
    seconds["finetune"] = count * shortest(clock.times) * tuning.batch_size / batch
    generator, _ = gan.new_networks(own.network, images, config.seed, own.discriminator)
    clock.progress(0, 1)
    gan.draw(generator.to(clock.device), torch.from_numpy(images.labels_N), 1.0, config.seed)
    clock.progress(1, 1)
    seconds["synthesise"] = config.synthetic / batch * (clock.times[-1] - clock.times[-2])
    return seconds


def made_up(like: Images, n: int) -> Images:
    """Noise in the shape and with the classes of `like`."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, *like.shape), dtype=np.uint8)
    return Images(pixels, np.arange(n, dtype=np.int64) % like.classes, like.class_names)
