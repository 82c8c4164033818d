"""Frechet distance against its closed form, precision and recall against brute force."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg

from raysyn.metrics.distances import Moments, frechet_distance, moments, precision_recall


def gaussian(mean: np.ndarray, covariance: np.ndarray, count: int = 1000) -> Moments:
    """Moments whose mean and sample covariance are exactly these."""
    outer = covariance * (count - 1) + count * np.outer(mean, mean)
    return Moments(count, torch.tensor(mean * count), torch.tensor(outer))


def test_frechet_distance_of_gaussians_is_the_closed_form():
    a, b = np.array([0.5, 2.0, 1.0]), np.array([1.5, 0.1, 1.0])
    diagonal = frechet_distance(gaussian(np.zeros(3), np.diag(a**2)), gaussian(np.ones(3), np.diag(b**2)))
    assert diagonal == pytest.approx(3 + ((a - b) ** 2).sum(), rel=1e-10)


def test_frechet_distance_equals_the_matrix_square_root_formula():
    rng = np.random.default_rng(0)
    left, right = (np.cov(rng.normal(size=(6, 50)) * np.arange(1, 7)[:, None]) for _ in range(2))
    mean = rng.normal(size=6)
    expected = mean @ mean + np.trace(left + right - 2 * linalg.sqrtm(left @ right).real)
    assert frechet_distance(gaussian(mean, left), gaussian(np.zeros(6), right)) == pytest.approx(expected, rel=1e-9)


def test_identical_sets_are_at_distance_0_even_with_fewer_images_than_features():
    features = torch.randn(20, 64, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(moments(features), moments(features)) == pytest.approx(0, abs=1e-5)
    assert precision_recall(features, features) == (1.0, 1.0)


def test_moments_add_up_over_parts():
    features = torch.randn(100, 5, generator=torch.Generator().manual_seed(0)) + 3
    whole, parts = moments(features), moments(features[:30]) + moments(features[30:])
    assert torch.allclose(whole.covariance(), parts.covariance(), rtol=1e-12)
    assert np.allclose(whole.covariance().numpy(), np.cov(features.double().numpy(), rowvar=False), rtol=1e-10)


def brute_force(points: np.ndarray, centres: np.ndarray, k: int) -> float:
    def on_manifold(point: np.ndarray) -> bool:
        for i, centre in enumerate(centres):
            to_others = sorted(math.dist(centre, other) for j, other in enumerate(centres) if j != i)
            if math.dist(point, centre) <= to_others[k - 1]:
                return True
        return False

    return sum(map(on_manifold, points)) / len(points)


@pytest.mark.parametrize("k", [1, 3])
def test_precision_and_recall_equal_brute_force(monkeypatch, k):
    monkeypatch.setattr("raysyn.metrics.distances.ROWS", 7)
    rng = np.random.default_rng(1)
    synthetic, real = rng.normal(size=(40, 3)), rng.normal(size=(55, 3)) * 1.5 + 0.5
    found = precision_recall(torch.tensor(synthetic), torch.tensor(real), k)
    assert found == (brute_force(synthetic, real, k), brute_force(real, synthetic, k))
    assert 0 < found[0] < 1 and 0 < found[1] < 1


def test_far_apart_sets_share_nothing_and_one_repeated_image_recalls_nothing():
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    assert precision_recall(features + 1000, features) == (0.0, 0.0)
    copies = features[:1].repeat(10, 1)
    precision, recall = precision_recall(copies, features)
    assert (precision, recall) == (1.0, 1 / 30), "only the copied image lies in a ball of radius 0"


def test_too_few_images_are_refused():
    features = torch.zeros(3, 2)
    with pytest.raises(ValueError, match="neighbours = 3 images"):
        precision_recall(features, features)
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(moments(features[:1]), moments(features))
