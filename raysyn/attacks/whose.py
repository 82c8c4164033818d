"""Whose images an attack asks about: each is a unit of its own, or where persons are named all of one are, together.

Sides, the halves that shadow and control models learn from, chance and scores are of units then. A person's score is
the SUM of what their images say: of log-likelihood ratios, which is that of all images together where these are
independent, so that no attack on them is better (Neyman and Pearson), and divided by their number what Kandpal et al.
2024 ("User Inference Attacks on Large Language Models") tell users by. Offline it is the sum of how many standard
deviations images lie above what models say that never saw them. Of one image both are LiRA's own. Where some have more
images than others, sums are brought to one scale (`unseen`).

Images of a person are not quite independent, as a model has learned all of them or none. So Gaussians fitted to a
person's mean confidence, in whose spread that is contained, were tried instead: with 12 ResNets on 450 digits, each the
target in turn, the headline's variant reaches an area of 0.86 by them and 0.89 by the sum where persons have 3 images
each, 0.81 and 0.84 (not yet on one scale) where they have 1 to 12 (0.74 and 0.75 image by image). A mean heeds an image
that is remembered as little as one that is not; and one variance for all does not suit means over different numbers of
images.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from raysyn.data.images import Images

Indices = NDArray[np.int64]
Value = TypeVar("Value", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Whose:
    """Of N images and their U units; arrays along images in, along units out."""

    persons_N: Indices | None = None
    """Numbers from 0 on, everybody with an image at least; None: each image is a unit."""

    @staticmethod
    def of(images: Images) -> Whose:
        return Whose(images.persons_N)

    @cached_property
    def word(self) -> str:
        return "image" if self.persons_N is None else "person"

    def units(self, images: int) -> int:
        """How many there are of so many images."""
        return images if self.persons_N is None else int(self.persons_N.max(initial=-1)) + 1

    def only(self, chosen_N: NDArray[np.bool_]) -> Whose:
        """Of some of the images, all of a unit or none."""
        return self if self.persons_N is None else Whose(np.unique(self.persons_N[chosen_N], return_inverse=True)[1])

    def one_each(self, value_N: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """What is the same for all images of a unit."""
        return value_N if self.persons_N is None else value_N[np.unique(self.persons_N, return_index=True)[1]]

    def images_of(self, value_XU: NDArray[Value]) -> NDArray[Value]:
        """(..., U) to (..., N)."""
        return value_XU if self.persons_N is None else value_XU[..., self.persons_N]

    def classes(self, labels_N: Indices) -> Indices:
        """What most images of a unit are of; of several classes with as many the first."""
        if self.persons_N is None:
            return labels_N
        counts_UK = np.zeros((self.units(len(labels_N)), labels_N.max(initial=0) + 1), np.int64)
        np.add.at(counts_UK, (self.persons_N, labels_N), 1)
        return counts_UK.argmax(1)

    def mean(self, score_NK: NDArray[np.float64]) -> NDArray[np.float64]:
        """(U, K): of a unit's images."""
        return score_NK if self.persons_N is None else self.joined(score_NK) / self.images_U[:, None]

    def joined(self, score_NQ: NDArray[np.float64]) -> NDArray[np.float64]:
        """(U, Q): sums over a unit's images."""
        if self.persons_N is None:
            return score_NQ
        sum_UQ = np.zeros((self.units(len(score_NQ)), score_NQ.shape[1]))
        np.add.at(sum_UQ, self.persons_N, score_NQ)
        return sum_UQ

    @cached_property
    def images_U(self) -> Indices:
        """How many each person has."""
        if self.persons_N is None:
            raise ValueError("nobody is named: each image is a unit")
        return np.bincount(self.persons_N)

    @property
    def unequal(self) -> bool:
        """Whether some persons have more images than others."""
        return self.persons_N is not None and len(set(self.images_U.tolist())) > 1


IMAGES = Whose()
