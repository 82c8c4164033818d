"""Noisy moments of what a public network sees: what an image or person changes at most, what noise there is, what both
answers cost together."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from raysyn.data.images import Images
from raysyn.models.perceptual import Perceptual
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.perceptual import (
    MEANS,
    SQUARES,
    FeatureMomentsConfig,
    class_sums,
    noisy_sums,
    plan,
    sensitivity,
)
from raysyn.train.perceptual import perceived

pld = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution", reason="dp-accounting is not installed")

STREAM = Stream(bytes(range(32)), "features")
ROUNDING = 1 + 1e-9


def price(noise_multiplier: float) -> Cost:
    return Cost(mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=1.0, steps=1)


QUIET = price(1e-12)


def pictures(shape: tuple[int, int, int] = (8, 8, 1), persons: bool = False) -> Images:
    """Black, white, a board and noise, in two of three classes, the last one empty; persons have several of both."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, *shape), dtype=np.uint8)
    pixels[0], pixels[1] = 0, 255
    pixels[2] = 255 * (np.indices(shape).sum(axis=0) % 2)
    whose = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 3, 4]) if persons else None
    return Images(pixels, np.arange(12) % 2, ("a", "b", "c"), whose)


def seeing(channels: int = 1, squares: bool = True) -> Perceptual:
    torch.manual_seed(0)
    return Perceptual(resnet(ResNetConfig(blocks=1, width=2), channels, 5), squares)


def asked(
    private: Images, config: FeatureMomentsConfig, cost: Cost = QUIET, stream: Stream = STREAM,
    features: Perceptual | None = None, parts: int = 2,
) -> dict[str, np.ndarray]:  # fmt: skip
    """Both answers, from so many shards of the images."""
    features = features or seeing(private.shape[2], squares=bool(config.squares_share))
    weights, shards = units.weights(private), []
    for some in np.array_split(np.arange(len(private)), parts):
        part = private.select(some)
        rows = perceived(features, part.images_NHWC, torch.device("cpu"))
        shards.append(class_sums(rows, part.labels_N, weights[some], private.classes, config))
    of = units.priced(cost, private)
    return {stage: noisy_sums(private, stage, shards, config, of, stream).value for stage in config.stages()}


@pytest.mark.parametrize("count_share", [0.0, 0.1, 2.0])
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 8, 3)])
@pytest.mark.parametrize("persons", [False, True])
def test_trap_03_and_16_who_comes_or_goes_moves_each_sum_by_at_most_its_sensitivity(
    count_share: float, shape: tuple[int, int, int], persons: bool
) -> None:
    """Everybody by brute force; n is held fixed by those who read the sums. One image, or one of a person whose images
    are of one class and alike, moves them by all of it."""
    private, config = pictures(shape, persons), FeatureMomentsConfig(count_share=count_share)
    features = seeing(shape[2])
    whole, moved = asked(private, config, features=features), {MEANS: list[float](), SQUARES: list[float]()}
    for gone in range(private.units):
        kept = np.arange(len(private)) if private.persons_N is None else private.persons_N
        without = asked(private.select(kept != gone), config, features=features)
        for stage, found in moved.items():
            found.append(float(np.linalg.norm(whole[stage] - without[stage])))
    for stage, found in moved.items():
        assert max(found) <= sensitivity(config, stage) * ROUNDING
        assert max(found) == pytest.approx(sensitivity(config, stage), rel=1e-5)
        if not persons:
            assert min(found) == pytest.approx(sensitivity(config, stage), rel=1e-5), "features are of norm 1"


@pytest.mark.parametrize("weight", [0.0, 1e-30, 1.0, 1e12, math.inf, math.nan])
def test_no_network_makes_an_image_longer_than_one(weight: float) -> None:
    """Whatever weights it is given: features of nothing, of very much, and of no finite numbers."""
    features = seeing()
    with torch.no_grad():
        for parameter in features.parameters():
            parameter.mul_(weight)
    for rows in next(iter(perceived(features, pictures().images_NHWC, torch.device("cpu")))):
        assert np.isfinite(rows).all() and (np.linalg.norm(rows, axis=1) <= 1).all()


def test_an_image_is_seen_alone_and_as_the_generator_s_are() -> None:
    """In whatever block it lies; squares are those of the features, of norm 1 again."""
    private, features = pictures(), seeing()
    (means, squares), *_ = perceived(features, private.images_NHWC, torch.device("cpu"))
    (alone, _), *_ = perceived(features, private.images_NHWC[5:6], torch.device("cpu"))
    np.testing.assert_array_equal(alone[0], means[5])
    np.testing.assert_allclose(squares, means**2 / np.linalg.norm(means**2, axis=1, keepdims=True), atol=1e-5)
    made = features.train()(torch.from_numpy(private.images_NHWC / 255).float().permute(0, 3, 1, 2))
    np.testing.assert_allclose(made, np.concatenate([means, squares], 1), atol=1e-4)
    assert made.shape[1] == 2 * features.count(private.shape)


