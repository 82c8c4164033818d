"""Noisy moments: what one image changes at most, what noise there is, what is asked for and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from raysyn.data.images import Images
from raysyn.privacy.cost import Budget, Cost, epsilon
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.moments import (
    MEANS,
    SPREAD,
    MomentsConfig,
    class_sums,
    costs,
    kept,
    mean_norm,
    mean_sensitivity,
    per_class,
    plan,
    spread_sums,
    spread_unit,
)

STREAM = Stream(bytes(range(32)), "moments")
SMALL = MomentsConfig(frequencies=12, spread_frequencies=5)
ROUNDING = 1 + 1e-9
KINDS = ("black", "white", "checkerboard", "one pixel", "noise")


def price(noise_multiplier: float) -> Cost:
    return Cost(mechanism="test", noise_multiplier=noise_multiplier, sampling_rate=1.0, steps=1)


# What is left of the noise is far below what is compared.
QUIET = price(1e-12)


def picture(kind: str, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    if kind == "checkerboard":
        pixels[:] = 255 * (np.indices(shape).sum(axis=0) % 2)
    elif kind != "noise":
        pixels[:] = 255 * (kind == "white")
    if kind == "one pixel":
        pixels[0, -1, 0] = 255
    return pixels


def images(kinds: list[tuple[str, int]], shape: tuple[int, int, int], classes: int = 3) -> Images:
    pixels = [picture(kind, shape, seed) for seed, (kind, _) in enumerate(kinds)]
    labels = np.array([label for _, label in kinds], dtype=np.int64)
    return Images(np.stack(pixels), labels, tuple(f"c{i}" for i in range(classes)))


def mixed(n: int, shape: tuple[int, int, int] = (6, 5, 1), classes: int = 3) -> Images:
    """Classes of different sizes, the last one empty."""
    return images([(KINDS[i % 5], min(i % 4, classes - 2)) for i in range(n)], shape, classes)


def as_vector(square: np.ndarray) -> np.ndarray:
    """Diagonals and, times sqrt(2), what is above them, of all classes."""
    above = np.triu_indices(square.shape[-1], 1)
    return np.concatenate([np.diagonal(square, axis1=1, axis2=2).ravel(), math.sqrt(2) * square[:, *above].ravel()])


def wild_means(private: Images, config: MomentsConfig, size: float, seed: int) -> np.ndarray:
    count = private.shape[2] * kept(private.shape, config.frequencies)
    return size * np.random.default_rng(seed).standard_normal((private.classes, count))


pictures = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 2)), min_size=2, max_size=5)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))
some = st.builds(
    MomentsConfig,
    frequencies=st.integers(5, 40),
    spread_frequencies=st.integers(1, 5),
    spread_norm=st.sampled_from([0.01, 0.25, 3.0]),
    count_share=st.sampled_from([0.0, 0.1, 2.0]),
)


@example(kinds=[("black", 0), ("white", 0), ("checkerboard", 1)], shape=(4, 4, 1), config=SMALL)
@settings(max_examples=25, deadline=None)
@given(kinds=pictures, shape=shapes, config=some)
def test_trap_03_and_04_any_image_moves_the_class_sums_by_at_most_the_sensitivity(
    kinds: list[tuple[str, int]], shape: tuple[int, int, int], config: MomentsConfig
) -> None:
    """n is held fixed by those who read the sums: an image that is gone adds nothing to them."""
    private = images(kinds, shape)
    whole = class_sums(private, config, QUIET, STREAM).value
    for gone in range(len(private)):
        rest = private.select(np.arange(len(private)) != gone)
        moved = np.linalg.norm(whole - class_sums(rest, config, QUIET, STREAM).value)
        assert moved <= mean_sensitivity(config, shape) * ROUNDING
        others = np.arange(3) != private.labels_N[gone]
        np.testing.assert_array_equal(whole[others], class_sums(rest, config, QUIET, STREAM).value[others])


@example(
    kinds=[("black", 0), ("white", 0), ("one pixel", 1)], shape=(4, 4, 1), config=SMALL, own=True, size=1e9, seed=0
)
@settings(max_examples=25, deadline=None)
@given(
    kinds=pictures,
    shape=shapes,
    config=some,
    own=st.booleans(),
    size=st.sampled_from([0.0, 1.0, 1e9]),
    seed=st.integers(0, 9),
)
def test_trap_03_and_04_any_image_moves_the_spread_by_at_most_one(
    kinds: list[tuple[str, int]], shape: tuple[int, int, int], config: MomentsConfig, own: bool, size: float, seed: int
) -> None:
    """Whatever the means are, which are noisy, and may be anything."""
    private = images(kinds, shape)
    means = wild_means(private, config, size, seed)
    whole = as_vector(spread_sums(private, means, config, QUIET, STREAM, own=own).value)
    for gone in range(len(private)):
        rest = private.select(np.arange(len(private)) != gone)
        left = as_vector(spread_sums(rest, means, config, QUIET, STREAM, own=own).value)
        assert np.linalg.norm(whole - left) <= ROUNDING


def test_the_sensitivities_are_met_and_so_not_wasted() -> None:
    board = images([("checkerboard", 0), ("white", 0)], (4, 4, 1))
    config = replace(SMALL, frequencies=16)
    for one in range(2):
        alone = class_sums(board.select([one]), config, QUIET, STREAM).value
        assert np.linalg.norm(alone) == pytest.approx(mean_sensitivity(config, board.shape)) == 2 * math.sqrt(1.01)
    away = spread_sums(board.select([1]), np.zeros((3, 16)), config, QUIET, STREAM, own=True).value
    assert np.linalg.norm(as_vector(away)) == pytest.approx(1.0)


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("shape", [(6, 5, 1), (4, 7, 3)])
def test_the_sums_are_those_of_an_obvious_reference(
    own: bool, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Image by image, in blocks that do not divide their number."""
    from scipy.fft import dctn

    monkeypatch.setattr(moments, "BLOCK", 4)
    private, config = mixed(23, shape), replace(SMALL, frequencies=9)
    means = wild_means(private, config, 0.3, 0)
    first = sorted(np.ndindex(shape[:2]), key=lambda at: (at[0] / shape[0]) ** 2 + (at[1] / shape[1]) ** 2)
    sums, spread = np.zeros((3, 9 * shape[2] + 1)), np.zeros((3, 5 * shape[2], 5 * shape[2]))
    for pixels, label in zip(private.images_NHWC, private.labels_N, strict=True):
        planes = [dctn(pixels[..., channel] / 255 - 0.5, norm="ortho") for channel in range(shape[2])]
        numbers = np.array([[plane[at] for at in first[:9]] for plane in planes])
        sums[label] += [*numbers.ravel(), 0.1 * math.sqrt(math.prod(shape)) / 2]
        away = (numbers[:, :5] - means[label].reshape(shape[2], 9)[:, :5]).ravel() / spread_unit(config, shape)
        away /= max(1.0, np.linalg.norm(away))
        spread[label if own else 0] += np.outer(away, away)
    np.testing.assert_allclose(class_sums(private, config, QUIET, STREAM).value, sums, atol=1e-9)
    found = spread_sums(private, means, config, QUIET, STREAM, own=own).value
    np.testing.assert_allclose(found, spread if own else spread[:1], atol=1e-9)
    np.testing.assert_array_equal(found, found.transpose(0, 2, 1))


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> Iterator[Images]:
    """Images of which nothing is summed."""
    monkeypatch.setattr(moments, "noisy_sum", lambda parts, *more: real([0.0 * part for part in parts], *more))
    from raysyn.privacy.queries.noise import noisy_sum as real

    yield mixed(12, (8, 8, 1))


