"""What a diffusion model does in a run once it is trained: draw in several ways, and say how well it denoises."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.common import Setting
from raysyn.methods.experiment_units import Model
from raysyn.methods.synthesis import Drawing, again, draw_chunk, synthesise
from raysyn.methods.weighing import Weighed
from raysyn.privacy.sgd_config import snapshots
from raysyn.train.diffusion import DiffusionTask, to_network
from raysyn.train.few_weights import merged
from raysyn.train.memory import at_once
from raysyn.train.samplers import SamplerConfig, network_calls

BATCH = 250
"""Images whose loss is measured together."""
LEVELS, DRAWS = 8, 2
"""Noise levels, at even shares of those of training, and noises at each, of the loss of a single image."""


def draw(
    setting: Setting, denoiser: nn.Module, sampler: SamplerConfig | None = None, name: str = "synthesise",
    count: int | None = None,
) -> Images:  # fmt: skip
    """Images from a denoiser, as a stage of this name, by default those to release."""
    used: SamplerConfig = setting.config.sampler if sampler is None else sampler
    train = setting.dataset.train
    return synthesise(setting, of_denoiser(denoiser.cpu(), used, train.shape), name, count)


def of_denoiser(denoiser: nn.Module, sampler: SamplerConfig, shape: tuple[int, int, int]) -> Drawing:
    """How a diffusion model draws images of this shape."""
    return Drawing(draw_chunk, (denoiser, sampler, shape), f"{network_calls(sampler)} network calls each")


def draw_again(config: Any, model: Model) -> Images | None:
    """Images that `config.sampler_fid` asks for: of the same model, for measures of fidelity alone."""
    sampler: SamplerConfig | None = config.sampler_fid
    return None if sampler is None else model.draw(f"synthesise-{again(sampler)}", sampler=sampler)


@torch.inference_mode()
def loss(denoiser: nn.Module, task: DiffusionTask, images: Images, seed: int) -> float:
    """Mean of the loss that it is trained with, on images with their classes, at one noise level each."""
    device, losses = best_device(), list[torch.Tensor]()
    denoiser.to(device).eval()
    seeds: Sequence[int] = np.random.default_rng([seed, 3]).integers(2**63, size=len(images)).tolist()
    size = at_once(BATCH, images.shape)
    for at in range(0, len(images), size):
        part = slice(at, min(at + size, len(images)))
        pixels = torch.tensor(images.images_NHWC[part], device=device)
        labels = torch.tensor(images.labels_N[part], device=device)
        inputs = task.draw(pixels, labels, seeds[part], 1)
        losses.append(task.loss(denoiser, *(value.flatten(0, 1) for value in inputs)).cpu())
    return float(torch.cat(losses).mean())


@torch.inference_mode()
def losses(denoiser: nn.Module, task: DiffusionTask, seed: int, images: Images) -> torch.Tensor:
    """The loss that it is trained with, of each image with its class at LEVELS noise levels, each the mean over DRAWS
    noises, the same for all images: (N, LEVELS)."""
    device, size = best_device(), at_once(BATCH, images.shape)
    denoiser.to(device).eval()
    height, width, channels = images.shape
    random = torch.Generator().manual_seed(seed)
    noises = torch.randn(LEVELS, DRAWS, channels, height, width, generator=random).to(device)
    places = torch.special.ndtri((torch.arange(LEVELS, dtype=torch.float64) + 0.5) / LEVELS)
    sigmas = torch.exp(task.p_mean + task.p_std * places).float().tolist()
    found = torch.zeros(len(images), LEVELS)
    for at in range(0, len(images), size):
        part = slice(at, min(at + size, len(images)))
        clean = to_network(torch.tensor(images.images_NHWC[part], device=device))
        labels = torch.tensor(images.labels_N[part], device=device)
        for level, sigma in enumerate(sigmas):
            sigma_B = torch.full((len(clean),), sigma, device=device)
            for noise in noises[level]:
                loss_B = task.loss(denoiser, clean + sigma * noise, clean, sigma_B, labels)
                found[part, level] += loss_B.cpu() / DRAWS
    return found


def known(denoiser: nn.Module, task: DiffusionTask, images: Images) -> torch.Tensor:
    """(N, LEVELS): less the loss on each image at each level, with the same noises for every denoiser that is asked:
    what differs is the denoiser alone."""
    return -losses(denoiser, task, 0, images).double()


def averaged(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights that would be drawn from, of a state of the fine-tuning."""
    return merged(state["ema"]["weights"])


class Denoising:
    """The denoiser of one run, and what is done with it whatever taught it."""

    setting: Setting
    config: Any
    denoiser: nn.Module
    task: DiffusionTask
    taught = False
    """Whether it has learned anything before the fine-tuning."""

    def moments(self) -> tuple[int, ...]:
        """Steps of the fine-tuning after which the average is kept, for the report's samples over training."""
        config = self.config
        steps = snapshots(config.finetune.cost(self.setting.dataset.train.units).steps, config.snapshots)
        return steps if self.taught else tuple(step for step in steps if step)

    def draw(self, name: str = "synthesise", count: int | None = None, sampler: SamplerConfig | None = None) -> Images:
        """Images, as a stage of this name."""
        return draw(self.setting, self.denoiser, sampler, name, count)

    def loss(self, images: Images) -> float:
        """Of denoising images of known classes."""
        return loss(self.denoiser, replace(self.task, label_dropout=0.0), images, self.config.seed)

    def weighed(self) -> Weighed:
        """Losses of single images, at some noise levels."""
        return partial(losses, self.denoiser.cpu(), self.task, self.config.seed)

    def drawn_from(self, state: Mapping[str, Any]) -> Mapping[str, Tensor]:
        """The average that a state of the fine-tuning holds."""
        return averaged(state)

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Draw from these weights."""
        self.denoiser.load_state_dict(weights)
