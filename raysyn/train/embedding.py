"""A generator that learns to have the embedding of a noisy answer (DP-MERF, DP-NTK, DP-MEPF): no private image is seen
here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.models.upsampler import Upsampler
from raysyn.train.diverged import Diverged
from raysyn.train.loop import CHECKPOINTS, Ema, on_cpu


@dataclass(frozen=True, kw_only=True)
class MatchConfig:
    """How the generator learns."""

    iterations: int = 3000
    """Steps of Adam: DP-MERF's 5 epochs of 60,000 images."""
    batch_size: int = 100
    """Images generated in a step, classes in turn; of more than a third as many classes, some of them."""
    learning_rate: float = 0.01
    """Adam's, at the start."""
    decay: float = 0.9
    """What it is multiplied by at the end of each of `decays` equal parts of the training."""
    decays: int = 5
    """DP-MERF's epochs."""
    unbiased: bool = False
    """Take out of the squared distance what chance adds to it in a batch, 1 / batch: it draws images of a class
    together. The papers leave it in."""
    ema: float = 0.0
    """Decay of the moving average of the weights that images are drawn from; 0 draws from the last ones, as
    published."""

    def __post_init__(self) -> None:
        # Normalisation by a batch needs two images.
        for name, least in {"iterations": 1, "batch_size": 2, "decays": 1}.items():
            if (value := getattr(self, name)) < least:
                raise ValueError(f"training.{name} is {value}: give at least {least}")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"training.learning_rate is {self.learning_rate}: give a number above 0, 0.01 is usual")
        if not 0 < self.decay <= 1 or not 0 <= self.ema < 1:
            raise ValueError(
                f"training.decay is {self.decay} and training.ema {self.ema}: give a decay above 0 up to 1, and an ema "
                "from 0 up to below 1"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        return self.learning_rate * self.decay ** (step * self.decays // self.iterations)


TOGETHER = 3
"""Images of a class in a step, at least: of one alone the distance to a mean is least where all are alike, so that 100
classes in batches of 100 came to one image each (their spread a 60th of the real one's; 26 and 47 classes kept it)."""


class Unwritten(nn.Module):
    """Features that are too many to be written down for each image: they say how far their means are from others."""

    def distance(self, images_NCHW: Tensor, labels_N: Tensor, wanted_KF: Tensor, unbiased: bool) -> Tensor:
        """As the function `distance` has it of features."""
        raise NotImplementedError


class Fourier(nn.Module):
    """(images (N, C, H, W) in [0, 1]) to features (N, 2 * waves), as `data.fourier.Waves.features` has them of real
    ones."""

    def __init__(self, radians_PW: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("radians_PW", torch.from_numpy(np.array(radians_PW, np.float32)))

    def forward(self, images_NCHW: Tensor) -> Tensor:
        radians_PW: Tensor = self.get_buffer("radians_PW")
        phases_NW = images_NCHW.permute(0, 2, 3, 1).flatten(1) @ radians_PW
        return torch.cat([phases_NW.cos(), phases_NW.sin()], 1) / math.sqrt(radians_PW.shape[1])


def fit(
    worker: Worker, generator: Upsampler, means_KF: np.ndarray, features: nn.Module, config: MatchConfig, seed: int
) -> dict[str, Any]:
    """Train `generator` until the `features` of its images have these means, class by class; a killed run goes on from
    its last checkpoint.

    Returns:
        {"model": weights to draw from, "history": [{"step", "loss"}, ...]}, on the CPU.
    Raises Diverged where loss or weights are no finite numbers.
    """
    generator.to(worker.device).train()
    features.to(worker.device)
    wanted_KF = torch.from_numpy(np.array(means_KF, np.float32)).to(worker.device)
    optimizer = torch.optim.Adam(generator.parameters(), lr=config.learning_rate)
    ema, history, start = Ema(generator, config.ema), [], 0
    if (state := worker.resume()) is not None:
        start, history = state["step"], state["history"]
        generator.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        ema.load_state_dict(state["ema"])
    every = max(1, math.ceil(config.iterations / CHECKPOINTS))
    for step in range(start, config.iterations):
        for group in optimizer.param_groups:
            group["lr"] = config.rate(step)
        z_NL, labels_N = draws(generator.config.latent, len(wanted_KF), config.batch_size, seed, step)
        known_N = labels_N.to(worker.device)
        images = generator(z_NL.to(worker.device), known_N)
        if isinstance(features, Unwritten):
            loss = features.distance(images, known_N, wanted_KF, config.unbiased)
        else:
            loss = distance(features(images), known_N, wanted_KF, config.unbiased)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update(generator)
        done = step + 1
        if at_mark := done % every == 0 or done == config.iterations:
            finite = all(bool(one.isfinite().all()) for one in generator.parameters())
            if not math.isfinite(value := loss.item()) or not finite:
                raise Diverged(f"step {done} ended with the loss {value}: lower training.learning_rate")
            history.append({"step": done, "loss": value})
        if worker.leaving() or at_mark:
            worker.save({
                "step": done, "history": history, "model": generator.state_dict(),
                "optimizer": optimizer.state_dict(), "ema": ema.state_dict(),
            })  # fmt: skip
        worker.progress(done, config.iterations, **({"loss": history[-1]["loss"]} if history else {}))
    return {"model": on_cpu(ema.weights if config.ema else generator.state_dict()), "history": history}


def draws(latent: int, classes: int, count: int, seed: int, step: int) -> tuple[Tensor, Tensor]:
    """What a step generates from: noise (N, latent), classes in turn (N,), which go on where the last step ended; of
    many classes only some, at least `TOGETHER` images of each, by a new order whenever all have been drawn: classes
    that always came together would be normalised by each other alone."""
    rng = np.random.default_rng([seed, 41, step])
    some = min(classes, max(1, count // TOGETHER))
    labels_N = (np.arange(count) + step * count) % classes
    if some < classes:
        orders, at = divmod(np.arange(some) + step * some, classes)
        drawn = {order: np.random.default_rng([seed, 43, order]).permutation(classes) for order in set(orders.tolist())}
        labels_N = np.array([drawn[order][place] for order, place in zip(orders.tolist(), at.tolist(), strict=True)])
        labels_N = labels_N[np.arange(count) % some]
    return torch.from_numpy(rng.standard_normal((count, latent), np.float32)), torch.from_numpy(labels_N)


def distance(features_NF: Tensor, labels_N: Tensor, wanted_KF: Tensor, unbiased: bool) -> Tensor:
    """Squared distance between means of features and those wanted, each class by its part of the batch; without what
    chance adds, but for a constant, if `unbiased`."""
    known_NK = F.one_hot(labels_N, len(wanted_KF)).to(features_NF.dtype)
    counts_K = known_NK.sum(0)
    means_KF = known_NK.T @ features_NF / counts_K.clamp(min=1)[:, None]
    squared_K = (means_KF - wanted_KF).square().sum(1)
    if unbiased:
        # On average the square of a mean of m is (mean square - square of the mean) / (m - 1) of theirs more.
        each_K = known_NK.T @ features_NF.square().sum(1) / counts_K.clamp(min=1)
        by_chance_K = (each_K - means_KF.square().sum(1)) / (counts_K - 1).clamp(min=1)
        squared_K = squared_K - by_chance_K * (counts_K > 1)
    return (squared_K * counts_K / counts_K.sum()).sum()
