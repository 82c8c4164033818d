"""One Gaussian per class, made of noisy moments: what noise explains of them is taken out first.

Knows nothing of privacy: the moments are paid for, and how much noise is in them is public.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
NEIGHBOURS = 9
"""Frequencies of about the same height, whose power is averaged."""
CONTRAST = 3
"""Lowest frequencies of all classes together that stay as they are: brightness and the broadest slopes."""


@dataclass(frozen=True)
class ClassGaussians:
    """Means (K, F), and for each class directions times their standard deviations (K, F, R)."""

    means_KF: Floats
    directions_KFR: Floats

    def draw(self, labels_N: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """An image for each label, (N, F)."""
        weights_NR = rng.standard_normal((len(labels_N), self.directions_KFR.shape[2]))
        return self.means_KF[labels_N] + np.einsum("nfr,nr->nf", self.directions_KFR[labels_N], weights_NR)


def denoised_means(noisy_KF: Floats, noise_std_K: Floats, channels: int) -> Floats:
    """Class means without what noise explains: how much of a frequency is signal is read off its neighbours' power.

    Empirical Bayes, as in James and Stein (1961): what all classes share, and how each differs from it, are shrunk by
    the part of their power (averaged over `NEIGHBOURS` frequencies of about the same height, and channels) that is
    noise. noise_std_K: of each number of a class' mean.
    """
    classes = len(noisy_KF)
    shared_F = noisy_KF.mean(axis=0)
    variance = float(np.mean(noise_std_K**2))
    trust_F = _trust(shared_F[None], variance / classes, channels)
    trust_F.reshape(channels, -1)[:, :CONTRAST] = 1.0
    if classes == 1:
        return shared_F[None] * trust_F
    away_KF = noisy_KF - shared_F
    return shared_F * trust_F + away_KF * _trust(away_KF, variance * (1 - 1 / classes), channels)


def _trust(values_KF: Floats, noise_variance: float, channels: int) -> Floats:
    power_F = np.mean(values_KF.reshape(len(values_KF), channels, -1) ** 2, axis=(0, 1))
    window = min(NEIGHBOURS, len(power_F))
    padded = np.pad(power_F, (window // 2, window - 1 - window // 2), mode="edge")
    smooth_F = np.convolve(padded, np.full(window, 1 / window), "valid")
    return np.tile(np.clip(1 - noise_variance / np.maximum(smooth_F, 1e-300), 0.0, 1.0), channels)


def denoised_spreads(noisy_KDD: Floats, noise_std: float) -> Floats:
    """Directions times standard deviations, (K, D, D), of noisy covariances: (K, D, R) with unused ones 0.

    Several are shrunk towards their average as far as noise explains how they differ. Of each, what is left are
    the eigenvalues that noise alone would not reach, without what noise has added to them (the semicircle law: noise of
    standard deviation s beside the diagonal takes l to l + D s^2 / l). noise_std: of the numbers on the diagonal.
    """
    beside = noise_std / np.sqrt(2)  # above and below the diagonal
    size, count = noisy_KDD.shape[-1], len(noisy_KDD)
    if count == 1:
        return _directions(noisy_KDD[0], beside)[None]
    average_DD = _clean(noisy_KDD.mean(axis=0), beside / np.sqrt(count))
    observed = float(np.mean(np.sum((noisy_KDD - average_DD) ** 2, axis=(1, 2))))
    by_chance = size * noise_std**2 + size * (size - 1) * beside**2
    trust = max(0.0, 1 - by_chance / observed) if observed > 0 else 0.0
    mixed_KDD = trust * noisy_KDD + (1 - trust) * average_DD
    return np.stack([_directions(one_DD, trust * beside) for one_DD in mixed_KDD])


def _clean(noisy_DD: Floats, noise_std: float) -> Floats:
    directions_DD = _directions(noisy_DD, noise_std)
    cleaned: Floats = directions_DD @ directions_DD.T
    return cleaned


def _directions(noisy_DD: Floats, noise_std: float) -> Floats:
    values_D, vectors_DD = np.linalg.eigh(noisy_DD)
    added = len(values_D) * noise_std**2
    seen_D = values_D > max(2 * np.sqrt(added), 1e-12)
    without_D = (values_D + np.sqrt(np.maximum(values_D**2 - 4 * added, 0.0))) / 2
    return vectors_DD * np.sqrt(np.where(seen_D, without_D, 0.0))
