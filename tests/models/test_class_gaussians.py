"""A Gaussian per class from noisy moments: noise goes, and what is not noise stays."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from raysyn.models.class_gaussians import CONTRAST, ClassGaussians, denoised_means, denoised_spreads

CLASSES, FREQUENCIES, SIZE = 6, 120, 24


def means(seed: int = 0, channels: int = 1) -> np.ndarray:
    """Less of what is finer, as in images."""
    falling = 5.0 / (1 + np.arange(FREQUENCIES // channels)) ** 0.7
    return np.random.default_rng(seed).standard_normal((CLASSES, FREQUENCIES)) * np.tile(falling, channels)


def covariances(seed: int = 0) -> np.ndarray:
    """Three directions for each class, of which two are those of all."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal((SIZE, 2)), rng.standard_normal((CLASSES, SIZE, 1))
    found = np.concatenate([np.broadcast_to(shared, (CLASSES, SIZE, 2)), own], axis=2) / SIZE**0.5
    return found @ found.transpose(0, 2, 1)


def symmetric_noise(count: int, std: np.ndarray | float, seed: int) -> np.ndarray:
    """As of a sum's release: `std` on the diagonal, and 1/sqrt(2) of it beside it."""
    raw = np.random.default_rng(seed).standard_normal((count, SIZE, SIZE))
    return (raw + raw.transpose(0, 2, 1)) / 2 * np.broadcast_to(std, count)[:, None, None]


def error(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.sum((found - truth) ** 2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("std", [0.2, 1.0, 5.0])
def test_denoised_means_are_nearer_to_the_truth(std: float, channels: int) -> None:
    for seed in range(5):
        truth = means(seed, channels)
        noisy = truth + std * np.random.default_rng(100 + seed).standard_normal(truth.shape)
        assert error(denoised_means(noisy, np.full(CLASSES, std), channels), truth) < 0.95 * error(noisy, truth)


def test_a_small_class_does_not_drag_the_others_along() -> None:
    """One that is drowned in noise is taken to be like all images; the others are what they are without it."""
    truth, std = means(), np.array([0.3] * (CLASSES - 1) + [30.0])
    noisy = truth + std[:, None] * np.random.default_rng(1).standard_normal(truth.shape)
    found, alone = denoised_means(noisy, std, 1), denoised_means(noisy[:-1], std[:-1], 1)
    assert error(found[:-1], truth[:-1]) < 1.1 * error(alone, truth[:-1])
    assert error(found[-1], truth[:-1].mean(axis=0)) < 0.01 * error(noisy[-1], truth[:-1].mean(axis=0))


def test_without_noise_nothing_is_lost() -> None:
    np.testing.assert_allclose(denoised_means(means(), np.zeros(CLASSES), 1), means(), atol=1e-12)
    one = means()[:1]
    np.testing.assert_allclose(denoised_means(one, np.zeros(1), 1), one, atol=1e-12)
    for wanted in (covariances(), covariances()[:1]):
        found = denoised_spreads(wanted, np.zeros(len(wanted)))
        np.testing.assert_allclose(found @ found.transpose(0, 2, 1), wanted, atol=1e-9)


def test_of_noise_alone_hardly_anything_is_left() -> None:
    noise = np.random.default_rng(0).standard_normal((CLASSES, FREQUENCIES))
    found = denoised_means(noise, np.ones(CLASSES), 1)
    assert error(found[:, CONTRAST:], 0) < 0.2 * error(noise[:, CONTRAST:], 0)
    # The lowest of all classes together stay as they are.
    np.testing.assert_allclose(found.mean(axis=0)[:CONTRAST], noise.mean(axis=0)[:CONTRAST], atol=1e-12)
    for count in (1, CLASSES):
        directions = [denoised_spreads(symmetric_noise(count, 1.0, seed), np.ones(count)) for seed in range(20)]
        # The largest of so many reaches the semicircle's end now and then.
        assert sum(np.count_nonzero(one.any(axis=1)) for one in directions) <= 0.05 * 20 * count * SIZE


@pytest.mark.parametrize("std", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("count", [1, CLASSES])
def test_denoised_covariances_are_nearer_to_the_truth(std: float, count: int) -> None:
    for seed in range(5):
        truth = covariances(seed)[:count]
        noisy = truth + symmetric_noise(count, std, 50 + seed)
        found = denoised_spreads(noisy, np.full(count, std))
        assert error(found @ found.transpose(0, 2, 1), truth) < 0.8 * error(noisy, truth)


def test_covariances_that_drown_become_that_of_all_images() -> None:
    truth, std = covariances(), np.array([0.02] * (CLASSES - 1) + [2.0])
    noisy = truth + symmetric_noise(CLASSES, std, 3)
    found = denoised_spreads(noisy, std)
    found = found @ found.transpose(0, 2, 1)
    average = truth[:-1].mean(axis=0)
    assert error(found[-1], average) < 0.1 * error(noisy[-1], average)
    assert error(found[:-1], truth[:-1]) < 0.8 * error(noisy[:-1], truth[:-1])


@pytest.mark.parametrize("own", [True, False])
def test_draws_have_the_means_and_covariances_that_were_fitted(own: bool) -> None:
    """Squared Mahalanobis lengths of sample means, and variances along directions: each chi-square at level 1e-6."""
    count, classes, size, directions = 3_000, 3, 7, 2
    rng = np.random.default_rng(0)
    fitted = ClassGaussians(
        rng.standard_normal((classes, size)), rng.standard_normal((classes if own else 1, size, directions))
    )
    labels = np.arange(classes * count) % classes
    drawn = fitted.draw(labels, np.random.default_rng(1))
    for label in range(classes):
        spread = fitted.directions_KFR[label if own else 0]
        away = (drawn[labels == label] - fitted.means_KF[label]) @ np.linalg.pinv(spread).T
        # Nothing lies beside the directions.
        np.testing.assert_allclose(away @ spread.T + fitted.means_KF[label], drawn[labels == label], atol=1e-9)
        low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], count * directions)
        assert low < np.sum(away**2) < high
        assert count * np.sum(away.mean(axis=0) ** 2) < stats.chi2.ppf(1 - 1e-6, directions)
        assert abs(np.corrcoef(away.T)[0, 1]) < 5 / count**0.5


def test_without_directions_every_image_is_its_mean() -> None:
    fitted = ClassGaussians(means(), np.zeros((1, FREQUENCIES, 0)))
    np.testing.assert_array_equal(fitted.draw(np.array([2, 0, 2]), np.random.default_rng(0)), means()[[2, 0, 2]])


def test_one_class_is_shrunk_towards_grey() -> None:
    truth = means()[:1]
    noisy = truth + np.random.default_rng(1).standard_normal(truth.shape)
    found = denoised_means(noisy, np.ones(1), 1)
    assert found.shape == truth.shape and error(found, truth) < 0.8 * error(noisy, truth)
