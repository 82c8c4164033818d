"""How the tests of this folder start a job."""

from __future__ import annotations

import io
import os
import runpy
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]


def job(name: str, *flags: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / f"jobs/{name}.py"), *map(str, flags)]


def environment(*more: Path) -> dict[str, str]:
    """As a user's, with raysyn and `more` folders to import from."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return mine | {"PYTHONPATH": ":".join(map(str, (ROOT, *more))), "COLUMNS": "150"}


def run(name: str, *flags: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The job in a process of its own, in a folder of the user's."""
    return subprocess.run(job(name, *flags), env=environment(cwd), cwd=cwd, capture_output=True, text=True, timeout=280)


def refusal(name: str, *flags: str | Path) -> str:
    """The one sentence with which the job refuses its flags; here, in this process: a new one imports for seconds."""
    said = io.StringIO()
    with redirect_stderr(said), patch.object(sys, "argv", job(name, *flags)[1:]), pytest.raises(SystemExit) as left:
        runpy.run_path(sys.argv[0], run_name="__main__")
    sentence = said.getvalue()
    assert left.value.code == 2 and sentence.startswith("error: ") and sentence.count("\n") == 1, sentence
    return sentence
