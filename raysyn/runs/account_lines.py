"""The lines of an account, wherever they lie: read, and what a change puts behind them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from raysyn.privacy import account
from raysyn.privacy.account import Account

KEY_BYTES = 32
PATIENCE_S = 60.0
"""How long other drivers may take."""
BEGINS = b'{"raysyn_account"'
"""Every account, also one whose first line was cut off later than that."""
PAID = b'{"paid": '
"""Begins a line of a payment."""

Line = Mapping[str, Any]
Change = Callable[[Account], Sequence[Line]]
"""change(account): the lines to add; ValueError where it may not be."""


class Book(Protocol):
    """The account at one place."""

    def read(self) -> Account | None:
        """What it holds by now; None where there is none. ValueError where it is damaged."""

    def why_not(self) -> str | None:
        """Why nothing can be added to it, in words; None where something can. Nothing is made."""

    def exists(self) -> bool:
        """Whether something is there."""

    def add(self, change: Change, new: bool = True) -> Account:
        """Add the lines of `change(account)`, durable when this returns, and answer the account with them. `change` may
        take its time, since nobody waits for it, and may be asked again, of a newer account.

        Begins an account where there is none; FileNotFoundError instead where it may not be `new`.
        """


class Place(Protocol):
    """What of a book is its place's own."""

    def held(self) -> tuple[bytes, Any]:
        """(content, what tells this version of it); nothing and None where nothing is there."""

    def put(self, content: bytes, version: Any, more: bytes) -> bool:
        """Write `more` behind the whole lines of what was held, durable when this returns; False where something else
        is held by now."""


def add(place: Place, change: Change, new: bool) -> Account:
    """See `Book`: looked at, decided, and written where nothing was written meanwhile but payments, which are of what
    was reserved and change no sum; else decided anew."""
    seen, more, begun = None, b"", 0.0
    while True:
        content, version = place.held()
        if new and seen is not None and whole_lines(seen) and not whole_lines(content):
            raise ValueError(f"{place}, the account of these images, is gone since it was looked at: bring it back")
        if seen is not None and _only_paid(seen, content, more):
            found = parsed(whole_lines(content) + more, place)
            assert found is not None
            after = found
        else:
            after, more = added(content, change, place, new)
            # Others have come further, which is no waiting.
            seen, begun = content, time.monotonic()
        if not more or place.put(content, version, more):
            return after
        if time.monotonic() - begun > PATIENCE_S:
            raise ValueError(f"{place}, the account of these images, is in use by others: try again")


def _only_paid(seen: bytes, content: bytes, ours: bytes) -> bool:
    """Whether nothing has come to what was seen but payments of others."""
    before, now = whole_lines(seen), whole_lines(content)
    if not before or not now.startswith(before):
        return before == now
    came = now[len(before) :].splitlines()
    return all(one.startswith(PAID) for one in came) and not set(came) & set(ours.splitlines())


def parsed(content: bytes, book: object) -> Account | None:
    """The account of a file; None of an empty one, and of one whose first line was cut off. ValueError, in a sentence,
    for what is no account, which may be anybody's file, and for a damaged one."""
    if not whole_lines(content) and not (content.startswith(BEGINS) or BEGINS.startswith(content)):
        raise ValueError(f"{book} is no account of raysyn, but another file: name a place with --budget.account")

    def lines() -> Iterator[Any]:
        for line in whole_lines(content).splitlines():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None  # which is no account's

    try:
        return account.read(lines()) if whole_lines(content) else None
    except ValueError as error:
        raise ValueError(
            f"{book}, the account of these images, is damaged at {error}: bring back a copy of it, or name another one "
            "with --budget.account"
        ) from error


def added(content: bytes, change: Change, book: object, new: bool) -> tuple[Account, bytes]:
    """(the account after a change, the bytes to put behind its whole lines: none where nothing changes)."""
    there, head = parsed(content, book), b""
    if there is None:
        if not new:
            raise FileNotFoundError(str(book))
        head = _as_bytes([_head()])
        there = parsed(head, book)
        assert there is not None
    # An account that nothing was entered in is none.
    if not (lines := change(there)):
        return there, b""
    more = head + _as_bytes(lines)
    after = parsed(whole_lines(content) + more, book)
    assert after is not None
    return after, more


def whole_lines(content: bytes) -> bytes:
    """Without a last line that has no end."""
    return content[: content.rfind(b"\n") + 1]


def _head() -> Line:
    return {
        "raysyn_account": account.FORM, "id": os.urandom(8).hex(), "key": os.urandom(KEY_BYTES).hex(), "begun": now(),
    }  # fmt: skip


def now(to: str = "seconds") -> str:
    """As the ledger writes it."""
    return datetime.now(UTC).isoformat(timespec=to)


def _as_bytes(lines: Sequence[Line]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()
