"""What a network sees in images, where not all of them fit the memory at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from raysyn.models.perceptual import Perceptual
from raysyn.models.resnet import ResNetConfig, resnet
from raysyn.train import perceptual
from raysyn.train.perceptual import perceived

CPU = torch.device("cpu")


class Memory:
    """Holds `fits` images at once, from the `after`-th call on."""

    def __init__(self, features: Perceptual, fits: int, after: int) -> None:
        self.both, self.fits, self.after, self.sizes = features.both, fits, after, list[int]()

    def __call__(self, images: torch.Tensor, **how: Any) -> Any:
        self.sizes.append(len(images))
        if len(images) > self.fits and len(self.sizes) > self.after:
            raise torch.OutOfMemoryError
        return self.both(images, **how)


def few() -> tuple[Perceptual, np.ndarray]:
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (11, 8, 8, 1), dtype=np.uint8)
    return Perceptual(resnet(ResNetConfig(blocks=1, width=1), 1, 3), squares=True), pixels


@pytest.mark.parametrize(
    ("fits", "after", "sizes"),
    [(4, 0, [8, 4, 4, 4]), (4, 1, [8, 8, 4]), (1, 0, [8, 4, 2, *[1] * 11]), (3, 1, [8, 8, 4, 2, 2])],
)
def test_blocks_shrink_until_they_fit_and_no_image_is_left_out_or_seen_twice(
    fits: int, after: int, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever memory runs out."""
    monkeypatch.setattr(perceptual, "BATCH", 8)
    features, pixels = few()
    wanted = [np.concatenate(rows) for rows in zip(*perceived(features, pixels, CPU), strict=True)]
    memory = Memory(features, fits, after)
    monkeypatch.setattr(features, "both", memory)
    found = [np.concatenate(rows) for rows in zip(*perceived(features, pixels, CPU), strict=True)]
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert memory.sizes == sizes


def test_an_image_that_does_not_fit_alone_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    features, pixels = few()
    monkeypatch.setattr(features, "both", Memory(features, 0, 0))
    with pytest.raises(torch.OutOfMemoryError):
        next(perceived(features, pixels, CPU))
