"""One-shot questions to the private images: central images, noisy means or modes of random samples (DP-FETA, section
3.1).

Where persons are named, they join a sample with all images, each of which counts one part of them (`units.py`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Release
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries.averaged_down import finish, shrink, small_shape
from raysyn.privacy.queries.noise import Floats, noisy_sum

BLOCK_VALUES = 400_000
"""Pixels looked at in one go while contributions are summed; fits a processor's cache."""
Kind = Literal["mean", "mode", "gaussian", "evolution"]
DRAWN = ("gaussian", "evolution")
"""Kinds of dp_feta alone, whose warm-up learns from images that are drawn from an answer of another question."""
LEAST_COUNT = 0.05
"""A class is never taken to be smaller than this share of an average class."""


@dataclass(frozen=True, kw_only=True)
class CentralConfig:
    """Stage I: which outlines of the private images to buy, and for how much noise."""

    kind: Kind = "mean"
    """`mean` suits most images; `mode`, per-pixel histograms, suits those that are nearly black and white. Two are of
    dp_feta alone and not in the paper: `gaussian`, the two questions of noisy_means, and draws from a Gaussian of each
    class; `evolution`, for writing, votes for characters, and draws of those with most (--source, --votes)."""
    share: float = 0.5
    """Share of the budget (of the sum of 1 / noise_multiplier^2, were all of it spent so) for both questions of
    `gaussian`, or all votes of `evolution`, from 0.01 to 0.99; DP-SGD gets the rest. Of these two only."""
    draws: int = 10_000
    """Images that are drawn for the warm-up from the Gaussians, or the last candidates, equally many per class, at no
    further cost. Of these two only."""
    count: int = 50
    """Central images in all, rounded up to equally many per class; 0 buys none and skips the warm-up (that is DPDM). Of
    `gaussian` and `evolution` no other number is read than 0, and no setting below."""
    sampling_rate: float = 0.1
    """Probability with which a private image, or a person, takes part in one round of queries."""
    noise_multiplier: float = 5.0
    """Noise standard deviation divided by the sensitivity of one round."""
    conditional: bool = True
    """One image per class and round; otherwise one per round, of all classes together."""
    clip_norm: float | None = None
    """Images (pixels in [0, 1], after down-scaling) are scaled down to at most this L2 norm; by default the
    largest norm there is, so that none is. For `mean` only."""
    downscale: int | None = None
    """Images shrink by this factor before the query, against noise; by default 1 for `mode` and for `mean` 2 up to
    32 pixels a side, 4 up to 64, 8 up to 128 and so on, as published."""
    bins: int | None = None
    """Histogram bins per pixel, for `mode` only; by default 2 for grey images, which makes them black and white, and 16
    for colour."""
    count_share: float = 0.1
    """Share of the clip norm spent on noisy class counts, which give means of unbalanced classes their right
    brightness for 0.5 % more noise; 0 takes all classes as equally large. `mean` only."""
    smooth: bool = True
    """Apply a 3x3 median, and to grey images 3x3 sharpening, to the noisy images."""

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"central.count is {self.count}: give 0 or more")
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"central.clip_norm is {self.clip_norm}: give a number above 0")
        if self.downscale is not None and self.downscale < 1:
            raise ValueError(f"central.downscale is {self.downscale}: give 1 or more")
        if self.bins is not None and not 2 <= self.bins <= 256:
            raise ValueError(f"central.bins is {self.bins}: give 2 to 256")
        if not 0.01 <= self.share <= 0.99:
            raise ValueError(
                f"central.share is {self.share}: give a share of the budget from 0.01 to 0.99, 0.5 is usual"
            )
        if self.draws < 1:
            raise ValueError(f"central.draws is {self.draws}: give at least 1, 10000 is usual")
        if self.drawn and not self.conditional:
            raise ValueError(
                f"central.conditional is False, but central.kind is {self.kind}, whose questions are of each class: "
                "leave it out, or give --central.kind mean"
            )
        if not 0 <= self.count_share < math.inf:
            raise ValueError(f"central.count_share is {self.count_share}: give 0 or more, 0.1 is usual")

    @property
    def gaussian(self) -> bool:
        """Whether noisy moments of each class are asked for (`queries.moments`), and no central images."""
        return self.kind == "gaussian" and self.count > 0

    @property
    def evolution(self) -> bool:
        """Whether votes for candidates are asked for (`queries.votes`), and no central images."""
        return self.kind == "evolution" and self.count > 0

    @property
    def drawn(self) -> bool:
        """Whether the warm-up learns from what is drawn from such an answer."""
        return self.kind in DRAWN and self.count > 0

    def rounds(self, classes: int) -> int:
        """Rounds of queries, M in the paper: each yields one image, or one per class."""
        return math.ceil(self.count / (classes if self.conditional else 1))

    def cost(self, classes: int) -> Cost | None:
        """Theorems 3.1 and 3.3: M rounds of the subsampled Gaussian mechanism; None for count 0.

        Per class or not costs the same, because adding or removing one image touches one class only; of a person, see
        `central_images`. ValueError for `gaussian` and `evolution`, which ask for none.
        """
        if self.drawn:
            raise ValueError(f"central.kind is {self.kind}, which asks for no central images: give mean or mode")
        rounds = self.rounds(classes)
        if rounds == 0:
            return None
        parallel = "a round over disjoint classes is one step: adding or removing an image touches one class"
        return Cost(
            mechanism=f"noisy class {self.kind}s" if self.conditional else f"noisy {self.kind}s",
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            steps=rounds,
            note=parallel if self.conditional else "",
        )


