"""Public images, decoded once into a cache in the size and colours of the sensitive ones."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.names import check_class_names
from raysyn.data.picture import Fit, fitted, opened, refusal
from raysyn.data.pixels import check_seen
from raysyn.data.reading import PLAIN, Broken, Reading
from raysyn.data.source import SPLITS
from raysyn.data.streams import Picture, Stream

ABANDONED_S = 6 * 3600.0


TELL_S = 20.0
"""Between lines about a decoding."""


def decode_into(
    folder: Path, source: Stream, shape: tuple[int, int, int], fit: Fit | None = None, reading: Reading = PLAIN
) -> None:
    """Write all splits beside `folder`, then move them there as a whole: nobody sees half a set."""
    class_names, pictures = source.opened()
    check_class_names(source.label, class_names or (), once=False)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _sweep(folder.parent)
    understood = f"read as {source.told}; " if source.told else ""
    print(f"{source.label}: {understood}decoding into {folder}, once", file=sys.stderr)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
    try:
        decode = partial(_fitted, shape=shape, fit=fit, reading=reading)
        told = _told(pictures, source.label)
        labels, classes, left_out = _write(part, source.label, class_names, told, decode, reading)
        for said in (reading.told(), *reading.warned(), f"{left_out} that cannot be decoded left out" * bool(left_out)):
            if said:
                print(f"{source.label}: {said}", file=sys.stderr)
        names = [str(number) for number in range(classes)] if class_names is None else list(class_names)
        images = {split: len(found) for split, found in labels.items()}
        (part / "facts.json").write_text(json.dumps({"class_names": names, "images": images, "of": source.identity}))
        try:
            part.rename(folder)
        except OSError:
            # Another run was faster.
            if not (folder / "facts.json").exists():
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(cache: Path) -> None:
    """Remove what killed processes have left half decoded: nobody has written to it for long."""
    for part in cache.glob(".part-*"):
        with suppress(OSError):
            if time.time() - max(one.stat().st_mtime for one in (part, *part.iterdir())) > ABANDONED_S:
                shutil.rmtree(part)


def _told(pictures: Iterator[Picture], label: str) -> Iterator[Picture]:
    """The same pictures, with a line about how many there were every now and then."""
    spoken = time.monotonic()
    for count, picture in enumerate(pictures):
        if time.monotonic() - spoken > TELL_S:
            print(f"{label}: {count:,} images decoded", file=sys.stderr)
            spoken = time.monotonic()
        yield picture


def _write(
    part: Path,
    label: str,
    class_names: Sequence[str] | None,
    pictures: Iterator[Picture],
    decode: Callable[[Any, str], np.ndarray],
    reading: Reading,
) -> tuple[dict[str, array[int]], int, int]:
    """The labels of each split, once all its pixels are written, how many classes there are, and how many pictures were
    left out as broken: they leave their class there."""
    left_out, classes, most = 0, 0, 0
    labels = {split: array("q") for split in SPLITS}
    known = 2**31 if class_names is None else len(class_names)
    with ExitStack() as stack:
        files = {split: stack.enter_context((part / f"{split}.u8").open("wb")) for split in SPLITS}
        for picture in pictures:
            place = f"{label}: {picture.place}"
            if picture.split not in SPLITS:
                raise ValueError(f"{place} has the split {picture.split!r}; it must be one of {', '.join(SPLITS)}")
            if not 0 <= picture.label < known:
                raise ValueError(f"{place} has the label {picture.label}, but classes are 0 to {known - 1}; mend it")
            classes = max(classes, picture.label + 1)
            try:
                pixels = decode(picture.pixels, place)
            except Broken:
                left_out += 1
                if left_out > reading.skip_broken:
                    raise
                continue
            most = most if most > 1 else max(most, int(pixels.max()))
            files[picture.split].write(pixels.tobytes())
            labels[picture.split].append(picture.label)
    check_seen(most, f"{label}: all")
    if not labels["train"]:
        raise ValueError(f"{label} has no train images; give some")
    for split, found in labels.items():
        np.save(part / f"{split}.npy", np.array(found, np.int64))
    return labels, classes, left_out


def _fitted(picture: Any, place: str, shape: tuple[int, int, int], fit: Fit | None, reading: Reading) -> np.ndarray:
    """One picture (HWC array or file), in `shape`."""
    mode, size = ("L" if shape[2] == 1 else "RGB"), (shape[1], shape[0])
    try:
        image = opened(picture, reading).convert(mode)
    except Exception as error:  # decoders raise anything on damaged bytes; only here is the place known
        raise refusal(place, picture, error, reading) from error
    return np.asarray(fitted(image, size, fit, reading))
