"""What guesses about canaries prove: exact lower bounds, with a confidence, of the privacy that was lost.

Each canary is a game: a fair coin has put it in or left it out, and the guesser has a score for it, higher meaning
"in". Two kinds of proof:

- Games that are independent given their coins (orthogonal canaries, noise of their own): false alarms and hits are
  counts of independent draws, so Clopper and Pearson's bounds are exact. They are held against the whole trade-off
  curve of what was paid for, at thresholds that were fixed beforehand, and by the area under it.
- One run of any algorithm, whose games may depend on each other: Steinke, Nasr and Jagielski 2023 from (epsilon,
  delta), and Mahloujifar, Melis and Chaudhuri 2024 ("Auditing f-differential privacy in one run") from a trade-off
  curve.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Missed = Callable[[Floats], Floats]
"""missed(false alarms) -> the least share of members missed: a trade-off curve, falling and convex."""
Alarms = Callable[[float], float]
"""alarms_of(share of members found) -> the least false alarms: the same curve's inverse."""
SHARES = (1 / 64, 1 / 16, 1 / 4, 1.0)
"""Of all canaries, how many are guessed about in one run: the surest first, and no word on the others."""
MOST_EPSILON = 100.0
"""Where searches for a bound stop."""


@dataclass(frozen=True)
class Excess:
    """How far an attack was surely above a curve that none may cross; above 0: what was claimed is refuted."""

    value: float
    false_alarms: float
    """Share of false alarms, at most, where it was farthest above."""
    found: float
    """Share of members found there, at least."""


def excess(scores_M: Floats, coins_M: Mask, thresholds: Sequence[float], missed: Missed, confidence: float) -> Excess:
    """By the threshold that shows most, of some that were fixed before the scores were seen.

    The chance that it is above 0 where no attack crosses the curve is at most 1 - confidence: of each threshold, hits
    are fewer and false alarms more than said with a chance of half of its part of that.
    """
    alarms_K, found_K = _rates(scores_M, coins_M, thresholds, (1 - confidence) / len(thresholds))
    over_K = found_K - (1 - missed(alarms_K))
    best = int(over_K.argmax())
    return Excess(float(over_K[best]), float(alarms_K[best]), float(found_K[best]))


def _rates(scores_M: Floats, coins_M: Mask, thresholds: Sequence[float] | Floats, part: float) -> tuple[Floats, Floats]:
    """Of each threshold, false alarms at most, and members found at least: both with the chance `part` to be wrong."""
    from scipy import stats

    inside, outside = scores_M[coins_M], scores_M[~coins_M]
    hits, alarms = (np.array([(side > t).sum() for t in thresholds]) for side in (inside, outside))
    low = np.where(hits > 0, stats.beta.ppf(part / 2, np.maximum(hits, 1), len(inside) - hits + 1), 0.0)
    most = len(outside)
    high = np.where(alarms < most, stats.beta.ppf(1 - part / 2, alarms + 1, np.maximum(most - alarms, 1)), 1.0)
    return high, low


def epsilons_by_rates(
    scores_M: Floats, coins_M: Mask, thresholds: Sequence[float] | Floats, delta: float, confidence: float
) -> Floats:
    """Of each threshold by itself, the lower bound of epsilon at `delta` that its false alarms and hits show; below 0
    where they show nothing. Each holds with `confidence`; the largest of them does not."""
    alarms_K, found_K = _rates(scores_M, coins_M, thresholds, 1 - confidence)
    with np.errstate(divide="ignore"):
        few = np.log(np.maximum(found_K - delta, 0)) - np.log(alarms_K)
        many = np.log(np.maximum(1 - alarms_K - delta, 0)) - np.log1p(-found_K)
    return np.asarray(np.maximum(few, many))


def paired(scores_M: Floats, coins_M: Mask) -> tuple[float, int]:
    """(how many pairs of a canary that was in and one that was not are in order, a tie counting half; pairs).

    Each canary is in one pair, by its place, so that pairs are independent as the games are.
    """
    inside, outside = scores_M[coins_M], scores_M[~coins_M]
    pairs = min(len(inside), len(outside))
    higher, same = inside[:pairs] > outside[:pairs], inside[:pairs] == outside[:pairs]
    return float(higher.sum() + same.sum() / 2), pairs


def area_at_least(scores_M: Floats, coins_M: Mask, confidence: float) -> float:
    """Lower bound of the area under the attack's curve: how often a member scores above another (Clopper, Pearson)."""
    from scipy import stats

    won, pairs = paired(scores_M, coins_M)
    whole = math.floor(won)
    return float(stats.beta.ppf(1 - confidence, whole, pairs - whole + 1)) if whole else 0.0


def area_of(missed: Missed, points: int = 20_001) -> float:
    """The most that the area under an attack's curve can be, to 1e-4: as what is missed falls, from the right end of
    each interval."""
    alarms = np.linspace(0.0, 1.0, points)
    return 1 - float(np.sum(missed(alarms)[1:])) / (points - 1)