def test_the_sums_are_those_of_an_obvious_reference() -> None:
    private = pictures(persons=True)
    assert private.persons_N is not None
    (means, squares), *_ = perceived(seeing(), private.images_NHWC, torch.device("cpu"))
    sums = {MEANS: np.zeros((3, means.shape[1] + 1)), SQUARES: np.zeros((3, means.shape[1]))}
    for mean, square, label, person in zip(means, squares, private.labels_N, private.persons_N, strict=True):
        part = np.bincount(private.persons_N)[person]
        sums[MEANS][label] += np.append(mean, 0.1) / part
        sums[SQUARES][label] += square / part
    for stage, found in asked(private, FeatureMomentsConfig(), parts=5).items():
        np.testing.assert_allclose(found, sums[stage], atol=1e-9)


def test_noise_has_the_size_that_is_paid_for_and_none_is_used_twice() -> None:
    """Nothing is summed. Chi-square and Kolmogorov-Smirnov at level 1e-6, correlations within 5 standard errors; a
    class without images is answered too."""
    private, config = pictures(), FeatureMomentsConfig(count_share=0.5)
    blank = {MEANS: np.zeros((3, 1_001)), SQUARES: np.zeros((3, 1_000))}
    answers = [
        noisy_sums(private, stage, [blank], config, price(3.0), STREAM).value[:, :1_000] / (3.0 * size)
        for stage, size in ((MEANS, math.sqrt(1.25)), (SQUARES, 1.0))
    ]
    noise = np.concatenate(answers)
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], 3_000)
    for one in answers:
        assert low < float((one**2).sum()) < high
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-6
    assert np.abs(np.corrcoef(noise)[np.triu_indices(6, 1)]).max() < 5 / math.sqrt(1_000)


def test_trap_05_one_answer_per_secret() -> None:
    private, config = pictures(), FeatureMomentsConfig()
    first, again, other = (asked(private, config, price(1.0), one) for one in (STREAM, STREAM, Stream(bytes(32), "f")))
    for stage in config.stages():
        np.testing.assert_array_equal(first[stage], again[stage])
        assert not np.any(first[stage] == other[stage])


@pytest.mark.parametrize(("wanted", "share"), [(1.0, 0.5), (3.0, 0.2), (1.0, 0.0)])
def test_golden_price_by_another_accountant(wanted: float, share: float) -> None:
    """dp-accounting's loss distributions of both Gaussian answers, composed: no more than is promised, hardly less;
    and the share of the second is what it was told to be."""
    config = FeatureMomentsConfig(squares_share=share)
    found = plan(config, Budget(epsilon=wanted), 60_000)
    assert tuple(found.stages) == config.stages()
    golden = None
    for stage in found.stages:
        one = pld.from_gaussian_mechanism(found.noise(stage), value_discretization_interval=1e-4)
        golden = one if golden is None else golden.compose(one)
        assert (found.stages[stage].sampling_rate, found.stages[stage].steps) == (1.0, 1)
    assert golden is not None and 0.99 * wanted <= golden.get_epsilon_for_delta(found.delta) <= wanted
    spent = {stage: found.noise(stage) ** -2 for stage in found.stages}
    assert spent.get(SQUARES, 0.0) / sum(spent.values()) == pytest.approx(share, abs=1e-3)


def test_a_price_for_images_is_not_one_for_persons() -> None:
    private, config = pictures(persons=True), FeatureMomentsConfig()
    with pytest.raises(ValueError, match="need 'add/remove one person"):
        noisy_sums(private, SQUARES, [{SQUARES: np.zeros((3, 4))}], config, QUIET, STREAM)


def test_who_is_absent_adds_nothing() -> None:
    private, config = pictures(), FeatureMomentsConfig()
    absent = np.arange(12) < 3
    out = Images(private.images_NHWC, private.labels_N, private.class_names, absent_U=absent)
    there = asked(private.select(~absent), config)
    for stage, found in asked(out, config).items():
        np.testing.assert_allclose(found, there[stage], atol=1e-9)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"count_share": -0.1}, r"moments\.count_share is -0\.1: give 0 or more"),
        ({"count_share": math.nan}, r"moments\.count_share is nan"),
        ({"squares_share": 1.0}, r"moments\.squares_share is 1\.0: give a share from 0\.01 to 0\.99, or 0"),
        ({"squares_share": 0.001}, r"moments\.squares_share is 0\.001"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        FeatureMomentsConfig(**wrong)
    assert "\n" not in str(refused.value)
