"""One Parquet file of a set's pictures, as `--data.path` and `--public.path` read it, written as a stream."""

from __future__ import annotations

import io
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import numpy as np

from raysyn.data.picture import centre_square
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture

AT_ONCE = 500
"""Pictures that memory holds, undecoded and encoded; a row group of the file."""
TELL_S = 5.0
"""Between words about how far it is."""


@dataclass(frozen=True)
class Written:
    """What a file holds."""

    splits: dict[str, int]
    """Images of each."""
    parts: dict[str, int]
    """Images of each part that were read, those that were left out by `per_class` not counted."""
    classes: int
    """Classes with a training image."""
    enlarged: int
    """Images that were read whose shorter side has fewer pixels than were asked for."""


def write(
    file: IO[bytes],
    found: Found,
    where: Mapping[str, tuple[str, ...]],
    *,
    about: Mapping[str, Any],
    size: int,
    rescaled: bool,
    per_class: int | None,
    tell: Callable[[int], None],
) -> Written:
    """Write the pictures of all parts into the splits of `where`; `about` goes into the schema's metadata.

    Each becomes RGB, the square in its middle, rescaled to `size` pixels a side (Lanczos, as the published code of
    DPDM, DP-FETA and PrivImage does it), a PNG file. `per_class` keeps the first so many of each class of each part.
    ValueError, in one sentence with its place, for a picture that cannot be used, and where they are not to be
    `rescaled`, for one of another size.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = {"classes": list(found.class_names), **about}
    fields = [("image", pa.binary()), ("label", pa.int64()), ("split", pa.string())]
    schema = pa.schema(fields, metadata={"dataset": json.dumps(about)})
    splits, parts, seen, enlarged = Counter[str](), Counter[str](), set[int](), 0
    pictures = _told(_first(found.pictures(), where, per_class), tell)
    # PNG files are packed already, and what they begin with says nothing.
    packed = {"image": "none", "label": "zstd", "split": "zstd"}
    with (
        ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool,
        pq.ParquetWriter(file, schema, compression=packed, use_dictionary=["split"], write_statistics=["label"]) as out,
    ):
        for batch in _batches(pictures):
            encoded = list(pool.map(partial(_encoded, size=size, rescaled=rescaled), batch))
            rows = [
                (image, one.label, split)
                for one, (image, _) in zip(batch, encoded, strict=True) for split in where[one.split]
            ]  # fmt: skip
            enlarged += sum(side < size for _, side in encoded)
            columns = dict(zip(schema.names, zip(*rows, strict=True), strict=True))
            out.write_table(pa.Table.from_pydict(columns, schema=schema))
            parts.update(one.split for one in batch)
            splits.update(split for _, _, split in rows)
            seen.update(label for _, label, split in rows if split == "train")
    return Written(dict(splits), dict(parts), len(seen), enlarged)


def _first(
    pictures: Iterable[Picture], where: Mapping[str, tuple[str, ...]], per_class: int | None
) -> Iterator[Picture]:
    """Those that have a split, and of each class of each part at most so many."""
    taken = Counter[tuple[str, int]]()
    for one in pictures:
        if where[one.split] and (per_class is None or taken[one.split, one.label] < per_class):
            taken[one.split, one.label] += 1
            yield one


def _told(pictures: Iterator[Picture], tell: Callable[[int], None]) -> Iterator[Picture]:
    spoken = time.monotonic()
    for count, picture in enumerate(pictures):
        if count and time.monotonic() - spoken > TELL_S:
            tell(count)
            spoken = time.monotonic()
        yield picture


def _batches(pictures: Iterator[Picture]) -> Iterator[list[Picture]]:
    while batch := list(itertools.islice(pictures, AT_ONCE)):
        yield batch


def _encoded(picture: Picture, size: int, rescaled: bool) -> tuple[bytes, int]:
    """A PNG file, and of how many pixels a side it is made."""
    from PIL import Image, UnidentifiedImageError

    try:
        if isinstance(picture.pixels, np.ndarray):
            opened = Image.fromarray(picture.pixels)
        else:
            held = picture.pixels
            opened = Image.open(io.BytesIO(held) if isinstance(held, bytes) else held)
        with opened:
            image = centre_square(opened.convert("RGB"))
    except Exception as error:  # decoders raise anything on damaged bytes; only here is the place known
        fault = str(error)
        if isinstance(error, FileNotFoundError):
            fault = f"there is no {error.filename}"
        elif isinstance(error, UnidentifiedImageError):
            fault = "no image file"
        raise ValueError(f"{picture.place} cannot be used: {fault}") from error
    side = image.width
    if side != size:
        if not rescaled:
            raise ValueError(f"size is {size}, but {picture.place} has {side} x {side} pixels: give --size {side}")
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue(), side
