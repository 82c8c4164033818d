"""An account on disk: durable, one driver's at a time, whole after a kill, for its owner alone."""

from __future__ import annotations

import json
import os
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raysyn.data.listing import ACCOUNTS
from raysyn.privacy.account import Account, Run, paid_line
from raysyn.privacy.admission import admit
from raysyn.privacy.cost import ADD_REMOVE, Cost
from raysyn.privacy.sketch import Sketch
from raysyn.runs import account_book
from raysyn.runs.account_book import ENDING, FileBook, beside, book_at
from raysyn.runs.account_elsewhere import ELSEWHERE
from raysyn.runs.account_lines import Book

COST = Cost(mechanism="m", noise_multiplier=5.0, sampling_rate=1.0, steps=1)
"""Epsilon 0.78 at delta 1e-5; two come to 1.13."""


class Nothing:
    """No total is asked for."""

    total = new_total = reason = None


class Total(Nothing):
    """One that one run fits in."""

    total = 1.0


def run(name: str) -> Run:
    return Run(
        run=name, method="m", preset="p", folder=f"/runs/{name}", time="t", adjacency=ADD_REMOVE, units=9, images=9,
        shape=(8, 8, 1), guarantee="dp", delta=1e-5, sketch=Sketch(np.zeros(0, np.uint64), 0), reserved={"s": COST},
    )  # fmt: skip


def entered(book: Book, name: str, asked: Any = Nothing) -> Account:
    return book.add(lambda there: admit(there, run(name), asked))


@pytest.fixture
def book(tmp_path: Path) -> FileBook:
    return beside(str(tmp_path / "scans.parquet"))


def test_it_lies_beside_the_images_for_its_owner_alone_and_is_only_added_to(book: FileBook, tmp_path: Path) -> None:
    assert book.read() is None and book.path.name == "scans.parquet.account.jsonl" and (ENDING, ELSEWHERE) == ACCOUNTS
    before = os.umask(0)
    try:
        entered(book, "a")
    finally:
        os.umask(before)
    assert stat.S_IMODE(book.path.stat().st_mode) == 0o600
    first = book.path.read_bytes()
    assert list(entered(book, "b").runs) == ["a", "b"] and book.path.read_bytes().startswith(first)
    # Nothing to add leaves it as it is, and begins none.
    entered(book, "b")
    other = FileBook(tmp_path / "other")
    other.add(lambda _: [])
    assert book.read() is not None and other.read() is None
    # Two begin with keys of their own: samples of one tell nothing of another.
    entered(other, "a")
    assert len({json.loads(one.path.read_text().splitlines()[0])["key"] for one in (book, other)}) == 2


