"""DP-MERF's answer: what it says of classes, and of single images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.data.fourier import waves
from raysyn.data.images import Images
from raysyn.methods.dp_merf.config import Config
from raysyn.methods.matching import counts_of
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.embedding import EMBEDDING, sensitivity
from raysyn.privacy.queries.noise import Floats


def class_embeddings(answer_KF: Floats, config: Config, plan: Plan, n: int) -> Floats:
    """Mean features of each class of `n` images, or persons, from the answer of `embedding_sums`: post-processing."""
    share, noise_std = config.embedding.count_share, plan.noise(EMBEDDING) * sensitivity(config.embedding)
    sums_KF = answer_KF[:, :-1] if share else answer_KF
    means_KF: Floats = sums_KF / counts_of(answer_KF, share, noise_std, n)[:, None]
    return means_KF


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
