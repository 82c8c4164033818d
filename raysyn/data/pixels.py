"""The pictures of a split, decoded one after the other into one array: all of one size, all grey or all colour."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np

from raysyn.data.counting import counted
from raysyn.data.mapped import AT_ONCE, Room, taken
from raysyn.data.members import Member
from raysyn.data.picture import Fit, decode_picture, has_palette, refusal
from raysyn.data.source import Source, Split
from raysyn.data.stored import in_order, parts

SMALLEST = 8
"""Pixels a side."""


def pixels_of(
    source: Source,
    split: Split,
    keep: np.ndarray,
    size: int | None,
    fit: Fit | None,
    shape: tuple[int, int, int] | None,
) -> np.ndarray:
    """The pictures at `keep`, decoded to uint8 (N, H, W, C); `shape` as in train, None for train itself. Many lie in a
    file, and cannot be written to.

    The first one alone says whether all are grey or colour, since no other private image may decide it; a picture with
    a palette, all of whose pixels are grey, passes as colour among colours. Raises ValueError, naming the place, for a
    picture that cannot be used or is not like the first.
    """

    def place(index: int) -> str:
        return f"{source.label}: {split.place(index)}"

    def decode(index: int, picture: Any) -> np.ndarray:
        try:
            return decode_picture(picture, size, fit, source.reading)
        except Exception as error:  # decoders raise anything on damaged bytes; only here is the row known
            raise refusal(place(index), picture, error, source.reading) from error

    notes = source.reading.notes
    notes.begin(split)
    others, begun = "those to train with are", shape
    if begun is None:
        others = f"the first ({split.place(keep[0])}) is"
        begun = _checked_shape(decode(keep[0], split.pictures[keep[0]]), place(keep[0]))
    if isinstance(split.pictures, np.ndarray):
        first = split.pictures[keep[0]]
        if first.shape == begun and decode(keep[0], first) is first:
            # Such pictures as they are to be.
            every = len(keep) == len(split.pictures)
            return np.ascontiguousarray(split.pictures if every else taken(split.pictures, keep))
    notes.begin(split)
    return _filled(source.label, split, keep, decode, place, begun, others)


def brightest(pixels_NHWC: np.ndarray) -> int:
    """The largest value of all, or the first of some that is above 1."""
    most = 0
    for at in range(0, len(pixels_NHWC), 4096):
        if (most := max(most, int(pixels_NHWC[at : at + 4096].max()))) > 1:
            break
    return most


def check_seen(most: int, label: str) -> None:
    """ValueError, in a sentence that `label` opens, where 1 is the largest value of all images: they would be black."""
    if most == 1:
        raise ValueError(
            f"{label} images have no values but 0 and 1 of 8 bits, which both are black: multiply them by 255, or give "
            "them as floats"
        )


def _filled(
    label: str,
    split: Split,
    keep: np.ndarray,
    decode: Callable[[int, Any], np.ndarray],
    place: Callable[[int], str],
    shape: tuple[int, int, int],
    others: str,
) -> np.ndarray:
    """All pictures at `keep`, which must have this `shape`; they are read in order, and a few are held at a time."""
    some = max(1, min(512, AT_ONCE // int(np.prod(shape))))
    found = parts(in_order(split.pictures, keep), some)
    first = next(found)
    # Small pictures spend their time in Python, where threads only fight over the interpreter lock.
    threads = min(16, os.cpu_count() or 1) if _bytes(first[0]) > 8192 else 1

    def fill(start: int, pictures: list[Any]) -> None:
        result = np.empty((len(pictures), *shape), np.uint8)
        for at, picture in enumerate(pictures):
            pixels = decode(keep[start + at], picture)
            # Greys of a palette are stored into all three channels.
            if pixels.shape != shape and not (pixels.shape == (*shape[:2], 1) and has_palette(picture)):
                raise _differs(place(keep[start + at]), pixels.shape, shape, others)
            result[at] = pixels
        room.put(start, result)

    with Room(len(keep), shape, label) as room, ThreadPoolExecutor(threads) as pool:
        flying = deque[Future[None]]()
        begun = 0
        for pictures in counted(chain([first], found), "images are read", len(keep)):
            flying.append(pool.submit(fill, begun, pictures))
            begun += len(pictures)
            del pictures  # held by their thread alone
            if len(flying) > threads:
                flying.popleft().result()
        for one in flying:
            one.result()
        if begun != len(keep):
            raise ValueError(f"{label} has changed while it was read: try again once nobody writes to it")
        return room.array()


def _bytes(picture: Any) -> int:
    if isinstance(picture, np.ndarray):
        return picture.nbytes
    if isinstance(picture, Member):
        return picture.size
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
        f"{place} is {found[1]}x{found[0]} pixels but {others} {shape[1]}x{shape[0]}; rescale all with data.size "
        "(data.fit says how those of other proportions come into it)"
    )
