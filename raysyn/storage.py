"""Durable files: written whole or not at all, in a folder or on any file system that pyarrow knows by URI."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.fs
import torch


@contextmanager
def written_atomically(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A file to write in: a temporary neighbour, flushed to disk and renamed to `path` at the end.

    A reader sees the old file or all of the new one; after an error the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        # A rename is durable only once its folder is flushed.
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)
    finally:
        temporary.unlink(missing_ok=True)


def save_atomically(state: Any, path: Path) -> None:
    """`torch.save`, so that a reader sees all of it or nothing; makes the folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # For the owner alone: states of private stages must be no easier to read than the run folder, wherever they lie.
    with written_atomically(path, 0o600) as file:
        torch.save(state, file)


def load_saved(path: Path) -> Any:
    """What `save_atomically` wrote, on the CPU; refuses anything but tensors and plain values."""
    return torch.load(path, map_location="cpu", weights_only=True)


class Store:
    """Tensors and plain values under a root; a reader finds all of a file or nothing. Pickles as its root."""

    def __init__(self, root: str | Path) -> None:
        # Workers run in a working folder of Ray's, so a relative root would mean another place there.
        self.root = str(root) if "://" in str(root) else str(Path(root).resolve())

    def __getitem__(self, key: str) -> Any:
        if isinstance(place := self._place(key), Path):
            return load_saved(place)
        system, path = place
        with system.open_input_file(path) as file:
            return torch.load(io.BytesIO(file.read()), map_location="cpu", weights_only=True)

    def __setitem__(self, key: str, value: Any) -> None:
        if isinstance(place := self._place(key), Path):
            save_atomically(value, place)
            return
        system, path = place
        system.create_dir(path.rpartition("/")[0], recursive=True)
        buffer = io.BytesIO()
        torch.save(value, buffer)
        # Object stores show a key only when its upload is complete: no temporary name is needed there.
        with system.open_output_stream(path) as file:
            file.write(buffer.getbuffer())

    def __contains__(self, key: str) -> bool:
        if isinstance(place := self._place(key), Path):
            return place.exists()
        system, path = place
        return bool(system.get_file_info(path).type == pyarrow.fs.FileType.File)

    def _place(self, key: str) -> Path | tuple[Any, str]:
        if "://" not in self.root:
            return Path(self.root) / key
        if self.root.startswith("file://"):
            return Path(self.root.removeprefix("file://")) / key
        system, path = pyarrow.fs.FileSystem.from_uri(self.root)
        return system, f"{path.rstrip('/')}/{key}"