def test_noise_has_the_size_that_is_paid_for_and_none_is_used_twice(blank: Images) -> None:
    """Chi-square of all numbers at level 1e-6; correlations between classes and stages within 5 standard errors, each
    wrong once in 1.7 million."""
    config = MomentsConfig(frequencies=64, spread_frequencies=24)
    sums = class_sums(blank, config, price(3.0), STREAM).value / (3.0 * 4 * math.sqrt(1.01))
    means = np.zeros((3, 64))
    own = spread_sums(blank, means, config, price(2.0), STREAM, own=True).value / 2.0
    common = spread_sums(blank, means, config, price(2.0), STREAM, own=False).value / 2.0
    vectors = [*sums, *(as_vector(one[None]) for one in (*own, *common))]
    for one in vectors:
        low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(one))
        assert low < one @ one < high and stats.kstest(one, "norm").pvalue > 1e-6
    for at, one in enumerate(vectors):
        for other in vectors[at + 1 :]:
            size = min(len(one), len(other))
            assert abs(np.corrcoef(one[:size], other[:size])[0, 1]) < 5 / size**0.5


def test_trap_02_an_empty_class_is_answered_with_noise_alone() -> None:
    private, means = mixed(12), np.zeros((3, 12))
    assert not np.any(private.labels_N == 2)
    sums = class_sums(private, SMALL, price(1.0), STREAM).value
    spread = spread_sums(private, means, SMALL, price(1.0), STREAM, own=True).value
    without = private.select(np.zeros(12, bool))
    np.testing.assert_array_equal(sums[2], class_sums(without, SMALL, price(1.0), STREAM).value[2])
    np.testing.assert_array_equal(spread[2], spread_sums(without, means, SMALL, price(1.0), STREAM, own=True).value[2])
    assert np.all(sums[2] != 0) and np.all(spread[2] != 0)


