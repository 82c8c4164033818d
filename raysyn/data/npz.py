"""The arrays of a .npz file, of which the large ones are unpacked into a file without a name, a part at a time."""

from __future__ import annotations

import math
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from raysyn.data.mapped import AT_ONCE, IN_MEMORY, Room


def read_npz(path: Path, label: str, ending: str = "") -> dict[str, np.ndarray]:
    """{name: array} of those whose names end so; the others are not read. ValueError, in a sentence that `label` opens,
    for what is no .npz file of plain arrays."""
    try:
        # Opened first: `is_zipfile` says of a file that it may not read that it is none.
        with path.open("rb") as opened:
            if not zipfile.is_zipfile(opened):
                raise ValueError("no zip archive")
        with np.load(path, allow_pickle=False) as file:
            wanted = [key for key in file.files if key.endswith(ending)]
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
