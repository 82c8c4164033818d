"""Sizes of images that a network takes."""

from __future__ import annotations

from collections.abc import Callable

LEAST, MOST = 8, 4096
"""Pixels a side."""


def nearest(shape: tuple[int, int, int], takes: Callable[[int], bool]) -> str:
    """Flags that bring images of `shape` (H, W, C) to the squares nearest to their shorter side which `takes` allows:
    the next smaller and the next larger one."""
    side = min(shape[:2])
    below = next((size for size in range(side, LEAST - 1, -1) if takes(size)), None)
    above = next((size for size in range(max(side + 1, LEAST), MOST) if takes(size)), None)
    return " or ".join(f"--data.size {size}" for size in (below, above) if size is not None)
