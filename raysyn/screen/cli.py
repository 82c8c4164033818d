"""Command lines: a preset names a configuration, flags override its fields, mistakes cost one sentence.

`python jobs/<paper>.py PRESET [--flags]`. Exit status 0: done; 2: bad input, said in one sentence on stderr; 130:
interrupted. Configurations are nested frozen dataclasses; the text under each field is its help.
"""

from __future__ import annotations

import contextlib
import io
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from raysyn.screen import help
from raysyn.screen.accounts import NONE, AccountFlags
from raysyn.screen.flags import BARE, assigned, difference
from raysyn.screen.no_room import no_room
from raysyn.screen.text import folded, terminal_width
from raysyn.screen.trackers import Kind
from raysyn.screen.words import guess

C = TypeVar("C")
M = TypeVar("M")
T = TypeVar("T")
HELP = ("-h", "--help", "--help-all")


@dataclass(frozen=True, kw_only=True)
class Command(Generic[C, M]):
    """What the user asked for: a preset with overrides, where to run it and where to put it."""

    preset: str
    config: C
    machines: M
    out: str
    dry_run: bool
    seal: bool = False
    account: AccountFlags = field(default_factory=AccountFlags)
    track: Kind = "none"


@dataclass(frozen=True, kw_only=True)
class _Flags(Generic[C, M]):
    # --data.name, not --config.data.name.
    config: C = field(metadata=BARE)
    budget: AccountFlags = field(default_factory=AccountFlags)
    on: M
    """Where the run happens; nothing here changes the result."""
    out: str
    """Run folder, or its URI on an object store (s3://bucket/run). One that holds a finished or interrupted run of the
    same configuration is continued; one of another configuration is refused."""
    dry_run: bool = False
    """Print the plan (noise, steps, epsilon of each stage) and stop before the first stage."""
    track: Kind = "none"
    """Tell a tracker what the run is, how far, and its epsilon: `tensorboard` writes internal/tensorboard of --out,
    `mlflow` asks the server of MLFLOW_TRACKING_URI."""


@dataclass(frozen=True, kw_only=True)
class _SealingFlags(_Flags[C, M]):
    seal: bool = False
    """Once the report is written, erase what could undo the noise: the secret, exact answers and unreleased states, in
    internal/ and in this run's part of --on.storage. Release, report, ledger and paid answers stay; other settings of
    --eval can then no longer be tried. On a finished run the same command with --seal does it later. What cannot be
    erased: snapshots and old blocks of copy-on-write file systems and SSDs, old versions in a bucket, backups."""


def parse(
    presets: Mapping[str, C], argv: Sequence[str] | None = None, description: str = "", *, machines: M,
    prog: str | None = None, seal: bool = False,
) -> Command[C, M]:  # fmt: skip
    """Read `PRESET [--flags]`: the preset's fields, overridden by flags; `machines` are the defaults of --on.*, and
    there is a flag --seal where a run can be sealed.

    `argv` (default: the process's) does not include the program; `prog` (default: the process's) names it in help
    and in the default --out, runs/<prog>-<preset>. Leaves with SystemExit: 0 after help, 2 after bad input.
    """
    words, prog = sys.argv[1:] if argv is None else list(argv), prog or sys.argv[0]
    try:
        return read(presets, words, description, machines=machines, prog=prog, seal=seal)
    except ValueError as error:
        refuse(str(error))


def read(
    presets: Mapping[str, C], argv: Sequence[str], description: str = "", *, machines: M, prog: str, seal: bool = False
) -> Command[C, M]:
    """`parse`, with ValueError, in one sentence, for bad input."""
    if not argv or argv[0] in HELP:
        shown = help.overview(presets, prog, description, everything=argv[:1] == ["--help-all"])
        print(shown, file=sys.stdout if argv else sys.stderr)
        raise SystemExit(0 if argv else 2)
    preset, *rest = argv
    if preset not in presets:
        fault = "comes before the preset" if preset.startswith("-") else f"is no preset{guess(preset, presets)}"
        known = ", ".join([*help.small(presets), *folded(help.large(presets))])
        more = "; presets of the methods follow --presets" if _of_methods(presets) else ""
        raise ValueError(f"{preset} {fault}; the first word must be one of {known}{more}")
    default = unchanged(presets, preset, machines=machines, prog=prog, seal=seal)
    if asked := [word for word in rest if word in HELP]:
        changed = f"Preset {preset}: {difference(presets[preset], terminal_width() * 3)}"
        about = [text for text in (description, changed) if text]
        print(help.of_preset(default, prog, preset, about, everything="--help-all" in asked))
        raise SystemExit(0)
    flags = assigned(default, rest, f"{prog} {preset}")
    check_out(flags.out)
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        _check_stays("out", flags.out)
        if flags.budget.account not in (None, NONE):
            _check_stays("budget.account", flags.budget.account)
    return Command(
        preset=preset, config=_tuned(flags.config, presets[preset]), machines=flags.on, out=flags.out,
        dry_run=flags.dry_run, seal=isinstance(flags, _SealingFlags) and flags.seal, account=flags.budget,
        track=flags.track,
    )  # fmt: skip


def _of_methods(presets: Mapping[str, Any]) -> bool:
    """Whether what they configure runs presets of others."""
    return any(hasattr(one, "presets") for one in presets.values())


