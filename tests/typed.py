"""A command as it is typed, in this process."""

from __future__ import annotations

import pytest

from raysyn.command import main


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    """What the command prints; on stderr where it refuses, in one line."""
    try:
        found = main(words)
    except SystemExit as left:
        found = left.code if isinstance(left.code, int) else 0
    out, err = capsys.readouterr()
    assert found == status and (status == 0 or err.count("\n") == 1), err
    return out if status == 0 else err