def test_trap_05_and_06_one_answer_per_secret() -> None:
    private, means = mixed(12), np.zeros((3, 12))
    for ask in (
        lambda stream: class_sums(private, SMALL, price(1.0), stream),
        lambda stream: spread_sums(private, means, SMALL, price(1.0), stream, own=True),
    ):
        first, again, other = ask(STREAM), ask(STREAM), ask(Stream(bytes(32), "moments"))
        np.testing.assert_array_equal(first.value, again.value)
        assert not np.any(first.value == other.value) and first.cost == price(1.0)


@pytest.mark.parametrize("accountant", ["prv", "rdp"])
@pytest.mark.parametrize(
    ("config", "n", "wanted"),
    [
        (MomentsConfig(), 60_000, 1.0),
        (MomentsConfig(spread_share=0.05), 1_500, 10.0),
        (MomentsConfig(spread_share=0.99), 1_500, 3.0),
        (MomentsConfig(spread_frequencies=0), 1_500, 3.0),
        (MomentsConfig(), 100, 0.1),
    ],
)
def test_a_plan_spends_at_most_the_budget_and_nearly_all_of_it(
    config: MomentsConfig, n: int, wanted: float, accountant: str
) -> None:
    found = plan(config, Budget(epsilon=wanted, accountant=accountant), n, 10, (28, 28, 1))  # type: ignore[arg-type]
    assert list(found.stages) == ([MEANS, SPREAD] if config.spread_frequencies else [MEANS])
    assert found.epsilon() == epsilon(list(found.stages.values()), found.delta, accountant)
    assert 0.998 * wanted <= found.epsilon() <= wanted * (1 + 1e-6)
    assert all(
        (cost.sampling_rate, cost.steps) == (1.0, 1) and "one class" in cost.note for cost in found.stages.values()
    )
    if config.spread_frequencies:
        worth = {stage: found.noise(stage) ** -2 for stage in found.stages}
        share = 0.5 if n == 60_000 else 0.1
        assert worth[SPREAD] / sum(worth.values()) == pytest.approx(config.spread_share or share, rel=0.05)


