"""The directions that tell public classes apart: as by the textbook, in parts as at once, of norm 1 at most."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysyn.data.images import Images
from raysyn.models.classifiers import Classifier
from raysyn.models.discriminant import Discriminant, pooled
from raysyn.models.resnet import ResNetConfig
from raysyn.train import discriminant
from raysyn.train.discriminant import class_sums, directions
from raysyn.train.semantic import moved


def public(count: int = 90) -> Images:
    """Of four classes, one of which has no image."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, count)
    pixels = rng.integers(0, 120, (count, 8, 8, 1)) + 60 * labels[:, None, None, None]
    return Images(pixels.clip(0, 255).astype(np.uint8), labels, tuple("abcd"))


def network() -> Classifier:
    torch.manual_seed(0)
    return ResNetConfig(blocks=1, width=2).build(1, 4).eval()


def rows_of(net: Classifier, images: Images) -> np.ndarray:
    with torch.inference_mode():
        return pooled(net, torch.from_numpy(images.images_NHWC).movedim(-1, 1).float() / 255).numpy()


def test_parts_add_up_to_the_textbooks_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discriminant, "BATCH", 7)
    images, net, shrinkage = public(), network(), 0.3
    centre, axes = directions([class_sums(part, (net, images)) for part in ((0, 40), (40, 90))], shrinkage, 99)
    rows = rows_of(net, images)
    within = sum((labels := images.labels_N == k).mean() * np.cov(rows[labels].T, bias=True) for k in range(3))
    ridge = within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    means = np.stack([rows[images.labels_N == k].mean(0) for k in range(3)]) - rows.mean(0)
    np.testing.assert_allclose(centre, rows.mean(0), atol=1e-5)
    # Two directions tell three classes apart; in them covariance is the identity, and all of the means' distances lie.
    assert axes.shape == (8, 2)
    np.testing.assert_allclose(axes.T.numpy() @ ridge @ axes.numpy(), np.eye(2), atol=1e-4)
    seen, whole = means @ axes.numpy(), means @ np.linalg.inv(ridge) @ means.T
    np.testing.assert_allclose(seen @ seen.T, whole, rtol=1e-3, atol=1e-4)


def test_no_more_directions_than_are_asked_for_and_the_best_first() -> None:
    images, net = public(), network()
    parts = [class_sums((0, 90), (net, images))]
    both, one = directions(parts, 0.1, 99)[1], directions(parts, 0.1, 1)[1]
    torch.testing.assert_close(both[:, :1], one)


@pytest.mark.parametrize("bias", [0.0, 1.0])
def test_a_network_that_sees_the_same_in_all_images_leaves_no_direction(bias: float) -> None:
    net = network()
    for name, parameter in net.named_parameters():
        parameter.data.fill_(bias if name.endswith("bias") else 0.0)
    centre, axes = directions([class_sums((0, 90), (net, public()))], 0.1, 99)
    assert axes.shape == (8, 0) and bool(centre.any()) is bool(bias)
    # Along made-up ones it sees nothing, or the same, of norm 1 at most.
    seen = Discriminant(net, torch.zeros(8), torch.eye(8, 3))(torch.rand(5, 1, 8, 8))
    assert torch.equal(seen, seen[:1].expand(5, 3)) and (torch.linalg.vector_norm(seen, dim=1) <= 1).all()


@pytest.mark.parametrize("fill", [0.0, 1.0, float("nan"), float("inf"), 1e30])
def test_features_have_norm_one_and_never_more_whatever_is_seen(fill: float) -> None:
    net = network()
    centre, axes = directions([class_sums((0, 90), (net, public()))], 0.1, 99)
    images = torch.cat([torch.rand(3, 1, 8, 8), torch.full((1, 1, 8, 8), fill)])
    norms = torch.linalg.vector_norm(Discriminant(net, centre, axes)(images), dim=1)
    assert (norms <= 1).all() and (norms[:3] > 1 - 1e-5).all()


def test_each_image_is_moved_by_its_own_numbers() -> None:
    images = torch.arange(2 * 36, dtype=torch.float32).reshape(2, 1, 6, 6)
    moves = torch.tensor([[1, 1], [2, 0]])
    found = moved(images, moves, 1)
    assert torch.equal(found[0], images[0])
    # Down by one row and from the left by one column, where edges are mirrored.
    assert torch.equal(found[1, 0, :5, 1:], images[1, 0, 1:, :5])
    assert torch.equal(found[1, 0, 5, 1:], images[1, 0, 4, :5]) and torch.equal(found[1, 0, :5, 0], images[1, 0, 1:, 1])
