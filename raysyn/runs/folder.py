"""The run folder: a run's secret, finished stages and timings; release/ may leave, internal/ stays inside."""

from __future__ import annotations

import json
import os
import re
import time
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from raysyn.privacy.poisson import SECRET_BYTES
from raysyn.runs.may_leave import FILES, FOLDERS
from raysyn.runs.ownership import id_of, lock, make_private
from raysyn.runs.refusals import RUN_JSON, identity, refuse_another_run, refuse_strange_names, refuse_strangers
from raysyn.runs.remote import Remote
from raysyn.runs.storage import (
    check_plain,
    load_saved,
    local_folder,
    mend_folder,
    ours_in,
    save_atomically,
    under,
    write_atomically,
    write_folder,
)

T = TypeVar("T")

REPORT_JSON, REPORT_HTML = "internal/report.json", "internal/report.html"
"""A run's figures, which it has once it has ended, and the same as a page."""
_TICK_S = 5.0


class RunFolder:
    """One run on disk, or on an object store with a copy on disk. `open` it; `close` it, or leave its `with` block, to
    let another driver in."""

    def __init__(
        self, out: Path, preset: str, lock: int, cpu_clock: Callable[[], float], remote: Remote | None = None
    ) -> None:
        self.out, self.release, self.internal = out, out / "release", out / "internal"
        self._remote = remote
        self.preset, self.cpu_clock = preset, cpu_clock
        self.forget_peaks: Callable[[], None] = lambda: None
        self.peaks: Callable[[], Mapping[str, int]] = dict
        """The most memory held since `forget_peaks`, in bytes by names that end with `_bytes`."""
        self._running: tuple[str, float, float, dict[str, float]] | None = None
        self.began: Callable[[str], None] = lambda stage: None
        """Told of each stage that is not found finished."""
        self.ran: set[str] = set()
        """Stages that this process has worked at."""
        self.fresh = False
        """Whether the run began in this process."""
        self._ticked_at = 0.0
        # Closing the descriptor releases the lock, also when this object is merely forgotten.
        self._unlock = weakref.finalize(self, os.close, lock)

    @classmethod
    def open(
        cls, out: str | Path, *, method: str, preset: str, config: dict[str, Any], data_fingerprint: str,
        source_fingerprint: str | None = None, unheeded: Collection[str] = (),
        cpu_clock: Callable[[], float] = time.process_time,
    ) -> RunFolder:  # fmt: skip
        """Start the run of `config` in `out`, or continue it where it was interrupted.

        `config` is what `dataclasses.asdict` gives: everything that changes the result, nothing that changes only
        speed. `data_fingerprint` identifies the private images, as they are divided; `source_fingerprint`, those that
        a seed divided, is noted and not compared; `unheeded` are groups of settings that an earlier raysyn noted and
        this one does not. ValueError (one sentence) when `out` holds another run, something
        that is no run, or a run that another process is working on; nothing is overwritten then.
        """
        wanted = identity(
            method=method, preset=preset, config=config, data_fingerprint=data_fingerprint,
            source_fingerprint=source_fingerprint,
        )  # fmt: skip
        if (here := local_folder(str(out))) is not None:
            refuse_strangers(here)
            return cls._begin(here, None, wanted, unheeded, cpu_clock)
        remote = Remote(str(out))
        try:
            if RUN_JSON not in remote.names():
                refuse_strange_names(str(out), remote.names(but=()))
            remote.pull()
            folder = cls._begin(remote.local, remote, wanted, unheeded, cpu_clock)
            folder.push()
        except BaseException:
            remote.close()
            raise
        return folder

    @classmethod
    def _begin(
        cls, out: Path, remote: Remote | None, wanted: dict[str, Any], unheeded: Collection[str],
        cpu_clock: Callable[[], float],
    ) -> RunFolder:  # fmt: skip
        shown = str(out if remote is None else remote.uri)
        make_private(out / "internal")
        folder = cls(out, wanted["preset"], lock(out), cpu_clock, remote)
        try:
            if folder._path("run.json").exists():
                there = json.loads(folder._path("run.json").read_text())
                known = {name: value for name, value in there["config"].items() if name not in unheeded}
                refuse_another_run(shown, there | {"config": known}, wanted)
                folder._sweep()
            else:
                # Secret before run.json: a run without a secret has lost it, and must not draw a second.
                write_atomically(folder._path("secret"), os.urandom(SECRET_BYTES), 0o600)
                write_atomically(folder._path("run.json"), json.dumps(wanted, indent=2), 0o600)
                folder.fresh = True
        except BaseException:
            folder.close()
            raise
        return folder

    @property
    def secret(self) -> bytes:
        """32 bytes of the operating system's randomness, drawn once a run; all DP noise derives from them."""
        path = self._path("secret")
        value = path.read_bytes() if path.exists() else b""
        if len(value) != SECRET_BYTES:
            raise ValueError(
                f"{path} is missing or damaged, so this run cannot continue with the noise it has used; "
                "start again with another --out."
            )
        return value

    @property
    def sealed(self) -> dict[str, Any] | None:
        """What was noted when the run was sealed (`sealing`); None for one that still has its secret."""
        found: dict[str, Any] | None = json.loads(self.run_json.read_text()).get("sealed")
        return found

    @property
    def run_id(self) -> str:
        """Names its files on shared storage."""
        return id_of(self.secret)

    def stage(self, name: str, f: Callable[[], T]) -> T:
        """The stored answer of stage `name`, or `f()`, stored (atomically) and timed.

        Answers are nests of dict, list, tuple, str, int, float, bool, None and tensors: nothing is unpickled.
        """
        assert re.fullmatch(r"[\w.-]+", name), f"stage name {name!r} must be usable as a file name"
        assert self._running is None, f"stage {name} inside stage {self._running}"
        path = self._path("stages", f"{name}.pt")
        if path.exists():
            return load_saved(path)
        spent = self.timings.get(name, {"wall_s": 0.0, "cpu_s": 0.0})
        self.forget_peaks()
        self._running = (name, time.monotonic(), self.cpu_clock(), spent)
        self.ran.add(name)
        self.began(name)
        try:
            value = f()
            check_plain(value, name)
        finally:
            self._note_time()
            self._running = None
        save_atomically(value, path)
        self.push()
        return value

    def publish(self, contents: Mapping[str, bytes]) -> None:
        """Let release/ hold these files, certificate.json among them, and no others that a run writes; what somebody
        else has put there stays.

        A reader finds all of the old ones or all of the new; at a URI, where files come and go one by one, what has no
        certificate beside it is not released. The same files again change nothing.
        """
        ours = {*FILES, *FOLDERS, *(name.partition("/")[0] for name in contents)}
        there = ours_in(self.release, ours)
        if there != dict(contents):
            if self._remote is not None and self.certificate.name in there:
                # The choices that it declares must outlive a driver that is killed before the next one is there.
                write_atomically(self._withdrawn, there[self.certificate.name], 0o600)
                self.push()
            if self._remote is not None:
                self._remote.withdraw(f"{self.release.name}/{name}" for name in {*ours, *there})
            write_folder(self.release, contents, ours)
        self.push()

    def signed(self) -> dict[str, Any] | None:
        """The certificate that this run has, or had while it is being replaced."""
        found = next((path for path in (self.certificate, self._withdrawn) if path.exists()), None)
        return None if found is None else json.loads(found.read_text())

    @property
    def _withdrawn(self) -> Path:
        return self._path("withdrawn.json")

    def push(self) -> None:
        """Make what has been written durable where the run belongs; a folder of this machine's already is."""
        if self._remote is not None:
            self._remote.push()

    def erase_at_uri(self, kept: Collection[str]) -> None:
        """Delete the files of internal/ but these, where the run belongs to an object store."""
        if self._remote is not None:
            self._remote.erase("internal", kept)

    @property
    def storage(self) -> str:
        """Where workers keep what they need, by default."""
        return str(self.internal.resolve()) if self._remote is None else under(self._remote.uri, "internal")

    def shown(self, path: Path) -> str:
        """What to call one of this folder's files."""
        return str(path) if self._remote is None else under(self._remote.uri, *path.relative_to(self.out).parts)

    def tick(self) -> None:
        """Note the running stage's time so far, so that a killed attempt counts; cheap to call often.
        RuntimeError where the run is another driver's by now."""
        if self._remote is not None:
            self._remote.check()
        if self._running is not None and time.monotonic() - self._ticked_at > _TICK_S:
            self._note_time()

    @property
    def timings(self) -> dict[str, dict[str, float]]:
        """{stage: {wall_s, cpu_s}} in seconds, over all attempts that are known, and the most memory of any."""
        path = self._path("timings.json")
        return json.loads(path.read_text()) if path.exists() else {}

    @property
    def synthetic(self) -> Path:
        return self.release / "synthetic.parquet"

    @property
    def samples(self) -> Path:
        return self.release / "samples.png"

    @property
    def certificate(self) -> Path:
        return self.release / "certificate.json"

    @property
    def run_json(self) -> Path:
        return self.out / RUN_JSON

    @property
    def ledger(self) -> Path:
        return self.internal / "ledger.jsonl"

    @property
    def report_json(self) -> Path:
        return self.out / REPORT_JSON

    @property
    def report_html(self) -> Path:
        return self.out / REPORT_HTML

    def where(self, release: str) -> str:
        """Two lines for the end of a run; `release` says what may be done with it."""
        return f"{release}: {self.shown(self.release)}\nReport (stays inside): {self.shown(self.report_html)}"

    def close(self) -> None:
        """Give up the lock; safe to call twice."""
        self._unlock()
        if self._remote is not None:
            self._remote.close()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, *parts: str) -> Path:
        return self.internal.joinpath(*parts)

    def _note_time(self) -> None:
        assert self._running is not None
        name, wall, cpu, spent = self._running
        used = max(0.0, self.cpu_clock() - cpu)
        now = {"wall_s": spent["wall_s"] + time.monotonic() - wall, "cpu_s": spent["cpu_s"] + used}
        now |= {key: max(size, spent.get(key, 0)) for key, size in self.peaks().items()}
        write_atomically(self._path("timings.json"), json.dumps({**self.timings, name: now}, indent=2))
        self._ticked_at = time.monotonic()

    def _sweep(self) -> None:
        """Remove half-written files of a killed attempt; the lock makes sure that nobody is writing them."""
        mend_folder(self.release, (*FILES, *FOLDERS))
        folders = [self.release, self.internal, *map(self._path, ("stages", "checkpoints", "answers", "kept"))]
        for folder in [*folders, *self._path("units").glob("*"), *self._path("trials").glob("*")]:
            for path in folder.glob(".*.tmp"):
                if path.is_file():
                    path.unlink()
