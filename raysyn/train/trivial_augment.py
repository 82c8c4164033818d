"""TrivialAugment (Müller and Hutter, ICCV 2021), wide ranges: one random change of random strength per image.

All images that drew the same operation go through it together, each at its own strength, so that a batch costs
about as much as fourteen small ones, on a CPU as on a GPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

BINS = 31
GREY = (0.2989, 0.587, 0.114)


def _warp(images: Tensor, matrix_N23: Tensor) -> Tensor:
    """Each pixel at (x, y), measured from the centre, takes the value found at matrix @ (x, y, 1); 0 outside."""
    n, _, height, width = images.shape
    # grid_sample measures in half sides.
    half = torch.tensor([width / 2, height / 2], device=images.device)
    theta = matrix_N23.clone()
    theta[:, :, :2] *= half / half[:, None]
    theta[:, :, 2] /= half
    grid = F.affine_grid(theta, [n, images.shape[1], height, width], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _matrix(strength_N: Tensor, **entries: Tensor) -> Tensor:
    """(N, 2, 3): the identity with `entries` a, b, x, c, d, y put in."""
    one, zero = torch.ones_like(strength_N), torch.zeros_like(strength_N)
    default = {"a": one, "b": zero, "x": zero, "c": zero, "d": one, "y": zero}
    return torch.stack([entries.get(name, value) for name, value in default.items()], 1).view(-1, 2, 3)


def _rotate(images: Tensor, strength_N: Tensor) -> Tensor:
    angle = strength_N * math.radians(135)
    cosine, sine = angle.cos(), angle.sin()
    return _warp(images, _matrix(strength_N, a=cosine, b=sine, c=-sine, d=cosine))


def _blend(images: Tensor, other: Tensor, strength_N: Tensor) -> Tensor:
    factor = (1 + 0.99 * strength_N)[:, None, None, None]
    return (other + factor * (images - other)).clamp(0, 255)


def _grey(images: Tensor) -> Tensor:
    """(N, 1, H, W) luminance in whole numbers."""
    if images.shape[1] == 1:
        return images
    weights = torch.tensor(GREY, device=images.device)
    return (images * weights[:, None, None]).sum(1, keepdim=True).floor()


def _sharpness(images: Tensor, strength_N: Tensor) -> Tensor:
    channels = images.shape[1]
    kernel = torch.ones(3, 3, device=images.device)
    kernel[1, 1] = 5.0
    blurred = images.clone()
    weight = (kernel / kernel.sum()).expand(channels, 1, 3, 3)
    blurred[:, :, 1:-1, 1:-1] = F.conv2d(images, weight, groups=channels).round()
    return _blend(images, blurred, strength_N)


def _posterize(images: Tensor, strength_N: Tensor) -> Tensor:
    step = 2.0 ** (6 * strength_N.abs()).round()[:, None, None, None]
    return (images / step).floor() * step


def _solarize(images: Tensor, strength_N: Tensor) -> Tensor:
    threshold = (255 * (1 - strength_N.abs()))[:, None, None, None]
    return torch.where(images >= threshold, 255 - images, images)


def _contrast(images: Tensor, strength_N: Tensor) -> Tensor:
    mean = _grey(images).mean((1, 2, 3), keepdim=True)
    return _blend(images, mean, strength_N)


def _auto_contrast(images: Tensor, strength_N: Tensor) -> Tensor:
    # Imported where it is used, not above: torchvision costs more than all of raysyn, and most need none of it.
    from torchvision.transforms.v2.functional import autocontrast

    return autocontrast(images.to(torch.uint8)).float()


def _equalize(images: Tensor, strength_N: Tensor) -> Tensor:
    from torchvision.transforms.v2.functional import equalize

    return equalize(images.to(torch.uint8)).float()


# Each takes float (N, C, H, W) of the values 0 to 255 and the strengths (N,) in [-1, 1].
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Identity": lambda x, s: x,
    # About the upper left corner, as published.
    "ShearX": lambda x, s: _warp(x, _matrix(s, b=0.99 * s, x=0.99 * s * x.shape[2] / 2)),
    "ShearY": lambda x, s: _warp(x, _matrix(s, c=0.99 * s, y=0.99 * s * x.shape[3] / 2)),
    "TranslateX": lambda x, s: _warp(x, _matrix(s, x=-(s * x.shape[3]).round())),
    "TranslateY": lambda x, s: _warp(x, _matrix(s, y=-(s * x.shape[2]).round())),
    "Rotate": _rotate,
    "Brightness": lambda x, s: _blend(x, torch.zeros_like(x), s),
    "Color": lambda x, s: _blend(x, _grey(x), s),
    "Contrast": _contrast,
    "Sharpness": _sharpness,
    "Posterize": _posterize,
    "Solarize": _solarize,
    "AutoContrast": _auto_contrast,
    "Equalize": _equalize,
}


def trivial_augment(images_NHWC: Tensor, rng: np.random.Generator) -> Tensor:
    """The images, each changed by one of OPERATIONS at one of 31 strengths and a random sign: uint8 (N, H, W, C).

    Translations reach the whole side (the published 32 pixels are the side of the images it was made for).
    """
    drawn = rng.integers(len(OPERATIONS), size=len(images_NHWC))
    strengths = rng.integers(BINS, size=len(images_NHWC)) / (BINS - 1) * rng.choice((-1.0, 1.0), len(images_NHWC))
    result = images_NHWC.clone()
    for index, name in enumerate(OPERATIONS):
        members = np.flatnonzero(drawn == index)
        if len(members) and index:
            at = torch.from_numpy(members).to(result.device)
            result[at] = changed(name, images_NHWC[at], torch.from_numpy(strengths[members]))
    return result


def changed(name: str, images_NHWC: Tensor, strength_N: Tensor) -> Tensor:
    """The images after one of OPERATIONS, each at its own strength: uint8 (N, H, W, C)."""
    images = images_NHWC.permute(0, 3, 1, 2).float()
    result = OPERATIONS[name](images, strength_N.to(images.device, torch.float32))
    return result.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
