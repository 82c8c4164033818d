"""Clear away what a killed driver could not: its cluster's last processes and its temporary folder."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import time
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
