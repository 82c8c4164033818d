"""An account on an object store: written only where nobody else has written meanwhile."""

from __future__ import annotations

import builtins
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from test_account_book import Nothing, Total, entered, run

from raysyn.privacy.account import Account
from raysyn.privacy.admission import admit
from raysyn.runs import account_lines
from raysyn.runs.account_book import book_at
from raysyn.runs.account_store import StoreBook

obstore = pytest.importorskip("obstore")
URI = "s3://bucket/data/scans.account.jsonl"


@pytest.fixture
def book() -> StoreBook:
    from obstore.store import MemoryStore

    return StoreBook(URI + "?region=x", MemoryStore())


def content(book: StoreBook) -> bytes:
    return bytes(obstore.get(book._store, book._key).bytes())


def put(book: StoreBook, text: bytes) -> None:
    obstore.put(book._store, book._key, text)


def test_it_is_begun_and_only_added_to(book: StoreBook) -> None:
    assert str(book) == URI and book.read() is None and not book.exists() and book.why_not() is None
    with pytest.raises(FileNotFoundError):
        book.add(lambda _: [], new=False)
    entered(book, "a")
    first = content(book)
    assert list(entered(book, "b").runs) == ["a", "b"] and content(book).startswith(first) and book.exists()
    # Nothing to add writes nothing.
    entered(book, "b")
    assert len(content(book).splitlines()) == 3


@pytest.mark.parametrize(
    "uri", ["s3://KEY:SECRET@bucket/a?region=x", "s3://KEY:SECRET@bucket/", "ftp://KEY:SECRET@x/a"]
)
def test_no_credentials_are_shown(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        shown = str(StoreBook(uri, object() if uri.startswith("s3") else None))
    except ValueError as error:
        shown = str(error)
    assert "SECRET" not in shown and "KEY" not in shown and ("bucket" in shown or "ftp://x/a" in shown)


@pytest.mark.parametrize("uri", ["s3://", "s3://bucket", "s3://bucket/"])
def test_a_place_that_names_no_file_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="names no file"):
        book_at(uri)


def test_a_damaged_account_and_a_refused_run_leave_it_as_it_is(book: StoreBook) -> None:
    entered(book, "a", Total)
    before = content(book)
    with pytest.raises(ValueError, match=r"budget\.total is 1"):
        entered(book, "b")
    assert content(book) == before
    put(book, b"notes")
    with pytest.raises(ValueError, match="is no account of raysyn"):
        entered(book, "b")
    assert content(book) == b"notes"
    put(book, before + b"7\n")
    with pytest.raises(ValueError, match="is damaged at line 4"):
        entered(book, "b")
    assert content(book) == before + b"7\n"


@pytest.mark.parametrize("begun", [False, True])
def test_who_is_overtaken_decides_anew(book: StoreBook, begun: bool) -> None:
    """Both have found room; the second to write is refused by the store, and then has none."""
    if begun:
        entered(book, "first", Nothing)
        put(book, content(book).splitlines(keepends=True)[0])
    seen = []

    def change(there: Account) -> list[dict[str, Any]]:
        lines = admit(there, run("slow"), Total)
        if not seen:
            seen.append(lines)
            entered(StoreBook(URI, book._store), "quick", Total)
        return lines

    with pytest.raises(ValueError, match=r"budget\.total is 1 at delta"):
        book.add(change)
    there = book.read()
    assert len(seen) == 1 and there is not None and list(there.runs) == ["quick"] and len(there.totals) == 1


def test_of_many_drivers_at_once_one_spends_the_last_epsilon(book: StoreBook) -> None:
    said, ready = list[str](), threading.Barrier(4)

    def drive(name: str) -> None:
        ready.wait()
        try:
            entered(StoreBook(URI, book._store), name, Total)
            said.append("entered")
        except ValueError as error:
            said.append(str(error))

    drivers = [threading.Thread(target=drive, args=(name,)) for name in "abcd"]
    for one in drivers:
        one.start()
    for one in drivers:
        one.join()
    assert sorted(one == "entered" for one in said) == [False, False, False, True]


def test_a_write_whose_answer_was_lost_is_not_written_twice(book: StoreBook, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's client tries again, and is refused by its own first attempt."""
    real, times = obstore.put, []

    def lossy(*given: Any, **more: Any) -> Any:
        times.append(real(*given, **more))
        return real(*given, **more)

    monkeypatch.setattr(obstore, "put", lossy)
    assert list(entered(book, "a").runs) == ["a"] and len(times) == 1
    assert len(content(book).splitlines()) == 2


def test_what_goes_on_being_overtaken_gives_up(book: StoreBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account_lines, "PATIENCE_S", 0.0)

    def refused(*_: Any, **__: Any) -> Any:
        raise obstore.exceptions.PreconditionError

    monkeypatch.setattr(obstore, "put", refused)
    with pytest.raises(ValueError, match="in use by others: try again"):
        entered(book, "a")


def test_a_store_that_cannot_be_reached_or_gives_no_versions_is_told_before_any_work(
    book: StoreBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered(book, "a")

    def unreachable(*_: Any) -> Any:
        raise obstore.exceptions.GenericError("no route\nto host")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(obstore, "get", unreachable)
        assert book.why_not() == "cannot be reached (no route to host)"
        for act in (book.read, book.exists, lambda: entered(book, "b")):
            with pytest.raises(ValueError, match=r"account of these images, cannot be reached \(no route to host\)"):
                act()

    monkeypatch.setattr(obstore, "get", lambda *_: SimpleNamespace(meta={"e_tag": None, "version": None}, bytes=bytes))
    assert "has no version" in (book.why_not() or "")


def test_places_are_those_of_the_store_and_what_is_none_is_refused_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("obstore.store.from_url", lambda folder, **more: asked.append((folder, more)))
    book_at("s3://bucket/data/a.jsonl?region=eu&endpoint_override=http://here:9000&scheme=http")
    config = {"region": "eu", "endpoint": "http://here:9000"}
    assert asked == [("s3://bucket/data", {"config": config, "client_options": {"allow_http": True}})]
    book_at("s3://KEY:SEC%2FRET@bucket/data/a.jsonl")
    given = {"access_key_id": "KEY", "secret_access_key": "SEC/RET"}
    assert asked[1] == ("s3://bucket/data", {"config": given, "client_options": None})
    for scheme, endpoint in (("&scheme=http", "http://here:9000"), ("", "https://here:9000")):
        book_at(f"s3://bucket/data/a.jsonl?endpoint_override=here:9000{scheme}")  # as pyarrow takes it
        assert asked[-1][1]["config"] == {"endpoint": endpoint}
    monkeypatch.undo()
    with pytest.raises(ValueError, match=r"ftp://x/a, which is no place of an object store .*give a file") as error:
        book_at("ftp://x/a")
    assert "\n" not in str(error.value)


def test_without_obstore_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *more: Any) -> Any:
        if name.partition(".")[0] == "obstore":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=r"pip install 'raysyn\[stores\]'"):
        book_at(URI)
