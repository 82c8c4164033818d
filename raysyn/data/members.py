"""A file in an archive, by its place: read when it is asked for, and written nowhere."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import BinaryIO

from raysyn.data.names import legible
from raysyn.data.reading import Unsuited


@dataclass(frozen=True, slots=True)
class Archive:
    """A file as it was when places in it were found, one for all of them."""

    path: str
    size: int
    changed_ns: int

    @staticmethod
    def of(path: str, file: BinaryIO) -> Archive:
        """As it is now; `file` is that at `path`, opened."""
        found = os.fstat(file.fileno())
        return Archive(path, found.st_size, found.st_mtime_ns)

    def changed(self) -> str:
        """What to say where it is another one now."""
        name = legible(os.path.basename(self.path))
        return f"the archive {name} has changed while it was read: try again once nobody writes to it"


@dataclass(frozen=True, slots=True)
class Member:
    """Some bytes of a file."""

    archive: Archive
    offset: int
    size: int

    def read(self) -> bytes:
        """Its content; Unsuited where the archive is no longer the one that it was found in."""
        with open(self.archive.path, "rb") as file:
            file.seek(self.offset)
            found = file.read(self.size)
            # Afterwards, so that what is written in between is noticed as well.
            now = Archive.of(self.archive.path, file)
        if now != self.archive or len(found) < self.size:
            raise Unsuited(self.archive.changed())
        return found
