"""A wheel of this tree, installed in a new environment elsewhere, is whole: command, presets, templates, cards."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import raysyn

ROOT = Path(__file__).resolve().parents[1]
BUILT_FROM = ("pyproject.toml", "README.md", "LICENSE", "raysyn")
TINY = (
    "quick --data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 --central.count 10 "
    "--warmup.iterations 20 --finetune.batch-size 32 --finetune.epochs 6 --sampler.steps 3 --synthetic 1200 "
    "--eval.epochs 1 --eval.classifiers logreg --eval.feature-epochs 1 --on.sgd.engine bookkeeping "
    "--on.sgd.micro-batch 32 --on.sgd.channels-last True --on.address here"
).split()
DOOR = "import raysyn, sys; print(raysyn.__version__, raysyn.__file__.startswith(sys.prefix))"


def run(*command: str | Path, cwd: Path) -> str:
    """What a command prints, in a folder that has nothing of this tree; it must succeed."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHON", "PIP_"))}
    done = subprocess.run(list(map(str, command)), env=mine, cwd=cwd, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment with the wheel in it. What raysyn needs is seen where it is installed
    already; raysyn itself, which is there too, comes second."""
    there = tmp_path_factory.mktemp("wheel")
    for name in BUILT_FROM:
        # A copy, because building leaves folders behind.
        tree = there / "tree" / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            tree.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, tree)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", there, there / "tree", cwd=there)
    (wheel,) = there.glob("raysyn-*.whl")
    venv.create(there / "env", with_pip=False)
    python = there / "env/bin/python"
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", wheel, cwd=there)
    own = Path(sysconfig.get_path("purelib", vars={"base": str(there / "env"), "platbase": str(there / "env")}))
    # A bare path: its own .pth files, an editable install's among them, are not read.
    (own / "seen.pth").write_text("\n".join(site.getsitepackages()))
    return python.parent


@pytest.mark.slow
def test_an_installed_wheel_has_the_command_and_knows_every_method(installed: Path, tmp_path: Path) -> None:
    said = run(installed / "raysyn", "methods", cwd=tmp_path)
    for job in (ROOT / "jobs").glob("*.py"):
        assert job.stem in said or job.stem in ("leaderboard", "lira")
    shown, from_there = run(installed / "python", "-c", DOOR, cwd=tmp_path).split()
    assert shown == raysyn.__version__ and from_there == "True"


@pytest.mark.slow
def test_an_installed_wheel_runs_reports_and_verifies(installed: Path, tmp_path: Path) -> None:
    run(installed / "raysyn", "dp_feta", *TINY, "--out", "run", cwd=tmp_path)
    assert (tmp_path / "run/internal/report.html").is_file() and (tmp_path / "run/release/certificate.json").is_file()
    assert "dp_feta" in run(installed / "raysyn", "report", "run", "--html", "table.html", cwd=tmp_path)
    assert "<table" in (tmp_path / "table.html").read_text()
    assert "everything that can be checked" in run(installed / "raysyn", "verify", "run/release", cwd=tmp_path)


@pytest.mark.slow
def test_an_installed_wheel_brings_its_cards_and_its_types(installed: Path, tmp_path: Path) -> None:
    (package,) = installed.parent.glob("lib/python*/site-packages/raysyn")
    there = {path.relative_to(package) for path in package.rglob("*")}
    wanted = [path for end in ("*.md", "*.j2", "py.typed") for path in (ROOT / "raysyn").rglob(end)]
    assert {path.relative_to(ROOT / "raysyn") for path in wanted} <= there
