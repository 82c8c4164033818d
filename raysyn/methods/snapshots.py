"""Samples over training: a few images at moments of the fine-tuning, for the report alone.

What they are drawn from, the average of the weights after some steps, is part of what DP-SGD publishes step by step, so
that the ledger's price covers it. It stays in the run folder all the same, and so do the images.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.denoising import Denoising
from raysyn.methods.outlook import Stage, units
from raysyn.privacy.sgd import at
from raysyn.report.pictures import mosaic, png_uri
from raysyn.report.section import Section
from raysyn.screen.words import rounded_up
from raysyn.train.samplers import SamplerConfig, generate, network_calls

STAGE = "snapshots"
ACROSS, LINES = 10, 2
"""Images of a row, at most."""
STEPS = 50
"""Of the sampler at most: what a row costs must not grow with how well the released images are drawn."""


def shown(classes: int) -> np.ndarray:
    """Labels of one moment's images, int64: the first classes, in turn, and once more below."""
    across = classes * (ACROSS // classes) if classes <= ACROSS else ACROSS
    return np.tile(np.arange(across, dtype=np.int64) % classes, LINES)


def sampler_of(config: Any) -> SamplerConfig:
    """The released images' own, but for its steps."""
    sampler: SamplerConfig = config.sampler
    return replace(sampler, steps=min(sampler.steps, STEPS))


def draw_moment(
    weights: Mapping[str, Tensor], shared: tuple[nn.Module, SamplerConfig, np.ndarray, tuple[int, int, int], int]
) -> Tensor:
    """One unit: uint8 (N, H, W, C), drawn from these weights; the noise is the same for all."""
    network, sampler, labels_N, shape, seed = shared
    network = copy.deepcopy(network)
    network.load_state_dict(weights)
    return generate(network, sampler, torch.from_numpy(labels_N), shape, seed, best_device())


def over_training(setting: Setting, model: Any, tuned: Mapping[str, Any]) -> list[Section]:
    """The part of the page; none where `config.snapshots` is 0, and of what is no diffusion model tuned by DP-SGD.
    `tuned` is what that answered."""
    count = setting.config.snapshots
    if not count or not isinstance(setting, PrivateSetting) or not isinstance(model, Denoising):
        return []
    found = setting.folder.stage(f"{STAGE}-{count}", lambda: _drawn(setting, model, tuned))
    setting.console.stage(STAGE, f"a few images at {len(found['steps'])} moments of the fine-tuning, for the report")
    return [_section(setting, tuned, found)]


def outlook(config: Any, classes: int, drawn: float) -> list[Stage]:
    """The stage, where `config.synthetic` images take so many seconds to draw."""
    if not config.snapshots:
        return []
    steps = network_calls(sampler_of(config)) / network_calls(config.sampler)
    each = drawn / config.synthetic * len(shown(classes)) * steps
    return [units(STAGE, [each] * (config.snapshots + 1))]


def _drawn(setting: PrivateSetting, model: Denoising, tuned: Mapping[str, Any]) -> dict[str, Any]:
    """{"steps": of DP-SGD, "images": of each}. A moment that an earlier part of the run has not kept is left out."""
    config, private, weights = setting.config, setting.dataset.train, dict[int, Mapping[str, Tensor]]()
    for step in model.moments():
        try:
            weights[step] = setting.compute.kept(at("finetune", step))
        except FileNotFoundError:
            continue
    weights[setting.plan.stages["finetune"].steps] = tuned["ema"]
    shared = (model.denoiser.cpu(), sampler_of(config), shown(private.classes), private.shape, config.seed)
    # By their steps: with another number of moments units of the same place would be others.
    images = setting.compute.map(
        draw_moment, list(weights.values()), name=STAGE, shared=shared, keys=[str(step) for step in weights]
    )
    return {"steps": list(weights), "images": images}


def _section(setting: PrivateSetting, tuned: Mapping[str, Any], found: Mapping[str, Any]) -> Section:
    config, names = setting.config, setting.dataset.train.class_names
    labels_N, total = shown(len(names)), found["steps"][-1]
    spent = {row["step"]: row["epsilon"] for row in tuned["history"]}
    across = len(labels_N) // LINES
    scale = max(1, round(48 / setting.dataset.train.shape[0]))
    strips = []
    for step, images in zip(found["steps"], found["images"], strict=True):
        epsilon = spent[step] if step else setting.plan.epsilon_after("finetune", 0)
        said = f"after {step:,} of {total:,} steps" if step else "before the first step"
        strips.append((f"{said}: ε {rounded_up(epsilon)}", png_uri(mosaic(images.numpy(), across, scale, 2))))
    which = ", ".join(names[label] for label in labels_N[: min(across, len(names))])
    steps = config.sampler.steps
    quick = f" Drawn with {STEPS} steps of the sampler in place of {steps:,}." if steps > STEPS else ""
    return Section(
        title="Samples over training",
        text="What the network draws in the course of DP-SGD, with the same noise each time, so that only the network "
        f"differs; and the ε that was spent by then. Classes in turn: {which}.{quick} Nothing more was paid for these "
        "images, and none of them is released.",
        strips=strips,
    )
