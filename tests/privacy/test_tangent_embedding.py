"""Tangent features and their noisy mean: gradients as PyTorch computes them, of norm 1, exact sums; what somebody
changes at most, what noise there is, what it costs."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from raysyn.data import tangent as tangents
from raysyn.data.images import Images
from raysyn.data.tangent import SHORT, Tangent, TangentConfig, tangent
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.embedding import EMBEDDING, EmbeddingConfig, embedding_sums, plan, sensitivity
from raysyn.train.embedding import distance
from raysyn.train.tangent import Tangents

STREAM = Stream(bytes(range(32)), "embedding")
WIDTHS = [(9,), (7, 5)]
SHAPES = [(6, 5, 1), (4, 4, 3)]


def pictures(shape: tuple[int, int, int] = (6, 5, 1), persons: bool = False) -> Images:
    """Black, white, a board and noise, in two of three classes; persons have several of both."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    pixels[2] = 255 * (np.indices(shape).sum(axis=0) % 2)
    whose = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4]) if persons else None
    return Images(pixels, np.arange(12) % 2, ("a", "b", "c"), whose)


def in_torch(images_NHWC: np.ndarray) -> Tensor:
    return torch.from_numpy(images_NHWC / 255).permute(0, 3, 1, 2)


class Network(nn.Module):
    """The published one, with layers of PyTorch and one row of weights for each output."""

    def __init__(self, of: Tangent) -> None:
        super().__init__()
        sizes = [of.first_PM.shape[0], of.first_PM.shape[1]] + ([len(of.last)] if of.second_MO is not None else [])
        self.dense = nn.ModuleList(nn.Linear(a, b).double() for a, b in itertools.pairwise(sizes))
        self.norm = nn.LayerNorm(sizes[-1], elementwise_affine=False)
        self.last = nn.Linear(sizes[-1], of.outputs).double()
        with torch.no_grad():
            self.dense[0].weight.copy_(torch.from_numpy(of.first_PM.T * 255))
            self.dense[0].bias.copy_(torch.from_numpy(of.bias_M))
            if of.second_MO is not None and of.bias_O is not None:
                self.dense[1].weight.copy_(torch.from_numpy(of.second_MO.T))
                self.dense[1].bias.copy_(torch.from_numpy(of.bias_O))
            # What is told of the rows is their sum.
            self.last.weight.copy_(torch.from_numpy(of.last / of.outputs).expand(of.outputs, -1))

    def forward(self, image_HWC: Tensor) -> Tensor:
        hidden = self.dense[0](image_HWC.flatten()).relu()
        for layer in self.dense[1:]:
            hidden = layer(hidden)
        return self.last(self.norm(hidden)).sum()


def by_autograd(of: Tangent, images_NHWC: np.ndarray) -> np.ndarray:
    """Gradients by all weights, of norm 1, those of one layer beside each other: (N, weights)."""
    network = Network(of).requires_grad_(False)
    gradient = torch.func.vmap(
        torch.func.grad(lambda weights, image: torch.func.functional_call(network, weights, (image,))), (None, 0)
    )
    found = gradient(dict(network.named_parameters()), torch.from_numpy(images_NHWC / 255))
    rows = []
    for name in [*(f"dense.{at}" for at in range(len(network.dense))), "last"]:
        weight, bias = found[f"{name}.weight"], found[f"{name}.bias"]
        rows.append(torch.cat([weight, bias[..., None]], 2))
    # The gradients of all outputs are alike: one stands for them, longer.
    rows[-1] = rows[-1][:, :1] * math.sqrt(of.outputs)
    flat = torch.cat([row.flatten(1) for row in rows], 1)
    return (flat / flat.norm(dim=1, keepdim=True)).numpy()