@dataclass(frozen=True)
class Query:
    """A sum over images: what one image adds, how large that may be, and how to read noisy sums.

    Adding or removing one image of weight 1 changes a sum by at most `sensitivity` in L2 norm. So does a person, whose
    images' weights add up to 1: over the sums of all classes together, which are one vector, they add a weighted mean
    of vectors of at most that norm.
    """

    factor: int
    """Images shrink by this before they are summed."""
    size: int
    """Numbers in one image's contribution."""
    sensitivity: float
    total: Callable[[NDArray[np.uint8], Floats], Floats]
    """(images_BHWC uint8, weights_B) -> sum of their contributions times weights (size,), without noise."""
    read: Callable[[Floats, float], Floats]
    """(noisy sums (rounds, cells, size), expected units per sum) -> pixels (rounds, cells, h, w, C)."""


def central_images(private: Images, config: CentralConfig, stream: Stream) -> Release[Images]:
    """Noisy central images, ordered by round and then class, with the price of them all.

    Guarantee: each round and class is one sum with Gaussian noise of noise_multiplier * sensitivity, whoever
    takes part; an empty class or sample is answered with noise alone. Denominators depend on the number of
    images, or of persons, which is public, and on the noisy sums. All else is post-processing. Unconditional images get
    the labels in turn.

    A person with images of several classes adds to as many sums of a round, to all of them together no more than the
    sensitivity (`Query`), and the noise of all of them is as that of one vector.
    """
    cost = config.cost(private.classes)
    if cost is None:
        raise ValueError("central.count is 0: there are no central images to ask for")
    if len(private) == 0:
        raise ValueError("the data has 0 training images: give at least one")
    cost = units.priced(cost, private)
    cells = private.classes if config.conditional else 1
    query = (mean_query if config.kind == "mean" else mode_query)(config, private.shape)
    weights_N = units.weights(private)
    sums = np.stack([one_round(private, weights_N, config, query, stream, step) for step in range(cost.steps)])
    pixels = query.read(sums, config.sampling_rate * private.units / cells)
    images_NHWC = finish(pixels.reshape(-1, *pixels.shape[2:]), private.shape, query.factor, config.smooth)
    labels_N = np.arange(len(images_NHWC), dtype=np.int64) % private.classes
    return Release(Images(images_NHWC, labels_N, private.class_names), cost)


def one_round(
    private: Images, weights_N: Floats, config: CentralConfig, query: Query, stream: Stream, step: int
) -> Floats:
    """The noisy sums of one round, (cells, size): what is paid for."""
    chosen = units.images_of(private, participants(stream, step, private.units, config.sampling_rate))
    cells = [chosen]
    if config.conditional:
        cells = [chosen[private.labels_N[chosen] == label] for label in range(private.classes)]
    return np.stack(
        [
            noisy_sum(
                _parts(private, weights_N, members, query),
                query.sensitivity,
                config.noise_multiplier,
                stream.normal(step, f"central/{config.kind}/class {cell}", query.size),
            )
            for cell, members in enumerate(cells)
        ]
    )


