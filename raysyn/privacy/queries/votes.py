"""Which candidates the private images resemble: each votes for the nearest one of its class, round after round, and the
counts leave with noise (private evolution, Lin et al., ICLR 2024, algorithm 2).

Why the sensitivity is 1. In one round the candidates of all classes are fixed: they are made of earlier noisy counts
and of what is public. The vote f(x) of an image x of class c is the vector over all candidates of all classes that is 1
at the candidate of c nearest to x and 0 elsewhere. Which one that is depends on x, c and the candidates, and on no
other image; so adding or removing x moves the sum of all votes by f(x), of L2 norm 1, whatever x shows. That is one
Gaussian answer over the bins of all classes side by side: no class costs extra. A person adds the mean of the votes of
their images, a convex combination of vectors of norm 1: of norm at most 1, and 1 if all of them go to one candidate
(`units.py`). So many images do not outvote others. Who is absent casts none.

Why rounds compose. The candidates of round t are a function of the noisy counts of rounds before it alone, so that the
rounds are T Gaussian answers asked one after the other, each knowing those before: adaptive composition, which is what
the accountant prices as T steps. As 1 / noise_multiplier^2 adds up, they cost as one answer with noise_multiplier /
sqrt(T). No round alone is released before the last is paid.

An empty class, and a candidate that nobody chose, are answered with noise alone. The number of bins is a setting and
follows from the number of units, classes and budget, which are public.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from raysyn.data.images import Images
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.noise import Floats, noisy_sum

VOTES = "votes"
"""The stage of a plan."""
BLOCK = 1024
"""Images compared at once, and candidates that they are compared with: part of rounding, so constants."""
PARTS = 16
"""Of a shade of grey, to which blurred pixels are rounded."""
FEWEST, MOST = 8, 1000
"""Candidates of a class, where nothing else is asked for."""
CLEAR = 1.2
"""Candidates of a class, by default, in parts of how many standard deviations of noise its images are."""


@dataclass(frozen=True, kw_only=True)
class VotesConfig:
    """What private images are asked: rounds of votes for candidates."""

    rounds: int = 4
    """Rounds of votes, between which candidates that were voted for are varied. They share the budget: each has
    sqrt(rounds) times the noise of a single one."""
    candidates: int | None = None
    """Candidates of each class in each round; by default as many as noise leaves votes for, from 8 to 1000."""
    threshold: float = 2.0
    """So many standard deviations of the noise are taken off all noisy votes; candidates that have none left have no
    descendants."""
    blur: float = 1.0
    """Images and candidates are compared after a blur of this many pixels, so that a stroke that is a pixel away is
    near; 0 compares pixels as they are."""

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= 100:
            raise ValueError(f"votes.rounds is {self.rounds}: give 1 to 100, 4 is usual")
        if self.candidates is not None and not 2 <= self.candidates <= 100_000:
            raise ValueError(f"votes.candidates is {self.candidates}: give 2 to 100000, or leave it out")
        if not 0 <= self.threshold < math.inf:
            raise ValueError(f"votes.threshold is {self.threshold}: give 0 or more, 2 is usual")
        if not 0 <= self.blur <= 100:
            raise ValueError(f"votes.blur is {self.blur}: give 0 to 100 pixels")

    def cost(self) -> Cost:
        """All rounds; how much noise they have follows from the budget."""
        return Cost(
            mechanism="noisy votes for candidates", noise_multiplier=None, sampling_rate=1.0, steps=self.rounds,
            note="adding or removing an image adds or removes one vote, for one candidate of one class, in each round",
        )  # fmt: skip

    def counted(self, n: int, classes: int, noise_multiplier: float) -> int:
        """Candidates of each class."""
        if self.candidates is not None:
            return self.candidates
        return int(np.clip(round(CLEAR * n / classes / noise_multiplier), FEWEST, MOST))


def plan(config: VotesConfig, budget: Budget, n: int) -> Plan:
    """Price of all rounds for `n` private units: what the budget's own stages leave; ValueError where that is none."""
    return Plan.within(budget, n, VOTES, config.cost())


Count = Callable[[int, Sequence[Floats]], Sequence[Floats]]
"""count(round, noisy counts of the rounds before, each (K, M)): exact counts of shards of the private images, each
(K, M) and by `ballots`, for candidates that are made of nothing private but these noisy counts."""


