"""DP-MERF's generator: what it is taught, what is drawn from it, and what its answer says of single images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.fourier import waves
from raysyn.data.images import Images
from raysyn.methods.dp_merf.config import Config
from raysyn.methods.network import Network
from raysyn.methods.synthesis import Drawing
from raysyn.models.upsampler import Upsampler
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.central import class_counts
from raysyn.privacy.queries.embedding import EMBEDDING, sensitivity
from raysyn.privacy.queries.noise import Floats

GENERATOR = "generator"
"""The stage that trains it."""


def new_generator(config: Config, like: Images) -> Upsampler:
    """Untrained, the same for one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return Upsampler(config.network, like.shape, like.classes)


def class_embeddings(answer_KF: Floats, config: Config, plan: Plan, n: int) -> Floats:
    """Mean features of each class of `n` images, or persons, from the answer of `embedding_sums`: post-processing."""
    classes, share = len(answer_KF), config.embedding.count_share
    if not share:
        return answer_KF * (classes / n)
    noise_std = plan.noise(EMBEDDING) * sensitivity(config.embedding) / share
    counts_K = class_counts(answer_KF[None, :, -1] / share, n / classes, noise_std, 1.0)
    means_KF: Floats = answer_KF[:, :-1] / counts_K[:, None]
    return means_KF


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


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the trained generator; see `Method.drawing`."""
    generator = new_generator(config, like)
    generator.load_state_dict(answer(GENERATOR)["model"])
    return of_generator(generator)


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How much each image's features point to the noisy sum of its class, which is all that was asked of them."""
    return resemblance(config, answer(EMBEDDING).numpy(), images)


def resemblance(config: Config, answer_KF: Floats, images: Images) -> Tensor:
    """That, (N, 1)."""
    of = waves(config.features, images.shape, config.seed)
    size = 2 * of.cycles_PW.shape[1]
    found = []
    for at in range(0, len(images), 250):
        some = slice(at, at + 250)
        known_BF = answer_KF[images.labels_N[some], :size]
        found.append(np.einsum("nf,nf->n", of.features(images.images_NHWC[some]), known_BF))
    return torch.from_numpy(np.concatenate(found)).float()[:, None]


def unlike(config: Config, answer_KF: Floats, images: Images) -> Tensor:
    """The same for guesses about canaries: smaller where an image was in the sum."""
    return -resemblance(config, answer_KF, images)


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    return {GENERATOR: {"model": answer(GENERATOR)["model"]}}


NETWORK = Network(("network", "classes", "synthetic", "seed"), parts, made=(GENERATOR,))
