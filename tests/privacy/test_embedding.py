"""The noisy mean embedding: what an image or person changes at most, what noise there is, what it costs."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from raysyn.data import fourier
from raysyn.data.fourier import FourierConfig, waves
from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import embedding
from raysyn.privacy.queries.embedding import EMBEDDING, EmbeddingConfig, embedding_sums, plan, sensitivity

pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="dp-accounting is not installed")

STREAM = Stream(bytes(range(32)), "embedding")
SOME = FourierConfig(count=20, length_scales=(0.366, 0.1))
ROUNDING = 1 + 1e-9


def price(noise_multiplier: float) -> Cost:
    return Cost(mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=1.0, steps=1)


QUIET = price(1e-12)


def pictures(shape: tuple[int, int, int] = (6, 5, 1), persons: bool = False) -> Images:
    """Black, white, a board and noise, in two of three classes, the last one empty; persons have several of both."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    pixels[2] = 255 * (np.indices(shape).sum(axis=0) % 2)
    whose = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4]) if persons else None
    return Images(pixels, np.arange(12) % 2, ("a", "b", "c"), whose)


def asked(private: Images, config: EmbeddingConfig, cost: Cost = QUIET, stream: Stream = STREAM) -> np.ndarray:
    of = waves(SOME, private.shape, 0)
    return embedding_sums(private, of, config, units.priced(cost, private), stream).value


@pytest.mark.parametrize("count_share", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("shape", [(6, 5, 1), (4, 4, 3)])
@pytest.mark.parametrize("persons", [False, True])
def test_trap_03_and_16_who_comes_or_goes_moves_the_sums_by_at_most_the_sensitivity(
    count_share: float, shape: tuple[int, int, int], persons: bool
) -> None:
    """Everybody by brute force; n is held fixed by those who read the sums. One image, or one of a person whose images
    are of one class and alike, moves them by all of it."""
    private, config = pictures(shape, persons), EmbeddingConfig(count_share=count_share)
    whole, moved = asked(private, config), []
    for gone in range(private.units):
        kept = np.arange(len(private)) if private.persons_N is None else private.persons_N
        moved.append(float(np.linalg.norm(whole - asked(private.select(kept != gone), config))))
    assert max(moved) <= sensitivity(config) * ROUNDING
    assert max(moved) == pytest.approx(sensitivity(config), rel=1e-5)
    if not persons:
        assert min(moved) == pytest.approx(sensitivity(config), rel=1e-5), "every image's features are of norm 1"


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (64, 64, 3)])
@pytest.mark.parametrize("scale", [0.01, 0.366, 3.0])
def test_features_are_exact_to_their_last_phase_and_never_longer_than_one(
    shape: tuple[int, int, int], scale: float
) -> None:
    """Whatever the order of a sum is, as of another number of threads: the bytes of an answer depend on it else."""
    of = waves(FourierConfig(count=8, length_scales=(scale,)), shape, 3)
    images = np.random.default_rng(1).integers(0, 256, (9, *shape), dtype=np.uint8)
    images[0] = 255
    order = np.random.default_rng(2).permutation(math.prod(shape))
    flat = images.reshape(9, -1)
    np.testing.assert_array_equal(flat.astype(float) @ of.cycles_PW, flat[:, order].astype(float) @ of.cycles_PW[order])
    found = of.features(images).astype(np.float64)
    norms = np.linalg.norm(found, axis=1)
    assert (norms <= 1).all() and (norms > 1 - 1e-5).all()
    angles = images.reshape(9, -1) / 255 @ of.radians().astype(np.float64)
    np.testing.assert_allclose(found, np.concatenate([np.cos(angles), np.sin(angles)], 1) / 2, atol=2e-3)


def test_products_of_features_are_a_gaussian_kernel_of_how_images_differ() -> None:
    """Within 5 standard errors of 20,000 waves."""
    pixels = np.array([0, 60, 128], np.uint8)[:, None, None, None] * np.ones((1, 8, 8, 1), np.uint8)
    found = waves(FourierConfig(count=40_000, length_scales=(0.3,)), (8, 8, 1), 0).features(pixels)
    wanted = [math.exp(-((level / 255 / 0.3) ** 2) / 2) for level in (60, 128)]
    np.testing.assert_allclose(found[1:] @ found[0], wanted, atol=5 / math.sqrt(20_000))