def _parts(private: Images, weights_N: Floats, members: NDArray[np.int64], query: Query) -> Iterator[Floats]:
    rows = max(1, BLOCK_VALUES // math.prod(private.shape))
    for start in range(0, len(members), rows):
        some = members[start : start + rows]
        yield query.total(private.images_NHWC[some], weights_N[some])


def mean_query(config: CentralConfig, shape: tuple[int, int, int]) -> Query:
    """Theorem 3.1 with Eq. 4: clipped images, and as one more number a fixed count_share of the clip norm.

    That last number adds up to the class count. It lengthens every contribution from clip_norm to
    clip_norm * sqrt(1 + count_share**2), which the noise is scaled to.
    """
    factor = config.downscale or 2 * 2 ** max(0, math.ceil(math.log2(max(shape[:2]) / 32)))
    small = small_shape(shape, factor)
    pixels = math.prod(small)
    clip_norm = min(config.clip_norm or math.inf, math.sqrt(pixels))
    # Without classes the count is the number of images, which is public.
    share = config.count_share if config.conditional else 0.0
    counting = 1 if share > 0 else 0

    def total(images_BHWC: NDArray[np.uint8], weights_B: Floats) -> Floats:
        flat = shrink(images_BHWC, factor).reshape(-1, pixels)
        # Elementwise and not a matrix product, whose rounding depends on the number of threads.
        flat *= (weights_B * (clip_norm / np.maximum(np.linalg.norm(flat, axis=1), clip_norm)))[:, None]
        return np.append(flat.sum(axis=0), [weights_B.sum() * share * clip_norm] * counting)

    def read(sums: Floats, expected: float) -> Floats:
        images = sums[..., :pixels].reshape(*sums.shape[:2], *small)
        if not counting:
            return images / expected
        counts = sums[..., -1] / (share * clip_norm)
        noise_std = config.noise_multiplier * math.sqrt(1 + share**2) / share
        return images / class_counts(counts, expected, noise_std, config.sampling_rate)[None, :, None, None, None]

    return Query(factor, pixels + counting, clip_norm * math.sqrt(1 + share**2), total, read)


def class_counts(counts: Floats, expected: float, noise_std: float, sampling_rate: float) -> Floats:
    """Sampled images (or persons, in parts) per class, from noisy counts (rounds, classes); post-processing.

    Averages the rounds, then shrinks towards the equal split as far as noise explains the differences
    (James-Stein): where counts drown in noise, as with few images, this is the paper's equal denominator.
    """
    return shrunk(counts.mean(axis=0), len(counts), expected, noise_std, sampling_rate)


def shrunk(average: Floats, rounds: int, expected: float, noise_std: float, sampling_rate: float) -> Floats:
    """The same from the `average` of so many rounds, (classes,)."""
    by_chance = (noise_std**2 + expected * (1 - sampling_rate)) / rounds
    observed = float(np.mean((average - expected) ** 2))
    trust = max(0.0, 1.0 - by_chance / observed) if observed > 0 else 0.0
    return np.maximum(expected + trust * (average - expected), LEAST_COUNT * expected)


def mode_query(config: CentralConfig, shape: tuple[int, int, int]) -> Query:
    """Theorem 3.3: one histogram per pixel and channel; an image adds 1 to one bin of each of them.

    The sensitivity is therefore the square root of the number of histograms; a pixel's value is the midpoint of its
    fullest noisy bin (Eq. 7). Of two bins it is black or white, as in the authors' code: modes of images that are
    nearly black and white "belong to {0, 255}" (3.1.2), and two midpoints would be greys that no such image has.
    """
    factor = config.downscale or 1
    small = small_shape(shape, factor)
    pixels = math.prod(small)
    bins = config.bins or (2 if shape[2] == 1 else 16)

    def total(images_BHWC: NDArray[np.uint8], weights_B: Floats) -> Floats:
        flat = shrink(images_BHWC, factor).reshape(-1, pixels)
        which = np.minimum((flat * bins).astype(np.int64), bins - 1) + bins * np.arange(pixels)
        return np.bincount(which.ravel(), np.repeat(weights_B, pixels), pixels * bins).astype(np.float64)

    def read(sums: Floats, expected: float) -> Floats:
        fullest = sums.reshape(*sums.shape[:2], pixels, bins).argmax(axis=-1)
        values = fullest.astype(np.float64) if bins == 2 else (fullest + 0.5) / bins
        return values.reshape(*sums.shape[:2], *small)

    return Query(factor, pixels * bins, math.sqrt(pixels), total, read)
