"""What --dry-run shows of Knowledge Recycling: what there is to train, and how long that would take."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np

from raysyn.attacks.pool import make_pool
from raysyn.compute.worker import Clock
from raysyn.data.images import Images
from raysyn.methods.gan_needs import game_needs, taught_need
from raysyn.methods.knowledge_recycling.config import Config, split
from raysyn.methods.machines import OnAttacked
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, per_worker, refuse_too_large
from raysyn.models.biggan import Discriminator, Generator
from raysyn.screen.console import Console
from raysyn.train import gan
from raysyn.train.memory import Need, at_once
from raysyn.train.recipe import fit, one_hot


def check_memory(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    train = prepared.dataset.train
    refuse_too_large(console, config, train.shape, partial(needs, train=train), machines)


def needs(config: Config, shape: Shape, machines: OnAttacked, *, train: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the training ones."""
    generator = Generator(config.network, shape, train.classes)
    discriminator = Discriminator(config.network, shape, train.classes)
    batch = per_worker(config.gan.batch_size, machines)
    return [
        taught_need("teacher", config.classifier, shape, train.classes, config.recipe.batch_size),
        *game_needs(
            generator, discriminator, [generator, discriminator], config.network.latent, shape, batch, "generator"
        ),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> None:
    """What --dry-run shows: what there is to train, and how long it would take one worker of this machine."""
    dataset, real = prepared.dataset, split(config, prepared.dataset)
    step_s = {name: time_step(name, config, real.train) for name in ("classifier", "gan")}
    epoch = math.ceil(len(real.train) / config.recipe.batch_size) * step_s["classifier"]
    pool = 0
    if config.attack.shadow_models:
        pool = len(make_pool(real.train, dataset.test, config.attack.images, config.seed).images)
    tried = sum(config.tuning.cardinality_scale) / 2
    seconds = {
        "teacher": config.recipe.epochs * epoch,
        "generator": config.gan.epochs * math.ceil(len(real.train) / config.gan.batch_size) * step_s["gan"],
        "checkpoints": len(config.gan.kept()) * config.search_epochs * epoch * config.recycling.cardinality_scale,
        "labels": len(config.compare_labels) * config.search_epochs * epoch * config.recycling.cardinality_scale,
        # Nothing pruned, and sets of middling size: Hyperband usually halves it.
        "tuning": config.tuning.trials * config.search_epochs * epoch * tried,
        "student": config.recipe.epochs
        * epoch
        * (tried if config.tuning.trials else config.recycling.cardinality_scale),
        "shadow models": config.attack.shadow_models * config.recipe.epochs * epoch * pool / 2 / len(real.train),
    }
    console.plan_table(
        [
            {"stage": stage, "hours of one worker with one CPU or GPU": round(value / 3600, 3)}
            for stage, value in seconds.items()
        ],
        title=f"Plan for {dataset.name}: {len(real.train):,} training and {len(real.valid):,} validation images, "
        "no differential privacy",
        caption=f"{len(config.gan.kept())} checkpoints, {config.tuning.trials} trials, {config.attack.shadow_models} "
        "shadow models; from a few steps measured on made-up images. Generation and start-up come on top.",
    )


def time_step(what: str, config: Config, like: Images) -> float:
    """Seconds of one training step of the classifier or the GAN, on noise; from fewer images where these are large."""
    noise = np.random.default_rng(0).integers(0, 256, (64, *like.shape), dtype=np.uint8)
    images, clock = Images(noise, np.arange(64) % like.classes, like.class_names), Clock()
    batch = min(64, config.gan.batch_size) if what == "gan" else config.recipe.batch_size
    size = max(2, at_once(batch, like.shape))
    if what == "gan":
        # Epochs of one step each, from the generator's first step to its second.
        steps = config.gan.discriminator_steps
        few = replace(config.gan, epochs=2 * steps, checkpoint_every=2 * steps, batch_size=size)
        gan.fit(clock, config.network, images.select(slice(size)), few, 0)
        return (clock.times[-1] - clock.times[steps - 1]) / steps * batch / size
    network = config.classifier.build(like.shape[2], like.classes)
    examples = one_hot(images.images_NHWC, images.labels_N, images.classes)
    three = replace(config.recipe, epochs=3, batch_size=size)
    fit(clock, [network], lambda epoch, m: examples, size, three, [0])
    return min(after - before for before, after in itertools.pairwise(clock.times)) * batch / size
