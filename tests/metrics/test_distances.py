"""Frechet distance against its closed form, precision and recall against brute force."""

import math

import numpy as np
import pytest
import torch
from scipy import linalg
from torch_fidelity.metric_kid import kernel_mmd

from raysyn.metrics.distances import (
    Moments,
    density_coverage,
    frechet_distance,
    kernel_distance,
    moments,
    nearest_pairs,
    precision_recall,
)


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


def slow_kernel_distance(a: np.ndarray, b: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (sum(p * q for p, q in zip(x, y, strict=True)) / len(x) + 1) ** 3

    within = [np.mean([kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j]) for one in (a, b)]
    return within[0] + within[1] - 2 * np.mean([kernel(x, y) for x in a for y in b])


def test_the_kernel_distance_is_the_slow_one_and_torch_fidelitys(monkeypatch):
    monkeypatch.setattr("raysyn.metrics.distances.ROWS", 7)
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(20, 3)), rng.normal(size=(15, 3)) + 0.5
    assert kernel_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(slow_kernel_distance(a, b), rel=1e-10)
    theirs = kernel_mmd(a[:15], b, kid_kernel="poly")
    assert kernel_distance(torch.tensor(a[:15]), torch.tensor(b)) == pytest.approx(theirs, rel=1e-10)


def test_the_kernel_distance_of_one_kind_is_0_on_average_whatever_the_sizes():
    rng = np.random.default_rng(3)
    found = [kernel_distance(*(torch.tensor(rng.normal(size=(count, 4))) for count in (12, 40))) for _ in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300) and min(found) < 0 < max(found)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_equal_brute_force(monkeypatch, k):
    monkeypatch.setattr("raysyn.metrics.distances.ROWS", 7)
    rng = np.random.default_rng(4)
    synthetic, real = rng.normal(size=(30, 3)), rng.normal(size=(45, 3)) * 1.5 + 0.5
    held, reached = 0, 0
    for i, centre in enumerate(real):
        radius = sorted(math.dist(centre, other) for j, other in enumerate(real) if j != i)[k - 1]
        inside = sum(math.dist(point, centre) <= radius for point in synthetic)
        held, reached = held + inside, reached + bool(inside)
    found = density_coverage(torch.tensor(synthetic), torch.tensor(real), k)
    assert found == (held / (k * 30), reached / 45) and 0 < found[1] < 1


def test_nearest_pairs_equal_brute_force(monkeypatch):
    monkeypatch.setattr("raysyn.metrics.distances.ROWS", 7)
    rng = np.random.default_rng(5)
    synthetic, real = rng.normal(size=(20, 3)), rng.normal(size=(30, 3))
    synthetic[4] = real[11]
    to = [[math.dist(one, other) for other in real] for one in synthetic]
    # Of an even number torch's median is the lower of the two in the middle.
    usual = sorted(sorted(math.dist(one, other) for other in real)[1] for one in real[::5])[2]
    order = sorted(range(20), key=lambda at: min(to[at]))[:6]
    places, nearest, distances = nearest_pairs(torch.tensor(synthetic), torch.tensor(real), 6)
    assert places.tolist() == order and (places[0], nearest[0]) == (4, 11)
    assert nearest.tolist() == [int(np.argmin(to[at])) for at in order]
    assert distances[1:].tolist() == pytest.approx([min(to[at]) / usual for at in order[1:]], rel=1e-9)
    assert distances[0] < 1e-6


def test_one_repeated_image_is_dense_and_covers_little():
    features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    density, coverage = density_coverage(features[:1].repeat(10, 1), features)
    assert density >= 0.2 and coverage < 0.5
    assert density_coverage(features + 1000, features) == (0.0, 0.0)


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
    with pytest.raises(ValueError, match="at least 2"):
        kernel_distance(features[:1], features)
    with pytest.raises(ValueError, match="more than 3 real images"):
        density_coverage(features, features, 3)


def test_a_copy_is_at_distance_0_also_where_real_images_have_twins():
    real = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    synthetic = torch.cat([real[:1], real[1:2] + 1])
    distances = nearest_pairs(synthetic, real, 2)[2]
    assert distances[0] < 1e-6 and distances.isfinite().all() and distances[1] > 0
    assert nearest_pairs(synthetic, torch.cat([real, torch.full((2, 3), 9.0)]), 2)[2].isfinite().all()
