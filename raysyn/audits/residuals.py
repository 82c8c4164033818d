"""Whether an answer's noise is all there, no more than that, normal, and drawn again for each number of it: of numbers
that are noise alone.

A canary's score is made of its own place in each answer, and says nothing of how noise in two places, or at two steps,
goes together. Here are exact tests of that. What passes them can still be no noise at all to one who knows how it was
made: they see copies, not foresight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.attacks.canaries import Floats, Mask

WIDEST = 768
"""Numbers of an answer that are held against each other: of more, the first, those from the middle on, and the last."""
BLOCK = 512
"""Steps that are held against as many others at once."""
NO_NUMBER = "an answer is no number"
NORMAL = "noise is not normal: "
LARGE = "noise is too large: "
"""What is said where it breaks no promise, but costs accuracy: of normal noise alone, for of another shape much can be
where no promise needs it, and little where one does."""
PART = 1 << 18
"""Numbers that are held against the normal distribution at once."""
ITS_SIZE = 0.01
"""Part of what may go wrong by which, in each test of any size, the deviation may not be where it is looked for."""
FAR_OUT = 25
"""How many numbers are so far out that they are counted, if noise is normal."""


@dataclass(frozen=True)
class Noise:
    """Answers without what is known of them, in units of the noise's claimed deviation."""

    values_GTD: Floats
    """Of each run with a secret of its own, at each step."""
    alone_GD: Mask
    """Where there is nothing but noise: the canary of this place, if there is one, was left out."""


Found = tuple[float, str]
"""How likely what one kind of test saw is, at most, if noise is as claimed; and what it saw."""


def fault(noise: Noise, confidence: float) -> str:
    """What is surely wrong, in a few words; nothing if noise may be as claimed. With that confidence nothing is said of
    noise that is; each kind of test has the same part of what may go wrong, and each test the same part of its kind's.
    Of several, the first kind is named: noise of another size has no standard normal shape either.
    """
    kept_GTD = np.where(noise.alone_GD[:, None, :], noise.values_GTD, 0.0)
    if not np.isfinite(kept_GTD).all():
        return NO_NUMBER
    kinds = list(_kinds(kept_GTD, noise.alone_GD, ITS_SIZE * (1 - confidence)))
    return next((what for chance, what in kinds if chance * len(kinds) < 1 - confidence), "")


def _kinds(kept_GTD: Floats, alone_GD: Mask, chance: float) -> Iterator[Found]:
    runs, steps, size = kept_GTD.shape
    if runs > 1:
        pairs = runs // 2 * 2
        both_GD = (alone_GD[:pairs:2] & alone_GD[1:pairs:2]).astype(np.float64)
        one_GTD, other_GTD = kept_GTD[:pairs:2], kept_GTD[1:pairs:2]
        # By einsum here and below: there may be many numbers, and little room for a copy of them.
        many, sums = np.array([both_GD.sum() * steps]), np.einsum("gtd,gtd->", one_GTD, other_GTD)[None]
        squares, others = (np.einsum("gtd,gtd,gd->", x, x, both_GD)[None] for x in (one_GTD, other_GTD))
        yield _together(sums, squares, others, many, lambda _: "two runs")
    if steps > 1:
        yield _any_two(kept_GTD.transpose(1, 0, 2).reshape(steps, -1), int(alone_GD.sum()))
    if size > 1:
        yield from _places(kept_GTD, alone_GD)
    yield _quiet(np.einsum("gtd,gtd->t", kept_GTD, kept_GTD), np.full(steps, alone_GD.sum()), "step")
    yield _quiet(np.einsum("gtd,gtd->d", kept_GTD, kept_GTD), alone_GD.sum(0) * steps, "place")
    if alone_GD.any():
        values_N = kept_GTD.transpose(0, 2, 1)[alone_GD].ravel()
        values_N.sort()
        yield from _of_any_size(values_N, chance)
        yield _size(values_N)
        yield from _shape(values_N)


