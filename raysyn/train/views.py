"""Views: changed copies of an image that training makes of it. Training draws them at random; who asks a finished
network how well it knows an image may ask about fixed ones, and only about those that training could have drawn.

Images are uint8 (N, H, W, C) in and out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from raysyn.train.trivial_augment import changed

View = Callable[[Tensor], Tensor]
ITSELF = "itself"
SMALL = 2 / 30
"""Strength of the shifts asked about where TrivialAugment shifts; one of its 31: 2 pixels of 32."""


def mirrored(images_NHWC: Tensor) -> Tensor:
    return images_NHWC.flip(2)


def moved(images_NHWC: Tensor, down_N: Tensor, right_N: Tensor) -> Tensor:
    """Each image moved by its own whole numbers of pixels; what comes in at the border repeats the border's pixels."""
    count, height, width = images_NHWC.shape[:3]
    device = images_NHWC.device
    rows = (torch.arange(height, device=device) - down_N[:, None]).clamp(0, height - 1)
    columns = (torch.arange(width, device=device) - right_N[:, None]).clamp(0, width - 1)
    return images_NHWC[torch.arange(count, device=device)[:, None, None], rows[:, :, None], columns[:, None, :]]


def flip_and_shift(images_NHWC: Tensor, flip: bool, shift: int, rng: np.random.Generator) -> Tensor:
    """Training's draw: half of the images mirrored, each moved by up to `shift` pixels both ways."""
    count, device = len(images_NHWC), images_NHWC.device
    if flip:
        chosen = torch.from_numpy(rng.random(count) < 0.5).to(device)
        images_NHWC = torch.where(chosen[:, None, None, None], mirrored(images_NHWC), images_NHWC)
    if shift:
        down_N, right_N = torch.from_numpy(rng.integers(-shift, shift, (2, count), endpoint=True)).to(device)
        images_NHWC = moved(images_NHWC, down_N, right_N)
    return images_NHWC


def views(flip: bool, shift: int, trivial_augment: bool) -> dict[str, View]:
    """Fixed views that training with these settings gives, by name: the image itself first, then moved as far as
    training moves it or, without `shift`, as TrivialAugment may, each also mirrored where training mirrors; at most 18.
    """
    moves = {ITSELF: lambda images: images}
    if shift:
        ways = [(y, x) for y in (-shift, 0, shift) for x in (-shift, 0, shift) if (y, x) != (0, 0)]
        moves |= {f"moved {y:+d} down, {x:+d} right": _mover(y, x) for y, x in ways}
    elif trivial_augment:
        strengths = [(name, sign * SMALL) for name in ("TranslateX", "TranslateY") for sign in (-1, 1)]
        moves |= {f"{name} {strength:+.2f}": _changer(name, strength) for name, strength in strengths}
    found: dict[str, View] = {}
    for name, move in moves.items():
        found[name] = move
        if flip:
            found["mirrored" if name == ITSELF else f"{name}, mirrored"] = _mirrored_after(move)
    return found


def _mover(down: int, right: int) -> View:
    def move(images_NHWC: Tensor) -> Tensor:
        ones = torch.ones(len(images_NHWC), dtype=torch.int64, device=images_NHWC.device)
        return moved(images_NHWC, down * ones, right * ones)

    return move


def _changer(name: str, strength: float) -> View:
    return lambda images_NHWC: changed(name, images_NHWC, torch.full((len(images_NHWC),), strength))


def _mirrored_after(move: View) -> View:
    return lambda images_NHWC: mirrored(move(images_NHWC))
