"""A part of report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of report.html that one pipeline has: text, a table, a picture, each if there is one."""

    title: str
    text: str = ""
    notes: Sequence[str] = ()
    """Sentences below it, one a line."""
    warnings: Sequence[str] = ()
    """Sentences that stand out, first."""
    rows: Sequence[Sequence[Any]] = ()
    """The first is the heading; figures are set to the right."""
    words: Sequence[int] = (0,)
    """The columns that are no figures."""
    picture: str | None = None
    """A data URI (see `figures`); of raysyn's own methods also a file beside the page."""
    alt: str = ""
    strips: Sequence[tuple[str, str]] = ()
    """Rows of one picture each: what is said of it, and its data URI."""
