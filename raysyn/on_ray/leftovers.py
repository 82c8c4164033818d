"""The folders of a cluster of our own; and what a killed driver could not clear away: its last processes and its
folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "raysyn-ray-"
LOCK = "alive"


def sweep(parent: Path) -> None:
    """Remove the temporary folders under `parent` whose driver is dead, and the processes still using them.

    A driver locks its folder as long as it lives, so that of another user or container is never touched.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        try:
            lock = open(folder / LOCK)  # noqa: SIM115 - closed below, after the folder is gone
        except OSError:
            continue  # Not ours, or its owner is just starting.
        with lock:
            if os.fstat(lock.fileno()).st_uid != os.getuid():
                continue
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if time.time() - (folder / LOCK).stat().st_mtime > 5:
                end_processes(folder)
                if (spilled := Path(lock.read().strip())).name == folder.name:
                    shutil.rmtree(spilled, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)


def end_processes(folder: Path, patience_s: float = 5.0) -> None:
    """Terminate the processes that have files open under `folder`; kill those that stay."""
    for process in processes_using(folder):
        _signal(process, signal.SIGTERM)
    if not wait_for_exit(folder, patience_s):
        for process in processes_using(folder):
            _signal(process, signal.SIGKILL)


def wait_for_exit(folder: Path, patience_s: float = 5.0) -> bool:
    """Whether within `patience_s` no process but this one has a file open under `folder`."""
    end = time.monotonic() + patience_s
    while processes_using(folder):
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def processes_using(folder: Path) -> list[int]:
    """Other processes of this user with an open file under `folder` (Linux; elsewhere none are found)."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(link).startswith(f"{folder}/"):
                found.add(int(link.parts[2]))
        except OSError:
            continue  # The process or the file went away, or is not ours to look at.
    return sorted(found - {os.getpid()})


def _signal(process: int, what: signal.Signals) -> None:
    try:
        os.kill(process, what)
    except ProcessLookupError:
        return


@contextmanager
def private_folders(temp: str | None, spill: str | None) -> Iterator[tuple[Path, Path]]:
    """One for Ray's sockets and logs, one for what it spills, gone afterwards; a lock says that their owner lives.

    Every process of Ray opens them to everybody, again and again: they lie in folders that are closed.
    """
    # Socket paths are limited to 107 bytes, of which Ray needs about 70.
    parent = Path(temp or tempfile.gettempdir()).absolute()
    if len(str(parent)) > 20:
        if temp:
            raise ValueError(f"on.temp is {temp!r}, too long for Ray's sockets: give a path of at most 20 characters")
        parent = Path("/tmp")
    for field, value in {"temp": parent, "spill": spill}.items():
        if value is not None and not Path(value).is_dir():
            raise ValueError(f"on.{field} is {str(value)!r}, which is no folder: make it, or name another one")
    sweep(parent)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    spilled = folder if spill is None else Path(spill).absolute() / folder.name
    with open(folder / LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(spilled))
        lock.flush()
        try:
            spilled.mkdir(mode=0o700, exist_ok=spill is None)
            for path in (inside := (folder / "r", spilled / "spill")):
                path.mkdir()
            yield inside
        finally:
            wait_for_exit(folder)
            shutil.rmtree(spilled, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)