def test_few_images_need_a_delta_of_their_own() -> None:
    with pytest.raises(ValueError, match=r"the data has 12 images.*--budget\.delta"):
        plan(MomentsConfig(), Budget(), 12, 2, (8, 8, 1))
    assert plan(MomentsConfig(), Budget(delta=1e-3, accountant="rdp"), 12, 2, (8, 8, 1)).delta == 1e-3


def test_the_spread_has_half_where_each_class_has_its_own_and_else_a_tenth() -> None:
    shares = dict[tuple[int, int, float], float]()
    for n, classes, wanted in ((60_000, 10, 1.0), (3_000, 10, 10.0), (3_000, 2, 3.0), (1_000, 10, 10.0), (300, 1, 0.5)):
        for own in (None, True, False):
            config = MomentsConfig(spread_per_class=own)
            found = plan(config, Budget(epsilon=wanted, accountant="rdp"), n, classes, (28, 28, 1))
            worth = {stage: found.noise(stage) ** -2 for stage in found.stages}
            # What the user says of whose it is changes nothing of the share, which follows from what is public.
            share = shares.setdefault((n, classes, wanted), round(worth[SPREAD] / sum(worth.values()), 2))
            assert worth[SPREAD] / sum(worth.values()) == pytest.approx(share, rel=0.05)
            if own is None and classes > 1:
                assert per_class(config, found.stages[SPREAD], n, classes, (28, 28, 1)) == (share == 0.5)
    assert list(shares.values()) == [0.5, 0.5, 0.5, 0.1, 0.1]
    both = costs(MomentsConfig(), 2.0)
    assert both[MEANS].noise_multiplier == both[SPREAD].noise_multiplier == pytest.approx(2 * math.sqrt(2))


def test_whose_spread_is_asked_for_follows_from_what_is_public() -> None:
    config, grey, colour = MomentsConfig(), (28, 28, 1), (28, 28, 3)
    assert not per_class(config, price(1.0), 1_000, 10, grey) and per_class(config, price(1.0), 3_000, 10, grey)
    assert not per_class(config, price(1.0), 3_000, 10, colour) and not per_class(config, price(2.0), 3_000, 10, grey)
    assert not per_class(config, price(1.0), 10**6, 1, grey), "one class has the spread of all"
    for asked in (True, False):
        assert per_class(replace(config, spread_per_class=asked), price(1.0), 3_000, 10, grey) == asked
    # No more frequencies than there are.
    many = MomentsConfig(frequencies=10**4, spread_frequencies=10**4)
    assert per_class(many, price(1.0), 3_000, 10, (8, 8, 1)) and kept((8, 8, 1), 10**4) == 64
    assert mean_norm(colour) == pytest.approx(math.sqrt(28 * 28 * 3) / 2)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"frequencies": 0}, r"moments\.frequencies is 0: give at least 1"),
        ({"spread_frequencies": -1}, r"moments\.spread_frequencies is -1: give 0 to moments\.frequencies, 256"),
        ({"frequencies": 32}, r"moments\.spread_frequencies is 64: give 0 to moments\.frequencies, 32"),
        ({"spread_share": 0.0}, r"moments\.spread_share is 0\.0: give a share from 0\.01 to 0\.99"),
        ({"spread_share": 1.0}, r"moments\.spread_share is 1\.0: give"),
        ({"spread_share": math.nan}, r"moments\.spread_share is nan: give"),
        ({"spread_norm": 0.0}, r"moments\.spread_norm is 0\.0: give a number above 0"),
        ({"spread_norm": math.inf}, r"moments\.spread_norm is inf: give"),
        ({"count_share": -0.1}, r"moments\.count_share is -0\.1: give 0 or more"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(ValueError, match=says) as refused:
        MomentsConfig(**wrong)  # type: ignore[arg-type]
    assert "\n" not in str(refused.value)
