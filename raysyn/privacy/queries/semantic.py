"""Which public classes the private images resemble: the semantic query."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum


@dataclass(frozen=True, kw_only=True)
class SemanticConfig:
    """Which public classes to pre-train on: those that the sensitive images resemble (PrivImage 3.2, 3.3)."""

    k: int = 5
    """Public classes counted for each sensitive image, the paper's k1: its most probable ones."""
    select: int | None = None
    """Public classes to select, for each sensitive class if `conditional`, the paper's k2; by default as many as k."""
    noise_multiplier: float = 484.0
    """Noise standard deviation divided by the sensitivity, sqrt(k); the paper's sigma 2."""
    conditional: bool = True
    """One histogram, and one selection, per sensitive class; otherwise one of all images together."""

    def __post_init__(self) -> None:
        if self.k < 1 or (self.select is not None and self.select < 1):
            raise ValueError(f"semantic.k is {self.k} and semantic.select {self.select}: give at least 1")
        if not 0 < self.noise_multiplier < math.inf:
            raise ValueError(f"semantic.noise_multiplier is {self.noise_multiplier}: give a number above 0")

    @property
    def selected(self) -> int:
        """Public classes to select per row of the histogram."""
        return self.select or self.k

    def rows(self, classes: int) -> int:
        """Histograms, given the number of sensitive classes."""
        return classes if self.conditional else 1

    def check(self, classes: int, semantics: int) -> None:
        """ValueError, in one sentence, where the public set has too few classes, `semantics`."""
        if self.k > semantics:
            raise ValueError(f"semantic.k is {self.k}, but the public set has {semantics} classes: lower it")
        if (needed := self.selected * self.rows(classes)) > semantics:
            raise ValueError(
                f"semantic.select is {self.selected} for each of {self.rows(classes)} sensitive classes, {needed} in "
                f"all, but the public set has {semantics} classes: lower it"
            )

    def cost(self) -> Cost:
        """Theorem 3.1: the Gaussian mechanism, once, over all images."""
        return Cost(
            mechanism="semantic histogram", noise_multiplier=self.noise_multiplier, sampling_rate=1.0, steps=1,
            note="rows are disjoint: adding or removing an image touches one" if self.conditional else "",
        )  # fmt: skip


def semantic_counts(
    top_NK: NDArray[np.int64], rows_N: NDArray[np.int64], rows: int, semantics: int, weights_N: Floats
) -> Floats:
    """How often each public class is among the K of an image: exact, not to leave: float64 (rows, semantics).

    Args: the K different classes of each image, (N, K) in [0, semantics), the row that it counts in, (N,), and what it
    counts, (N,), by `units.weights` of all private images, not of these alone.
    An image of weight 1 adds 1 to K entries, so that adding or removing one changes the counts by sqrt(K) in L2 norm. A
    person, whose weights add up to 1, changes all rows together by a weighted mean of such vectors: no more.
    """
    order = np.sort(top_NK, axis=1)
    assert (order[:, 1:] != order[:, :-1]).all(), "an image names each class once"
    cells = rows_N[:, None] * semantics + top_NK
    counts = np.bincount(cells.ravel(), np.repeat(weights_N, top_NK.shape[1]), rows * semantics)
    return counts.reshape(rows, semantics).astype(np.float64)


def semantic_histogram(shards: Sequence[Floats], config: SemanticConfig, cost: Cost, stream: Stream) -> Release[Floats]:
    """The sum of all shards' exact counts with noise, added once: float64 (rows, semantics) and its price, that of
    `config` as the private images' units have it.

    Guarantee: the Gaussian mechanism with sensitivity sqrt(k) (Theorem 3.1), if the classes of an image depend on that
    image alone, and not on others in its batch. A person's images may lie in several shards: only their sum counts.
    """
    assert cost.noise_multiplier == config.noise_multiplier
    noise = stream.normal(0, "semantic histogram", shards[0].size).reshape(shards[0].shape)
    return Release(noisy_sum(shards, math.sqrt(config.k), config.noise_multiplier, noise), cost)


def select_classes(noisy_RS: Floats, count: int, there_S: NDArray[np.bool_] | None = None) -> NDArray[np.int64]:
    """The `count` fullest public classes of each row, no class for two rows: int64 (R, count); post-processing.

    Rows choose in their order, and what one took is closed to the next, as in the published code. Classes that are not
    `there_S`, because they have no public image, are closed to all.
    """
    open_RS, chosen = noisy_RS.copy(), []
    if there_S is not None:
        open_RS[:, ~there_S] = -np.inf
    for row in open_RS:
        chosen.append(np.argsort(-row, kind="stable")[:count])
        open_RS[:, chosen[-1]] = -np.inf
    return np.stack(chosen)
