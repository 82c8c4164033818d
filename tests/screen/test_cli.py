"""Presets and flags become one command; every mistake is one sentence and exit status 2."""

import errno
import io
import os
import pty
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from raysyn.data.images import DataConfig
from raysyn.methods.synthesis import NoNumbers
from raysyn.runs.storage import save_atomically
from raysyn.screen.cli import Command, parse, run_or_explain
from raysyn.screen.flags import ADDS, difference
from raysyn.train.diverged import Diverged


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the run may spend."""

    epsilon: float = 10.0
    """Smaller promises more."""
    delta: float | None = None
    """By default 1/(n ln n)."""
    accountant: Literal["prv", "rdp"] = "prv"
    """Which arithmetic."""

    def __post_init__(self) -> None:
        if self.epsilon <= 0:
            raise ValueError(f"budget.epsilon is {self.epsilon}: give a number above 0")


@dataclass(frozen=True, kw_only=True)
class Central:
    """Which outlines to buy."""

    count: int = 50
    """0 buys none."""
    kind: Literal["mean", "mode"] = "mean"
    """Which query."""
    conditional: bool = True
    """One per class."""
    sides: tuple[int, ...] = (16, 8)
    """Some sides."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that changes the result."""

    data: DataConfig = field(default_factory=DataConfig)
    budget: Budget = field(default_factory=Budget)
    central: Central = field(default_factory=Central)
    # a note for readers of the code only
    public: DataConfig | None = None
    seed: int = 0
    """Seed of what is public."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}: give 0 or more")


@dataclass(frozen=True, kw_only=True)
class Machines:
    """Where it runs."""

    address: str = "local"
    """Which cluster."""
    workers: int | None = None
    """How many."""
    gpus_per_worker: float | None = None
    """GPUs of each."""


PRESETS = {
    "quick": Config(central=Central(count=10)),
    "paper-mnist": replace(Config(), data=DataConfig(name="mnist"), budget=Budget(epsilon=1.0, delta=1e-5)),
}


def read(*argv: str) -> Command[Config, Machines]:
    return parse(PRESETS, argv, "A test of flags.", machines=Machines(), prog="jobs/dp_feta.py")


def refusal(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one sentence on stderr of a refused command line."""
    with pytest.raises(SystemExit) as left:
        read(*argv)
    out, err = capsys.readouterr()
    assert left.value.code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert not set("│╭╰─") & set(err), err
    return err


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Settings that say by whose results they were found."""

    tuned_on: str | None = None
    """Which sets."""


@pytest.mark.parametrize(
    ("preset", "given", "words"),
    [
        (None, "my scans", "; my scans"), (None, " ", None), (None, None, None), ("digits", "digits", "digits"),
        ("digits", "my scans; digits, by whose results", "digits; my scans; digits, by whose results"),
        ("digits", "digits; my scans", "digits; my scans"), ("digits", None, "digits"),
    ],
)  # fmt: skip
def test_words_of_a_user_stand_behind_those_of_the_preset(
    preset: str | None, given: str | None, words: str | None
) -> None:
    more = [] if given is None else [f"--tuned-on={given}"]
    command = parse({"one": Tuned(tuned_on=preset)}, ["one", *more], machines=Machines(), prog="x")
    assert command.config.tuned_on == words


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_being_terminated_says_what_goes_on_and_closes_what_is_open(
    number: signal.Signals, status: int, capfd: pytest.CaptureFixture[str]
) -> None:
    closed = list[str]()

    def check(stack: ExitStack) -> None:
        stack.callback(closed.append, "folder")

    def work(_: None) -> None:
        os.kill(os.getpid(), number)
        time.sleep(10)
        raise AssertionError("went on")

    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as left:
        run_or_explain(check, work)
    assert capfd.readouterr().err == "interrupted: the same command continues where this one stopped\n"
    assert left.value.code == status and closed == ["folder"] and signal.getsignal(number) == before


def test_a_terminal_that_closes_ends_a_run_in_order(tmp_path: Path) -> None:
    """One that is really closed: whoever prints on it afterwards gets an error."""
    child, terminal = pty.fork()
    if child == 0:

        def work(_: object) -> None:
            print("began", flush=True)
            for _ in range(3_000):  # not one long sleep, into which a signal just before it would not break
                time.sleep(0.01)

        def close() -> None:
            print("closing", flush=True)
            (tmp_path / "closed").touch()

        try:
            sys.stdout = os.fdopen(1, "w")  # not that of pytest
            run_or_explain(lambda stack: stack.callback(close), work)
        except SystemExit as left:
            os._exit(int(left.code or 0))
        os._exit(99)
    assert b"began" in os.read(terminal, 100)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 129 and (tmp_path / "closed").exists()


def test_what_ignores_a_closed_terminal_goes_on() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run_or_explain(lambda _: None, lambda _: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_full_disk_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A write beyond the limit of file sizes fails as one on a full disk does, also within torch.save."""
    whole = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, whole[1]))
    try:
        status = run_or_explain(
            lambda _: None, lambda _: save_atomically({"weights": torch.zeros(2**16)}, tmp_path / "stage.pt")
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, whole)
        signal.signal(signal.SIGXFSZ, before)
    err = capsys.readouterr().err
    assert status == 1 and err.startswith("error: what is to be written has no room (File too large)"), err
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [None, "cache/images.npy"])
def test_a_file_that_may_not_grow_is_no_file_to_name_otherwise(
    name: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before a run, too."""

    def check(_: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), *([] if name is None else [name]))

    with pytest.raises(SystemExit) as left:
        run_or_explain(check, lambda _: None)
    where = "" if name is None else f" in {name}"
    said = f"error: what is to be written{where} has no room (File too large): free some, or raise the limit\n"
    assert left.value.code == 2 and capsys.readouterr().err == said


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        run_or_explain(lambda _: None, lambda _: (_ for _ in ()).throw(RuntimeError("ours")))


def test_a_preset_alone_is_itself() -> None:
    command = read("quick")
    assert command.config == PRESETS["quick"] and command.machines == Machines() and not command.dry_run
    assert command.preset == "quick" and command.out == "runs/dp_feta-quick"


def test_flags_override_only_what_they_name() -> None:
    command = read(
        *("paper-mnist", "--data.limit", "100", "--budget.epsilon", "3", "--budget.delta", "None"),
        *(
            "--central.count",
            "0",
            "--central.kind",
            "mode",
            "--central.no-conditional",
            "--central.sides",
            "4",
        ),
        *("--seed", "7", "--on.workers", "2", "--on.gpus-per-worker", "0.5", "--out", "/x/y", "--dry-run"),
    )
    assert command.config == Config(
        data=DataConfig(name="mnist", limit=100),
        budget=Budget(epsilon=3.0),
        central=Central(count=0, kind="mode", conditional=False, sides=(4,)),
        seed=7,
    )
    assert command.machines == Machines(workers=2, gpus_per_worker=0.5)
    assert command.out == "/x/y" and command.dry_run


def test_a_path_and_none_and_equals_signs_are_taken() -> None:
    command = read("quick", "--data.path=some/file.parquet", "--data.name", "None", "--on.gpus_per_worker", "1")
    assert command.config.data == DataConfig(name=None, path="some/file.parquet")
    assert command.machines.gpus_per_worker == 1.0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["quik"], ["quik", "did you mean quick?", "paper-mnist"]),
        (["--seed", "1", "quick"], ["--seed", "before the preset", "quick"]),
        (
            ["quick", "--budget.epsilonn", "3"],
            ["--budget.epsilonn", "did you mean --budget.epsilon?", "--help"],
        ),
        (["quick", "--on.gpu-per-worker", "3"], ["did you mean --on.gpus-per-worker?"]),
        (["quick", "stray"], ["stray", "argument"]),
        (["quick", "--budget.epsilon", "many"], ["budget.epsilon is many: give a number"]),
        (["quick", "--central.count", "1.5"], ["central.count is 1.5: give a whole number"]),
        (["quick", "--budget.accountant", "moments"], ["budget.accountant is moments: give prv or rdp"]),
        (["quick", "--data.path"], ["--data.path"]),
        (["quick", "--budget.epsilon", "-1"], ["budget.epsilon is -1.0", "above 0"]),
        (["quick", "--seed", "-1"], ["seed is -1"]),
        (["quick", "--out", "/a", "/b"], ["/b"]),
        (["quick", "--out", ""], ["out is empty, as where a shell variable is not set: give a place, or leave it out"]),
        (["quick", "--out= "], ["out is empty"]),
    ],
)
def test_mistakes_are_one_sentence(capsys: pytest.CaptureFixture[str], argv: list[str], words: list[str]) -> None:
    sentence = refusal(capsys, *argv)
    assert all(word in sentence for word in words), sentence


@dataclass(frozen=True, kw_only=True)
class Quoting:
    more: tuple[str, ...] = field(default=(), metadata=ADDS)
    seeds: tuple[int, ...] = (0,)


def test_quoted_flags_are_a_value_and_a_flag_may_be_given_again() -> None:
    def read(*words: str) -> Quoting:
        return parse({"quick": Quoting()}, ["quick", *words], machines=Machines(), prog="x").config

    assert read("--more", "--a 1", "--more=--b=2", "c:--d 'e f'", "--seeds", "1", "--seeds", "2") == Quoting(
        more=("--a 1", "--b=2", "c:--d 'e f'"), seeds=(2,)
    )
    for word in ("--a", "--a=1 2", "-a"):
        assert read("--more", word) == Quoting(more=(word,))
        with pytest.raises(SystemExit):
            read("--more", "b", word)


@pytest.mark.parametrize(("argv", "status"), [([], 2), (["--help"], 0), (["-h"], 0)])
def test_without_a_preset_all_are_listed(capsys: pytest.CaptureFixture[str], argv: list[str], status: int) -> None:
    with pytest.raises(SystemExit) as left:
        read(*argv)
    out, err = capsys.readouterr()
    text = err if status else out
    assert left.value.code == status and (out if status else err) == ""
    assert "A test of flags." in text and "jobs/dp_feta.py PRESET" in text
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert set(lines) == set(PRESETS) and "central.count=10" in lines["quick"]
    assert "data.name=mnist, budget.epsilon=1.0" in lines["paper-mnist"]


def test_help_of_a_preset_explains_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        read("quick", "--help-all")
    out = " ".join(capsys.readouterr().out.split())
    assert left.value.code == 0
    for words in ("--data.name", "--budget.epsilon NUMBER", "prv or rdp", "--on.gpus-per-worker", "--out", "--dry-run",
                  "Smaller promises more.", "(default: 10)", "runs/dp_feta-quick", "A test of flags."):  # fmt: skip
        assert words in out, words
    assert "readers of the code" not in out


def test_a_submitted_job_does_not_write_where_it_is_thrown_away(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert "out is runs/dp_feta-quick, in the working directory of a submitted job" in refusal(capsys, "quick")
    assert "out is here, in the working directory" in refusal(capsys, "quick", "--out", "here")
    for out in ("/shared/run", "s3://bucket/run"):
        assert read("quick", "--out", out).out == out
    given = ("quick", "--out", "/run", "--budget.account")
    assert "budget.account is kept.jsonl, in the working directory" in refusal(capsys, *given, "kept.jsonl")
    for account in ("/shared/kept.jsonl", "s3://bucket/kept.jsonl", "none"):
        assert read(*given, account).account.account == account


def test_only_where_a_run_can_be_sealed_there_is_a_flag_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    def sealable(*argv: str) -> Command[Config, Machines]:
        return parse(PRESETS, argv, machines=Machines(), prog="jobs/dp_feta.py", seal=True)

    assert sealable("quick", "--seal", "--seed", "3").seal and not sealable("quick").seal and not read("quick").seal
    assert "--seal is no flag" in refusal(capsys, "quick", "--seal")
    with pytest.raises(SystemExit):
        sealable("quick", "--help")
    shown = " ".join(capsys.readouterr().out.split())
    assert "--seal" in shown and "snapshots" in shown and "old versions in a bucket" in shown


def test_difference_names_what_a_preset_changes() -> None:
    assert difference(Config(), 80) == "all defaults"
    assert difference(PRESETS["quick"], 80) == "central.count=10"
    assert difference(PRESETS["paper-mnist"], 40) == "data.name=mnist, budget.epsilon=1.0, ..."


def raising(error: BaseException) -> Callable[..., None]:
    def f(*args: object) -> None:
        raise error

    return f


def test_work_that_ends_with_a_sentence_gives_it_and_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_or_explain(lambda _: 3, raising(NoNumbers("labels are no numbers"))) == 1
    assert capsys.readouterr().err == "error: labels are no numbers\n"


def test_a_training_that_diverged_gives_its_sentence_too_and_has_not_ended_well(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left: list[object] = []

    def check(stack: ExitStack) -> int:
        stack.push(lambda failed, *_: left.append(failed))
        return 3

    assert run_or_explain(check, raising(Diverged("warmup.learning_rate is 1e+06: lower it"))) == 1
    assert capsys.readouterr().err == "error: warmup.learning_rate is 1e+06: lower it\n" and left == [Diverged]


def test_run_or_explain_hands_on_what_was_checked() -> None:
    seen: list[int] = []
    assert run_or_explain(lambda _: 3, seen.append) == 0 and seen == [3]


def test_run_or_explain_explains_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_or_explain(raising(ValueError("data.size=3\nis too small")), raising(AssertionError()))
    assert left.value.code == 2 and capsys.readouterr().err == "error: data.size=3 is too small\n"


def test_run_or_explain_explains_a_place_that_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_or_explain(raising(PermissionError(13, "Permission denied", "/locked")), raising(AssertionError()))
    assert left.value.code == 2
    assert capsys.readouterr().err == "error: /locked cannot be used: Permission denied; name another one\n"


def test_run_or_explain_keeps_the_traceback_of_a_bug() -> None:
    with pytest.raises(ValueError, match="a bug"):
        run_or_explain(lambda _: 0, raising(ValueError("a bug")))
    with pytest.raises(KeyError):
        run_or_explain(raising(KeyError("a bug")), lambda _: None)


@pytest.mark.parametrize("phase", [0, 1])
def test_an_interrupt_says_how_to_continue(capsys: pytest.CaptureFixture[str], phase: int) -> None:
    stop = raising(KeyboardInterrupt())
    assert run_or_explain(stop if phase == 0 else lambda _: 0, stop) == 130
    assert "same command" in capsys.readouterr().err


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_a_mistake_is_the_same_sentence_in_every_terminal(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever characters it has."""

    class Terminal(io.StringIO):
        pass

    Terminal.encoding = encoding  # type: ignore[assignment]
    monkeypatch.setattr(sys, "stdout", Terminal())
    said = []
    for flag in ("--budget.epsilon=-1", "--budget.epsilon=much"):
        with pytest.raises(SystemExit):
            parse(PRESETS, ["quick", flag], machines=Machines(), prog="job.py")
        said.append(capsys.readouterr().err)
    assert said[0] == "error: budget.epsilon is -1.0: give a number above 0\n"
    assert said[1] == "error: budget.epsilon is much: give a number\n"
