"""Values of more than 8 bits, as 8 bits: by two numbers that a user or a file says, never by the values themselves."""

from __future__ import annotations

import numpy as np

from raysyn.data.reading import Reading, Unsuited

FLOATS = (0.0, 1.0)
"""What floats are between where no window is given."""


def to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """uint8 of the same shape: `low` and below is 0, `high` and above 255, linear between, rounded."""
    scaled = (values.astype(np.float64) - low) * (255 / (high - low))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def scaled(values: np.ndarray, reading: Reading, what: str) -> np.ndarray:
    """Numbers of any shape as uint8, by the window of `reading`; floats from 0 to 1 need none. `what` opens the
    sentence of Unsuited, raised for what cannot be scaled so."""
    floats = values.dtype.kind == "f"
    if floats and not np.isfinite(values).all():
        raise Unsuited(f"{what}, of which some are no numbers (NaN or infinite): mend them")
    if reading.window is None:
        if not floats:
            raise Unsuited(f"{what} deeper than 8 bits: scale those that matter with {reading.window_flag()}")
        if values.size and not (values.min() >= FLOATS[0] and values.max() <= FLOATS[1]):
            raise Unsuited(
                f"{what}, of which some are outside 0 to 1: scale those that matter with {reading.window_flag()}"
            )
    low, high = reading.window or FLOATS
    reading.note(f"{{n:,}} deeper than 8 bits, values {low:g} to {high:g} scaled to 0 to 255")
    return to_8_bits(values, low, high)
