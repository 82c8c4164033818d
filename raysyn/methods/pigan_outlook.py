"""What --dry-run shows of PIGAN: the GANs there are to train, and how long that would take."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from raysyn.compute import Clock
from raysyn.console import Console
from raysyn.data import Dataset, Images
from raysyn.methods import pigan_experiments as experiments
from raysyn.train import conditional_gans as gans

if TYPE_CHECKING:
    from raysyn.methods.pigan import Config


def show_outlook(console: Console, config: Config, dataset: Dataset) -> None:
    """The GANs to train, one row each, with the hours that one worker of this machine would take for them."""
    members, splits = dataset.train, config.experiment.splits
    chosen = experiments.released(config)
    variants = {chosen.key(): (chosen, 1)}
    for one in itertools.chain.from_iterable(experiments.asked(config).values()):
        variants[one.key()] = (one, splits)
    step_s = {kind: time_step(config, kind, members) for kind in {one.kind for one, _ in variants.values()}}
    rows = []
    for one, count in variants.values():
        steps = math.ceil(one.share * len(members) / one.gan.batch_size) * one.gan.epochs
        # PrivGAN's pairs go through their own part only, all in the step that was measured.
        steps = math.ceil(steps / one.penalty.parts) if one.kind == "privgan" else steps
        hours = count * steps * step_s[one.kind] / 3600
        rows.append({"GAN": one.title, "splits": count, "hours of one worker with one CPU or GPU": round(hours, 3)})
    console.plan_table(
        rows,
        title=f"Plan for {dataset.name}: {len(members):,} members and {len(dataset.test):,} others",
        caption="from a few steps measured on made-up images; DPGAN costs more than the GAN that stands for it. "
        "Attacks, scores and start-up come on top.",
    )


def time_step(config: Config, kind: gans.Kind, like: Images) -> float:
    """Seconds of one training step of all networks of a kind, on noise."""
    size = config.gan.batch_size
    noise = np.random.default_rng(0).integers(0, 256, (size, *like.shape), dtype=np.uint8)
    images, clock = Images(noise, np.arange(size) % like.classes, like.class_names), Clock()
    # One batch of images: epochs of one step each.
    short = replace(config.gan, epochs=3)
    penalty = replace(
        config.penalty, pretrain_epochs=0, delay_epochs=0, privgan_delay_epochs=0,
        weight=1.0, parts=min(config.penalty.parts, size),
    )  # fmt: skip
    gans.fit(clock, kind, config.network, images, short, penalty, 0)
    return min(after - before for before, after in itertools.pairwise(clock.times))
