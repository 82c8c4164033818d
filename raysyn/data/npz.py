"""The arrays of a .npz file, of which the large ones are unpacked into a file without a name, a part at a time."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from raysyn.data.mapped import AT_ONCE, IN_MEMORY, Room
from raysyn.data.persons import is_near, with_arrays
from raysyn.data.several import Several
from raysyn.data.source import SPLITS, USUAL_NAMES, Source, from_arrays

PARTS = ("images", "labels", "persons")
"""What arrays of a split are called, after its name."""
READ = (*(f"_{part}" for part in PARTS), "class_names")
MOST_TOLD = 9
"""Names of arrays that a sentence has."""


def read_npz(path: Path, label: str, endings: str | tuple[str, ...] = "") -> dict[str, np.ndarray]:
    """{name: array} of those whose names end so; the others are not read. ValueError, in a sentence that `label` opens,
    for what is no .npz file of plain arrays."""
    try:
        # Opened first: `is_zipfile` says of a file that it may not read that it is none.
        with path.open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("no zip archive")
        with np.load(path, allow_pickle=False) as file:
            wanted = [key for key in file.files if key.endswith(endings)]
            large = {key: _unpacked(file.zip, f"{key}.npy", label) for key in wanted}
            return {key: file[key] if array is None else array for key, array in large.items()}
    # RuntimeError is of what is encrypted or packed in another way, MemoryError of a shape that a damaged header says.
    except (OSError, ValueError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{label} cannot be read as .npz of plain arrays ({error})") from error


def _unpacked(archive: zipfile.ZipFile, name: str, label: str) -> np.ndarray | None:
    """A large array of numbers, read-only; None for any other member."""
    if name not in archive.namelist() or archive.getinfo(name).file_size <= IN_MEMORY:
        return None
    with archive.open(name) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            return None
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read(member)
        if by_columns or dtype.hasobject or len(shape) < 2:
            return None
        # Before there is room for it: a damaged header may say any shape.
        says, holds = math.prod(shape) * dtype.itemsize, archive.getinfo(name).file_size - member.tell()
        if says != holds:
            raise ValueError("it ends early" if says > holds else "it is longer than it says")
        count, inside = shape[0], (*shape[1:], dtype.itemsize)
        with Room(count, inside, label) as room:
            _fill(room, member)
            return room.array().view(dtype).reshape(shape)


def _fill(room: Room, member: IO[bytes]) -> None:
    count, *inside = room.shape
    each = int(np.prod(inside))
    some = max(1, AT_ONCE // each)
    for at in range(0, count, some):
        part = member.read(each * min(some, count - at))
        if len(part) < each * min(some, count - at):
            raise ValueError("it ends early")
        room.put(at, np.frombuffer(part, np.uint8).reshape(-1, *inside))
    # Only at the end of a member is its sum compared.
    if member.read(1):
        raise ValueError("it is longer than it says")


def npz_source(
    path: Path, name: str, label: str, names: Sequence[str] | None, several: Several | None, group: str, labels: bool,
    persons: bool = False,
) -> Source:  # fmt: skip
    """The images of a .npz file as MedMNIST has them, for each split an array of images and one of labels; with
    `persons` also one of whose they are, where there are such."""
    arrays = _as_usual(read_npz(path, label, READ if labels else ("_images", "_persons")), label)
    every = _names(path)
    of = {split: arrays[f"{split}_persons"] for split in SPLITS if persons and f"{split}_persons" in arrays}
    if not labels:
        arrays = {key: array for key, array in arrays.items() if key.endswith("_images")}
        images = {key: array for key, array in arrays.items() if isinstance(array, np.ndarray)}
        arrays |= {key.replace("_images", "_labels"): np.zeros(array.shape[:1], int) for key, array in images.items()}
    present = [split for split in SPLITS if split == "train" or {f"{split}_images", f"{split}_labels"} & set(arrays)]
    for key in (f"{split}_{part}" for split in present for part in ("images", "labels")):
        if key not in arrays:
            has = ", ".join(sorted(every)[:MOST_TOLD]) or "none"
            raise ValueError(f"{label} lacks the array {key}; each split needs its images and labels, and it has {has}")
        if not isinstance(arrays[key], np.ndarray):
            raise ValueError(f"{label}: {key} is no array as numpy.save writes it; write it anew")
    found = {split: (arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in present}
    if names is None and "class_names" in arrays:
        names = _array_names(arrays["class_names"], label)
    source = from_arrays(name, label, found, names, several, group)
    source = replace(source, told="; ".join([f"a .npz file of {', '.join(present)}", *filter(None, [source.told])]))
    source = with_arrays(source, of) if of else source
    used = {"class_names", *(f"{split}_{part}" for split in present for part in PARTS[: 3 if of else 2])}
    if left := [key for key in every if _usual(key) not in used]:
        more = ", ..." if len(left) > MOST_TOLD else ""
        source = replace(source, told=f"{source.told}; left out: arrays {', '.join(left[:MOST_TOLD])}{more}")
    if persons and not of and (near := next((key for key in every if _like_persons(key)), None)):
        wanted = " and ".join(f"{split}_persons" for split in present)
        asked = f"The array {near!r} looks like persons: if it is, give such arrays for each split, {wanted}."
        source = replace(source, warned=(*source.warned, asked))
    return source if "test" in present else replace(source, lacks="lacks the arrays test_images and test_labels")


def _usual(key: str) -> str:
    """What an array is called here: val_images for valid_images, and any other name itself."""
    split, _, part = key.partition("_")
    return f"{USUAL_NAMES[split.lower()]}_{part}" if split.lower() in USUAL_NAMES and part in PARTS else key


def _as_usual(arrays: dict[str, np.ndarray], label: str) -> dict[str, np.ndarray]:
    """The same arrays by the usual names of splits; ValueError for two of one split."""
    named = dict[str, str]()
    for key in arrays:
        if (before := named.setdefault(_usual(key), key)) != key:
            raise ValueError(f"{label} has arrays {before} and {key}, both for {_usual(key)}; leave one of them out")
    return {name: arrays[key] for name, key in named.items()}


def _names(path: Path) -> list[str]:
    """Of all arrays in a file that was read, also those that were left."""
    with np.load(path, allow_pickle=False) as file:
        return list(file.files)


def _like_persons(key: str) -> bool:
    """Whether an array by its name may be of persons, of a split or of all."""
    split, _, rest = key.partition("_")
    return is_near(rest if split.lower() in USUAL_NAMES else key)


def _array_names(names: np.ndarray, label: str) -> list[str]:
    """Class names from an array of the file, a name per class."""
    if not isinstance(names, np.ndarray):
        raise ValueError(f"{label}: class_names is no array as numpy.save writes it; write it anew")
    if names.ndim != 1 or names.dtype.kind != "U":
        raise ValueError(f"{label}: class_names is {names.dtype} of shape {names.shape}; give one string per class")
    return [str(name) for name in names]
