"""Membership by quantile regression."""

from __future__ import annotations

import numpy as np

from raysyn.attacks import quantiles
from raysyn.attacks.verdict import area
from raysyn.data.images import Images


def bright(rng: np.random.Generator, count: int) -> tuple[Images, np.ndarray]:
    """Images of one grey each, and that grey in [0, 1]."""
    grey_N = rng.integers(0, 256, count)
    pixels = np.broadcast_to(grey_N[:, None, None, None], (count, 8, 8, 1)).astype(np.uint8)
    return Images(pixels, np.zeros(count, np.int64), ("a", "b")), grey_N / 255


def areas(rng: np.random.Generator, gain: float, seed: int) -> tuple[float, float]:
    """Areas by regression and by one threshold for all, where confidence follows brightness and members gain."""
    images, grey_N = bright(rng, 600)
    role_N = np.arange(600) % 3
    said_N = 8 * grey_N + 0.5 * rng.standard_normal(600) + gain * (role_N == 0)
    score_N = quantiles.regress("t", (images, role_N == 1, {"t": said_N}, seed)).numpy()
    return area(score_N[role_N == 0], score_N[role_N == 2]), area(said_N[role_N == 0], said_N[role_N == 2])


def test_it_beats_one_threshold_for_all_where_difficulty_varies_by_image() -> None:
    regressed, threshold = areas(np.random.default_rng(0), 1.0, 0)
    assert regressed > threshold + 0.1


def test_nothing_is_found_where_members_gain_nothing() -> None:
    """The mean of 8 areas of 200 against 200 deviates by 0.029 / sqrt(8); 3.3 of these are left in 1 of 1,000."""
    found = [areas(np.random.default_rng(repeat), 0.0, repeat)[0] for repeat in range(8)]
    assert abs(np.mean(found) - 0.5) < 3.3 * 0.029 / np.sqrt(8)
