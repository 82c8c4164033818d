"""`jobs/lira.py` as a user runs it: a process of its own, real Ray, real digits, a network of the user's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from running import refusal, run

NETWORK = """
from torch import nn

def network(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, 32), nn.ReLU(), nn.Linear(32, classes))
"""


@pytest.mark.timeout(300)
def test_a_users_network_is_attacked_on_ray(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(NETWORK)
    flags = "quick --data.limit 150 --recipe.epochs 8 --attack.shadow-models 4 --target.model mine:network".split()
    done = run("lira", *flags, "--out", "run", "--on.workers", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "" and "ranks a training image above another one with probability" in done.stdout
    report = json.loads((tmp_path / "run/internal/report.json").read_text())
    assert set(report["attacks"]) == {"target", "shadow_models"} and report["method"] == "lira"


def test_bad_input_costs_one_sentence(tmp_path: Path) -> None:
    said = refusal("lira", "quick", "--target.checkpoint", "no-such.pt", "--out", tmp_path / "run")
    assert "target.checkpoint no-such.pt does not exist" in said
    assert not (tmp_path / "run").exists()
