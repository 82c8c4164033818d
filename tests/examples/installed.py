"""The example package, where it lies and as pip would install it; commands as a user types them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OWN = ROOT / "examples/own_method"
Install = Callable[..., Path]


def typed(*words: str, cwd: Path, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    """A command as a user types it, in a process of its own; raysyn's first word is `raysyn`."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    start = [sys.executable, "-m"] if words[0] == "raysyn" else [sys.executable]
    return subprocess.run(
        [*start, *words], cwd=cwd, env=own | {"COLUMNS": "150"}, capture_output=True, text=True, timeout=timeout_s
    )
