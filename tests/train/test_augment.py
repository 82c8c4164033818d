"""The bag of 14: each operation does what its name says, for grey, colour and tiny images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from raysyn.train.augment import BAG, AugmentConfig


def _images(n: int, side: int, channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, side, side, channels), dtype=torch.uint8, generator=generator)


def test_the_bag_holds_the_published_fourteen() -> None:
    assert list(BAG) == [
        "AutoContrast", "Equalize", "Invert", "Rotate", "Posterize", "Solarize", "Color", "Contrast",
        "Brightness", "Sharpness", "ShearX", "ShearY", "TranslateX", "TranslateY",
    ]  # fmt: skip
    assert AugmentConfig().operations == 2 and len(AugmentConfig().bag) == 14


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28])
@pytest.mark.parametrize("name", BAG)
def test_every_operation_keeps_shape_and_type(name: str, side: int, channels: int) -> None:
    images = _images(3, side, channels).permute(0, 3, 1, 2)
    for strength in (-1.0, -0.1, 0.1, 1.0):
        changed = BAG[name](images, strength)
        assert changed.shape == images.shape and changed.dtype == torch.uint8
    # Strength 0 is no change, but for three operations that have no strength, and white under Solarize.
    if name not in ("AutoContrast", "Equalize", "Invert", "Solarize"):
        assert (BAG[name](images, 0.0).int() - images.int()).abs().max() <= 1
    if name == "Color" and channels == 1:
        assert torch.equal(BAG[name](images, 1.0), images)


def test_shifts_go_where_they_say() -> None:
    image = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    image[..., 10, 10] = 200
    for name, strength, row, column in (("TranslateX", 0.4, 10, 14), ("TranslateY", -0.4, 6, 10)):
        moved = BAG[name](image, strength)
        assert moved[0, 0, row, column] == 200 and moved.sum() == 200


def test_an_image_depends_on_its_seed_alone_and_inputs_stay_as_they_are() -> None:
    augment, images = AugmentConfig(magnitude=(1, 9)), _images(40, 12, 1)
    before, seeds = images.clone(), [2**63 - 1 - i for i in range(40)]
    together = augment(images, seeds)
    assert torch.equal(images, before)
    alone = torch.cat([augment(images[i : i + 1], [seeds[i]]) for i in range(40)])
    assert torch.equal(together, alone)
    assert (together != images).flatten(1).any(1).float().mean() > 0.7


def test_all_operations_are_drawn_with_both_signs_and_all_magnitudes() -> None:
    drawn = [tuple(pair) for seed in range(1500) for pair in AugmentConfig()._draw(seed).tolist()]
    assert len(set(drawn)) == 14 * 2 * 3
    assert max(drawn.count(pair) for pair in set(drawn)) < 3 * len(drawn) / 84


def test_no_operations_is_no_change() -> None:
    images = _images(2, 8, 1)
    assert torch.equal(AugmentConfig(operations=0)(images, [1, 2]), images)


def test_bad_settings_name_the_field() -> None:
    with pytest.raises(ValueError, match=r"augment\.magnitude"):
        AugmentConfig(magnitude=(5, 2))
    with pytest.raises(ValueError, match="Blur"):
        AugmentConfig(bag=("Blur",))
    with pytest.raises(ValueError, match=r"augment\.operations"):
        AugmentConfig(bag=())
