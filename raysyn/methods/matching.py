"""A generator that learns to have what was paid for, its means of some features, class by class: how it is taught and
drawn from, for DP-MERF, DP-NTK, DP-MEPF and DP-FETA's second warm-up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting
from raysyn.methods.needs import Shape
from raysyn.methods.network import Network
from raysyn.methods.synthesis import Drawing
from raysyn.models.upsampler import Upsampler, UpsamplerConfig
from raysyn.privacy.queries.central import class_counts
from raysyn.privacy.queries.noise import Floats
from raysyn.train.embedding import MatchConfig, fit
from raysyn.train.outlook import Stopwatch, one_thread, seconds

GENERATOR = "generator"
"""The stage that trains it."""
STEPS = 4
"""Its steps that are measured."""


class Taught(Protocol):
    """The settings of a generator."""

    @property
    def network(self) -> UpsamplerConfig: ...
    @property
    def training(self) -> MatchConfig: ...


def new_generator(network: UpsamplerConfig, like: Images, seed: int) -> Upsampler:
    """Untrained, the same for one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Upsampler(network, like.shape, like.classes)


def counts_of(answer_KF: Floats, share: float, noise_std: float, n: int) -> Floats:
    """How large each class is taken to be, (K,), of `n` images or persons, from the last of the sums that were paid
    for, which is their number times `share`; without one all are alike. `noise_std` is that of the sums."""
    classes = len(answer_KF)
    if not share:
        return np.full(classes, n / classes)
    return class_counts(answer_KF[None, :, -1] / share, n / classes, noise_std / share, 1.0)


def learned(setting: PrivateSetting, how: Taught, means_KF: Floats, features: nn.Module) -> Upsampler:
    """The generator, trained as a stage of the run until the `features` of its images have these means."""
    seed = setting.config.seed
    generator = new_generator(how.network, setting.dataset.train, seed)
    learn = partial(setting.compute.once, fit, name=GENERATOR)
    trained = setting.folder.stage(GENERATOR, lambda: learn(generator, means_KF, features, how.training, seed))
    generator.load_state_dict(trained["model"])
    setting.console.stage(GENERATOR, f"{how.training.iterations:,} steps towards them: no further cost")
    return generator.cpu()


def of_generator(generator: Upsampler) -> Drawing:
    """How it draws."""
    return Drawing(draw_chunk, generator, "one pass of the generator each")


@torch.inference_mode()
def draw_chunk(chunk: tuple[int, np.ndarray], generator: Upsampler) -> Tensor:
    """One unit of synthesis: (seed, labels (N,)) to images, uint8 (N, H, W, C)."""
    (seed, labels_N), device = chunk, best_device()
    generator.to(device).eval()
    z_NL = np.random.default_rng(seed).standard_normal((len(labels_N), generator.config.latent), np.float32)
    images = generator(torch.from_numpy(z_NL).to(device), torch.tensor(labels_N, device=device))
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu()


def drawing(config: Any, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the trained generator; see `Method.drawing`."""
    generator = new_generator(config.network, like, config.seed)
    generator.load_state_dict(answer(GENERATOR)["model"])
    return of_generator(generator)


def parts(config: Any, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    return {GENERATOR: {"model": answer(GENERATOR)["model"]}}


NETWORK = Network(("network", "classes", "synthetic", "seed"), parts, made=(GENERATOR,))


def image_bytes(network: UpsamplerConfig, shape: Shape) -> int:
    """Of a generated image its maps at each size, and what its gradient needs of them."""
    return 4 * (6 * network.channels * math.prod(shape[:2]) + 4 * math.prod(shape))


def weight_bytes(network: UpsamplerConfig, shape: Shape) -> int:
    """Of the generator in training."""
    return 4 * 4 * (network.hidden + 1) * network.channels * math.ceil(shape[0] / 4) * math.ceil(shape[1] / 4)


def learning_seconds(how: Taught, like: Images, features: nn.Module, count: int) -> float:
    """Of the generator, by a few of its steps towards `count` features that are all 0."""
    brief, clock = replace(how.training, iterations=STEPS), Stopwatch()
    with one_thread():
        fit(clock, new_generator(how.network, like, 0), np.zeros((like.classes, count)), features, brief, 0)
    return float(how.training.iterations * clock.step_s())


def drawing_seconds(network: UpsamplerConfig, like: Images, count: int) -> float:
    """Of drawing `count` images, by a few."""
    few, generator = min(count, 100), new_generator(network, like, 0)
    chunk = (0, np.arange(few) % like.classes)
    return float(seconds(lambda: draw_chunk(chunk, generator), repeats=1) * count / few)
