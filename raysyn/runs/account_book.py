"""An account where it lies: read, and added to by one driver at a time, durably, never changed.

Between looking at it and adding to it nobody else may add a run: two drivers that both find room for one more would
spend it twice. Runs are priced without a lock, which may take seconds; a file is locked for the milliseconds in which
it is compared with what was seen and written to, and the kernel frees the lock of a driver that dies. Of an object
store see `account_store`.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

from raysyn.privacy.account import Account
from raysyn.runs import account_lines
from raysyn.runs.account_lines import PATIENCE_S, Book, Change, parsed, whole_lines
from raysyn.runs.account_store import StoreBook
from raysyn.runs.storage import local_folder

ENDING = ".account.jsonl"
"""Of the file beside the images."""


def book_at(place: str) -> Book:
    """The account at a path, or at a URI of an object store; ValueError, in one sentence, where there can be none."""
    if (here := local_folder(place)) is not None:
        return FileBook(_here(here, place).absolute())
    return StoreBook(place)


def beside(source: str) -> FileBook:
    """The account of a source of images: beside it, never in it."""
    try:
        path = _here(Path(source), source).resolve()
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{source} leads nowhere (links in a circle): name what it shall be") from error
    if not path.name:
        raise ValueError(f"{source} has nothing beside it, where its account could be: name a file or folder")
    return FileBook(path.with_name(path.name + ENDING))


def _here(path: Path, told: str) -> Path:
    try:
        if "\0" in told:
            raise RuntimeError("it has a character 0")
        return path.expanduser()
    except RuntimeError as error:  # no such user
        raise ValueError(f"{told!r} is no place for an account ({error}): give a file") from error


class FileBook:
    """An account in a file of this machine, or of several that share it: see `Book`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def exists(self) -> bool:
        return os.path.lexists(self.path)  # a link to what is not there is not passed over

    def read(self) -> Account | None:
        return parsed(self.held()[0], self)

    def why_not(self) -> str | None:
        try:
            mode = self.path.stat().st_mode
        except FileNotFoundError:
            if self.path.is_symlink():
                return "it is a link to what is not there"
            if not self.path.parent.is_dir():
                return f"the folder {self.path.parent} does not exist"
            return None if os.access(self.path.parent, os.W_OK) else f"{self.path.parent} cannot be written to"
        except OSError as error:
            return str(error.strerror)
        if not stat.S_ISREG(mode):
            return "it is no file"
        return None if os.access(self.path, os.R_OK | os.W_OK) else "it cannot be written to"

    def add(self, change: Change, new: bool = True) -> Account:
        return account_lines.add(self, change, new)

    def held(self) -> tuple[bytes, None]:
        try:
            # Nothing is waited for: a pipe may never be written to.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return b"", None
        except OSError as error:
            raise ValueError(f"{self}, the account of these images, cannot be read ({error.strerror})") from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError(f"{self}, the account of these images, is no file: name another place")
            return _content(descriptor), None
        finally:
            os.close(descriptor)

    def put(self, content: bytes, version: None, more: bytes) -> bool:
        whole = whole_lines(content)
        try:
            descriptor = _locked(self.path, begin=not whole)
        except FileNotFoundError:
            if whole:
                return False  # it is gone
            raise
        try:
            if _content(descriptor) != content:
                return False
            # What a killed driver has left without its end: nothing was begun or handed out on its strength.
            os.ftruncate(descriptor, len(whole))
            _write(descriptor, more)
            os.fsync(descriptor)
            if not whole:
                _flush(self.path.parent)
            return True
        finally:
            os.close(descriptor)  # and with it the lock


def _locked(path: Path, begin: bool) -> int:
    """The file, open, and nobody else's until it is closed."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if begin else 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            _lock(descriptor, path)
            here = os.fstat(descriptor)
            # As of a copy that was brought back; one that all may write in was opened to them on purpose.
            if here.st_uid == os.geteuid() and here.st_mode & 0o006 == 0o004:
                with suppress(OSError):
                    os.fchmod(descriptor, here.st_mode & 0o770)
            # Waited for, it may have become another file: of a copy that was brought back, or an editor.
            with suppress(FileNotFoundError):
                if os.path.samestat(here, path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


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
