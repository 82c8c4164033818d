"""LSUN (Yu et al., 2015): ten kinds of scenes, as databases (LMDB) or as the folders that were exported from them."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from raysyn.data.prepared.finding import look_for
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture

SCENES = (
    "bedroom", "bridge", "church_outdoor", "classroom", "conference_room", "dining_room", "kitchen", "living_room",
    "restaurant", "tower",
)  # fmt: skip
PARTS = ("train", "val")


def lsun(source: Path) -> Found:
    """Ten classes; parts train and val. Each of both is a folder: bedroom_train_lmdb/, bedroom_train/ or
    train/bedroom/, in which images may lie at any depth."""
    mend = "unpack the .zip files of all ten scenes there, train and val, or export them there"
    places = {
        part: [
            look_for(source, (f"{scene}_{part}_lmdb/", f"{scene}_{part}/", f"{part}/{scene}/"), mend)
            for scene in SCENES
        ]
        for part in PARTS
    }
    images: dict[str, int] = {}
    if all(_is_lmdb(path) for paths in places.values() for path in paths):
        # In folders, ten million files would have to be counted first.
        images = {part: sum(_entries(path) for path in paths) for part, paths in places.items()}

    def pictures() -> Iterator[Picture]:
        for part, paths in places.items():
            for label, path in enumerate(paths):
                for held, place in _from_lmdb(path) if _is_lmdb(path) else _from_folder(path):
                    yield Picture(part, held, label, f"{path.name}, {place}")

    return Found(SCENES, pictures, images)


def _is_lmdb(path: Path) -> bool:
    return (path / "data.mdb").is_file()


def _opened(path: Path) -> Any:
    try:
        lmdb = importlib.import_module("lmdb")
    except ImportError as error:
        raise ValueError(
            f"{path} is a database of LMDB, and the Python package lmdb is not installed: pip install lmdb, or export "
            f"its images into a folder {path.name.removesuffix('_lmdb')} beside it"
        ) from error
    try:
        return lmdb.open(str(path), readonly=True, lock=False, readahead=False, max_readers=1)
    except lmdb.Error as error:
        raise ValueError(f"{path} cannot be read as a database of LMDB ({error}): unpack it again") from error


def _entries(path: Path) -> int:
    with _opened(path) as database:
        return int(database.stat()["entries"])


def _from_lmdb(path: Path) -> Iterator[tuple[bytes, str]]:
    with _opened(path) as database, database.begin() as reading:
        for key, image in reading.cursor():
            yield bytes(image), f"image {bytes(key).decode(errors='backslashreplace')}"


def _from_folder(path: Path) -> Iterator[tuple[Path, str]]:
    for folder, inside, files in os.walk(path):
        inside.sort()
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(folder, name), f"file {Path(folder, name).relative_to(path)}"