def features(of: Tangent, images_NHWC: np.ndarray) -> np.ndarray:
    return np.stack([of.total(one[None], np.ones(1)) for one in images_NHWC])


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("shape", [*SHAPES, (64, 64, 3)])
def test_features_are_the_normalised_gradient_of_the_network(
    widths: tuple[int, ...], shape: tuple[int, int, int]
) -> None:
    """Of real images and of generated ones, against automatic differentiation of layers of PyTorch; none is longer than
    1, and each no shorter by a millionth."""
    config, images = TangentConfig(widths=widths, outputs=3), pictures(shape).images_NHWC
    of = config.of(shape, 5)
    wanted, found = by_autograd(of, images), features(of, images)
    assert of.size == config.held(shape).features == wanted.shape[1]
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    norms = np.linalg.norm(found, axis=1)
    assert (norms <= 1).all() and (norms > 1 - 1e-5).all()
    np.testing.assert_allclose(Tangents(of)(in_torch(images).float()), wanted, atol=2e-5)


def test_weights_are_as_pytorch_begins_with_and_differ_by_seed_alone() -> None:
    config = TangentConfig(widths=(50, 40))
    one, same, other = tangent(config, (8, 8, 1), 1), tangent(config, (8, 8, 1), 1), tangent(config, (8, 8, 1), 2)
    np.testing.assert_array_equal(one.first_PM, same.first_PM)
    assert not np.any(one.first_PM == other.first_PM)
    assert one.second_MO is not None
    for values, into in ((one.first_PM * 255, 64), (one.second_MO, 50)):
        assert stats.kstest(values.ravel() * math.sqrt(into), "uniform", (-1, 2)).pvalue > 1e-6
    assert np.var(one.last) == pytest.approx(10 / 3 / 40, rel=0.6)


@pytest.mark.parametrize("widths", WIDTHS)
def test_sums_are_the_same_in_whatever_order_they_are_added_up(widths: tuple[int, ...]) -> None:
    """As of another number of threads, within a block: the bytes of an answer depend on it else."""
    images = np.random.default_rng(1).integers(0, 256, (64, 64, 64, 3), dtype=np.uint8)
    of = TangentConfig(widths=widths).of((64, 64, 3), 0)
    order = np.random.default_rng(2).permutation(64 * 64 * 3)
    flat = images.reshape(64, -1).astype(float)
    np.testing.assert_array_equal(flat @ of.first_PM, flat[:, order] @ of.first_PM[order])
    first = (64 * 64 * 3 + 1) * widths[0]
    np.testing.assert_array_equal(of.total(images, np.ones(64))[:first], of.total(images[::-1], np.ones(64))[:first])


@pytest.mark.parametrize("widths", [(800,), (600, 50)])
def test_sums_are_the_same_with_any_number_of_threads(widths: tuple[int, ...]) -> None:
    """All of them; matrix products of such sizes are not, of numbers that are no multiples of a grid."""
    images = np.random.default_rng(4).integers(0, 256, (tangents.MOST, 28, 28, 1), dtype=np.uint8)
    weights, of = np.random.default_rng(5).uniform(0, 1, len(images)), TangentConfig(widths=widths).of((28, 28, 1), 0)
    before, found = torch.get_num_threads(), []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        with threadpool_limits(threads):
            found.append(of.total(images, weights))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("wrong", [0, 2**16 + 1, 10**11])
def test_more_outputs_than_have_a_place_are_refused(wrong: int) -> None:
    with pytest.raises(ValueError, match=f"features.outputs is {wrong}: give 1 to 65536"):
        TangentConfig(outputs=wrong)


def test_all_weights_that_are_drawn_are_told() -> None:
    few, many = (TangentConfig(widths=(9, 7), outputs=outputs).held((6, 5, 1)) for outputs in (1, 2**16))
    assert many.weights - few.weights == 7 * (2**16 - 1) and many.features == few.features
    assert TangentConfig(widths=(2**16, 2**16)).held((6, 5, 1)).weights > 2**32


def asked(private: Images, config: EmbeddingConfig, noise: float, stream: Stream = STREAM) -> np.ndarray:
    cost = Cost(mechanism="test", noise_multiplier=noise, sampling_rate=1.0, steps=1)
    of = TangentConfig(widths=(7, 5)).of(private.shape, 0)
    return embedding_sums(private, of, config, units.priced(cost, private), stream).value


