"""What trainings of generator against discriminator share: batches, losses, a step over all ranks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.train.loop import batch, give_gradients


def real_batch(worker: Worker, images: Images, batch_size: int, seed: int, step: int) -> tuple[Tensor, Tensor, Tensor]:
    """This rank's share of the step's real images: (N, C, H, W) in [0, 1], their classes, their places in `images`."""
    chosen = batch(len(images), batch_size, seed, step)[worker.rank :: worker.world_size]
    pixels = torch.from_numpy(images.images_NHWC[chosen]).to(worker.device).permute(0, 3, 1, 2).float() / 255
    return pixels, torch.from_numpy(images.labels_N[chosen]).to(worker.device), torch.from_numpy(chosen)


def wishes(
    worker: Worker, labels_N: np.ndarray, batch_size: int, latent: int, key: Sequence[int]
) -> tuple[Tensor, Tensor, np.random.Generator]:
    """This rank's share of a batch of noise (N, latent) and of classes to generate, as frequent as in `labels_N`; and
    the source of random numbers that follows from `key`, for more."""
    rng, share = np.random.default_rng(key), slice(worker.rank, None, worker.world_size)
    labels = labels_N[rng.integers(len(labels_N), size=batch_size)][share]
    noise = rng.standard_normal((batch_size, latent), np.float32)[share]
    return torch.from_numpy(noise).to(worker.device), torch.from_numpy(labels).to(worker.device), rng


def discriminator_loss(on_real: Tensor, on_made: Tensor, label_smoothing: float, hinge: bool = False) -> Tensor:
    """Summed logistic loss of a discriminator that is asked to be sure of real images up to 1 minus the smoothing, or
    the hinge loss, which asks for logits beyond 1 and -1."""
    if hinge:
        return F.relu(1 - on_real).sum() + F.relu(1 + on_made).sum()
    smooth = torch.full_like(on_real, 1 - label_smoothing)
    return F.binary_cross_entropy_with_logits(on_real, smooth, reduction="sum") + F.softplus(on_made).sum()


def generator_loss(on_made: Tensor, hinge: bool = False) -> Tensor:
    """Summed loss of a generator whose images should be taken for real: the non-saturating logistic one, or beside a
    hinge loss the logit itself."""
    return -on_made.sum() if hinge else F.softplus(-on_made).sum()


def descend(worker: Worker, network: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    """A step along the gradient of the loss summed over ranks; that sum."""
    parameters = list(network.parameters())
    total = give_gradients(worker, parameters, loss, torch.autograd.grad(loss, parameters))
    optimizer.step()
    return total
