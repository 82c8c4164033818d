"""The bag of 14 augmentations that keeps warm-up from memorising a few central images (paper 3.1.3 and B.3).

RandAugment's operations (Cubuk et al. 2020), a few drawn in sequence for each image. A magnitude runs from 0
(no change, but that Solarize turns white to black) to 10 (the strongest), in torchvision's ranges: in the first
TensorFlow code a low magnitude of Posterize, Solarize and the blends meant a strong change, which blackens images at
the magnitudes 1 to 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

STRONGEST = 10


def _ops() -> Any:
    # Imported where it is used, not above: torchvision costs more than all of raysyn, and most need none of it.
    from torchvision.transforms.v2 import functional

    return functional


def _affine(
    images: Tensor, degrees: float = 0.0, x: float = 0.0, y: float = 0.0, shear_x: float = 0.0,
    shear_y: float = 0.0,
) -> Tensor:  # fmt: skip
    """Rotate, shift by (x, y) times the side, shear by (shear_x, shear_y) pixels per pixel; fill with 0."""
    from torchvision.transforms.v2 import InterpolationMode

    height, width = images.shape[-2:]
    return _ops().affine(
        images, angle=degrees, translate=[round(x * width), round(y * height)], scale=1.0,
        shear=[np.degrees(np.arctan(shear_x)), np.degrees(np.arctan(shear_y))],
        interpolation=InterpolationMode.BILINEAR,
    )  # fmt: skip


# Each takes uint8 (N, C, H, W) and a signed strength in [-1, 1].
BAG: dict[str, Callable[[Tensor, float], Tensor]] = {
    "AutoContrast": lambda x, s: _ops().autocontrast(x),
    "Equalize": lambda x, s: _ops().equalize(x),
    "Invert": lambda x, s: _ops().invert(x),
    "Rotate": lambda x, s: _affine(x, degrees=30 * s),
    "Posterize": lambda x, s: _ops().posterize(x, 8 - round(4 * abs(s))),
    "Solarize": lambda x, s: _ops().solarize(x, 255 * (1 - abs(s))),
    "Color": lambda x, s: _ops().adjust_saturation(x, 1 + 0.9 * s),
    "Contrast": lambda x, s: _ops().adjust_contrast(x, 1 + 0.9 * s),
    "Brightness": lambda x, s: _ops().adjust_brightness(x, 1 + 0.9 * s),
    "Sharpness": lambda x, s: _ops().adjust_sharpness(x, 1 + 0.9 * s),
    "ShearX": lambda x, s: _affine(x, shear_x=0.3 * s),
    "ShearY": lambda x, s: _affine(x, shear_y=0.3 * s),
    "TranslateX": lambda x, s: _affine(x, x=0.45 * s),
    "TranslateY": lambda x, s: _affine(x, y=0.45 * s),
}


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Random changes to each image before each warm-up step; call it with images and seeds."""

    operations: int = 2
    """Operations drawn in sequence per image; 0 switches augmentation off."""
    magnitude: tuple[int, int] = (1, 3)
    """Weakest and strongest magnitude, of 10 (published: 1 to 3 for grey images, 1 to 9 for colour)."""
    bag: tuple[str, ...] = tuple(BAG)
    """Operations to draw from."""

    def __post_init__(self) -> None:
        weakest, strongest = self.magnitude
        if not 0 <= weakest <= strongest <= STRONGEST:
            raise ValueError(f"augment.magnitude is {self.magnitude}; give two rising numbers up to 10.")
        if unknown := [name for name in self.bag if name not in BAG]:
            raise ValueError(f"augment.bag has {unknown[0]!r}; choose from {', '.join(BAG)}.")
        if self.operations < 0 or (self.operations and not self.bag):
            raise ValueError(
                f"augment.operations is {self.operations} and augment.bag holds {len(self.bag)}; "
                "give at least 0, and something to draw from."
            )

    def __call__(self, images_BHWC: Tensor, seeds: Sequence[int]) -> Tensor:
        """The augmented images: uint8 (B, H, W, C) on the CPU; each depends on itself and its seed alone."""
        if not self.operations:
            return images_BHWC
        images = images_BHWC.permute(0, 3, 1, 2).clone(memory_format=torch.contiguous_format)
        drawn = np.array([self._draw(seed) for seed in seeds])
        for round_ in range(self.operations):
            # Images with the same operation and strength go through it together.
            alike: dict[tuple[int, int], list[int]] = defaultdict(list)
            for index, (operation, strength) in enumerate(drawn[:, round_].tolist()):
                alike[operation, strength].append(index)
            for (operation, strength), members in alike.items():
                images[members] = BAG[self.bag[operation]](images[members], strength / STRONGEST)
        return images.permute(0, 2, 3, 1).contiguous()

    def _draw(self, seed: int) -> np.ndarray:
        """(operations, 2): index into the bag, signed magnitude."""
        rng = np.random.default_rng(seed)
        magnitudes = rng.integers(self.magnitude[0], self.magnitude[1] + 1, size=self.operations)
        signs = rng.choice((-1, 1), size=self.operations)
        return np.stack((rng.integers(len(self.bag), size=self.operations), signs * magnitudes), axis=1)
