"""An account where it lies: read, and added to by one driver at a time, durably, never changed.

Between looking at it and adding to it nobody else may add: two drivers that both find room for one more run would spend
it twice. A file is locked for these milliseconds; the kernel frees the lock of a driver that dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raysyn.privacy import account
from raysyn.privacy.account import Account
from raysyn.runs.storage import local_folder

ENDING = ".account.jsonl"
"""Of the file beside the images."""
KEY_BYTES = 32
PATIENCE_S = 60.0
"""How long another driver may take."""

Line = Mapping[str, Any]
Change = Callable[[Account], Sequence[Line]]
"""change(account): the lines to add; ValueError where it may not be."""


class Book:
    """The account at a place: a file of this machine or of one that it shares."""

    def __init__(self, place: str) -> None:
        here = local_folder(place)
        if here is None:
            raise ValueError(f"budget.account is {place}: an account is a file, give a path that every driver reaches")
        self.path = here.expanduser().absolute()

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> Account | None:
        """What it holds by now; None where there is none. ValueError where it is damaged."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None
        whole = _whole(content)
        return self._parsed(whole) if whole else None

    def why_not(self) -> str | None:
        """Why nothing can be added to it, in words; None where something can. Nothing is made."""
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
        """Add the lines of `change(account)`, on disk when this returns, and answer the account with them.

        Begins an account where there is none; FileNotFoundError instead where it may not be `new`.
        """
        # What a killed driver has left without its end is cut off: nothing was begun or handed out on its strength.
        begun = not self.path.exists()
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if new else 0)
        descriptor = os.open(self.path, flags, 0o600)
        try:
            _lock(descriptor, self.path)
            content = _content(descriptor)
            whole = _whole(content)
            if not whole and not new:
                raise FileNotFoundError(self.path)
            head = b"" if whole else _as_bytes([_head()])
            now = self._parsed(whole + head)
            lines = change(now)
            more = _as_bytes(lines)
            if not lines:
                # An account that nothing was entered in is none.
                return now
            after = self._parsed(whole + head + more)
            if len(whole) < len(content):
                os.ftruncate(descriptor, len(whole))
            _write(descriptor, head + more)
            os.fsync(descriptor)
            if begun:
                _flush(self.path.parent)
            return after
        finally:
            os.close(descriptor)  # and with it the lock

    def _parsed(self, whole: bytes) -> Account:
        def lines() -> Any:
            for line in whole.splitlines():
                try:
                    yield json.loads(line)
                except (ValueError, RecursionError):
                    yield None  # which is no account's

        try:
            return account.read(lines())
        except ValueError as error:
            raise ValueError(
                f"{self}, the account of these images, is damaged at {error}: bring back a copy of it, or name another "
                "one with --budget.account"
            ) from error


def _whole(content: bytes) -> bytes:
    """Without a last line that has no end."""
    return content[: content.rfind(b"\n") + 1]


def _head() -> Line:
    return {
        "raysyn_account": account.FORM, "id": os.urandom(8).hex(), "key": os.urandom(KEY_BYTES).hex(), "begun": now(),
    }  # fmt: skip


def now() -> str:
    """As the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _as_bytes(lines: Sequence[Line]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


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


def beside(source: str) -> Book:
    """The account of a source of images: beside it, never in it."""
    path = Path(source).expanduser().resolve()
    return Book(str(path.with_name(path.name + ENDING)))
