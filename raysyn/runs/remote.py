"""A run folder on an object store: worked on in a private folder of this machine, copied out whenever it changes, and
leased rather than locked."""

from __future__ import annotations

import fcntl
import json
import math
import os
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from raysyn.runs.may_leave import is_laid_out
from raysyn.runs.storage import file_system, read_bytes, write_bytes

LEASE_S, BEAT_S = 60.0, 10.0
"""A lease that has not been renewed for so long is nobody's; it is renewed this often."""
LOOK_S = 1.0
"""While images of a layout are copied out, the lease is read again this often."""
SETTLE_S = 2.0
"""Between two drivers that take a free lease at the same moment, the later one wins: time for both to see it."""
WORKERS_OWN = ("units", "checkpoints", "answers", "kept", "trials", "ray", "runs")
"""Folders of internal/ that workers read and write where they are."""
SIGNATURE = "certificate.json"
"""Says that the files beside it are complete: the last of them to come, the first to go."""
_LEASE, _PREFIX, _ALIVE = "internal/lease.json", "raysyn-run-", "alive"


class Remote:
    """The copy of one run at a pyarrow URI. `pull` first; `close` at the end."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._system, self._root = file_system(uri)
        _sweep(Path(tempfile.gettempdir()))
        self.local = Path(tempfile.mkdtemp(prefix=_PREFIX))
        """What the run reads and writes, for its owner alone; gone at the end."""
        self._alive = open(self.local / _ALIVE, "w")  # noqa: SIM115 - locked as long as this process lives
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        self._pushed: dict[str, tuple[int, int]] = {}
        self._me, self._ended, self._lost = uuid.uuid4().hex, threading.Event(), ""
        self._beat: threading.Thread | None = None

    def names(self, but: Sequence[str] = WORKERS_OWN) -> list[str]:
        """Files of the run, without what workers write in their folders of internal/."""
        # Imported where it is used, not above: who only asks for help must not wait for it.
        import pyarrow.fs

        inside = [one for one in self._list(f"{self._root}/internal") if one.base_name not in but]
        there = [*self._list(self._root), *inside]
        folders = [one for one in there if one.type == pyarrow.fs.FileType.Directory and one.base_name != "internal"]
        for folder in folders:
            there.extend(self._list(folder.path, recursive=True))
        # Half-written ones come and go.
        files = [one.path for one in there if one.type == pyarrow.fs.FileType.File and one.extension != "tmp"]
        return sorted(path.removeprefix(self._root).lstrip("/") for path in files)

    def _list(self, folder: str, recursive: bool = False) -> list[Any]:
        import pyarrow.fs

        return self._system.get_file_info(pyarrow.fs.FileSelector(folder, allow_not_found=True, recursive=recursive))

    def pull(self) -> None:
        """Take the lease, and copy what is there to `local`. ValueError where another driver works on the run."""
        self._take_lease()
        for name in self.names():
            if name == _LEASE:
                continue
            path = self.local / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.write_bytes(read_bytes(self.uri, name))
            self._pushed[name] = _mark(path)

    def push(self) -> None:
        """Copy out what has changed since the last time, oldest first; it is durable when this returns.

        Raises RuntimeError where the lease was lost: another driver may have taken the run over.
        """
        files = [path for path in self.local.rglob("*") if path.is_file() and not path.name.endswith(".tmp")]
        files = [path for path in files if path.name not in (_ALIVE, "lock")]
        files = [path for path in files if self._pushed.get(self._name(path)) != _mark(path)]
        self.check()
        looked = -math.inf
        for path in sorted(files, key=lambda one: (one.name == SIGNATURE, one.stat().st_mtime_ns)):
            # Read anew: a driver that was suspended does not know yet what it has lost meanwhile. Not for each image of
            # a layout, which may be very many: no certificate covers them yet.
            image = is_laid_out(self._name(path).removeprefix("release/"))
            if not self._lost and not (image and time.monotonic() - looked < LOOK_S):
                self._look()
                looked = time.monotonic()
            self.check()
            mark = _mark(path)
            write_bytes(self.uri, self._name(path), path.read_bytes())
            self._pushed[self._name(path)] = mark

    def erase(self, folder: str, kept: Collection[str]) -> None:
        """Delete what is in a folder of the run, workers' files too, but these names in it."""
        import pyarrow.fs

        self.check()
        top = f"{self._root}/{folder}"
        for one in self._list(top, recursive=True):
            if one.type == pyarrow.fs.FileType.File and one.path.removeprefix(top).lstrip("/") not in kept:
                self._system.delete_file(one.path)

    def withdraw(self, names: Iterable[str]) -> None:
        """Remove these files from the URI, where they are there, those that say that a release is complete first."""
        self._look()
        self.check()
        there = set(names) & set(self.names())
        for name in sorted(there, key=lambda one: not one.endswith(f"/{SIGNATURE}")):
            self._system.delete_file(f"{self._root}/{name}")
            self._pushed.pop(name, None)

    def check(self) -> None:
        """RuntimeError where the lease is known to be lost."""
        if self._lost:
            raise RuntimeError(f"--out {self.uri}: {self._lost}; the same command continues the run")

    def _name(self, path: Path) -> str:
        return path.relative_to(self.local).as_posix()

    def _look(self) -> None:
        """Whether the lease is still ours."""
        if (now := self._lease()) is None or now["holder"] != self._me:
            self._lost = f"another run has taken it over ({(now or {}).get('who', 'unknown')})"

    def close(self) -> None:
        """Give up the lease and the local copy; safe to call twice."""
        self._ended.set()
        if self._beat is not None:
            self._beat.join()
            self._beat = None
            # Where that fails the lease lapses by itself.
            with suppress(Exception):
                self._look()
                if not self._lost:
                    self._system.delete_file(f"{self._root}/{_LEASE}")
        self._alive.close()
        shutil.rmtree(self.local, ignore_errors=True)

    def _lease(self) -> dict[str, Any] | None:
        for _ in range(20):
            with suppress(json.JSONDecodeError):  # on a file system that shows half a file: being written
                try:
                    return json.loads(read_bytes(self.uri, _LEASE))
                except FileNotFoundError:
                    return None
            time.sleep(0.05)
        raise OSError(f"{self.uri}/{_LEASE} is damaged: remove it if no other run is using the folder")

    def _renew(self, beat: int) -> None:
        who = f"process {os.getpid()} on {socket.gethostname()}"
        write_bytes(self.uri, _LEASE, json.dumps({"holder": self._me, "who": who, "beat": beat}).encode())

    def _take_lease(self) -> None:
        # Clocks of two machines may differ: what counts is whether the holder still renews it.
        begun, held = time.monotonic(), self._lease()
        while held is not None and time.monotonic() - begun < LEASE_S:
            time.sleep(min(BEAT_S, LEASE_S) / 4)
            if (now := self._lease()) is not None and now != held:
                raise ValueError(
                    f"--out {self.uri} is in use by another run ({now['who']}); wait until it ends, or choose another "
                    "--out."
                )
            held = now
        self._renew(0)
        time.sleep(SETTLE_S)
        if (now := self._lease()) is None or now["holder"] != self._me:
            raise ValueError(f"--out {self.uri} was taken by another run at this moment; choose another --out.")
        self._beat = threading.Thread(target=self._keep, daemon=True, name="raysyn-lease")
        self._beat.start()

    def _keep(self) -> None:
        """Renew the lease until the end, or until it is another's or could not be renewed for too long."""
        renewed, beat = time.monotonic(), 0
        while not self._ended.wait(BEAT_S):
            try:
                self._look()
                if self._lost:
                    return
                beat += 1
                self._renew(beat)
                renewed = time.monotonic()
            except Exception as error:  # file systems have errors of their own
                if time.monotonic() - renewed > LEASE_S - 2 * BEAT_S:
                    self._lost = f"it could not be reached for {LEASE_S - 2 * BEAT_S:g} seconds ({error})"
                    return


def _sweep(parent: Path) -> None:
    """Remove the copies of drivers that were killed: each locks its own as long as it lives."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            lock = open(folder / _ALIVE)  # noqa: SIM115 - closed below, after the folder is gone
        except OSError:
            continue  # Not ours, or its owner is just starting.
        with lock, suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(lock.fileno())
            if found.st_uid == os.getuid() and time.time() - found.st_mtime > 5:
                shutil.rmtree(folder, ignore_errors=True)


def _mark(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_mtime_ns, found.st_size
