"""Exact privacy curves, by closed forms alone."""

from __future__ import annotations

import math

from scipy.optimize import brentq
from scipy.special import log_ndtr


def gaussian_log_delta(mu: float, epsilon: float) -> float:
    """log of delta of Gaussian answers whose shift over noise is `mu` (Balle and Wang 2018, theorem 8).

    k answers with noise multiplier s are one with mu = sqrt(k) / s.
    """
    first, second = log_ndtr(mu / 2 - epsilon / mu), epsilon + log_ndtr(-mu / 2 - epsilon / mu)
    return float(first + math.log(-math.expm1(min(second - first, -1e-300))))


def gaussian_epsilon(mu: float, delta: float) -> float:
    def excess(epsilon: float) -> float:
        return gaussian_log_delta(mu, epsilon) - math.log(delta)

    if excess(0.0) <= 0:
        return 0.0
    high = 1.0
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, 0.0, high, xtol=1e-300, rtol=1e-13))


def one_step_log_delta(rate: float, noise: float, epsilon: float, direction: str) -> float:
    """log of delta of one answer on a Poisson sample, the record removed or added: -inf where it is 0."""
    if direction == "removed":  # more likely with the record above x, where the densities' ratio is exp(epsilon)
        x = noise**2 * math.log(1 + math.expm1(epsilon) / rate) + 0.5
        without, with_ = log_ndtr(-x / noise), log_ndtr(-(x - 1) / noise)
        # with - (exp(epsilon) - 1 + rate) / rate * without, times the rate
        second = math.log((math.expm1(epsilon) + rate) / rate) + without
        gap = second - with_
        return float(math.log(rate) + with_ + math.log(-math.expm1(min(gap, -1e-300))))
    inside = 1 + math.expm1(-epsilon) / rate
    if inside <= 0:
        return -math.inf
    x = noise**2 * math.log(inside) + 0.5
    without, with_ = log_ndtr(x / noise), log_ndtr((x - 1) / noise)
    # without - exp(epsilon) * ((1 - rate) * without + rate * with)
    share = 1 - math.exp(epsilon) * (1 - rate)
    second = math.log(math.exp(epsilon) * rate / share) + with_ - without
    return float(math.log(share) + without + math.log(-math.expm1(min(second, -1e-300))))
