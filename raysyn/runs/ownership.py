"""A run folder is one driver's at a time, and its owner's alone."""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

VANISHED_S = 120.0
"""A file server keeps the lock of a machine that vanished for a while (NFS: its lease, 90 s)."""


def lock(out: Path) -> int:
    """A descriptor that holds the folder's lock; the kernel drops it when the process dies."""
    descriptor = os.open(out / "internal" / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    begun, here = time.monotonic(), f" on {socket.gethostname()}"
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(descriptor, 300, 0).decode(errors="replace").strip() or "unknown"
            elsewhere = " on " in holder and not holder.endswith(here)
            if not elsewhere or time.monotonic() - begun > VANISHED_S:
                os.close(descriptor)
                raise ValueError(
                    f"--out {out} is in use by another run (process {holder}); wait until it ends, or choose another "
                    "--out."
                ) from None
            time.sleep(1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}{here}".encode(), 0)
    return descriptor


def id_of(secret: bytes) -> str:
    """16 hex digits, different for every run and silent about its secret."""
    return hashlib.sha256(b"raysyn run id " + secret).hexdigest()[:16]


def make_private(folder: Path) -> None:
    """A folder for its owner alone."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)


def forget(out: Path) -> None:
    """Take away the beginnings of a run in a folder, and nothing else: of one that has done nothing yet."""
    for name in ("run.json", "secret", "lock", "account.json"):
        (out / "internal" / name).unlink(missing_ok=True)
    for folder in (out / "internal", out):
        with suppress(OSError):  # something else lies there
            folder.rmdir()