def votes(private: Images, price: Cost, stream: Stream, size: tuple[int, int], count: Count) -> Release[Floats]:
    """Noisy counts of all rounds, float64 (T, K, M), with their price; `size` is (K, M).

    Guarantee: T Gaussian answers of sensitivity 1, each asked with knowledge of those before.
    """
    units.check(price, private)
    assert price.noise_multiplier is not None and price.sampling_rate == 1.0
    answered = list[Floats]()
    for step in range(price.steps):
        noise = stream.normal(step, "votes", math.prod(size)).reshape(size)
        # Given a copy: what was answered must not be changed by who makes candidates of it.
        shards = count(step, [one.copy() for one in answered])
        answered.append(noisy_sum(shards, 1.0, price.noise_multiplier, noise))
    return Release(np.stack(answered), price)


def ballots(
    images_NHWC: NDArray[np.uint8], labels_N: NDArray[np.int64], weights_N: Floats, candidates_KMHWC: NDArray[np.uint8],
    blur: float,
) -> Floats:  # fmt: skip
    """Votes of some private images, exact and not to leave: float64 (K, M). Each counts what its `weights_N` says, by
    `units.weights` of all private images and not of these alone."""
    classes, each = candidates_KMHWC.shape[:2]
    counts = np.zeros((classes, each))
    for label in np.unique(labels_N):
        mine = np.flatnonzero(labels_N == label)
        chosen = nearest(images_NHWC[mine], candidates_KMHWC[label], blur)
        counts[label] = np.bincount(chosen, weights_N[mine], each)
    return counts


def nearest(
    images_NHWC: NDArray[np.uint8], candidates_MHWC: NDArray[np.uint8], blur: float
) -> NDArray[np.int64]:  # fmt: skip
    """The candidate nearest to each image by the L2 distance of blurred pixels, int64 (N,); of equally near ones the
    first.

    All numbers are whole and below 2^53, so that they are exact in any order: what is nearest to an image does not
    depend on the images beside it, the blocks they come in or the number of threads, as the proof above needs it. In
    blocks of both, so that memory holds BLOCK x BLOCK distances however many there are.
    """
    found = np.empty(len(images_NHWC), np.int64)
    for at in range(0, len(images_NHWC), BLOCK):
        rows_BP = blurred(images_NHWC[at : at + BLOCK], blur)
        best_B = torch.full((len(rows_BP),), -torch.inf, dtype=torch.float64)
        which_B = torch.zeros(len(rows_BP), dtype=torch.int64)
        for start in range(0, len(candidates_MHWC), BLOCK):
            block_CP = blurred(candidates_MHWC[start : start + BLOCK], blur)
            # |x - c|^2 is smallest where x c - |c|^2 / 2 is largest: |x|^2 is the same for all.
            closeness_BC = rows_BP @ block_CP.T - block_CP.square().sum(1) / 2
            value_B, place_B = closeness_BC.max(1)
            nearer_B = value_B > best_B
            best_B[nearer_B], which_B[nearer_B] = value_B[nearer_B], place_B[nearer_B] + start
        found[at : at + BLOCK] = which_B.numpy()
    return found


def blurred(images_BHWC: NDArray[np.uint8], blur: float) -> torch.Tensor:
    """What is compared, float64 (B, H * W * C): pixels less 127.5 as whole numbers of PARTS to a shade of grey, after a
    Gaussian blur whose mirror is the image's edge."""
    pixels_BCHW = torch.tensor(images_BHWC).movedim(-1, 1).double()
    for side in (2, 3) if blur else ():
        pixels_BCHW = torch.movedim(
            torch.movedim(pixels_BCHW, side, -1) @ _spread(images_BHWC.shape[side - 1], blur), -1, side
        )
    return (pixels_BCHW * PARTS).round().flatten(1) - 127.5 * PARTS


def _spread(size: int, blur: float) -> torch.Tensor:
    """Of one direction, float64 (size, size): what each pixel gives to each, in whole parts of 1024, so that sums are
    exact."""
    at = torch.arange(size, dtype=torch.float64)
    # Beyond both edges lie their mirror images.
    beyond = torch.cat((-1 - at, at, 2 * size - 1 - at))
    share = torch.exp(-((at - beyond[:, None]) ** 2) / (2 * blur**2))
    return ((share / share.sum(0)).reshape(3, size, size).sum(0) * 1024).round() / 1024