def _tuned(config: C, preset: Any) -> C:
    """Settings that say on which data sets they were tuned: the preset's first, or nothing, and what the user names."""
    came, given = getattr(preset, "tuned_on", None) or "", getattr(config, "tuned_on", None) or ""
    if given == came:
        return config
    more = [one for one in given.split("; ") if one.strip() and one not in came.split("; ")]
    changed: Any = replace(cast(Any, config), tuned_on="; ".join([came, *more]) or None)
    return cast(C, changed)


def check_out(place: str | None, *, expanded: bool = False) -> None:
    """ValueError for an --out that is none; `expanded` where ~ is taken for the home folder."""
    if place is not None and not place.strip():  # which would be the working directory
        raise ValueError("out is empty, as where a shell variable is not set: give a place, or leave it out")
    if place is not None and place.startswith("~") and not expanded:  # which would be a folder of that name
        raise ValueError(f"out is {place}, in which nobody has put the home folder for ~: give the whole path")


def _check_stays(field: str, place: str) -> None:
    """ValueError where the same command, submitted again, would find nothing, and spend the budget once more."""
    if "://" not in place and not Path(place).is_absolute():
        raise ValueError(
            f"{field} is {place}, in the working directory of a submitted job, which is thrown away with it: give an "
            "absolute path that every node reaches, or a URI"
        )


_INTERRUPTED = "interrupted: the same command continues where this one stopped"


def unchanged(presets: Mapping[str, C], preset: str, *, machines: M, prog: str, seal: bool) -> _Flags[C, M]:
    """The command without a flag, whose fields are all flags that there are."""
    flags = _SealingFlags if seal else _Flags
    return flags(config=presets[preset], on=machines, out=f"runs/{Path(prog.split()[-1]).stem}-{preset}")


def run_or_explain(
    check: Callable[[ExitStack], T], work: Callable[[T], object], interrupted: str = _INTERRUPTED
) -> int:
    """Exit status of `work(check(stack))`, for `sys.exit`; what `check` opened is closed by the stack.

    `check` reads and validates (command line, data, plan, folder): its ValueError is the user's, one sentence and 2.
    `work` does the rest: its ValueError is ours, so it keeps its traceback; what `is_told` is a sentence and 1.
    Ctrl-C in either gives 130, SIGTERM 143, a closed terminal 129, a full disk 1. What was `interrupted` says so.
    """
    _any_character()
    try:
        with _terminated_is_exit(interrupted), ExitStack() as stack:
            try:
                with explained():
                    checked = check(stack)
            except ValueError as error:
                refuse(str(error))
            try:
                work(checked)
            except Exception as error:
                if getattr(error, "is_told", False) or (full := no_room(error)) is None:
                    raise
                print(
                    f"error: what is to be written has no room ({full}): free some, then the same command continues "
                    "where this one stopped",
                    file=sys.stderr,
                )
                return 1
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        return 130
    except Exception as error:  # here, as nothing that the stack holds has ended well
        if not getattr(error, "is_told", False):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _any_character() -> None:
    """A terminal that lacks a character, or a path that is no UTF-8, must not end a run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def printing() -> Iterator[None]:
    """Around a whole command: whoever reads its output may stop reading (`raysyn methods | head`); status 141 then."""
    _any_character()
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise  # another pipe's
        # What is left of the output has no reader; without this, Python would try once more as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(128 + signal.SIGPIPE) from None


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose other end is closed."""
    poll = select.poll()
    poll.register(sys.stdout, select.POLLOUT)
    return any(event & select.POLLERR for _, event in poll.poll(0))


@contextmanager
def explained() -> Iterator[None]:
    """Around the validation of what a user gave: a place that cannot be read or written, or a download that failed, is
    a ValueError too, in one sentence."""
    try:
        yield
    except BrokenPipeError:
        raise  # nobody reads the output: see `printing`
    except OSError as error:
        if (full := no_room(error)) is not None:
            raise ValueError(
                f"what is to be written{f' in {error.filename}' if error.filename else ''} has no room ({full}): free "
                "some, or raise the limit"
            ) from error
        place = error.filename or "a file"
        raise ValueError(f"{place} cannot be used: {error.strerror or error}; name another one") from error


_LEAVES = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _terminated_is_exit(interrupted: str) -> Iterator[None]:
    """SIGTERM (`ray job stop`, a spot machine's notice) and SIGHUP (a closed terminal) unwind like an exception, so
    that what is open is closed. What ignores SIGHUP, as under nohup, goes on ignoring it."""

    def leave(number: int, _: object) -> None:
        # Said at once, and past what may be printing just now: `ray job stop` kills a job that closes for long.
        with contextlib.suppress(OSError):
            os.write(2, f"{interrupted}\n".encode())
        for one in _LEAVES:
            signal.signal(one, signal.SIG_IGN)
        if number == signal.SIGHUP:
            _say_no_more()
        sys.exit(128 + number)

    before = {one: signal.getsignal(one) for one in _LEAVES}
    for one, then in before.items():
        if one == signal.SIGTERM or then != signal.SIG_IGN:
            signal.signal(one, leave)
    try:
        yield
    finally:
        for one, then in before.items():
            signal.signal(one, then)


def _say_no_more() -> None:
    """A terminal that is gone takes nothing: what is still printed must not end the closing of what is open."""
    poll = select.poll()
    for at in (1, 2):
        poll.register(at, select.POLLOUT)
    for at, event in poll.poll(0):
        if event & (select.POLLHUP | select.POLLERR | select.POLLNVAL):
            os.dup2(os.open(os.devnull, os.O_WRONLY), at)


def refuse(sentence: str) -> NoReturn:
    """Say what is wrong with the input, and end with status 2."""
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    raise SystemExit(2)
