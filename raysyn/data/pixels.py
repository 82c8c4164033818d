"""The pictures of a split, decoded into one array: all of one size, and all grey or all colour."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from raysyn.data.picture import Crop, decode_picture, fault_of, has_palette
from raysyn.data.source import Source, Split

SMALLEST = 8
"""Pixels a side."""


def pixels_of(
    source: Source,
    split: Split,
    keep: np.ndarray,
    size: int | None,
    crop: Crop | None,
    shape: tuple[int, int, int] | None,
) -> np.ndarray:
    """The pictures at `keep`, decoded to uint8 (N, H, W, C); `shape` as in train, None for train itself.

    The first one alone says whether all are grey or colour, since no other private image may decide it; a picture with
    a palette, all of whose pixels are grey, passes as colour among colours. Raises ValueError, naming the place, for a
    picture that cannot be used or is not like the first.
    """

    def place(index: int) -> str:
        return f"{source.label}: {split.place(index)}"

    def decode(index: int) -> np.ndarray:
        try:
            return decode_picture(split.pictures[index], size, crop)
        except Exception as error:  # decoders raise anything on damaged bytes; only here is the row known
            fault = fault_of(split.pictures[index], error)
            raise ValueError(f"{place(index)} cannot be used: {fault}") from error

    if shape is not None:
        return _filled(split, keep, decode, place, shape, "those to train with are")
    others = f"the first ({split.place(keep[0])}) is"
    begun = _checked_shape(decode(keep[0]), place(keep[0]))
    return _filled(split, keep, decode, place, begun, others)


def _filled(
    split: Split,
    keep: np.ndarray,
    decode: Callable[[int], np.ndarray],
    place: Callable[[int], str],
    shape: tuple[int, int, int],
    others: str,
) -> np.ndarray:
    """All pictures at `keep`, which must have this `shape`."""
    result = np.empty((len(keep), *shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for at in range(start, min(start + 512, len(keep))):
            pixels = decode(keep[at])
            # Greys of a palette are stored into all three channels.
            if pixels.shape != shape and not (
                pixels.shape == (*shape[:2], 1) and has_palette(split.pictures[keep[at]])
            ):
                raise _differs(place(keep[at]), pixels.shape, shape, others)
            result[at] = pixels

    # Small pictures spend their time in Python, where threads only fight over the interpreter lock.
    threads = min(16, os.cpu_count() or 1) if _bytes(split.pictures[keep[0]]) > 8192 else 1
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(keep), 512)):
            pass
    return result


def _bytes(picture: Any) -> int:
    if isinstance(picture, np.ndarray):
        return picture.nbytes
    return len(picture) if isinstance(picture, bytes) else picture.stat().st_size


def _checked_shape(pixels: np.ndarray, place: str) -> tuple[int, int, int]:
    height, width, channels = pixels.shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"{place} is {width}x{height} pixels, under {SMALLEST}; rescale with data.size")
    return height, width, channels


def _differs(place: str, found: tuple[int, ...], shape: tuple[int, int, int], others: str) -> ValueError:
    """What to say of a picture that is not like the others, of which the first may be the odd one as well."""
    if found[2] != shape[2]:
        kind = {1: "grey", 3: "colour"}
        return ValueError(
            f"{place} is {kind[found[2]]} but {others} {kind[shape[2]]}; convert the odd ones, so that all are grey or "
            "all colour, or read them as one kind with --data.colour rgb (or grey)"
        )
    return ValueError(
        f"{place} is {found[1]}x{found[0]} pixels but {others} {shape[1]}x{shape[0]}; rescale all with data.size"
    )
