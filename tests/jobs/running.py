"""How the tests of this folder start a job."""

from __future__ import annotations

import io
import json
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]


def job(name: str, *flags: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / f"jobs/{name}.py"), *map(str, flags)]


def environment(*more: Path) -> dict[str, str]:
    """As a user's, with raysyn and `more` folders to import from."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return mine | {"PYTHONPATH": ":".join(map(str, (ROOT, *more))), "COLUMNS": "150"}


def run(name: str, *flags: str | Path, cwd: Path, timeout_s: float = 280) -> subprocess.CompletedProcess[str]:
    """The job in a process of its own, in a folder of the user's, which is on no path."""
    own = environment()
    return subprocess.run(job(name, *flags), env=own, cwd=cwd, capture_output=True, text=True, timeout=timeout_s)


def here(name: str, *flags: str | Path) -> tuple[int, str, str]:
    """Status, output and errors of a job in this process, on its cluster if it has one: a new process imports for
    seconds, and a new cluster starts for as long."""
    out, errors = io.StringIO(), io.StringIO()
    command = patch.object(sys, "argv", job(name, *flags)[1:])
    with redirect_stdout(out), redirect_stderr(errors), command, pytest.raises(SystemExit) as left:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return int(left.value.code or 0), out.getvalue(), errors.getvalue()


def whole_run(name: str, out: Path, *flags: str | Path) -> tuple[str, dict[str, Any]]:
    """Output and report of a job that runs to its end here, and says nothing but that."""
    status, shown, said = here(name, *flags, "--out", out)
    assert (status, said) == (0, ""), said
    return shown, json.loads((out / "internal/report.json").read_text())


def refusal(name: str, *flags: str | Path) -> str:
    """The one sentence with which the job refuses its flags."""
    status, _, said = here(name, *flags)
    assert status == 2 and said.startswith("error: ") and said.count("\n") == 1, said
    return said


def plan(name: str, *flags: str | Path) -> str:
    """What --dry-run shows, as one line."""
    status, shown, said = here(name, *flags, "--dry-run")
    assert status == 0 and said == "", said
    return " ".join(shown.split())
