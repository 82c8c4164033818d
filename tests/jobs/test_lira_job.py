"""`jobs/lira.py` as a user runs it: a process of its own, real Ray, real digits, a network of the user's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NETWORK = """
from torch import nn

def network(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 32), nn.ReLU(), nn.Linear(32, classes))
"""


def run(*flags: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    command = [sys.executable, str(ROOT / "jobs/lira.py"), *map(str, flags)]
    environment = mine | {"PYTHONPATH": f"{ROOT}:{cwd}", "COLUMNS": "150"}
    return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=280)


@pytest.mark.timeout(300)
def test_a_users_network_is_attacked_on_ray(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    flags = "quick --data.limit 150 --recipe.epochs 8 --attack.shadow-models 4 --target.model mine:network".split()
    done = run(*flags, "--out", "run", "--on.workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "ranks a training image above another one with probability" in done.stdout
    report = json.loads((tmp_path / "run/internal/report.json").read_text())
    assert set(report["attacks"]) == {"target", "shadow_models"} and report["method"] == "lira"


def test_bad_input_costs_one_sentence(tmp_path: Path) -> None:
    done = run("quick", "--target.checkpoint", "no-such.pt", "--out", "run", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "target.checkpoint no-such.pt does not exist" in done.stderr
    assert not (tmp_path / "run").exists()
