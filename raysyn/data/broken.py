"""Pictures that cannot be decoded, left out where a user allows some. How many are left counts as public."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from raysyn.data.counting import counted
from raysyn.data.picture import decode_picture, refusal
from raysyn.data.reading import Broken, Notes
from raysyn.data.source import Source
from raysyn.data.stored import in_order, parts

AT_ONCE = 256
"""Pictures that are held, undecoded, where they are small."""
EXAMPLES = 3
"""Places that are named."""


def without_broken(source: Source, keep: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """{split: places} without the pictures that cannot be decoded, and a word on these. ValueError where they are more
    than `skip_broken` of all splits together, or a split has no other. What is whole, but not plain, is left to be
    refused."""
    allowed = source.reading.skip_broken
    if not allowed:
        return keep, ""
    left, broken = dict[str, np.ndarray](), list[str]()
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for split, places in keep.items():
            whole = []
            for index, fault in _faults(source, split, places, pool):
                if fault is None:
                    whole.append(index)
                    continue
                broken.append(source.splits[split].place(index))
                if len(broken) > allowed:
                    raise fault
            if not whole and len(places):
                raise ValueError(f"{source.label} has no {split} image that can be decoded; bring them anew")
            left[split] = np.array(whole, dtype=places.dtype)
    return left, _told(broken)


def _faults(
    source: Source, split: str, places: np.ndarray, pool: ThreadPoolExecutor
) -> Iterator[tuple[int, Broken | None]]:
    """(place, what is wrong) of each picture, in order."""
    quiet, own = replace(source, reading=replace(source.reading, notes=Notes())), source.splits[split]
    at = 0
    for some in counted(parts(in_order(own.pictures, places), AT_ONCE), "broken images are looked for", len(places)):
        numbers = places[at : at + len(some)].tolist()
        yield from zip(numbers, pool.map(partial(_fault, quiet, split), numbers, some), strict=True)
        at += len(some)


def _fault(source: Source, split: str, index: int, picture: Any) -> Broken | None:
    try:
        decode_picture(picture, None, reading=source.reading)
    except Exception as error:  # decoders raise anything on damaged bytes
        place = f"{source.label}: {source.splits[split].place(index)}"
        found = refusal(place, picture, error, source.reading)
        return found if isinstance(found, Broken) else None
    return None


def _told(broken: Sequence[str]) -> str:
    if not broken:
        return ""
    more = ", ..." if len(broken) > EXAMPLES else ""
    return f"{len(broken):,} that cannot be decoded left out ({', '.join(broken[:EXAMPLES])}{more})"
