"""Sensitivities by brute force, fixed denominators, and what the answers look like."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from raysyn.data.images import Images
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries.central import CentralConfig, Query, central_images, class_counts, mean_query, mode_query
from raysyn.privacy.queries.noise import noisy_sum

STREAM = Stream(bytes(range(32)), "central")
QUIET = 1e-9
"""A noise multiplier that leaves the answer, yet is not 0."""


def images(labels: list[int], shape: tuple[int, int, int], classes: int, seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (len(labels), *shape), dtype=np.uint8)
    pixels[: len(labels) // 3] = 255  # the brightest image meets the bound exactly
    return Images(pixels, np.array(labels, dtype=np.int64), tuple(f"c{i}" for i in range(classes)))


def cell_sums(data: Images, query: Query, taking: np.ndarray) -> np.ndarray:
    """Noise-free sums of all classes, as one vector, for a fixed mask of participants."""
    cells = [taking & (data.labels_N == label) for label in range(data.classes)]
    zero = np.zeros(query.size)
    return np.concatenate(
        [
            noisy_sum([query.total(data.images_NHWC[cell], np.ones(cell.sum()))], query.sensitivity, 1.0, zero)
            for cell in cells
        ]
    )


configs = st.builds(
    CentralConfig,
    kind=st.sampled_from(["mean", "mode"]),
    count=st.just(3),
    clip_norm=st.none() | st.floats(0.01, 20.0),
    downscale=st.none() | st.integers(1, 3),
    bins=st.none() | st.integers(2, 9),
    count_share=st.sampled_from([0.0, 0.1, 2.0]),
)
shapes = st.tuples(st.integers(1, 7), st.integers(1, 7), st.sampled_from([1, 3]))


# What is drawn may well miss the cases that matter: a clip that bites, alone and beside a count, and one that is off.
@example(CentralConfig(count=3, clip_norm=0.3, count_share=0.0), (5, 6, 1), [0, 1, 1, 2], 0)
@example(CentralConfig(count=3, clip_norm=0.3, downscale=1, count_share=2.0), (5, 6, 3), [0, 1, 1, 2], 1)
@example(CentralConfig(count=3, downscale=1), (5, 6, 1), [0, 1, 1, 2], 2)
@example(CentralConfig(count=3, kind="mode", bins=9), (5, 6, 3), [0, 1, 1, 2], 3)
@settings(max_examples=40, deadline=None)
@given(
    config=configs,
    shape=shapes,
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=8),
    seed=st.integers(0, 9),
)
def test_trap_03_and_04_removing_any_record_moves_the_sums_by_at_most_the_sensitivity(
    config: CentralConfig, shape: tuple[int, int, int], labels: list[int], seed: int
) -> None:
    """Every neighbour of unbalanced data with, often, empty classes; noise off and the masks fixed."""
    data = images(labels, shape, classes=3, seed=seed)
    query = (mean_query if config.kind == "mean" else mode_query)(config, shape)
    taking = np.random.default_rng(seed).random(len(data)) < 0.7
    taking[0] = True  # white, where any image is
    whole = cell_sums(data, query, taking)
    for gone in range(len(data)):
        left = np.arange(len(data)) != gone
        moved = np.linalg.norm(whole - cell_sums(data.select(left), query, taking[left]))
        assert moved <= query.sensitivity * (1 + 1e-12)


@pytest.mark.parametrize("kind", ["mean", "mode"])
def test_the_sensitivity_is_met_and_so_not_wasted(kind: str) -> None:
    config = CentralConfig(kind=kind, downscale=1)  # type: ignore[arg-type]
    query = (mean_query if kind == "mean" else mode_query)(config, (4, 4, 1))
    white = np.full((1, 4, 4, 1), 255, np.uint8)
    assert np.linalg.norm(query.total(white, np.ones(1))) == pytest.approx(query.sensitivity)
    assert query.sensitivity == pytest.approx(4 * math.sqrt(1.01) if kind == "mean" else 4.0)


@pytest.mark.parametrize("share", [0.0, 0.1, 2.0])
def test_the_clip_of_a_mean_bites(share: float) -> None:
    """A white image adds the clip norm and its count, no more; one that is darker than the clip adds itself."""
    query = mean_query(CentralConfig(clip_norm=0.3, downscale=1, count_share=share), (4, 4, 1))
    white, dark = np.full((1, 4, 4, 1), 255, np.uint8), np.zeros((1, 4, 4, 1), np.uint8)
    dark[0, 0, 0] = 51
    assert np.linalg.norm(query.total(white, np.ones(1))[:16]) == pytest.approx(0.3)
    assert (
        np.linalg.norm(query.total(white, np.ones(1)))
        == pytest.approx(query.sensitivity)
        == 0.3 * math.sqrt(1 + share**2)
    )
    assert query.total(dark, np.ones(1))[0] == pytest.approx(0.2) and query.total(dark, np.ones(1))[1:16].max() == 0


def test_trap_16_changing_a_label_touches_two_cells() -> None:
    """Replacement is not what is promised: it moves the sums by sqrt(2) times the sensitivity."""
    data = images([0, 0, 1], (4, 4, 1), classes=2)
    data.images_NHWC[:] = 255
    query = mean_query(CentralConfig(), data.shape)
    relabelled = Images(data.images_NHWC, np.array([0, 1, 1]), data.class_names)
    everyone = np.ones(3, bool)
    moved = cell_sums(data, query, everyone) - cell_sums(relabelled, query, everyone)
    assert np.linalg.norm(moved) == pytest.approx(math.sqrt(2) * query.sensitivity)
    cost = CentralConfig(count=4).cost(2)
    assert cost is not None and cost.steps == 2 and "disjoint classes" in cost.note


@pytest.mark.parametrize("kind", ["mean", "mode"])
def test_trap_02_empty_classes_and_samples_are_answered_with_noise(kind: str) -> None:
    config = CentralConfig(kind=kind, count=12, sampling_rate=1e-6)  # type: ignore[arg-type]
    data = images([0] * 9 + [1], (8, 8, 1), classes=3)
    assert all(len(participants(STREAM, step, 10, 1e-6)) == 0 for step in range(4))
    value = central_images(data, config, STREAM).value
    assert value.labels_N.tolist() == [0, 1, 2] * 4
    assert len({image.tobytes() for image in value.images_NHWC}) == 12


@example(multiplier=5.0, sensitivity=0.3)
@settings(max_examples=5, deadline=None)
@given(multiplier=st.floats(0.1, 10.0), sensitivity=st.floats(0.1, 10.0))
def test_noise_has_the_promised_size(multiplier: float, sensitivity: float) -> None:
    noise = STREAM.normal(0, "size", 20_000)
    answer = noisy_sum([np.ones(20_000)] * 3, sensitivity, multiplier, noise) - 3.0
    assert answer.std() == pytest.approx(multiplier * sensitivity, rel=0.03)
    np.testing.assert_allclose(noisy_sum([], sensitivity, multiplier, noise), answer, atol=1e-9)


def test_noise_of_the_whole_query_is_calibrated_to_the_sensitivity() -> None:
    """Black images: all that remains is noise, and its spread is multiplier * sensitivity / (q n / classes)."""
    black = Images(np.zeros((900, 16, 16, 1), np.uint8), np.arange(900) % 3, ("a", "b", "c"))
    config = CentralConfig(count=60, downscale=1, count_share=0.0, smooth=False)
    pixels = central_images(black, config, STREAM).value.images_NHWC / 255.0
    wanted = 5.0 * 16.0 / (0.1 * 900 / 3)
    # Clamping to [0, 1] hides the size, but not how often noise lands inside the open interval.
    inside = float(np.mean((pixels > 0.002) & (pixels < 0.998)))
    assert inside == pytest.approx(norm.cdf(1 / wanted) - 0.5, rel=0.05)


def test_trap_04_denominators_are_what_sampling_expects() -> None:
    """Grey images of one brightness come back at that brightness, on average over rounds, for equal classes."""
    grey = Images(np.full((3_000, 6, 6, 1), 100, np.uint8), np.arange(3_000) % 3, ("a", "b", "c"))
    # Without counts, which would put a wrong denominator right again.
    config = CentralConfig(count=90, noise_multiplier=QUIET, sampling_rate=0.3, smooth=False, count_share=0.0)
    mean = float(central_images(grey, config, STREAM).value.images_NHWC.mean())
    # Binomial batch sizes of 900 * 30 draws: three standard errors are 1.5 %.
    assert mean == pytest.approx(100.0, rel=0.015)


def test_noisy_counts_put_unbalanced_classes_right() -> None:
    labels = np.repeat([0, 1], [12_000, 3_000])
    grey = Images(np.full((15_000, 8, 8, 1), 100, np.uint8), labels, ("many", "few"))
    config = CentralConfig(count=20, smooth=False, noise_multiplier=1.0)
    by_class = central_images(grey, config, STREAM).value.images_NHWC.reshape(10, 2, -1).mean(axis=(0, 2))
    np.testing.assert_allclose(by_class, 100, rtol=0.1)
    paper = dataclasses.replace(config, count_share=0.0)
    by_class = central_images(grey, paper, STREAM).value.images_NHWC.reshape(10, 2, -1).mean(axis=(0, 2))
    np.testing.assert_allclose(by_class, [160, 40], rtol=0.1)


def test_counts_that_drown_in_noise_are_not_believed() -> None:
    noisy = 18 + 250 * np.random.default_rng(0).standard_normal((5, 10))
    np.testing.assert_allclose(class_counts(noisy, 18.0, 250.0, 0.1), 18.0, rtol=0.5)
    np.testing.assert_allclose(class_counts(np.array([[900.0, 100.0]]), 500.0, 1.0, 0.5), [900, 100], rtol=0.01)
    # Negative and absent counts stay usable as denominators.
    assert class_counts(np.array([[1000.0, -5.0]]), 500.0, 1.0, 0.5).min() == pytest.approx(25.0)


def test_means_and_modes_are_those_of_the_images() -> None:
    random = np.random.default_rng(1)
    patterns = np.kron(random.integers(0, 2, (2, 4, 4)), np.ones((2, 2)))[..., None] * 255
    labels = np.arange(400) % 2
    data = Images(patterns[labels].astype(np.uint8), labels, ("a", "b"))
    exact = CentralConfig(count=2, noise_multiplier=QUIET, sampling_rate=1.0, downscale=1, smooth=False)
    np.testing.assert_array_equal(central_images(data, exact, STREAM).value.images_NHWC, patterns)
    modes = central_images(data, dataclasses.replace(exact, kind="mode"), STREAM).value.images_NHWC
    # Of two bins the colours themselves, as in the authors' code; of more, the middle of the fullest (equation 7).
    np.testing.assert_array_equal(modes, patterns)
    four = dataclasses.replace(exact, kind="mode", bins=4)
    np.testing.assert_array_equal(
        central_images(data, four, STREAM).value.images_NHWC, np.where(patterns > 0, round(255 * 7 / 8), round(255 / 8))
    )


@pytest.mark.parametrize("kind", ["mean", "mode"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 7, 3), (13, 13, 1), (1, 1, 3)])
@pytest.mark.parametrize("downscale", [None, 1, 4])
def test_every_shape_comes_back(kind: str, shape: tuple[int, int, int], downscale: int | None) -> None:
    data = images([0, 1, 1, 1, 0, 1], shape, classes=2)
    for conditional in (True, False):
        config = CentralConfig(kind=kind, count=4, downscale=downscale, conditional=conditional)  # type: ignore[arg-type]
        release = central_images(data, config, STREAM)
        assert release.value.shape == shape and len(release.value) == 4
        assert release.value.class_names == data.class_names
        assert release.cost == config.cost(2) and release.cost.steps == (2 if conditional else 4)


def test_trap_05_and_06_one_release_per_secret() -> None:
    """Whoever computes it releases the same bytes; another secret gives other noise."""
    data = images([0, 1] * 20, (8, 8, 1), classes=2)
    config = CentralConfig(count=4)
    first, again = (central_images(data, config, STREAM).value.images_NHWC for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = central_images(data, config, Stream(bytes(32), "central")).value.images_NHWC
    assert np.mean(first == other) < 0.5


def test_count_zero_costs_nothing_and_answers_nothing() -> None:
    config = CentralConfig(count=0)
    assert config.cost(10) is None
    with pytest.raises(ValueError, match=r"central\.count is 0"):
        central_images(images([0], (8, 8, 1), 1), config, STREAM)


@pytest.mark.parametrize(
    ("field", "value"),
    [("count", -1), ("clip_norm", 0.0), ("downscale", 0), ("bins", 1), ("count_share", -0.1)],
)
def test_bad_values_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        CentralConfig(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("conditional", "rounds", "answers"), [(True, 2, 20), (False, 15, 15)])
def test_counts_are_rounded_up_to_whole_rounds(conditional: bool, rounds: int, answers: int) -> None:
    config = CentralConfig(count=15, conditional=conditional)
    cost = config.cost(10)
    assert cost is not None and cost.steps == rounds
    release = central_images(images(list(range(10)), (8, 8, 1), 10), config, STREAM)
    assert len(release.value) == answers and release.cost == cost


@pytest.mark.parametrize(("side", "factor"), [(8, 2), (28, 2), (32, 2), (64, 4), (128, 8)])
def test_larger_images_shrink_more_before_the_mean_query(side: int, factor: int) -> None:
    assert mean_query(CentralConfig(), (side, side, 1)).factor == factor
