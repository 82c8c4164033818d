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
    """Means (K, F), and directions times their standard deviations, (K, F, R), or (1, F, R) for all classes."""

    means_KF: Floats
    directions_KFR: Floats

    def draw(self, labels_N: NDArray[np.int64], rng: np.random.Generator) -> Floats:
        """An image for each label, (N, F)."""
        weights_NR = rng.standard_normal((len(labels_N), self.directions_KFR.shape[2]))
        drawn_NF = self.means_KF[labels_N]
        # Class by class: directions of every single image would take gigabytes.
        for label in np.unique(labels_N):
            rows, directions_FR = labels_N == label, self.directions_KFR[label if len(self.directions_KFR) > 1 else 0]
            # Not a matrix product, whose rounding depends on the number of threads.
            drawn_NF[rows] += np.einsum("fr,nr->nf", directions_FR, weights_NR[rows])
        return drawn_NF


def denoised_means(noisy_KF: Floats, noise_std_K: Floats, channels: int) -> Floats:
    """Class means without what noise explains: how much of a frequency is signal is read off its neighbours' power.

    Empirical Bayes, as in James and Stein (1961): the mean of all images, and how each class differs from it, are
    shrunk by the part of their power (averaged over `NEIGHBOURS` frequencies of about the same height, and channels)
    that is noise. noise_std_K: of each number of a class' mean; the smaller a class, the larger it is, and the more the
    class is shrunk towards all images.
    """
    weights_K, shared_F, shared_variance = _pooled(noisy_KF, noise_std_K)
    signal_F = np.maximum(_smooth(shared_F[None] ** 2, channels) - shared_variance, 0.0)
    trust_F = _trust(signal_F, shared_variance)
    trust_F.reshape(channels, -1)[:, :CONTRAST] = 1.0
    if len(noisy_KF) == 1:
        return shared_F[None] * trust_F
    # What is left of a class' own noise, and of its own signal, beside an average that has parts of both.
    chance_K = noise_std_K**2 * (1 - 2 * weights_K) + shared_variance
    part_K = 1 - 2 * weights_K + np.sum(weights_K**2)
    # A class of little noise tells most of how large signals are.
    told_K, away_KF = weights_K**2, noisy_KF - shared_F
    found_KF = told_K[:, None] * (away_KF**2 - chance_K[:, None]) / np.mean(told_K * part_K)
    spread_F = np.maximum(_smooth(found_KF, channels), 0.0)
    return shared_F * trust_F + away_KF * _trust(part_K[:, None] * spread_F, chance_K[:, None])


def _pooled(noisy: Floats, noise_std_K: Floats) -> tuple[Floats, Floats, float]:
    """Weights of the classes, (K,), their average, and the variance of its noise. Noise of a mean is smaller the more
    images it is made of, so that the average is that of all images."""
    known_K = 1 / np.maximum(noise_std_K, 1e-100)
    weights_K = known_K / known_K.sum()
    shaped = weights_K.reshape(-1, *[1] * (noisy.ndim - 1))
    return weights_K, (shaped * noisy).sum(axis=0), float(np.sum((weights_K * noise_std_K) ** 2))


def _trust(signal: Floats, noise_variance: Floats | float) -> Floats:
    """The part of the power that is signal."""
    part: Floats = signal / np.maximum(signal + noise_variance, 1e-300)
    return part


def _smooth(power_KF: Floats, channels: int) -> Floats:
    """Averaged over classes, channels and neighbouring frequencies, (F,)."""
    power_F = np.mean(power_KF.reshape(len(power_KF), channels, -1), axis=(0, 1))
    window = min(NEIGHBOURS, len(power_F))
    padded = np.pad(power_F, (window // 2, window - 1 - window // 2), mode="edge")
    return np.tile(np.convolve(padded, np.full(window, 1 / window), "valid"), channels)


def denoised_spreads(noisy_KDD: Floats, noise_std_K: Floats) -> Floats:
    """Directions times standard deviations of noisy covariances (K, D, D): (K, D, R), unused ones 0.

    Several are shrunk towards the covariance of all images as far as noise explains how they differ from it. Of each,
    what is left are the eigenvalues that noise alone would not reach, without what noise has added to them (the
    semicircle law: noise of standard deviation s beside the diagonal takes l to l + D s^2 / l). noise_std_K: of the
    numbers on the diagonals.
    """
    beside_K = noise_std_K / np.sqrt(2)  # above and below the diagonal
    if len(noisy_KDD) == 1:
        return _directions(noisy_KDD[0], beside_K[0])[None]
    weights_K, average_DD, variance = _pooled(noisy_KDD, noise_std_K)
    average_DD = _clean(average_DD, np.sqrt(variance / 2))
    size = noisy_KDD.shape[-1]
    chance_K = size * noise_std_K**2 + size * (size - 1) * beside_K**2
    away_K = np.sum((noisy_KDD - average_DD) ** 2, axis=(1, 2))
    signal = np.sum(weights_K**2 * (away_K - chance_K)) / np.sum(weights_K**2)
    trust_K = _trust(np.maximum(signal, 0.0), chance_K)
    trust_K11 = trust_K[:, None, None]
    mixed_KDD = trust_K11 * noisy_KDD + (1 - trust_K11) * average_DD
    return np.stack([_directions(one_DD, std) for one_DD, std in zip(mixed_KDD, trust_K * beside_K, strict=True)])


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
