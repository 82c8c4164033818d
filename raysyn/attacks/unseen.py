"""What an attack says of persons whom a model never saw, by how many images they have.

A sum over images spreads the more the more there are, and images of a person move together. So at a threshold that few
non-members pass there would be those with the most images, whoever is a member. Scores less their mean and over their
standard deviation "out" are of one distribution for persons with few and with many; both come from the shadow models,
each attacked with the help of the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks.gaussians import SMALLEST_STD

Scores = NDArray[np.float64]
ENOUGH = 300
"""Scores from which numbers of images have a mean and a deviation of their own."""


class Unseen(NamedTuple):
    """Sums over persons (and models), at S by how many images they have: 0, 1, ..., the most."""

    count_S: NDArray[np.int64]
    sum_SQ: Scores
    squares_SQ: Scores

    @staticmethod
    def of(score_UQ: Scores, images_U: NDArray[np.int64], most: int) -> Unseen:
        sum_SQ, squares_SQ = np.zeros((2, most + 1, score_UQ.shape[1]))
        np.add.at(sum_SQ, images_U, score_UQ)
        np.add.at(squares_SQ, images_U, score_UQ**2)
        return Unseen(np.bincount(images_U, minlength=most + 1), sum_SQ, squares_SQ)

    @staticmethod
    def together(some: Iterable[Unseen]) -> Unseen:
        return Unseen(*(np.sum(part, 0) for part in zip(*some, strict=True)))

    def standardised(self, score_UQ: Scores, images_U: NDArray[np.int64]) -> Scores:
        if not self.count_S.any():  # nobody is known to be unseen
            return score_UQ
        mean_SQ, std_SQ = self._own(*self._smooth())
        return (score_UQ - mean_SQ[images_U]) / std_SQ[images_U]

    def _smooth(self) -> tuple[Scores, Scores]:
        """Of k images alike: the mean is a k, the variance b k + c k (k - 1), c being what two of them share."""
        k_S1, n_S1 = np.arange(len(self.count_S))[:, None], self.count_S[:, None]
        mean_SQ = self.sum_SQ.sum(0) / (n_S1 * k_S1).sum() * k_S1
        # Least squares of the squared deviations over k, which are b + c (k - 1); neither is below 0.
        y_SQ, x_S1 = self._deviations(mean_SQ) / np.maximum(1, k_S1), k_S1 - 1.0
        n = n_S1.sum()
        x, y_Q = (n_S1 * x_S1).sum() / n, y_SQ.sum(0) / n
        shared_Q = (x_S1 * y_SQ).sum(0) / n - x * y_Q
        c_Q = np.clip(shared_Q / max(1e-300, (n_S1 * x_S1**2).sum() / n - x**2), 0.0, y_Q / max(x, 1e-300))
        variance_SQ = k_S1 * (y_Q - c_Q * x) + c_Q * k_S1 * x_S1
        return mean_SQ, np.maximum(np.sqrt(np.maximum(0.0, variance_SQ)), SMALLEST_STD)

    def _own(self, mean_SQ: Scores, std_SQ: Scores) -> tuple[Scores, Scores]:
        """Corrected to what numbers of images that many persons have, or those with their neighbours, show."""
        for some in self._neighbours():
            n = self.count_S[some].sum()
            shift_Q = ((self.sum_SQ - self.count_S[:, None] * mean_SQ) / std_SQ)[some].sum(0) / n
            square_Q = (self._deviations(mean_SQ) / std_SQ**2)[some].sum(0) / n
            mean_SQ[some] += shift_Q * std_SQ[some]
            std_SQ[some] *= np.maximum(np.sqrt(np.maximum(0.0, square_Q - shift_Q**2)), SMALLEST_STD)
        return mean_SQ, std_SQ

    def _neighbours(self) -> list[NDArray[np.int64]]:
        """Numbers of images in groups of ENOUGH scores at least, if there are so many."""
        groups: list[list[int]] = [[]]
        for k in np.flatnonzero(self.count_S):
            if self.count_S[groups[-1]].sum() >= ENOUGH:
                groups.append([])
            groups[-1].append(int(k))
        if len(groups) > 1 and self.count_S[groups[-1]].sum() < ENOUGH:
            last = groups.pop()
            groups[-1] += last
        return [np.array(group) for group in groups]

    def _deviations(self, mean_SQ: Scores) -> Scores:
        """Sums of squared deviations from these means."""
        return np.maximum(0.0, self.squares_SQ - 2 * mean_SQ * self.sum_SQ + self.count_S[:, None] * mean_SQ**2)