def test_the_same_images_by_another_name_have_the_same_account(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/scans").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "deep/scans")
    places = {str(beside(str(tmp_path / name))) for name in ("link", "deep/scans", "deep/scans/", "deep/../deep/scans")}
    assert places == {str(tmp_path / "deep/scans.account.jsonl")}


def test_a_line_without_its_end_was_never_written(book: FileBook) -> None:
    """A driver that is killed while it writes leaves one; it has begun nothing yet."""
    entered(book, "a")
    entered(book, "b")
    content = book.path.read_bytes()
    head, first = (len(b"".join(content.splitlines(keepends=True)[:n])) for n in (1, 2))
    for cut in (len(content) - 1, first + 1, first, head + 5, head, 7, 0):
        book.path.write_bytes(content[:cut])
        left = book.read()
        whole = [] if left is None else list(left.runs)
        assert whole == (["a"] if cut >= first else [])
        assert list(entered(book, "c").runs) == [*whole, "c"]
        assert list((book.read() or left).runs) == [*whole, "c"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "content",
    [
        b"notes",
        b'{"a": 1}',
        b"PK\x03\x04 npz",
        b"\x89PNG\r",
        b" ",
        b'{"raysyn_accounts": 1',
        b'{"raysyn',
        b'{"raysyn_account": 1, "id',
    ],
)
def test_a_file_of_somebody_elses_is_refused_and_left_as_it_is(book: FileBook, content: bytes) -> None:
    """A file without the end of a line is an account only where it is the begin of one."""
    book.path.write_bytes(content)
    if b'{"raysyn_account"'.startswith(content) or content.startswith(b'{"raysyn_account"'):
        assert list(entered(book, "a").runs) == ["a"]
        return
    for act in (book.read, lambda: entered(book, "a")):
        with pytest.raises(ValueError, match=r"is no account of raysyn, but another file: .*--budget\.account"):
            act()
    assert book.path.read_bytes() == content


@pytest.mark.parametrize("line", ["{", "7", "null", '{"run": 1}', "\xff", ""])
def test_a_damaged_account_is_refused_and_left_as_it_is(book: FileBook, line: str) -> None:
    entered(book, "a")
    book.path.write_bytes(book.path.read_bytes() + line.encode("latin-1") + b"\n")
    content = book.path.read_bytes()
    for act in (book.read, lambda: entered(book, "b")):
        with pytest.raises(ValueError, match=r"is damaged at line 3 .*--budget\.account"):
            act()
    assert book.path.read_bytes() == content


def test_a_refused_change_writes_nothing(book: FileBook) -> None:
    entered(book, "a", Total)
    content = book.path.read_bytes()
    with pytest.raises(ValueError, match=r"budget\.total is 1"):
        entered(book, "b")
    assert book.path.read_bytes() == content


def test_what_is_added_is_on_disk_before_it_returns(book: FileBook, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    def fsync(descriptor: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"{os.fstat(descriptor).st_size}")

    monkeypatch.setattr(account_book.os, "fsync", fsync)
    entered(book, "a")
    entered(book, "b")
    sizes = [len(b"".join(book.path.read_bytes().splitlines(keepends=True)[:n])) for n in (2, 3)]
    assert done == [str(sizes[0]), "folder", str(sizes[1])]


def test_an_account_that_is_gone_is_not_begun_anew_where_it_must_be_there(book: FileBook) -> None:
    with pytest.raises(FileNotFoundError):
        book.add(lambda _: [], new=False)
    assert not book.path.exists()


def places(tmp_path: Path) -> list[tuple[Path, str | None]]:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "dead").symlink_to(tmp_path / "gone" / "x")
    os.mkfifo(tmp_path / "pipe")
    return [
        (tmp_path / "new", None), (tmp_path / "file", None), (tmp_path / "folder", "it is no file"),
        (tmp_path / "dead", "it is a link to what is not there"), (tmp_path / "pipe", "it is no file"),
        (tmp_path / "gone" / "new", "does not exist"), (tmp_path / "file" / "new", "Not a directory"),
        (Path("/proc/new"), "cannot be written to" if os.getuid() else None),
    ]  # fmt: skip


def test_why_nothing_can_be_added_is_known_before_and_makes_nothing(tmp_path: Path) -> None:
    for place, why in places(tmp_path):
        found = FileBook(place).why_not()
        assert found is None if why is None else found is not None and why in found, place
        if why is not None:  # what is tried nevertheless waits for nothing
            with suppress(ValueError, OSError):
                FileBook(place).read()
            with suppress(ValueError, OSError):
                entered(FileBook(place), "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dead", "file", "folder", "pipe"]


@pytest.mark.parametrize("place", ["~nobody-here/x", "/", "loop", "a\0b"])
def test_a_source_that_is_none_is_refused_in_one_sentence(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(ValueError) as error:
        found = beside(place)
        found.read()
    assert "\n" not in str(error.value) and len(str(error.value)) > 40


@pytest.mark.parametrize("spelled", ["{}/a", "file://{}/a", "~/a"])
def test_a_file_is_found_however_it_is_spelled(spelled: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(book_at(spelled.format(tmp_path))) == str(tmp_path / "a")


def driver(work: Callable[[], object]) -> tuple[int, int, int]:
    """(process, end to write its start to, end to read from what it says) of another driver, which waits for that."""
    (wait, go), (said, say) = os.pipe(), os.pipe()
    if child := os.fork():
        os.close(wait)
        os.close(say)
        return child, go, said
    try:  # the other one
        os.read(wait, 1)
        try:
            work()
            os.write(say, b"entered")
        except ValueError as error:
            os.write(say, str(error).encode())
    finally:
        os._exit(0)


def test_of_two_drivers_at_once_one_spends_the_last_epsilon(book: FileBook) -> None:
    started = [driver(partial(entered, book, name, Total)) for name in "abc"]
    for _, go, _ in started:
        os.write(go, b"x")
    answers = [os.read(said, 9_999).decode() for _, _, said in started]
    for child, *_ in started:
        os.waitpid(child, 0)
    assert sorted(answer == "entered" for answer in answers) == [False, False, True]
    assert sum("budget.total is 1 at delta" in answer for answer in answers) == 2
    there = book.read()
    assert there is not None and len(there.runs) == 1 and len(there.totals) == 1


def paid(there: Account) -> list[dict[str, Any]]:
    return [paid_line("first", "s", COST, "t")]


@pytest.mark.parametrize("meanwhile", ["nothing", "a payment", "a run", "a total", "gone", "another file"])
def test_a_run_is_priced_while_others_go_on_and_again_only_where_it_matters(book: FileBook, meanwhile: str) -> None:
    entered(book, "first")
    asked = 0

    def change(there: Account) -> list[dict[str, Any]]:
        nonlocal asked
        asked += 1
        if asked == 1:  # others need not wait
            content = book.path.read_bytes()
            if meanwhile == "a payment":
                book.add(paid, new=False)
            elif meanwhile == "a run":
                entered(book, "other")
            elif meanwhile == "a total":
                book.add(lambda _: [{"total": 1.0, "delta": 1e-5, "time": "t"}])
            elif meanwhile == "gone":
                book.path.unlink()
            elif meanwhile == "another file":
                book.path.rename(book.path.with_name("old"))
                book.path.write_bytes(content)
        return admit(there, run("late"), Nothing)

    refused = {"a total": r"budget\.total is 1 at delta", "gone": "is gone since it was looked at: bring it back"}
    if meanwhile in refused:
        with pytest.raises(ValueError, match=refused[meanwhile]):
            book.add(change)
        assert (book.read() is None) == (meanwhile == "gone")
    else:
        after = book.add(change)
        there = book.read()
        assert there is not None and [*after.runs] == [*there.runs]
        runs = ["first", "other", "late"] if meanwhile == "a run" else ["first", "late"]
        assert [*after.runs] == runs and len(after.paid) == (meanwhile == "a payment")
    assert asked == (2 if meanwhile in ("a run", "a total") else 1)


def test_a_file_that_was_exchanged_while_it_was_waited_for_is_opened_anew(
    book: FileBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered(book, "a")
    real, waits = account_book._lock, 0

    def exchange(descriptor: int, path: Path) -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            content = path.read_bytes()
            path.rename(path.with_name("old"))
            path.write_bytes(content)
        real(descriptor, path)

    monkeypatch.setattr(account_book, "_lock", exchange)
    entered(book, "b")
    there = book.read()
    assert waits == 2 and there is not None and [*there.runs] == ["a", "b"]


def test_a_driver_that_is_killed_while_it_holds_the_account_keeps_nobody_waiting(
    book: FileBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_book, "PATIENCE_S", 0.05)
    inside, entering = os.pipe()

    def hold(*_: object) -> None:
        os.write(entering, b"x")
        time.sleep(60)

    def write_for_long() -> None:
        account_book._write = hold
        entered(book, "x")

    child, go, _ = driver(write_for_long)
    os.write(go, b"x")
    os.read(inside, 1)
    with pytest.raises(ValueError, match="in use by another run: try again"):
        entered(book, "b")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert list(entered(book, "b").runs) == ["b"]
