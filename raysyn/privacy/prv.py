"""The privacy loss of many answers as a random variable on a grid: a tight upper bound, rounding included.

After Gopi, Lee and Wutschitz 2021 ("Numerical composition of differential privacy"): the loss of one answer is put on
a grid so that its mean is kept, sums of such losses are powers of a Fourier transform, and epsilon is read off.

Guarantee: what is returned is never below the true value. Let Y be the sum of all losses, Y' that of the losses on
the grid, and each eta a small part of delta. Then delta(x) of Y is at most delta(x - error) of Y', and on top
- eta for Y - Y' > error: K independent differences of mean 0 within a width of `mesh` (Hoeffding), or their sum;
- eta for single losses beyond the grid, and 3 eta for sums beyond it, which the transform would wrap around (Chernoff,
  by RDP); what it wraps around from below only adds;
- rounding of the transform, below FLOAT * levels for each of K factors, relative to the tilted mass (see `_Sum`).
The mass is tilted by exp(theta * loss) before the transform, so that rounding is small beside the tail that delta is
about, and not beside 1: without that, no delta below 1e-10 or so could be priced over many steps. Theta is no larger
than what keeps that which is wrapped around small too; where delta is so small that rounding may cost more, the smaller
bound of both counts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from raysyn.privacy import rdp
from raysyn.privacy.losses import ONE, Array, Direction, Law
from raysyn.privacy.rdp import Kind

MOST_POINTS = 1 << 22
"""Of a grid: 32 MiB an array, of which there are about ten at a time. A coarser grid is still a bound."""
FINE = 0.002
"""Error of the grid, relative to epsilon, where so many points suffice."""
NARROW = 0.002
"""Error of the grid for a whole curve, relative to the spread of the loss, where half as many points suffice."""
LEAST_NOISE = 1e-3
"""Below that noise multiplier epsilon is beyond 500,000, and nothing is priced here."""
LEAST_DELTA = 1e-200
FAR = 1e-10
"""Below that delta the tilt is tried in full too."""
ETA = 1e-4
"""Part of delta that each of the probabilities above may have."""
FLOAT, NOTHING = 1e-15, -100.0
"""Rounding of one operation, generously; the logarithm of what is 0 beside it."""


def epsilon(kinds: Sequence[Kind], delta: float, fine: float = FINE) -> float:
    """Upper bound of epsilon at `delta`, about `fine` above the true one, relatively; inf where nothing can be said."""
    if not can_say(kinds, delta):
        return math.inf
    if (best := rdp.epsilon(kinds, delta)) == 0:
        return 0.0
    return refined(kinds, delta, best, rdp.best_order(kinds, delta), fine)


def refined(
    kinds: Sequence[Kind], delta: float, best: float, order: float, fine: float = FINE, law: Law = ONE
) -> float:
    """The same from a first bound, `best`, and the order that gave it."""

    def bound(direction: Direction, error: float) -> tuple[float, float]:
        """(epsilon, the error that the grid has)."""
        composed = _Sum(kinds, direction, delta * ETA, error, order - 1, law=law, least=best)
        found = composed.epsilon(delta)
        if delta < FAR and composed.tilt < order - 1:
            # Here rounding may cost more than what is wrapped around, or less: both tilts give a bound.
            full = _Sum(kinds, direction, delta * ETA, error, order - 1, law=law, capped=False)
            found = min(found, full.epsilon(delta))
        return found, composed.error

    error = 0.05 * best
    # RDP may be a hundred times too high for one step at a low rate: each pass tells how fine the next must be.
    for _ in range(6):
        found, has = bound("removed", error)
        best = min(best, found)
        if has > 1.01 * error or error <= 2 * fine * best:
            break
        error = fine * best
    return found if directions(kinds) == ("removed",) else max(found, bound("added", has)[0])


def delta(kinds: Sequence[Kind], epsilon: float) -> float:
    """Upper bound of delta at `epsilon`; 1 where nothing can be said. Mostly 1 % above the true one, but more where
    delta falls steeply: of a million unsampled steps, up to 2.6 times."""
    by_rdp = rdp.delta(kinds, epsilon)
    if not can_say(kinds, by_rdp):
        return 1.0
    tilt = rdp.best_order_at(kinds, epsilon) - 1
    eta = by_rdp * ETA * 1e-3
    return min(1.0, max(_curve(kinds, direction, eta, tilt, epsilon).delta(epsilon) for direction in directions(kinds)))


def profile(kinds: Sequence[Kind], direction: Direction) -> tuple[Array, Array]:
    """(epsilons, deltas), ascending from 0 or so: an upper bound of the whole curve, to within 1e-6 of delta; empty
    where nothing can be said."""
    if not can_say(kinds, 1e-10):
        return np.zeros(0), np.zeros(0)
    return _curve(kinds, direction, 1e-10, 0.0).profile()


def directions(kinds: Sequence[Kind]) -> tuple[Direction, ...]:
    """Both, or one where they are the same."""
    return ("removed",) if all(rate == 1.0 for rate, _, _ in kinds) else ("removed", "added")


def can_say(kinds: Sequence[Kind], delta: float) -> bool:
    return delta > LEAST_DELTA and min(noise for _, noise, _ in kinds) >= LEAST_NOISE


def _curve(kinds: Sequence[Kind], direction: Direction, eta: float, tilt: float, least: float = 0.0) -> _Sum:
    variance = sum(steps * ONE.moments(rate, noise, direction)[1] for rate, noise, steps in kinds)
    return _Sum(kinds, direction, eta, NARROW * math.sqrt(variance), tilt, MOST_POINTS // 2, least=least)


class _Sum:
    """The sum of the losses of all `kinds` on a grid, tilted by exp(tilt * loss).

    `eta` is what each of the improbable events may weigh; `error` in the loss is what the grid may cost, and is raised
    where the grid would have more points than `most`. `least` is about the smallest loss that is asked about, by which
    the tilt is `capped`.
    """

    def __init__(
        self, kinds: Sequence[Kind], direction: Direction, eta: float, error: float, tilt: float,
        most: int = MOST_POINTS, law: Law = ONE, least: float = 0.0, capped: bool = True,
    ) -> None:  # fmt: skip
        self.eta = eta
        steps = sum(count for _, _, count in kinds)
        # Imported where it is used, not above: who only asks for help must not wait for it.
        from scipy.fft import next_fast_len

        # Hoeffding's bound of the sum of differences, and for few steps the plain one.
        spread = min(float(steps), math.sqrt(steps * -math.log(eta) / 2))
        single = [law.reach([(rate, noise, 1)], eta / steps) for rate, noise, _ in kinds]
        reach = max(law.reach(kinds, eta), *single)
        # (reach + error) / (error / spread) points on either side.
        self.error = max(error, reach / max(most / (2 * spread) - 2, 1.0))
        self.mesh = self.error / spread
        points = next_fast_len(2 * math.ceil((reach + self.error) / self.mesh) + 4, real=True)
        # What lies beyond the window comes in again at its other end, where it weighs exp(tilt * window) times as much:
        # of rare and large losses, as of few steps at a low rate, that would be more than delta.
        window = points * self.mesh
        if capped:
            tilt = min(tilt, max(0.0, (math.log(eta) - law.log_beyond(kinds, least + window)) / window))
        self.tilt = tilt
        mass, self._log_scale, self._rounding, shift, loose = _composed(
            kinds, direction, single, self.mesh, points, tilt, law
        )
        self._slack = self.error + eta + loose
        # Sums of the grid's indices lie in the window around 0 only after the shift that keeps the means.
        first = -(points // 2) - round(shift / self.mesh)
        self.losses = (np.arange(points) + first) * self.mesh + shift
        self._mass = np.maximum(np.roll(mass, -first % points), 0.0)
        # Every sum over the grid has a relative error of its own.
        self._relative = 1 + 4e-16 * points
        self._log_scale += tilt * shift  # masses were tilted by their places before the shift

    def _tail(self, least: float) -> tuple[Array, Array]:
        """(losses, delta of Y' there), from the smallest loss of at least `least` that can be untilted."""
        from scipy.signal import lfilter

        log_weights = self._log_scale - self.tilt * self.losses
        start = max(int(np.searchsorted(self.losses, least)), int(np.searchsorted(-log_weights, -100.0)))
        losses, log_weights = self.losses[start:], log_weights[start:]
        weights = self._mass[start:] * np.exp(log_weights)
        above = np.append(np.cumsum(weights[:0:-1])[::-1], 0.0)
        # delta(x) = sum over y > x of (1 - exp(x - y)) mass(y), from the top down: all terms are positive.
        rises = -math.expm1(-self.mesh) * above[::-1]
        sums = lfilter([1.0], [1.0, -math.exp(-self.mesh)], rises)[::-1]
        return losses, sums * self._relative + self._rounding * np.exp(log_weights)

    def epsilon(self, delta: float) -> float:
        losses, deltas = self._tail(-self.error)
        allowed = delta - 5 * self.eta
        below = np.flatnonzero(deltas <= allowed)
        if not len(below):
            return math.inf
        at = int(below[0])
        loss = losses[at]
        if at:
            # In exp(loss) delta is convex: there the chord between two points of the grid lies above it.
            part = (allowed - deltas[at]) / (deltas[at - 1] - deltas[at])
            loss += math.log1p(part * math.expm1(-self.mesh))
        return max(0.0, float(loss + self._slack))

    def delta(self, epsilon: float) -> float:
        least = epsilon - self._slack
        losses, deltas = self._tail(least - self.mesh)
        if not len(losses) or losses[0] > least:
            return 1.0
        return float(deltas[np.searchsorted(losses, least, side="right") - 1]) + 5 * self.eta

    def profile(self) -> tuple[Array, Array]:
        losses, deltas = self._tail(-self._slack)
        return losses + self._slack, np.minimum(deltas + 5 * self.eta, 1.0)


def _composed(
    kinds: Sequence[Kind], direction: Direction, single: Sequence[float], mesh: float, points: int, tilt: float,
    law: Law,
) -> tuple[Array, float, float, float, float]:  # fmt: skip
    """Tilted mass of the sum of all losses at multiples 0, 1, ... of `mesh`, modulo `points` of them; the logarithm of
    what it was divided by; the mass that rounding may have added or taken; how far to shift it so that means are kept;
    how far rounding may have moved it."""
    from scipy.fft import irfft, rfft

    product = np.ones(points // 2 + 1, np.complex128)
    # A coefficient of a mass of 1 is wrong by no more than this; `sizes` bounds what that makes of the product.
    wrong = FLOAT * (math.log2(points) + 20)
    sizes, least = np.zeros(len(product)), np.zeros(len(product))
    log_scale = shift = loose = 0.0
    for (rate, noise, steps), reach in zip(kinds, single, strict=True):
        first, mass = _on_grid(rate, noise, direction, reach, mesh, law)
        indices = first + np.arange(len(mass))
        places = indices * mesh
        mean, _, size = law.moments(rate, noise, direction)
        own = mean - float(np.sum(mass * places))
        shift += steps * own
        loose += steps * (3e-14 * size + max(0.0, abs(own) - mesh / 2))
        with np.errstate(divide="ignore"):
            logs = np.log(mass) + tilt * places
        tilted = np.exp(logs - (highest := float(logs.max())))
        total = float(tilted.sum())
        log_scale += steps * (highest + math.log(total))
        ring = np.zeros(points)
        ring[indices % points] = tilted / total
        factor = rfft(ring)
        logs = np.log(np.abs(factor) + wrong)
        sizes += steps * logs
        np.minimum(least, logs, out=least)
        # Of many steps, little is left at most frequencies: powers there would be zeros at great expense.
        alive = sizes > NOTHING
        product[~alive] = 0.0
        product[alive] *= factor[alive] ** steps
    # |a^k - b^k| <= k |a - b| max^(k - 1), and the sum over all points is at most sqrt(points) times their norm.
    norm = math.sqrt(2 * float(np.sum(np.exp(2 * (sizes - least)))))
    rounding = (sum(steps for _, _, steps in kinds) + 1) * wrong * norm
    return irfft(product, points), log_scale, rounding, shift, loose


def _on_grid(rate: float, noise: float, direction: Direction, reach: float, mesh: float, law: Law) -> tuple[int, Array]:
    """Index of the first point of the grid, and the probability around each point; beyond `reach` it joins the last."""
    last = math.ceil(reach / mesh)
    first = -last
    if rate < 1:
        # Where the record takes part with this probability, its absence is never more surprising than that.
        end = math.ceil(-law.lowest(rate) / mesh) + 1
        first, last = (max(first, -end), last) if direction == "removed" else (first, min(last, end))
    borders: Array = (np.arange(first, last, dtype=np.float64) + 0.5) * mesh
    below, above = law.tails(borders, rate, noise, direction)
    below, above = np.concatenate([[0.0], below, [1.0]]), np.concatenate([[1.0], above, [0.0]])
    # Differences of whichever is small, or rounding would hide the tails.
    return first, np.maximum(np.where(below[1:] < 0.5, np.diff(below), -np.diff(above)), 0.0)
