"""`jobs/lira.py` as a user runs it: a process of its own, real Ray, real digits, a network of the user's."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from running import refusal, run, whole_run
from torch import nn

from raysyn.data.images import DataConfig, load
from raysyn.report.pictures import png_bytes

NETWORK = """
import statistics
from torch import nn
from mysizes import WIDTH

def build(channels, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes))
"""


SHADOWED = "raise SystemError('a file of the user, taken for a module of Python')"


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A folder to start in: the user's network with what it imports, and files named like Python's own modules."""
    (tmp_path / "mynets.py").write_text(NETWORK)
    (tmp_path / "mysizes.py").write_text("WIDTH = 32")
    for name in ("random", "statistics", "zoneinfo", "secrets"):
        (tmp_path / f"{name}.py").write_text(SHADOWED)
    return tmp_path


@pytest.mark.timeout(300)
def test_a_users_network_is_trained_and_attacked_on_ray(
    start: Path, ray_session: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(start)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # The workers are everybody's: a name that no other test's network has.
    (start / "mynets.py").rename(start / "targetnets.py")
    flags = "quick --data.limit 150 --recipe.epochs 2 --attack.shadow-models 4 --target.model targetnets:build".split()
    try:
        shown, report = whole_run("lira", start / "run", *flags, "--on.workers", "1")
    finally:
        for name in ("targetnets", "mysizes"):
            sys.modules.pop(name, None)
    assert "ranks a training image above another one with probability" in shown
    assert set(report["attacks"]) == {"target", "shadow_models", "found"} and report["method"] == "lira"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_process_and_a_cluster_of_its_own_find_what_lies_where_they_start(start: Path) -> None:
    """A data set, a checkpoint and a network of the user's, in a folder that is on no path, as in the README."""
    write_scans(start / "scans.parquet")
    spec = "quick --data.path scans.parquet --target.checkpoint net.pt --target.model mynets:build".split()
    less = "--recipe.epochs 3 --attack.shadow-models 4 --on.workers 1".split()
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2)).state_dict()
    torch.save({"model_state_dict": {f"module.{name}": value for name, value in untrained.items()}}, start / "net.pt")
    done = run("lira", *spec, *less, "--out", "run", cwd=start)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    # These weights are at chance on the images that they are said to have been trained on.
    assert "WARNING: target.model mynets:build is right about" in done.stdout.partition("attack")[0]
    assert "ranks a training image above another one with probability" in done.stdout
    page = (start / "run/internal/report.html").read_text()
    assert "Is it the right target?" in page and "Warning: target.model mynets:build is right about" in page
    report = json.loads((start / "run/internal/report.json").read_text())
    assert set(report["attacks"]) == {"target", "shadow_models", "found"} and report["environment"]["workers"] == 1


def test_a_mistake_in_the_users_file_costs_one_sentence(start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(start)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (start / "mynets.py").write_text("import torch\n\ndef build(:\n")
    said = refusal("lira", "quick", "--target.model", "mynets:build", "--out", start / "run")
    assert "target.model mynets:build: mynets.py, line 3: invalid syntax; mend the file" in said
    assert not (start / "run").exists()


def write_scans(path: Path) -> None:
    """Digits of two kinds as a Parquet file."""
    digits = load(DataConfig(limit=100))
    rows: dict[str, list[object]] = {"image": [], "label": [], "split": []}
    for split, images in (("train", digits.train), ("test", digits.test)):
        for pixels, label in zip(images.images_NHWC, images.labels_N, strict=True):
            rows["image"].append(png_bytes(pixels))
            rows["label"].append(int(label) % 2)
            rows["split"].append(split)
    pq.write_table(pa.table(rows), path)


def test_bad_input_costs_one_sentence(tmp_path: Path) -> None:
    said = refusal("lira", "quick", "--target.checkpoint", "no-such.pt", "--out", tmp_path / "run")
    assert "target.checkpoint no-such.pt does not exist" in said
    assert not (tmp_path / "run").exists()
