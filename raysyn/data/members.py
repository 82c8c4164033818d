"""A file in an archive, by its place: read when it is asked for, and written nowhere."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """Some bytes of a file."""

    archive: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Its content; ValueError where the archive has become shorter."""
        with open(self.archive, "rb") as file:
            file.seek(self.offset)
            found = file.read(self.size)
        if len(found) < self.size:
            raise ValueError("the archive has become shorter")
        return found