def in_one_run(
    scores_M: Floats, coins_M: Mask, delta: float, confidence: float, shares: Sequence[float] = SHARES
) -> tuple[float, float]:
    """Lower bounds of (epsilon, mu) that one run of any algorithm shows: see `epsilon_at_least`, `mu_at_least`. Of each
    share of the canaries, half of the guesses are "in", of the highest scores, and half "out", of the lowest."""
    order, games = np.argsort(-scores_M, kind="stable"), len(scores_M)
    epsilon = mu = 0.0
    for share in shares:
        each = int(games * share / 2)
        if not each:
            continue
        right = int(coins_M[order[:each]].sum() + (~coins_M[order[-each:]]).sum())
        level = 1 - (1 - confidence) / len(shares)
        epsilon = max(epsilon, epsilon_at_least(games, 2 * each, right, delta, level))
        mu = max(mu, mu_at_least(games, 2 * each, right, level))
    return epsilon, mu


def chance(games: int, guesses: int, right: int, epsilon: float, delta: float) -> float:
    """The most likely that so many guesses of one run are right, or more, if it is (epsilon, delta)-private.

    Steinke, Nasr and Jagielski 2023, Theorem 5.2: with delta 0 right guesses are at most binomial; what delta adds is
    2 M delta times the largest mean of that binomial's next smaller values.
    """
    from scipy import stats

    each = 1 / (1 + math.exp(-epsilon))
    below = stats.binom.pmf(np.arange(right - 1, -1, -1), guesses, each)
    most = float(np.max(np.cumsum(below) / np.arange(1, right + 1), initial=0.0))
    return min(1.0, float(stats.binom.sf(right - 1, guesses, each)) + 2 * games * delta * most)


def epsilon_at_least(games: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """The largest epsilon that `chance` refutes; 0 where none is."""
    return _largest(lambda epsilon: chance(games, guesses, right, epsilon, delta) < 1 - confidence)


def of_one_run(games: int, guesses: int, right: int, delta: float, confidence: float) -> float:
    """The largest epsilon that `chance` refutes, or `improbable` by the curve of (epsilon, delta): both bound how
    likely so many right guesses are, so that the smaller one holds, and nothing is to be shared between them."""
    level = 1 - confidence

    def refuted(epsilon: float) -> bool:
        if chance(games, guesses, right, epsilon, delta) < level:
            return True
        return improbable(games, guesses, right, pair_alarms(epsilon, delta), level)

    return _largest(refuted)


def pair_alarms(epsilon: float, delta: float) -> Alarms:
    """Of the curve that (epsilon, delta) alone allows: P <= exp(epsilon) F + delta, 1 - F <= exp(epsilon) (1 - P) +
    delta."""
    times = math.exp(epsilon)
    return lambda found: max(0.0, (found - delta) / times, 1 - delta - times * (1 - found))


def mu_at_least(games: int, guesses: int, right: int, confidence: float) -> float:
    """The largest mu such that one run of an algorithm that is mu-Gaussian private would not have guessed so well."""
    return _largest(lambda mu: improbable(games, guesses, right, gaussian_alarms(mu), 1 - confidence))


def gaussian_alarms(mu: float) -> Alarms:
    """Of a Gaussian answer's curve."""
    # Of single numbers, several times as fast as scipy.
    normal = NormalDist()
    return lambda found: normal.cdf(normal.inv_cdf(found) - mu)


def improbable(games: int, guesses: int, right: int, alarms_of: Alarms, level: float) -> bool:
    """Whether so many right guesses, or more, have a chance below `level` under a trade-off curve.

    Mahloujifar, Melis and Chaudhuri 2024, Theorem 9: let p_i be the chance of exactly i right ones of c guesses. Then,
    for every j, the sum over i > j of (i / M) p_i is at most the most members found (one less those missed) at false
    alarms of the sum over i >= j of ((c - i) / M) p_i. So a chance of `level` of `right` or more asks for mass at
    right - 1, this for mass at right - 2, and so on; it is improbable if all of it comes to more than 1.

    alarms_of: the least false alarms at which a share of the members can be found, the curve's inverse.
    """
    if not 0 <= right <= guesses <= games:
        raise ValueError(f"{right} right of {guesses} guesses about {games} canaries: give no more than there are")
    found, wrong = level * right / games, level * (guesses - right) / games
    whole = guesses / games
    for i in range(right - 1, -1, -1):
        needed = alarms_of(found)
        if needed > wrong:
            found += i / (guesses - i) * (needed - wrong)
            wrong = needed
        if found + wrong > whole:
            return True
    return False


def _largest(refuted: Callable[[float], bool]) -> float:
    """To 1e-3, where what is smaller is refuted whenever something larger is."""
    if not refuted(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while refuted(high) and high < MOST_EPSILON:
        low, high = high, 2 * high
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def epsilon_of(mu: float, delta: float) -> float:
    """The epsilon of a Gaussian answer of this mu, exactly (Balle and Wang 2018)."""
    from scipy.optimize import brentq
    from scipy.special import log_ndtr, ndtr

    if mu <= 0:
        return 0.0

    def over(epsilon: float) -> float:
        return float(ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon + float(log_ndtr(-mu / 2 - epsilon / mu)))) - delta

    if over(0.0) <= 0:
        return 0.0
    high = 1.0
    while over(high) > 0:
        high *= 2
    return float(brentq(over, 0.0, high, xtol=1e-9))


def gaussian_mu(scores_M: Floats, coins_M: Mask, thresholds: Sequence[float], confidence: float) -> float:
    """Lower bound of mu, if what is attacked is Gaussian private at all: by the threshold that shows most."""
    from scipy.special import ndtri

    alarms_K, found_K = _rates(scores_M, coins_M, thresholds, (1 - confidence) / len(thresholds))
    return max(0.0, float(np.max(ndtri(found_K) - ndtri(alarms_K), initial=0.0)))
