"""Durable files that every node reaches: a folder, or any file system pyarrow knows by URI."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow.fs
import torch

from raysyn.compute import load_saved, save_atomically


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
