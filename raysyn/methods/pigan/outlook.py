"""What --dry-run shows of PIGAN: the GANs to train, how long that would take, and what DPGANs promise."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from raysyn.compute.worker import Clock
from raysyn.data.images import Images
from raysyn.methods.gan_needs import game_needs
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, per_worker, refuse_too_large
from raysyn.methods.pigan import experiments, variants
from raysyn.methods.pigan.config import NAMES, Config
from raysyn.methods.pigan.variants import Variant
from raysyn.metrics.fidelity import inception_weights, left_out
from raysyn.metrics.inception import TRY
from raysyn.privacy import sgd
from raysyn.privacy.trial import SGDSpeed
from raysyn.screen.console import Console
from raysyn.train import conditional_gans as gans
from raysyn.train import paired_networks
from raysyn.train.memory import Need, at_once
from raysyn.train.outlook import shortest


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a GAN has no place in this machine's memory."""
    members = prepared.dataset.train
    refuse_too_large(console, config, members.shape, partial(needs, members=members), machines)


def needs(config: Config, shape: Shape, machines: On, *, members: Images) -> list[Need]:
    """What each GAN and each classifier holds, on images of `shape` in place of the members."""
    every = [variants.released(config), *itertools.chain.from_iterable(variants.asked(config).values())]
    found = []
    for kind, parts in dict.fromkeys((one.kind, one.penalty.parts) for one in every):
        networks = paired_networks.new_networks(kind, config.network, shape, members.classes, parts, 0)
        generator, discriminator = networks.generators[0], networks.discriminators[0]
        found += game_needs(
            lambda z, labels, one=generator: one(z, labels, labels),  # type: ignore[misc]
            lambda x, labels, one=discriminator: one(x, labels, labels),  # type: ignore[misc]
            [generator, discriminator], networks.latent, shape, per_worker(config.gan.batch_size, machines),
            NAMES[kind], networks.pairs,
        )  # fmt: skip
    return found + classifier_needs(config.eval, shape, members.classes, max(len(members), config.synthetic))


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """The GANs to train, one row each, with the hours that one worker of this machine would take for them."""
    dataset, splits = prepared.dataset, config.experiment.splits
    members = dataset.train
    chosen = variants.released(config)
    every = {chosen.key(): (chosen, 1)}
    for one in itertools.chain.from_iterable(variants.asked(config).values()):
        every[one.key()] = (one, splits)
    timed: dict[Any, tuple[float, float]] = {}
    rows = []
    for one, count in every.values():
        n, kind = round(one.share * len(members)), (one.model, one.penalty.parts, one.gan)
        if kind not in timed:
            timed[kind] = step_times(config, one, members, machines.sgd)
        hours = count * seconds(one, n, *timed[kind]) / 3600
        row = {"GAN": one.title, "splits": count, "hours of one worker with one CPU or GPU": round(hours, 3)}
        rows.append(row | {"noise multiplier": one.cost(n).noise_multiplier if one.model == "dpgan" else "-"})
    caption = "from a few steps measured on made-up images. Attacks, scores and start-up come on top."
    if any(one.model == "dpgan" for one, _ in every.values()):
        caption += f" δ is {config.budget.delta_for(len(members)):.3g}."
    else:
        rows = [{name: value for name, value in row.items() if name != "noise multiplier"} for row in rows]
    console.plan_table(
        rows,
        title=f"Plan for {dataset.name}: {len(members):,} members and {len(dataset.test):,} others",
        caption=caption,
    )
    tried = config.eval.inception_weights == TRY
    if tried and (said := left_out(config.eval, inception_weights(config.eval))) is not None:
        console.say(said)


def seconds(variant: Variant, n: int, pretraining_s: float, step_s: float) -> float:
    """Of training on `n` images, given the times of one step."""
    if variant.model == "dpgan":
        return variant.cost(n).steps * step_s
    steps, penalty = math.ceil(n / variant.gan.batch_size), variant.penalty
    before = penalty.pretrain_epochs * steps * pretraining_s if variant.kind != "gan" and penalty.weight else 0.0
    # PrivGAN's pairs go through their own part only, all in the step that was measured.
    own = math.ceil(n / penalty.parts) if variant.kind == "privgan" else n
    return before + variant.gan.epochs * math.ceil(own / variant.gan.batch_size) * step_s


def step_times(config: Config, variant: Variant, like: Images, speed: SGDSpeed) -> tuple[float, float]:
    """Seconds of one step of pre-training and of one of training all networks, on noise; from fewer images where these
    are large."""
    size, clock = max(2, at_once(variant.gan.batch_size, like.shape)), Clock()
    share = variant.gan.batch_size / size
    noise = np.random.default_rng(0).integers(0, 256, (size, *like.shape), dtype=np.uint8)
    images = Images(noise, np.arange(size) % like.classes, like.class_names)
    # One batch of images: epochs of one step each.
    short = replace(variant, gan=replace(variant.gan, epochs=3, batch_size=size))
    if variant.model == "dpgan":
        discriminator, game = experiments.private_networks(config.network, short, images, 0)
        price = replace(short.sgd().cost(size), noise_multiplier=1.0)
        sgd.fit(clock, discriminator, game, images, short.sgd(), price, bytes(32), speed, partner=game)
        return 0.0, share * shortest(clock.times)
    penalty = replace(
        config.penalty, pretrain_epochs=3, delay_epochs=0, privgan_delay_epochs=0,
        weight=1.0, parts=min(variant.penalty.parts, size),
    )  # fmt: skip
    gans.fit(clock, variant.kind, config.network, images, short.gan, penalty, 0)
    before = 0.0 if variant.kind == "gan" else share * shortest(clock.times[:3])
    return before, share * shortest(clock.times[-3:])
