"""Pixels of many images: in memory while they are few, else in a file that is read as they are needed.

The file has no name, so that nothing of private images is left where a run ends or is killed; it lies in $TMPDIR, or
/tmp, until the last array that is read from it is gone.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sys
import tempfile
import weakref
from collections.abc import Sequence
from typing import IO, Any

import numpy as np

IN_MEMORY = 2**28
"""Bytes of pixels that are kept in memory; what is more lies in a file."""
AT_ONCE = 2**23
"""Bytes of pixels that are written in one go."""

_MAPS = weakref.WeakSet[mmap.mmap]()


class Room:
    """Room for `count` images of `shape` (H, W, C), uint8: filled in parts in a `with` block, also from several
    threads, then an array.

    Where the file cannot be had they are kept in memory, and it is said so on stderr.
    """

    def __init__(self, count: int, shape: Sequence[int], what: str) -> None:
        self.shape, self._each = (count, *shape), int(np.prod(shape))
        self._file = _file(count * self._each, what) if count * self._each > IN_MEMORY else None
        self._held = np.empty(self.shape, np.uint8) if self._file is None else None

    def put(self, at: int, pixels_NHWC: np.ndarray) -> None:
        """Fill in images from place `at` on."""
        if self._file is None:
            assert self._held is not None
            self._held[at : at + len(pixels_NHWC)] = pixels_NHWC
            return
        # Written, not copied into the map: of a disk that is full the system then tells, instead of ending the process.
        left, where = np.ascontiguousarray(pixels_NHWC).data.cast("B"), at * self._each
        while left:
            written = os.pwrite(self._file.fileno(), left, where)
            left, where = left[written:], where + written

    def array(self) -> np.ndarray:
        """All of it, once it is filled; read-only where it is in a file."""
        if self._file is None:
            assert self._held is not None
            return self._held
        mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        _MAPS.add(mapped)
        return np.frombuffer(mapped, np.uint8).reshape(self.shape)

    def __enter__(self) -> Room:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()  # what is mapped stays


def mapped_bytes() -> int:
    """Of the files that this process has mapped, whose pages count as held, and make way for whoever needs memory."""
    return sum(map(len, _MAPS))


def _file(size: int, what: str) -> IO[bytes] | None:
    """A file of so many bytes without a name, which this user alone can read; None, said aloud, where there is none."""
    folder = "TMPDIR"
    try:
        # Where a user has named a folder, private pixels go to no other one, as tempfile would have them.
        folder = os.environ.get("TMPDIR") or tempfile.gettempdir()
        file = tempfile.TemporaryFile(dir=folder, prefix="raysyn-", buffering=0)  # noqa: SIM115 - it outlives this
        try:
            _reserve(file, size, folder)
        except BaseException:
            file.close()
            raise
        return file
    except OSError as error:
        print(
            f"{what}: {size / 2**30:.1f} GiB of pixels are held in memory, since {folder} has no file for them "
            f"({error.strerror}): set TMPDIR to a folder of a disk with room",
            file=sys.stderr,
        )
        return None


def _reserve(file: IO[bytes], size: int, folder: str) -> None:
    """Have the room now, not run out of it while the file is written; OSError where there is none."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    elif not hasattr(os, "pwrite"):
        raise OSError(errno.ENOSYS, "this system cannot map it")
    elif shutil.disk_usage(folder).free < size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def taken(pixels_NHWC: Any, indices: Any) -> np.ndarray:
    """`pixels_NHWC[indices]`, in a file where it is much."""
    several = isinstance(indices, np.ndarray) and indices.ndim == 1
    if not several:
        return pixels_NHWC[indices]
    rows = np.flatnonzero(indices) if indices.dtype == bool else indices
    each = int(np.prod(pixels_NHWC.shape[1:]))
    if len(rows) * each <= IN_MEMORY:
        return pixels_NHWC[indices]
    some = max(1, AT_ONCE // each)
    with Room(len(rows), pixels_NHWC.shape[1:], "chosen images") as room:
        for at in range(0, len(rows), some):
            room.put(at, pixels_NHWC[rows[at : at + some]])
        return room.array()


def concatenated(parts: Sequence[Any]) -> np.ndarray:
    """Images of several arrays, one after the other, in a file where they are many."""
    count, shape = sum(map(len, parts)), parts[0].shape[1:]
    each = int(np.prod(shape))
    if count * each <= IN_MEMORY:
        return np.concatenate([part[:] for part in parts])
    some, at = max(1, AT_ONCE // each), 0
    with Room(count, shape, "images of several sets") as room:
        for part in parts:
            for start in range(0, len(part), some):
                room.put(at + start, part[start : start + some])
            at += len(part)
        return room.array()


def blanked(pixels_NHWC: Any, places: np.ndarray) -> np.ndarray:
    """The same images, and black ones at these places, in a file where they are many."""
    count, shape = len(pixels_NHWC), pixels_NHWC.shape[1:]
    some = max(1, AT_ONCE // int(np.prod(shape)))
    with Room(count, shape, "images of an audited run") as room:
        for at in range(0, count, some):
            part = np.array(pixels_NHWC[at : at + some])
            part[places[(places >= at) & (places < at + some)] - at] = 0
            room.put(at, part)
        return room.array()
