"""An account where it lies: read, and added to by one driver at a time, durably, never changed.

Between looking at it and adding to it nobody else may add: two drivers that both find room for one more run would spend
it twice. A file is locked for these milliseconds; the kernel frees the lock of a driver that dies. Of an object store
see `account_store`.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from raysyn.privacy.account import Account
from raysyn.runs.account_lines import PATIENCE_S, Book, Change, added, parsed, whole_lines
from raysyn.runs.account_store import StoreBook
from raysyn.runs.storage import local_folder

ENDING = ".account.jsonl"
"""Of the file beside the images."""


def book_at(place: str) -> Book:
    """The account at a path, or at a URI of an object store; ValueError, in one sentence, where there can be none."""
    if (here := local_folder(place)) is not None:
        return FileBook(here.expanduser().absolute())
    return StoreBook(place)


def beside(source: str) -> FileBook:
    """The account of a source of images: beside it, never in it."""
    path = Path(source).expanduser().resolve()
    return FileBook(path.with_name(path.name + ENDING))


class FileBook:
    """An account in a file of this machine, or of several that share it: see `Book`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return self.path.exists()

    def read(self) -> Account | None:
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        return parsed(content, self)

    def why_not(self) -> str | None:
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            if not self.path.parent.is_dir():
                return f"the folder {self.path.parent} does not exist"
            return None if os.access(self.path.parent, os.W_OK) else f"{self.path.parent} cannot be written to"
        except OSError as error:
            return str(error.strerror)
        if not stat.S_ISREG(mode):
            return "it is no file"
        return None if os.access(self.path, os.R_OK | os.W_OK) else "it cannot be written to"

    def add(self, change: Change, new: bool = True) -> Account:
        begun = not self.path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if new else 0)
        descriptor = os.open(self.path, flags, 0o600)
        try:
            _lock(descriptor, self.path)
            content = _content(descriptor)
            after, more = added(content, change, self, new)
            if more:
                # What a killed driver has left without its end: nothing was begun or handed out on its strength.
                os.ftruncate(descriptor, len(whole_lines(content)))
                _write(descriptor, more)
                os.fsync(descriptor)
            if more and begun:
                _flush(self.path.parent)
            return after
        finally:
            os.close(descriptor)  # and with it the lock


def _content(descriptor: int) -> bytes:
    size, parts, at = os.fstat(descriptor).st_size, list[bytes](), 0
    while at < size and (part := os.pread(descriptor, size - at, at)):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _write(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _lock(descriptor: int, path: Path) -> None:
    begun = time.monotonic()
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() - begun > PATIENCE_S:
            raise ValueError(f"{path}, the account of these images, is in use by another run: try again")
        time.sleep(0.01)


def _flush(folder: Path) -> None:
    """A new file is durable only once its folder is flushed."""
    opened = os.open(folder, os.O_RDONLY)
    os.fsync(opened)
    os.close(opened)
