"""A diffusion model that knows its images by heart is refuted by what it draws alone."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from ranks import on_ranks

from raysyn.attacks import one_run
from raysyn.attacks.one_run import Canaries, Claim
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods import canary_attack, denoising
from raysyn.models.denoiser import new_denoiser
from raysyn.models.unet import UNetConfig
from raysyn.train import loop
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig, generate


@pytest.mark.slow
def test_a_model_without_clip_and_noise_that_overfits_500_images_is_refuted_from_its_images_alone() -> None:
    """About 500 of 1,000 digits learned for 3,000 steps, 2,000 images drawn, held against a claim of epsilon 1."""
    dataset, random = load(DataConfig()), np.random.default_rng(0)
    private, coins = dataset.train.select(np.arange(1000)), Canaries.drawn(random.random(1000), random.random(1000))
    inside = private.select(np.flatnonzero(coins.there_M))
    assert 450 < len(inside) < 550
    torch.manual_seed(0)
    config = UNetConfig(width=32, multipliers=(1, 2), blocks=1, attention=(), positions=True)
    network, task = new_denoiser(config, 1, (8, 8), 10), DiffusionTask(classes=10, p_mean=-0.5)
    steps = LoopConfig(iterations=3000, batch_size=64, learning_rate=2e-3, ema=0.99)
    (learned,), _ = on_ranks(lambda rank: loop.fit(rank, network, task, inside, steps, 0), 1)
    network.load_state_dict(learned["ema"])
    labels = torch.arange(2000) % 10
    drawn = generate(network, SamplerConfig(steps=16), labels, (8, 8, 1), 0, torch.device("cpu"))
    released = Images(drawn.numpy(), labels.numpy(), private.class_names)
    weighed = partial(denoising.losses, network, task, 0)
    scores = canary_attack.score(None, (private, dataset.test, released, {canary_attack.WEIGHTS: weighed}, 0))
    claim = Claim(1.0, 1e-5, None)
    shown = {name: one_run.shown(one.numpy(), coins.there_M, claim, len(scores)) for name, one in scores.items()}
    assert shown[canary_attack.PIXELS].refuted, shown
    assert shown[canary_attack.WEIGHTS].epsilon > shown[canary_attack.PIXELS].epsilon > 1, shown
