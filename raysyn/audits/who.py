"""Whose images an attacker of a one-shot question adds: an image's own, or a person's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysyn.attacks.canaries import Mask
from raysyn.data.images import Images

SIDE, ALBUM = 4, 3
"""Pixels a side; images of a person."""


@dataclass(frozen=True)
class Who:
    """Whose canary it is."""

    word: str
    classes: tuple[int, ...]
    """Of its images."""
    shape: tuple[int, int, int] = (SIDE, SIDE, 1)
    among: int | None = None
    """Classes that there are; by default those of the images, and two at least."""

    @property
    def images(self) -> Images:
        """White, and of the second class a black one of somebody else, whose place is known."""
        return self.present(True)

    @property
    def named(self) -> bool:
        """Whether persons are the units."""
        return len(self.classes) > 1

    @property
    def tight(self) -> bool:
        """Whether it adds as much as one may: of several classes, less."""
        return len(set(self.classes)) == 1

    def present(self, there: bool) -> Images:
        """The same, or the other image alone."""
        mine, among = self.classes if there else (), self.among or max(*self.classes, 1) + 1
        pixels = np.zeros((len(mine) + 1, *self.shape), np.uint8)
        pixels[:-1] = 255
        whose_N = np.append(np.ones(len(mine), np.int64), [0])
        labels_N = np.array([*mine, min(1, among - 1)], np.int64)
        names = tuple(f"class {label}" for label in range(among))
        return Images(pixels, labels_N, names, whose_N if self.named else None)


WHO = (Who("images", (0,)), Who("persons", (0,) * ALBUM))
SEVERAL = Who("persons of several classes", (0, 1, 2, 3))


def mine(private: Images) -> Mask:
    """Which images are the canary's."""
    return private.images_NHWC[:, 0, 0, 0] == 255
