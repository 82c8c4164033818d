"""TrivialAugment against torchvision's operations, image by image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as V

from raysyn.train.trivial_augment import OPERATIONS, trivial_augment


def affine(image: torch.Tensor, x: int = 0, y: int = 0, shear: tuple[float, float] = (0, 0)):
    """torchvision's affine map, shears about the upper left corner as in its TrivialAugmentWide."""
    return V.affine(
        image, angle=0, translate=[x, y], scale=1.0, shear=list(shear), interpolation=InterpolationMode.BILINEAR,
        center=[0, 0],
    )  # fmt: skip


def reference(name: str, image: torch.Tensor, s: float) -> torch.Tensor:
    """The operation of torchvision's TrivialAugmentWide on one uint8 image (C, H, W)."""
    side = image.shape[-1]
    shear = math.degrees(math.atan(0.99 * s))
    return {
        "Identity": lambda: image,
        "ShearX": lambda: affine(image, shear=(shear, 0)),
        "ShearY": lambda: affine(image, shear=(0, shear)),
        "TranslateX": lambda: affine(image, x=round(s * side)),
        "TranslateY": lambda: affine(image, y=round(s * side)),
        "Rotate": lambda: V.rotate(image, -135 * s, interpolation=InterpolationMode.BILINEAR),
        "Brightness": lambda: V.adjust_brightness(image, 1 + 0.99 * s),
        "Color": lambda: V.adjust_saturation(image, 1 + 0.99 * s),
        "Contrast": lambda: V.adjust_contrast(image, 1 + 0.99 * s),
        "Sharpness": lambda: V.adjust_sharpness(image, 1 + 0.99 * s),
        "Posterize": lambda: V.posterize(image, 8 - round(6 * abs(s))),
        "Solarize": lambda: V.solarize(image, 255 * (1 - abs(s))),
        "AutoContrast": lambda: V.autocontrast(image),
        "Equalize": lambda: V.equalize(image),
    }[name]()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_equals_torchvision_image_by_image(name: str, channels: int) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, channels, 20, 20), generator=random, dtype=torch.uint8)
    strengths = torch.tensor([-1.0, -0.7, -0.1, 0.2, 0.5, 0.9])
    ours = OPERATIONS[name](images.float(), strengths).round().clamp(0, 255)
    for image, s, mine in zip(images, strengths.tolist(), ours, strict=True):
        off = (mine - reference(name, image, s).float()).abs()
        # torchvision cuts fractions off where we round; bilinear edges may land on the other side of zero.
        assert off.max() <= 1 or off.mean() < 0.05, f"strength {s}: {off.max()}"


def test_the_same_seed_gives_the_same_images_and_all_operations_are_drawn() -> None:
    images = torch.randint(0, 256, (400, 12, 12, 1), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    once, again, other = (trivial_augment(images, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert once.dtype == torch.uint8 and once.shape == images.shape
    assert torch.equal(once, again) and not torch.equal(once, other)
    same = (once == images).flatten(1).all(1).float().mean()
    # Identity, and the many strengths of others that change nothing.
    assert 1 / 14 / 2 < same < 0.35
