"""Distances to the nearest private image: of copies, of strangers, and which pairs are shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from raysyn.data.images import DataConfig, Images, load
from raysyn.metrics import dissimilarity as metric
from raysyn.metrics.dissimilarity import DissimilarityConfig, dissimilarity, flat


def test_a_copy_is_at_no_distance_and_is_shown_first() -> None:
    digits = load(DataConfig())
    private, test = digits.train.select(slice(0, 400)), digits.test
    released = test.select(np.arange(100, 140))
    # The last private image, so that the search must see them all; one whose neighbour no longer looks like it.
    released.images_NHWC[7] = private.images_NHWC[399]
    raw = test.select(np.arange(100, 140))
    config = DissimilarityConfig(images=50, learn_from=200, epochs=2, show_private=True)
    found = dissimilarity(released, raw, private, test.select(slice(0, 50)), config, 0)
    assert found["pixels"]["released"]["nearest"] == found["features"]["released"]["nearest"] == 0
    assert found["pixels"]["before"]["nearest"] > 0.05
    assert np.array_equal(found["closest"][0, 0], found["closest"][0, 2])
    assert np.array_equal(found["closest"][0, 0].numpy(), private.images_NHWC[399])
    assert np.array_equal(found["closest"][0, 1].numpy(), raw.images_NHWC[7])
    for kind, curve in found["curves"].items():
        assert curve[0] == pytest.approx(found["features"][kind]["nearest"]) and curve == sorted(curve)
    # Held-out images are the unit of distances between features, and distances of pixels are shares of the range.
    assert abs(found["features"]["held_out"]["median"] - 1) < 1e-6
    assert 0 < found["pixels"]["held_out"]["median"] < 0.5
    # Unless asked for, no private image is shown.
    config = replace(config, show_private=False)
    assert dissimilarity(released, raw, private, test.select(slice(0, 50)), config, 0)["closest"].shape[1] == 2


def test_the_nearest_is_the_nearest_however_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    queries, among = (
        Images(rng.integers(0, 256, (n, 4, 5, 3), np.uint8), np.zeros(n, np.int64), ("a",)) for n in (103, 40)
    )
    all_of_them = (flat(queries)[:, None] - flat(among)[None]).square().sum(2).sqrt()
    for block in (7, 40, 1000):
        monkeypatch.setattr(metric, "BLOCK", block * 4 * 5 * 3)
        far, who = metric.nearest(queries, among, flat)
        assert torch.allclose(far, all_of_them.min(1).values, atol=1e-5)
        assert torch.equal(who, all_of_them.argmin(1))