def _any_two(rows_TN: Floats, many: int) -> Found:
    """Any two steps, block by block: of ten thousand, a table of all would have a hundred million numbers."""
    steps, squares_T = len(rows_TN), np.einsum("tn,tn->t", rows_TN, rows_TN)
    with np.errstate(divide="ignore", invalid="ignore"):
        scale_T = np.nan_to_num(1 / np.sqrt(squares_T), posinf=0.0)
    most, pair = -1.0, (0, 1)
    for start in range(0, steps, BLOCK):
        ones = rows_TN[start : start + BLOCK] * scale_T[start : start + BLOCK, None]
        for begin in range(start, steps, BLOCK):
            others = rows_TN[begin : begin + BLOCK]
            found = np.abs(ones @ others.T) * scale_T[begin : begin + BLOCK]
            if begin == start:
                found = np.triu(found, 1)
            row, column = divmod(int(found.argmax()), found.shape[1])
            if found[row, column] > most and start + row < begin + column:
                most, pair = float(found[row, column]), (start + row, begin + column)
    one, other = pair
    chance, what = _together(
        rows_TN[[one]] @ rows_TN[other], squares_T[[one]], squares_T[[other]], np.array([many]),
        lambda _: f"steps {one + 1} and {other + 1}",
    )  # fmt: skip
    return chance * (steps * (steps - 1) // 2), what


def _places(kept_GTD: Floats, alone_GD: Mask) -> Iterator[Found]:
    """All numbers of an answer that are equally far from each other, which shows also less than copies; and any two."""
    steps, size = kept_GTD.shape[1:]
    at = some_places(size)
    kept_GTD = kept_GTD if len(at) == size else kept_GTD[..., at]
    alone_GD = alone_GD[:, at].astype(np.float64)
    rows_ND = kept_GTD.reshape(-1, len(at))
    products_DD, many_DD = rows_ND.T @ rows_ND, alone_GD.T @ alone_GD * steps
    # Squares of one, where the other is noise alone too.
    squares_DD = np.einsum("gtd,gtd->gd", kept_GTD, kept_GTD).T @ alone_GD
    lags = range(1, len(at))
    # Each number is in one pair: only then are pairs independent.
    firsts = [np.flatnonzero(np.arange(len(at) - lag) // lag % 2 == 0) for lag in lags]
    sums_K4 = np.array(
        [
            [of_DD[i, j].sum() for of_DD, i, j in (
                (products_DD, one, one + lag), (squares_DD, one, one + lag), (squares_DD, one + lag, one),
                (many_DD, one, one + lag),
            )]
            for one, lag in zip(firsts, lags, strict=True)
        ]
    )  # fmt: skip
    products_K, one_K, other_K, many_K = sums_K4.T
    yield _together(products_K, one_K, other_K, many_K, lambda k: f"places {k + 1} apart")
    a, b = np.triu_indices(len(at), 1)
    yield _together(
        products_DD[a, b], squares_DD[a, b], squares_DD[b, a], many_DD[a, b],
        lambda k: f"places {at[a[k]] + 1} and {at[b[k]] + 1}",
    )  # fmt: skip


def some_places(size: int) -> NDArray[np.int64]:
    """Of an answer of so many numbers, those that are held against each other."""
    at, each = np.arange(size), WIDEST // 3
    if size <= WIDEST:
        return at
    return np.unique(np.concatenate([at[:each], at[size // 2 : size // 2 + each], at[-each:]]))


def _quiet(squares_K: Floats, many_K: NDArray[np.int64], what: str) -> Found:
    """Too little noise: sums of squares of standard normal numbers."""
    from scipy import stats

    chances = np.where(many_K > 0, stats.chi2.cdf(squares_K, np.maximum(many_K, 1)), 1.0)
    least = int(chances.argmin())
    part = np.sqrt(squares_K[least] / max(1, many_K[least]))
    return float(chances[least]) * len(
        chances
    ), f"noise is missing: {what} {least + 1} has {part:.2f} of what it should"


def _size(values_N: Floats) -> Found:
    """Too little or too much noise in all: the sum of squares of standard normal numbers, to both sides."""
    from scipy import stats

    many, squares = len(values_N), float(values_N @ values_N)
    part = np.sqrt(squares / many)
    chance = 2 * min(stats.chi2.cdf(squares, many), stats.chi2.sf(squares, many))
    if part > 1:
        return float(chance), f"{LARGE}{part:.2f} of what it should be"
    return float(chance), f"noise is missing: all of it has {part:.2f} of what it should"


def _of_any_size(values_N: Floats, chance: float) -> Iterator[Found]:
    """Numbers, rising, that are normal of no deviation at all: by `_shape` with every deviation that may be theirs, all
    but for that chance, and by the one that is farthest out, beside the others, which has Student's t."""
    from scipy import stats

    many, squares = len(values_N), float(values_N @ values_N)
    if many < 3 or squares == 0:
        return
    low, high = (np.sqrt(squares / stats.chi2.ppf(part, many)) for part in (1 - chance / 2, chance / 2))
    for found, what in _shape(values_N, float(low), float(high)):
        yield found + chance, f"{what}, whatever its size"
    most = max(-values_N[0], values_N[-1])
    beside = float(most / np.sqrt(max(squares - most**2, 1e-300) / (many - 1)))
    found = 2 * many * float(stats.t.sf(beside, many - 1))
    yield found, f"{NORMAL}one of {many:,} is {beside:.1f} deviations of the others out, whatever its size"


def _shape(values_N: Floats, low: float = 1.0, high: float = 1.0) -> Iterator[Found]:
    """Numbers, rising, that are normal of no deviation in this range: by Kolmogorov and Smirnov's distance, and by how
    many lie far out, where that sees little and a promise depends on most."""
    from scipy import stats

    many, middle = len(values_N), np.sqrt(low * high)
    distance = _distance(values_N, middle)
    # Normal distributions whose deviations are apart by a part of x are apart by x times the density at 1, at most.
    least = max(0.0, distance - float(stats.norm.pdf(1) * np.log(high / low) / 2))
    what = f"{NORMAL}its distribution is {distance:.3f} away (Kolmogorov and Smirnov)"
    yield float(stats.kstwo.sf(least, many)), what
    share = min(FAR_OUT / many, 0.1)
    far = float(stats.norm.isf(share / 2))
    most, found, fewest = (
        int(many - np.diff(np.searchsorted(values_N, [-far * one, far * one]))[0]) for one in (low, middle, high)
    )
    chance = 2 * min(stats.binom.cdf(most, many, share), stats.binom.sf(fewest - 1, many, share))
    yield float(chance), f"{NORMAL}{found} of {many:,} are beyond {far * middle:.2f}, in place of {many * share:.0f}"


def _distance(values_N: Floats, deviation: float) -> float:
    """Kolmogorov and Smirnov's, of numbers that rise, part by part: there may be many millions."""
    from scipy.special import ndtr

    many, most = len(values_N), 0.0
    for start in range(0, many, PART):
        below = ndtr(values_N[start : start + PART] / deviation)
        ranks = np.arange(start, start + len(below) + 1) / many
        most = max(most, float((ranks[1:] - below).max()), float((below - ranks[:-1]).max()))
    return most


def _together(
    products_K: Floats, squares_K: Floats, others_K: Floats, many_K: NDArray[Any], named: Callable[[int], str]
) -> Found:
    """Correlation of independent normal numbers of mean 0, whatever their deviation: Student's t, exactly."""
    from scipy import stats

    free_K = np.maximum(many_K.astype(np.float64) - 1, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        found_K = np.clip(np.nan_to_num(products_K / np.sqrt(squares_K * others_K)), -1.0, 1.0)
        size_K = np.abs(found_K) * np.sqrt(free_K / (1 - found_K**2))
    chances = np.where(many_K > 2, 2 * stats.t.sf(size_K, free_K), 1.0)
    least = int(chances.argmin())
    what = f"noise is not drawn again: that of {named(least)} goes together (correlation {found_K[least]:+.2f})"
    return float(chances[least]) * len(chances), what
