"""Noise on a sum, drawn once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def noisy_sum(parts: Iterable[Floats], sensitivity: float, noise_multiplier: float, noise: Floats) -> Floats:
    """The sum of `parts` (size,), in their order, plus noise_multiplier * sensitivity * noise.

    noise: standard normal numbers (size,). No parts at all are answered too. Guarantee: the Gaussian
    mechanism, if adding or removing one record changes the sum by at most `sensitivity` in L2 norm.
    """
    total = np.zeros_like(noise)
    for part in parts:
        total += part
    return total + noise_multiplier * sensitivity * noise
