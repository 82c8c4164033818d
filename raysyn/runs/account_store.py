"""An account on an object store: no lock, but writes that are refused where somebody else has written meanwhile.

The whole file is read with its version and written again with more lines, on condition that it still has that version
(If-Match), or is not there yet (If-None-Match). A driver that is refused reads and decides anew. Where the answer to a
write that was done is lost, it is tried again and refused; the lines are then there, known by run and stage.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote

from raysyn.privacy.account import Account
from raysyn.runs import account_lines
from raysyn.runs.account_lines import Change, parsed, whole_lines
from raysyn.runs.storage import without_password

AS_OBSTORE = {"region": "region", "endpoint_override": "endpoint"}
"""Words of pyarrow's URIs, by which run folders are named, and those of obstore."""


class StoreBook:
    """See `account_book.Book`; `store` is obstore's, by default that of the URI."""

    def __init__(self, uri: str, store: Any = None) -> None:
        self._place, _, query = uri.partition("?")
        folder, _, self._key = self._place.rpartition("/")
        if not self._key or folder.endswith(":/"):
            raise ValueError(f"budget.account is {self}, which names no file: give one in it, as s3://bucket/file")
        self._store = store or _store(folder, dict(parse_qsl(query)), str(self))

    def __str__(self) -> str:
        return without_password(self._place)

    def read(self) -> Account | None:
        return parsed(self.held()[0], self)

    def exists(self) -> bool:
        return self.held()[1] is not None

    def why_not(self) -> str | None:
        try:
            self.held()
        except ValueError as error:
            return str(error).removeprefix(f"{self}, the account of these images, ")
        return None

    def add(self, change: Change, new: bool = True) -> Account:
        return account_lines.add(self, change, new)

    def put(self, content: bytes, version: Any, more: bytes) -> bool:
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            with self._explained():
                obstore.put(
                    self._store, self._key, whole_lines(content) + more, mode="create" if version is None else version,
                    use_multipart=False,
                )  # fmt: skip
        except (AlreadyExistsError, PreconditionError):
            time.sleep(random.uniform(0, 0.2))  # so that two do not meet again
            return False
        return True

    def held(self) -> tuple[bytes, Any]:
        import obstore

        try:
            with self._explained():
                got = obstore.get(self._store, self._key)
                content = bytes(got.bytes())
        except FileNotFoundError:
            return b"", None
        named = {name: got.meta.get(name) for name in ("e_tag", "version")}
        if not (version := {name: value for name, value in named.items() if value is not None}):
            raise ValueError(
                f"{self} has no version (ETag), without which two drivers could spend the same: give a file"
            )
        return content, version

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """What a store has to say is ValueError, in one sentence; but not that a file is missing or was written to."""
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        try:
            yield
        except (FileNotFoundError, AlreadyExistsError, PreconditionError):
            raise
        except Exception as error:  # a store has errors of its own
            raise ValueError(f"{self}, the account of these images, cannot be reached ({_in_short(error)})") from error


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _store(folder: str, asked: dict[str, str], uri: str) -> Any:
    """ValueError, in one sentence, where there is none."""
    try:
        from obstore.store import from_url
    except ImportError as error:
        raise ValueError(
            f"budget.account is {uri}, and an account on an object store needs obstore: pip install 'raysyn[stores]'"
        ) from error
    config: Any = {AS_OBSTORE[name]: value for name, value in asked.items() if name in AS_OBSTORE}
    if "endpoint" in config and "://" not in config["endpoint"]:
        config["endpoint"] = f"{asked.get('scheme', 'https')}://{config['endpoint']}"
    place = without_password(folder)
    # As pyarrow's URIs hold them; they are in no message, so that obstore is not told them in the place.
    named = folder.partition("://")[2].partition("/")[0].rpartition("@")[0]
    if named and folder.startswith("s3://"):
        user, _, secret = named.partition(":")
        config |= {"access_key_id": unquote(user), "secret_access_key": unquote(secret)}
    plain: Any = {"allow_http": True} if asked.get("scheme") == "http" else {}
    try:
        return from_url(place, config=config or None, client_options=plain or None)
    except Exception as error:  # what obstore raises is its own
        raise ValueError(
            f"budget.account is {uri}, which is no place of an object store ({_in_short(error)}): "
            "give a file, or a URI such as s3://bucket/scans.account.jsonl"
        ) from error
