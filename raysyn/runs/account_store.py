"""An account on an object store: no lock, but writes that are refused where somebody else has written meanwhile.

The whole file is read with its version and written again with more lines, on condition that it still has that version
(If-Match), or is not there yet (If-None-Match). A driver that is refused reads and decides anew. Where the answer to a
write that was done is lost, it is tried again and refused; the lines are then there, known by run and stage.
"""

from __future__ import annotations

import random
import time
from typing import Any
from urllib.parse import parse_qsl

from raysyn.privacy.account import Account
from raysyn.runs.account_lines import PATIENCE_S, Change, added, parsed, whole_lines

AS_OBSTORE = {"region": "region", "endpoint_override": "endpoint"}
"""Words of pyarrow's URIs, by which run folders are named, and those of obstore."""


class StoreBook:
    """See `account_book.Book`; `store` is obstore's, by default that of the URI."""

    def __init__(self, uri: str, store: Any = None) -> None:
        self._place, _, query = uri.partition("?")
        folder, _, self._key = self._place.rpartition("/")
        self._store = store or _store(folder, dict(parse_qsl(query)), uri)

    def __str__(self) -> str:
        return self._place

    def read(self) -> Account | None:
        found = self._found()
        return None if found is None else parsed(found[0], self)

    def exists(self) -> bool:
        return self._found() is not None

    def why_not(self) -> str | None:
        try:
            self._found()
        except Exception as error:  # a store has errors of its own
            return f"it cannot be reached ({' '.join(str(error).split())[:200]})"
        return None

    def add(self, change: Change, new: bool = True) -> Account:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        begun = time.monotonic()
        while True:
            found = self._found()
            content, version = (b"", None) if found is None else found
            after, more = added(content, change, self, new)
            if not more:
                return after
            try:
                obstore.put(
                    self._store, self._key, whole_lines(content) + more, mode="create" if version is None else version,
                    use_multipart=False,
                )  # fmt: skip
                return after
            except (AlreadyExistsError, PreconditionError) as error:
                if time.monotonic() - begun > PATIENCE_S:
                    raise ValueError(f"{self}, the account of these images, is in use by others: try again") from error
                time.sleep(random.uniform(0, 0.2))  # so that two do not meet again

    def _found(self) -> tuple[bytes, Any] | None:
        """(content, its version); None where there is nothing."""
        import obstore

        try:
            got = obstore.get(self._store, self._key)
        except FileNotFoundError:
            return None
        named = {name: got.meta.get(name) for name in ("e_tag", "version")}
        if not (version := {name: value for name, value in named.items() if value is not None}):
            raise ValueError(
                f"{self} has no version (ETag), without which two drivers could spend the same: give a file"
            )
        return bytes(got.bytes()), version


def _store(folder: str, asked: dict[str, str], uri: str) -> Any:
    """ValueError, in one sentence, where there is none."""
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise ValueError(
            f"budget.account is {uri}, and an account on an object store needs obstore: pip install 'raysyn[stores]'"
        ) from error
    config: Any = {AS_OBSTORE[name]: value for name, value in asked.items() if name in AS_OBSTORE}
    plain: Any = {"allow_http": True} if asked.get("scheme") == "http" else {}
    try:
        return from_url(folder, config=config or None, client_options=plain or None)
    except Exception as error:  # what obstore raises is its own
        raise ValueError(
            f"budget.account is {uri}, which is no place of an object store ({' '.join(str(error).split())[:200]}): "
            "give a file, or a URI such as s3://bucket/scans.account.jsonl"
        ) from error