@pytest.mark.parametrize("count_share", [0.0, 0.1])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("persons", [False, True])
def test_trap_03_and_16_whoever_comes_or_goes_moves_the_sums_by_the_sensitivity_at_most(
    count_share: float, shape: tuple[int, int, int], persons: bool
) -> None:
    """Everybody by brute force; one image moves them by all of it."""
    private, config = pictures(shape, persons), EmbeddingConfig(count_share=count_share)
    whose = np.arange(12) if private.persons_N is None else private.persons_N
    whole = asked(private, config, 1e-12)
    moved = [
        float(np.linalg.norm(whole - asked(private.select(whose != gone), config, 1e-12)))
        for gone in range(private.units)
    ]
    assert max(moved) <= sensitivity(config) * (1 + 1e-9)
    assert max(moved) == pytest.approx(sensitivity(config), rel=1e-5)
    if not persons:
        assert min(moved) == pytest.approx(sensitivity(config), rel=1e-5)


def test_somebody_with_very_many_images_moves_the_sums_no_further() -> None:
    """Copies, so that what rounding adds would add up; one of them a hundred thousand times."""
    waves, images = TangentConfig().of((32, 32, 3), 0), np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3))
    for many in (1, 1_000, 100_000, 10_000_000):
        alone = waves.total(images.astype(np.uint8), np.array([1 / many]))
        assert many * np.linalg.norm(alone) <= 1, many


def test_noise_is_that_which_is_paid_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is summed; chi-square at level 1e-6. An empty class is answered too."""
    monkeypatch.setattr(Tangent, "total", lambda self, images, weights: np.zeros(self.size))
    answer = asked(pictures(), EmbeddingConfig(count_share=0.5), 3.0)[:, :-1]
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], answer.size)
    assert low < float((answer**2).sum()) / (9 * 1.25) < high


def test_trap_05_another_secret_is_other_noise() -> None:
    first, again, other = (
        asked(pictures(), EmbeddingConfig(), 1.0, one) for one in (STREAM, STREAM, Stream(bytes(32), "embedding"))
    )
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


def test_golden_price_of_mnist() -> None:
    """By the analytic Gaussian mechanism of Balle and Wang (2018): at epsilon 1, delta as planned."""
    found = plan(Budget(epsilon=1.0), 60_000)
    noise = found.noise(EMBEDDING)
    a, b = 1 / (2 * noise), noise
    delta = stats.norm.cdf(a - b) - math.e * stats.norm.cdf(-a - b)
    assert delta == pytest.approx(found.delta, rel=0.05) and delta <= found.delta


def test_how_far_images_go_along_an_answer_is_the_product_with_their_features() -> None:
    private, of = pictures(), TangentConfig(widths=(7, 5)).of((6, 5, 1), 0)
    rows = np.random.default_rng(3).standard_normal((3, of.size + 1))
    wanted = (features(of, private.images_NHWC) * rows[private.labels_N, :-1]).sum(axis=1) / SHORT
    np.testing.assert_allclose(of.along(private.images_NHWC, private.labels_N, rows), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("unbiased", [False, True])
def test_the_distance_by_pairs_is_that_of_features_written_down(widths: tuple[int, ...], unbiased: bool) -> None:
    """And so are its gradients; a class of one image, and one of none, are among them."""
    module = Tangents(TangentConfig(widths=widths).of((6, 5, 1), 0)).double()
    images, labels = in_torch(pictures().images_NHWC).requires_grad_(), torch.tensor([0] * 6 + [1] * 5 + [2])
    wanted = torch.randn(4, module(images).shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, by_hand = (
        module.distance(images, labels, wanted, unbiased),
        distance(module(images), labels, wanted, unbiased),
    )
    torch.testing.assert_close(found, by_hand)
    torch.testing.assert_close(*(torch.autograd.grad(one, images)[0] for one in (found, by_hand)))


def test_too_many_images_at_once_are_no_silent_rounding() -> None:
    of = TangentConfig(widths=(2,)).of((8, 8, 1), 0)
    many = np.zeros((tangents.MOST + 1, 8, 8, 1), np.uint8)
    with pytest.raises(ValueError, match="257 images at once are not exact: give at most 256"):
        of.total(many, np.ones(len(many)))
