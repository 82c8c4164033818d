"""Command lines: a preset names a configuration, flags override its fields, mistakes cost one sentence.

`python jobs/<paper>.py PRESET [--flags]`. Exit status 0: done; 2: bad input, said in one sentence on stderr; 130:
interrupted. Configurations are nested frozen dataclasses; the text under each field is its help.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shutil
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, NoReturn, TypeVar

import tyro

C = TypeVar("C")
M = TypeVar("M")
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Command(Generic[C, M]):
    """What the user asked for: a preset with overrides, where to run it and where to put it."""

    preset: str
    config: C
    machines: M
    out: str
    dry_run: bool
    seal: bool = False


@dataclass(frozen=True, kw_only=True)
class _Flags(Generic[C, M]):
    # An empty name leaves the prefix out: --data.name, not --config.data.name.
    config: Annotated[C, tyro.conf.arg(name="")]
    on: M
    """Where the run happens; nothing here changes the result."""
    out: str
    """Run folder, or its URI on an object store (s3://bucket/run). One that holds a finished or interrupted run of the
    same configuration is continued; one of another configuration is refused."""
    dry_run: bool = False
    """Print the plan (noise, steps, epsilon of each stage) and stop before the first stage."""


@dataclass(frozen=True, kw_only=True)
class _SealingFlags(_Flags[C, M]):
    seal: bool = False
    """Once the report is written, erase what could undo the noise: the secret, exact answers and unreleased states, in
    internal/ and in this run's part of --on.storage. Release, report, ledger and paid answers stay; other settings of
    --eval can then no longer be tried. On a finished run the same command with --seal does it later. What cannot be
    erased: snapshots and old blocks of copy-on-write file systems and SSDs, old versions in a bucket, backups."""


def parse(
    presets: Mapping[str, C],
    argv: Sequence[str] | None = None,
    description: str = "",
    *,
    machines: M,
    prog: str | None = None,
    seal: bool = False,
) -> Command[C, M]:
    """Read `PRESET [--flags]`: the preset's fields, overridden by flags; `machines` are the defaults of --on.*, and
    there is a flag --seal where a run can be sealed.

    `argv` (default: the process's) does not include the program; `prog` (default: the process's) names it in help
    and in the default --out, runs/<prog>-<preset>. Leaves with SystemExit: 0 after help, 2 after bad input.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    prog = sys.argv[0] if prog is None else prog
    try:
        return read(presets, argv, description, machines=machines, prog=prog, seal=seal)
    except ValueError as error:
        refuse(str(error))


def read(
    presets: Mapping[str, C], argv: Sequence[str], description: str = "", *, machines: M, prog: str, seal: bool = False
) -> Command[C, M]:
    """`parse`, with ValueError, in one sentence, for bad input."""
    if not argv or argv[0] in ("-h", "--help"):
        print(_overview(presets, prog, description), file=sys.stdout if argv else sys.stderr)
        raise SystemExit(0 if argv else 2)
    preset, *rest = argv
    if preset not in presets:
        fault = "comes before the preset" if preset.startswith("-") else f"is no preset{_guess(preset, presets)}"
        raise ValueError(f"{preset} {fault}; the first word must be one of {', '.join(presets)}")
    flags_of = _SealingFlags if seal else _Flags
    default = flags_of(config=presets[preset], on=machines, out=f"runs/{Path(prog.split()[-1]).stem}-{preset}")
    about = f"{description}\n\nPreset {preset}: {difference(presets[preset], _terminal_width() * 3)}".strip()
    flags = _read(default, rest, f"{prog} {preset}", about)
    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ and "://" not in flags.out and not Path(flags.out).is_absolute():
        # Submitted: the same command would find nothing there, and spend the budget once more.
        raise ValueError(
            f"out is {flags.out}, in the working directory of a submitted job, which is thrown away with it: give an "
            "absolute path that every node reaches, or a URI"
        )
    return Command(
        preset=preset, config=flags.config, machines=flags.on, out=flags.out, dry_run=flags.dry_run,
        seal=isinstance(flags, _SealingFlags) and flags.seal,
    )  # fmt: skip


_INTERRUPTED = "interrupted: the same command continues where this one stopped"


def run_or_explain(check: Callable[[ExitStack], T], work: Callable[[T], object]) -> int:
    """Exit status of `work(check(stack))`, for `sys.exit`; what `check` opened is closed by the stack.

    `check` reads and validates (command line, data, plan, folder): its ValueError is the user's, one sentence and 2.
    `work` does the rest: its ValueError is ours, so it keeps its traceback. Ctrl-C in either gives 130, SIGTERM 143.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character, or a path that is no UTF-8, must not end a run.
            stream.reconfigure(errors="backslashreplace")
    try:
        with _terminated_is_exit(), ExitStack() as stack:
            try:
                with explained():
                    checked = check(stack)
            except ValueError as error:
                refuse(str(error))
            work(checked)
    except KeyboardInterrupt:
        print(_INTERRUPTED, file=sys.stderr)
        return 130
    return 0


@contextmanager
def explained() -> Iterator[None]:
    """Around the validation of what a user gave: a place that cannot be read or written, or a download that failed, is
    a ValueError too, in one sentence."""
    try:
        yield
    except OSError as error:
        place = error.filename or "a file"
        raise ValueError(f"{place} cannot be used: {error.strerror or error}; name another one") from error


@contextmanager
def _terminated_is_exit() -> Iterator[None]:
    """SIGTERM (`ray job stop`, a spot machine's notice) unwinds like an exception, so that what is open is closed."""

    def leave(*_: object) -> None:
        # Said at once, and past what may be printing just now: `ray job stop` kills a job that closes for long.
        with contextlib.suppress(OSError):
            os.write(2, f"{_INTERRUPTED}\n".encode())
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def difference(config: Any, width: int) -> str:
    """How `config` differs from the defaults of its type, as `field=value, ...` cut to `width` characters."""
    default = dict(_leaves(type(config)()))
    changed = [f"{name}={value}" for name, value in _leaves(config) if name not in default or default[name] != value]
    return textwrap.shorten(", ".join(changed) or "all defaults", width, placeholder=" ...")


def _leaves(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted flag name, value) of every field that is not itself a dataclass."""
    for field in fields(config):
        name, value = prefix + field.name.replace("_", "-"), getattr(config, field.name)
        if is_dataclass(value):
            yield from _leaves(value, name + ".")
        else:
            yield name, value


def _read(default: _Flags[C, M], args: list[str], prog: str, about: str) -> _Flags[C, M]:
    kind: Any = type(default)[type(default.config), type(default.on)]  # type: ignore[index]
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            flags, unknown = tyro.cli(
                kind,
                args=args,
                default=default,
                prog=prog,
                description=about,
                return_unknown_args=True,
                # No sub-commands: a group that is None by default has no flags, one with a default has its own.
                # Comments in a configuration are for readers of the code, not help.
                config=(tyro.conf.AvoidSubcommands, tyro.conf.HelptextFromCommentsOff),
            )
    except SystemExit as error:
        if error.code:
            raise ValueError(_first_sentence(box.getvalue())) from error
        raise
    if unknown:
        known = [f"--{name}" for part in (default.config, default) for name, _ in _leaves(part)]
        kind = "flag" if unknown[0].startswith("-") else "argument"
        raise ValueError(f"{unknown[0]} is no {kind} of {prog}{_guess(unknown[0], known)}; --help lists all flags")
    return flags


def _first_sentence(box: str) -> str:
    """The message inside the box that tyro draws: its rows up to the first rule, as one line, less the lead-in."""
    parts: list[list[str]] = [[]]
    for line in box.splitlines():
        text = line.strip("│ ")
        if not text or text[0] in "╭╰─" or set(text) == {"-"}:
            parts.append([])
        else:
            parts[-1].append(text)
    told = [rows for rows in parts if rows]
    # A terminal without such lines gets dashes, and the title, which else is in the box's upper edge, as a row.
    rows = told["╭" not in box and len(told) > 1] if told else []
    return re.sub(r"^Error parsing (config\.\S+: )?", "", " ".join(rows))


def filled(text: str, indent: int) -> str:
    """`text` in lines that fit the terminal, all but the first indented."""
    told = textwrap.fill(text, max(_terminal_width() - indent, 40), break_on_hyphens=False)
    return told.replace("\n", "\n" + " " * indent)


def _guess(word: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def refuse(sentence: str) -> NoReturn:
    """Say what is wrong with the input, and end with status 2."""
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)
    raise SystemExit(2)


def _overview(presets: Mapping[str, Any], prog: str, description: str) -> str:
    width = max(len(name) for name in presets) + 4
    lines = [f"usage: {prog} PRESET [--flags]", ""]
    lines += [description, ""] if description else []
    lines.append("presets, with what they change:")
    room = max(_terminal_width() - width, 40)
    lines += [f"  {name:<{width - 2}}{difference(config, room)}" for name, config in presets.items()]
    return "\n".join([*lines, "", f"`{prog} PRESET --help` lists every flag with the preset's value."])


def _terminal_width() -> int:
    return shutil.get_terminal_size((110, 24)).columns
