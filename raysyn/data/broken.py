"""Pictures that cannot be decoded, left out where a user allows some. How many are left counts as public."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from raysyn.data.picture import decode_picture, refusal
from raysyn.data.reading import Broken, Notes
from raysyn.data.source import Source

EXAMPLES = 3
"""Places that are named."""


def without_broken(source: Source, keep: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """{split: places} without the pictures that cannot be decoded, and a word on these. ValueError where they are more
    than `skip_broken` of all splits together, or a split has no other. What is whole, but not plain, is left to be
    refused."""
    allowed = source.reading.skip_broken
    if not allowed:
        return keep, ""
    quiet = replace(source.reading, notes=Notes())

    def fault(split: str, index: int) -> Broken | None:
        picture, place = source.splits[split].pictures[index], f"{source.label}: {source.splits[split].place(index)}"
        try:
            decode_picture(picture, None, None, quiet)
        except Exception as error:  # decoders raise anything on damaged bytes
            found = refusal(place, picture, error, quiet)
            return found if isinstance(found, Broken) else None
        return None

    left, broken = dict[str, np.ndarray](), list[tuple[str, int, Broken]]()
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for split, places in keep.items():
            whole = []
            for index, found in zip(places.tolist(), pool.map(lambda at, of=split: fault(of, at), places), strict=True):
                if found is None:
                    whole.append(index)
                    continue
                broken.append((split, index, found))
                if len(broken) > allowed:
                    raise found
            if not whole and len(places):
                raise ValueError(f"{source.label} has no {split} image that can be decoded; bring them anew")
            left[split] = np.array(whole, dtype=places.dtype)
    return left, _told(source, broken)


def _told(source: Source, broken: Sequence[tuple[str, int, Broken]]) -> str:
    if not broken:
        return ""
    named = ", ".join(source.splits[split].place(index) for split, index, _ in broken[:EXAMPLES])
    more = ", ..." if len(broken) > EXAMPLES else ""
    return f"{len(broken):,} that cannot be decoded left out ({named}{more})"
