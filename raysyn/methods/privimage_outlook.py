"""What --dry-run adds to PrivImage's plan: how long each stage would take here, and how much memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from raysyn.compute import Clock
from raysyn.console import Console
from raysyn.data import Dataset, Images
from raysyn.methods.privimage import Config, new_query, others
from raysyn.methods.privimage_models import new_denoiser, new_gan
from raysyn.privacy import sgd
from raysyn.privacy.trial import SGDSpeed
from raysyn.public import Public
from raysyn.train import gan
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.naming import Naming
from raysyn.train.outlook import measure, shortest
from raysyn.train.private_gan import PrivateGame
from raysyn.train.samplers import network_calls


def show_outlook(console: Console, config: Config, dataset: Dataset, public: Public | None, speed: SGDSpeed) -> None:
    """Hours of each stage, from a moment's measurement that reads no image."""
    private, seconds, memory = dataset.train, dict[str, float](), 0.0
    if public is not None and config.pretraining == "selected":
        pace, train = measure(new_query(config, public), Naming(), private.shape), public.train
        if config.query.checkpoint is None:
            seconds["query"] = config.query.epochs * len(train) * pace.gradient_s
        seconds["semantic"] = len(private) * pace.call_s
        memory = pace.memory_bytes
    generator: nn.Module
    if config.generator == "gan":
        generator, _ = new_gan(config, private)
        seconds |= gan_seconds(config, private, public, speed)
    else:
        generator = new_denoiser(config, private, private.classes + others(config, public))
        pace = measure(generator, DiffusionTask(classes=private.classes), private.shape)
        tuning, memory = config.finetune, pace.memory_bytes
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
    held = f"; per worker at least {memory / 2**30:.1f} GiB" if memory else ""
    size = sum(parameter.numel() for parameter in generator.parameters())
    console.plan_table(
        rows,
        title=f"Outlook: {size:,} parameters of the {config.generator} generator",
        caption=f"measured on made-up images{held}. Classifiers and start-up come on top.",
    )


def gan_seconds(config: Config, private: Images, public: Public | None, speed: SGDSpeed) -> dict[str, float]:
    """Of pre-training, fine-tuning and drawing, from a few steps on noise."""
    own, tuning, seconds, clock = config.gan, config.finetune, dict[str, float](), Clock()
    if public is not None:
        images = made_up(private, own.pretrain.batch_size)
        four = replace(own.pretrain.recipe(), epochs=4, epoch_steps=1, discriminator_steps=1)
        gan.fit(clock, own.network, images, four, config.seed, own.discriminator)
        # Each timed step has one of the generator, which has fewer of its own: a little too much.
        seconds["pretrain"] = own.pretrain.iterations * shortest(clock.times)
    count, batch = tuning.cost(len(private)).steps, min(tuning.batch_size, 256)
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
