"""Distances to the nearest private image: of copies, and of strangers."""

from __future__ import annotations

import numpy as np
import pytest

from raysyn.data.images import DataConfig, load
from raysyn.metrics.dissimilarity import DissimilarityConfig, dissimilarity


def test_a_copy_is_at_no_distance() -> None:
    digits = load(DataConfig())
    private, test = digits.train.select(slice(0, 400)), digits.test
    released = test.select(np.arange(100, 140))
    # The last private image, so that the search must see them all; one whose neighbour no longer looks like it.
    released.images_NHWC[7] = private.images_NHWC[399]
    raw = test.select(np.arange(100, 140))
    config = DissimilarityConfig(images=50, learn_from=200, epochs=2)
    found = dissimilarity(released, raw, private, test.select(slice(0, 50)), config, 0)
    assert found["pixels"]["released"]["nearest"] == found["features"]["released"]["nearest"] == 0
    assert found["pixels"]["before"]["nearest"] > 0.05
    for kind, curve in found["curves"].items():
        assert curve[0] == pytest.approx(found["features"][kind]["nearest"]) and curve == sorted(curve)
    # Held-out images are the unit of distances between features, and distances of pixels are shares of the range.
    assert abs(found["features"]["held_out"]["median"] - 1) < 1e-6
    assert 0 < found["pixels"]["held_out"]["median"] < 0.5
