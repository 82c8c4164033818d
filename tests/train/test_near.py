"""The nearest of other images, whatever is looked at together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysyn.data.images import Images
from raysyn.train import near
from raysyn.train.near import flat, nearest


def noise(count: int, shape: tuple[int, int, int] = (4, 5, 3), seed: int = 0) -> Images:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)
    return Images(pixels, np.zeros(count, np.int64), ("a",))


@pytest.mark.parametrize("count", [1, 3])
def test_the_nearest_are_the_nearest_however_many_blocks(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    queries, among = noise(103), noise(40, seed=1)
    apart = torch.cdist(flat(queries), flat(among), compute_mode="donot_use_mm_for_euclid_dist")
    own = torch.cdist(flat(queries), flat(queries), compute_mode="donot_use_mm_for_euclid_dist")
    units = np.arange(103) // 2
    own[torch.from_numpy(units[:, None] == units)] = torch.inf
    for block in (2, 7, 40, 1000):
        monkeypatch.setattr(near, "BLOCK", block * 4 * 5 * 3)
        for found, wanted in (
            (nearest(queries, among, flat, count=count), apart),
            (nearest(queries, queries, flat, units, count), own),
        ):
            values, places = wanted.topk(count, largest=False)
            assert torch.allclose(found.far, values, atol=1e-5) and torch.equal(found.who, places)


def test_where_there_is_none_it_is_endlessly_far() -> None:
    one = noise(1)
    assert nearest(one, one, flat, np.zeros(1, np.int64)).far.tolist() == [[np.inf]]
    assert nearest(one, one, flat, count=2).far.tolist() == [[0.0, np.inf]]
    assert nearest(one, one.select([]), flat).far.tolist() == [[np.inf]]


def test_large_images_are_averaged_down() -> None:
    assert flat(noise(3, (70, 70, 1))).shape == (3, 24 * 24) and flat(noise(3, (6, 6, 1))).shape == (3, 36)
