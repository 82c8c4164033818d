"""One run of a leaderboard, a process of its own, and how the driver knows meanwhile how far it is: the run's node
writes down each line of progress, and the driver, on whatever node, reads it."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from raysyn.methods.leaderboard.config import Run, own_flags
from raysyn.report.refuted import by_canaries
from raysyn.runs.folder import REPORT_JSON
from raysyn.runs.refusals import RUN_JSON
from raysyn.runs.storage import REACH, Store, read_bytes, under
from raysyn.screen.console import Console

NOW = "now"
"""Of the storage: each run's last line of progress, empty once it has ended."""
EVERY_S = 5.0
"""Between two looks at them."""
AT_MOST = 4
"""Runs told of at the same time."""
_PROGRESS = re.compile(r"(?:  (?=\S)|(?=[✓*] ))(.+)")
"""A stage's line, under way or finished; all else that a run says is a plan, a table or a sentence."""


def run_job(run: Run, shared: Mapping[str, str]) -> dict[str, Any]:
    """One unit: the method as a process of its own, on one CPU and without Ray, in a run folder of its own, which a
    second attempt continues. Its report.json, as it is."""
    _check_reach(shared)
    out = under(shared["out"], "runs", run.name)
    # -P: a file where the leaderboard was started must not come before a module of Python's.
    command = [sys.executable, "-P", "-m", "raysyn", run.method, *run.words, "--on.address", "here", "--out", out]
    if shared["among"]:
        command += ["--chosen-among", shared["among"]]
    # As many threads as the unit has CPUs, and no way into the cluster around it.
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    package = str(Path(__file__).parents[3])
    paths = os.pathsep.join([package, *filter(None, [own.get("PYTHONPATH")])])
    environment = own | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONIOENCODING": "utf-8"}
    with Words(shared["out"], run.name) as words:
        done = followed(command, environment, words)
    if done.returncode == -signal.SIGKILL:
        # The system does that where it is short of memory, and seldom somebody else.
        raise MemoryError(f"{shlex.join(command)}: killed (SIGKILL), as the system does where it is short of memory")
    if done.returncode and not (done.returncode == 1 and _refuted(out, done.stderr)):
        said = done.stderr.strip() or done.stdout.strip()
        told = said if run.epsilon is None else own_flags(said)
        raise RuntimeError(f"{shlex.join(command)}: exit status {done.returncode}\n{told}")
    report, began = (json.loads(read_bytes(out, name)) for name in (REPORT_JSON, RUN_JSON))
    # PIGAN's seed divides the images, which are the same ones nevertheless.
    return {**report, "data_fingerprint": began.get("source_fingerprint", began["data_fingerprint"])}


def _refuted(out: str, said: str) -> bool:
    """Whether a run was reported, and refuted by its canaries, which ends it with status 1: a row of the table like
    others, that says so. Where it failed, a report of before may say so too, so that it must have `said` this as
    its error."""
    try:
        report = json.loads(read_bytes(out, REPORT_JSON))
    except FileNotFoundError:
        return False
    return by_canaries(report) and f"error: {report['attacks']['audit']['sentence']}" in said


def _check_reach(shared: Mapping[str, str]) -> None:
    """ValueError where this node does not see the driver's folder: a run here would be paid for and lost."""
    store = Store(shared["out"])
    if REACH not in store or store[REACH] != shared["board"]:
        raise ValueError(
            f"--out {shared['out'].rpartition('/internal')[0]} is not what the driver sees on the node of process "
            f"{os.getpid()}: give one that every node reaches, or a URI"
        )


def followed(
    command: Sequence[str], environment: Mapping[str, str], hear: Callable[[str], None]
) -> subprocess.CompletedProcess[str]:
    """`command` to its end, and all that it said; each line of its output goes to `hear` at once."""
    said = list[str]()
    with (
        # A pipe that nobody reads would fill, and stop it.
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=errors, encoding="utf-8", errors="replace",
            preexec_fn=_die_with_parent,
        ) as child,
    ):  # fmt: skip
        assert child.stdout is not None
        try:
            for line in child.stdout:
                said.append(line)
                hear(line)
            status = child.wait()
        except BaseException:
            child.kill()
            raise
        errors.seek(0)
        return subprocess.CompletedProcess(command, status, "".join(said), errors.read())


_LIBC = ctypes.CDLL(None)
"""Loaded here: nothing may be loaded between fork and exec."""


def _die_with_parent() -> None:
    """In the child: one that outlived its worker would keep the run folder, and its memory (Linux)."""
    pr_set_pdeathsig = 1
    with suppress(AttributeError):
        _LIBC.prctl(pr_set_pdeathsig, signal.SIGKILL)


class Words:
    """Called with each line that a run says; notes the last one of progress where the driver looks for it."""

    def __init__(self, storage: str, run: str) -> None:
        self._store, self._key = Store(storage), f"{NOW}/{run}.pt"

    def __call__(self, line: str) -> None:
        if found := _PROGRESS.match(line):
            self._note(" ".join(found[1].split()))

    def __enter__(self) -> Words:
        return self

    def __exit__(self, *_: object) -> None:
        self._note("")

    def _note(self, words: str) -> None:
        # A run of hours does not end because this could not be written once; what counts is, or ends it.
        with suppress(OSError):
            self._store[self._key] = words


@contextmanager
def heard(storage: str, runs: Sequence[Run], console: Console) -> Iterator[None]:
    """Until it is left, what each of `runs` said last stands below the progress of all."""
    store, keys, ended = Store(storage), {f"{NOW}/{run.name}.pt": run.name for run in runs}, threading.Event()

    def words(but: Collection[str]) -> dict[str, str]:
        with suppress(OSError):
            return {key: store[key] for key in store.names(NOW) if key in keys and key not in but}
        return {}

    before = words(())  # Of an attempt that was killed.

    def listen() -> None:
        over = set[str]()
        while not ended.wait(EVERY_S):
            now = words(over)
            over |= {key for key, line in now.items() if not line and before.get(key) != ""}
            said = {key: line for key, line in now.items() if line and line != before.get(key)}
            lines = [f"{keys[key]}: {line}" for key, line in said.items()]
            more = [f"and {len(lines) - AT_MOST} more"] if len(lines) > AT_MOST else []
            console.below(lines[:AT_MOST] + more)

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        yield
    finally:
        ended.set()
        listener.join(timeout=EVERY_S)
        console.below([])
