"""The lowest frequencies of an image: an orthonormal basis, so that no norm grows on the way in or out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysyn.data.frequencies import lowest, to_frequencies, to_images

SHAPES = [(8, 8, 1), (8, 8, 3), (9, 12, 1), (11, 5, 3), (1, 4, 1)]


def images(shape: tuple[int, int, int], count: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def cosines(size: int) -> np.ndarray:
    """Rows are the cosines of Ahmed, Natarajan and Rao (1974), of length 1."""
    rows, columns = np.arange(size)[:, None], np.arange(size)
    matrix = np.cos(np.pi * rows * (2 * columns + 1) / (2 * size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_orthonormal_cosine_transform(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    down, right = cosines(height), cosines(width)
    np.testing.assert_allclose(down @ down.T, np.eye(height), atol=1e-12)
    given, count = images(shape), height * width // 2
    found = to_frequencies(given, count).reshape(len(given), channels, count)
    whole = np.einsum("uh,nhwc,vw->ncuv", down, given / 255 - 0.5, right).reshape(len(given), channels, -1)
    np.testing.assert_allclose(found, whole[..., lowest(height, width, count)], atol=1e-12)


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3])),
    count=st.integers(1, 100),
    kind=st.sampled_from(["noise", "black", "white", "checkerboard"]),
    seed=st.integers(0, 99),
)
def test_norms_never_grow(shape: tuple[int, int, int], count: int, kind: str, seed: int) -> None:
    pixels = images(shape, seed=seed)
    if kind == "checkerboard":
        pixels[:] = 255 * (np.indices(shape).sum(axis=0) % 2)
    elif kind != "noise":
        pixels[:] = 255 * (kind == "white")
    norms = np.linalg.norm(to_frequencies(pixels, count), axis=1)
    own = np.linalg.norm((pixels / 255 - 0.5).reshape(len(pixels), -1), axis=1)
    assert np.all(norms <= own * (1 + 1e-12)) and own.max() <= math.sqrt(math.prod(shape)) / 2 * (1 + 1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_frequencies_give_the_image_back(shape: tuple[int, int, int]) -> None:
    given = images(shape)
    everything = to_frequencies(given, 10**6)
    assert everything.shape == (len(given), math.prod(shape))
    np.testing.assert_array_equal(to_images(everything, shape), given)


def test_the_lowest_come_first_and_more_of_them_begin_with_fewer() -> None:
    assert lowest(4, 4, 6).tolist() == [0, 1, 4, 5, 2, 8]
    # In cycles per pixel: two waves along 8 pixels are as high as one along 4.
    assert lowest(8, 4, 4).tolist() == [0, 4, 1, 8]
    assert sorted(lowest(3, 5, 99).tolist()) == list(range(15))
    given = images((9, 12, 3))
    few, many = (to_frequencies(given, count).reshape(4, 3, count) for count in (5, 50))
    np.testing.assert_array_equal(many[..., :5], few)


def test_grey_is_nothing_and_brightness_is_the_first() -> None:
    white = to_frequencies(np.full((1, 6, 4, 3), 255, np.uint8), 3).reshape(3, 3)
    np.testing.assert_allclose(white, [[math.sqrt(24) / 2, 0, 0]] * 3, atol=1e-12)
    assert to_images(np.zeros((2, 9)), (6, 4, 3)).tolist() == np.full((2, 6, 4, 3), 128).tolist()


def test_what_is_no_brightness_is_clipped() -> None:
    shown = to_images(np.array([[1e6, 0.0], [-1e6, 0.0]]), (4, 4, 1))
    assert shown.dtype == np.uint8 and np.all(shown[0] == 255) and np.all(shown[1] == 0)
