"""From noisy moments to images: post-processing of what was paid for."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from raysyn.data.frequencies import to_images
from raysyn.data.images import Images
from raysyn.models.class_gaussians import ClassGaussians, Floats, denoised_means, denoised_spreads
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.central import class_counts
from raysyn.privacy.queries.moments import MEANS, SPREAD, MomentsConfig, mean_norm, mean_sensitivity, spread_unit

Shape = tuple[int, int, int]


class Means(NamedTuple):
    """Class means as frequencies, (K, F), and how many images, or persons, each class is taken to have, (K,)."""

    means_KF: Floats
    counts_K: Floats


def read_means(answer_KF: Floats, config: MomentsConfig, plan: Plan, n: int, shape: Shape) -> Means:
    """Means of `n` images, or of those of `n` persons, in K classes, from the answer of `moments.class_sums`."""
    classes, noise, largest = len(answer_KF), plan.noise(MEANS), mean_norm(shape)
    counts_K = np.full(classes, n / classes)
    if config.count_share:
        unit = config.count_share * largest
        noise_std = noise * mean_sensitivity(config, shape) / unit
        counts_K = class_counts(answer_KF[None, :, -1] / unit, n / classes, noise_std, 1.0)
        answer_KF = answer_KF[:, :-1]
    std_K = noise * mean_sensitivity(config, shape) / counts_K
    return Means(denoised_means(answer_KF / counts_K[:, None], std_K, shape[2]), counts_K)


def gaussians(
    means: Means, answer_KDD: Floats | None, config: MomentsConfig, plan: Plan, n: int, shape: Shape
) -> ClassGaussians:
    """What images are drawn from; without an answer of `moments.spread_sums`, all images of a class are its mean."""
    features = means.means_KF.shape[1]
    if answer_KDD is None:
        return ClassGaussians(means.means_KF, np.zeros((1, features, 0)))
    counts = means.counts_K if len(answer_KDD) > 1 else np.array([float(n)])
    found_KDR = denoised_spreads(answer_KDD / counts[:, None, None], plan.noise(SPREAD) / counts)
    spreads, size, directions = found_KDR.shape
    kept = size // shape[2]
    full_KCFR = np.zeros((spreads, shape[2], features // shape[2], directions))
    full_KCFR[:, :, :kept] = found_KDR.reshape(spreads, shape[2], kept, directions) * spread_unit(config, shape)
    return ClassGaussians(means.means_KF, full_KCFR.reshape(spreads, features, directions))


def class_means(fitted: ClassGaussians, like: Images) -> Images:
    """The mean of each class as an image, with the class names of `like`."""
    return Images(to_images(fitted.means_KF, like.shape), np.arange(like.classes), like.class_names)


Seed = int | np.random.SeedSequence


def draw_chunk(chunk: tuple[Seed, np.ndarray], shared: tuple[ClassGaussians, Shape]) -> Tensor:
    """One unit of synthesis: (seed, labels (N,)) to images, uint8 (N, H, W, C)."""
    (seed, labels_N), (fitted, shape) = chunk, shared
    return torch.from_numpy(to_images(fitted.draw(labels_N, np.random.default_rng(seed)), shape))
