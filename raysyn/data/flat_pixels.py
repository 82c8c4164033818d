"""Images on disk that are read as they are needed, and two sets as one."""

from __future__ import annotations

from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from raysyn.data.images import Images


class FlatPixels:
    """uint8 (N, H, W, C) in a file, indexed by numbers, a slice or a mask, like an array; what is asked for is read.

    Travels as a path: every machine that uses it must reach the file.
    """

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, path: Path, shape: tuple[int, int, int], rows_N: np.ndarray) -> None:
        self._path, self._rows_N, self.shape = path, rows_N, (len(rows_N), *shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> np.ndarray:
        rows = self._rows_N[indices]
        pixels = np.empty((rows.size, *self.shape[1:]), np.uint8)
        flat, size = rows.reshape(-1), pixels[:1].nbytes
        # Neighbours in the file are read in one go.
        starts = np.flatnonzero(np.diff(flat, prepend=-2) != 1).tolist()
        with self._opened() as file:
            for start, end in pairwise([*starts, len(flat)]):
                file.seek(int(flat[start]) * size)
                read = file.readinto(pixels[start:end].data.cast("B"))
                assert read == size * (end - start), f"{self._path} ends early"
        return pixels.reshape(*rows.shape, *self.shape[1:])

    def view(self, indices: np.ndarray) -> FlatPixels:
        """The same file, of which only these images are seen."""
        return FlatPixels(self._path, self.shape[1:], self._rows_N[indices])

    def _opened(self) -> FileIO:
        try:
            return FileIO(self._path)
        except OSError as error:
            raise ValueError(
                f"{self._path} is not on this machine: set RAYSYN_CACHE to a folder that all machines share"
            ) from error


def view(images: Images, indices: np.ndarray, labels_N: np.ndarray, class_names: tuple[str, ...]) -> Images:
    """Some of the public images under other labels, unread."""
    pixels = cast(FlatPixels, images.images_NHWC)
    return Images(cast(np.ndarray, pixels.view(indices)), labels_N, class_names)


class _Joined:
    """Pixels of two sources, one after the other."""

    dtype, ndim = np.dtype(np.uint8), 4

    def __init__(self, first: Any, second: Any) -> None:
        self._parts, self._cut = (first, second), len(first)
        self.shape = (len(first) + len(second), *first.shape[1:])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> np.ndarray:
        rows = np.arange(len(self))[indices]
        pixels = np.empty((*rows.shape, *self.shape[1:]), np.uint8)
        early = rows < self._cut
        pixels[early] = self._parts[0][rows[early]]
        pixels[~early] = self._parts[1][rows[~early] - self._cut]
        return pixels


def joined(first: Images, second: Images) -> Images:
    """Both as one set under the class names of the first; neither is read."""
    pixels = cast(np.ndarray, _Joined(first.images_NHWC, second.images_NHWC))
    return Images(pixels, np.concatenate((first.labels_N, second.labels_N)), first.class_names)