def test_the_sums_are_those_of_an_obvious_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "BLOCK", 4)
    private = pictures(persons=True)
    assert private.persons_N is not None
    features = waves(SOME, private.shape, 0).features(private.images_NHWC)
    sums = np.zeros((3, 21))
    for row, label, person in zip(features, private.labels_N, private.persons_N, strict=True):
        sums[label] += np.append(row, 0.1) / np.bincount(private.persons_N)[person]
    np.testing.assert_allclose(asked(private, EmbeddingConfig()), sums, atol=1e-6)


def test_noise_has_the_size_that_is_paid_for_and_none_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is summed. Chi-square and Kolmogorov-Smirnov at level 1e-6, correlations within 5 standard errors; a
    class without images is answered too."""
    monkeypatch.setattr(fourier, "SHORT", 0.0)
    private = pictures()
    of = waves(FourierConfig(count=1_000), private.shape, 0)
    answer = embedding_sums(private, of, EmbeddingConfig(count_share=0.5), price(3.0), STREAM).value[:, :-1]
    noise = answer / (3.0 * math.sqrt(1.25))
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], noise.size)
    assert low < float((noise**2).sum()) < high and stats.kstest(noise.ravel(), "norm").pvalue > 1e-6
    assert np.abs(np.corrcoef(noise)[np.triu_indices(3, 1)]).max() < 5 / math.sqrt(1_000)


def test_trap_05_one_answer_per_secret() -> None:
    private, config = pictures(), EmbeddingConfig()
    first, again, other = (asked(private, config, price(1.0), one) for one in (STREAM, STREAM, Stream(bytes(32), "e")))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other)


@pytest.mark.parametrize(("n", "wanted"), [(60_000, 1.0), (60_000, 10.0), (1_500, 3.0)])
def test_golden_price_by_another_accountant(n: int, wanted: float) -> None:
    """dp-accounting's loss distribution of one Gaussian answer of all images: no more than is promised, hardly less."""
    found = plan(Budget(epsilon=wanted), n)
    noise = found.noise(EMBEDDING)
    golden = pld.from_gaussian_mechanism(noise, value_discretization_interval=1e-4)
    assert 0.99 * wanted <= golden.get_epsilon_for_delta(found.delta) <= wanted
    assert (found.stages[EMBEDDING].sampling_rate, found.stages[EMBEDDING].steps) == (1.0, 1)


def test_a_price_for_images_is_not_one_for_persons() -> None:
    private = pictures(persons=True)
    with pytest.raises(ValueError, match="need 'add/remove one person"):
        embedding_sums(private, waves(SOME, private.shape, 0), EmbeddingConfig(), QUIET, STREAM)


def test_who_is_absent_adds_nothing() -> None:
    private = pictures()
    absent = np.arange(12) < 3
    out = Images(private.images_NHWC, private.labels_N, private.class_names, absent_U=absent)
    config = EmbeddingConfig()
    np.testing.assert_allclose(asked(out, config), asked(private.select(~absent), config), atol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: EmbeddingConfig(count_share=-0.1), r"embedding\.count_share is -0\.1: give 0 or more"),
        (lambda: EmbeddingConfig(count_share=math.nan), r"embedding\.count_share is nan"),
        (lambda: FourierConfig(count=3), r"features\.count is 3: give an even number"),
        (lambda: FourierConfig(length_scales=()), r"features\.length_scales is \(\): give numbers"),
        (lambda: FourierConfig(length_scales=(0.0,)), r"features\.length_scales is \(0\.0,\)"),
        (lambda: FourierConfig(count=2, length_scales=(1.0, 2.0)), r"features\.count is 2, but there are 2"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        make()  # type: ignore[operator]
    assert "\n" not in str(refused.value)
