"""What a command costs before it works: who mistypes a flag or asks for help waits for torch, and for little else."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    *("torchvision", "torch._dynamo", "sympy", "opacus", "sklearn", "scipy", "pandas", "matplotlib", "jinja2", "PIL"),
    *("pyarrow", "cryptography", "ray", "optuna", "medmnist", "torch_fidelity", "safetensors"),
)
BESIDE_RAY = tuple(
    f"raysyn.on_ray.{name}" for name in ("fan_out", "group", "imports", "joining", "rank", "scaling", "search", "train")
)
"""Imported where Ray is known to be wanted."""

# In one process: it prints, by what was done, which heavy packages came in with it.
WALK = f"""
import contextlib, importlib, io, json, pkgutil, runpy, sys
from pathlib import Path

def came_in(what, known=set()):
    new = [name for name in {HEAVY!r} if name in sys.modules and name not in known]
    known.update(new)
    return {{what: new}} if new else {{}}

def end(*command):
    sys.argv = list(command)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as left:
            return left.code or 0

found, statuses = {{}}, {{}}
for job in sorted(map(str, Path("jobs").glob("*.py"))):
    for flags in (["--help"], ["quick", "--help"], ["quick", "--no-such-flag"]):
        what = " ".join([job, *flags])
        statuses[what] = end(job, *flags)
        found |= came_in(what)
statuses["raysyn/__main__.py methods"] = end("raysyn/__main__.py", "methods")
found |= came_in("raysyn methods")
# What makes a run: flags are read, and refused, before it is loaded.
found |= {{name: ["before there is work"] for name in ("raysyn.methods.common", "rich") if name in sys.modules}}
import raysyn
modules = [one.name for one in pkgutil.walk_packages(raysyn.__path__, "raysyn.")]
modules = [name for name in modules if name not in {BESIDE_RAY!r} and not name.endswith("__main__")]
for name in modules:
    importlib.import_module(name)
    found |= came_in(name)
print(json.dumps({{"found": found, "statuses": statuses, "modules": modules}}))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What WALK prints."""
    own = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", WALK], cwd=ROOT, env=own, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_help_a_refusal_and_every_module_do_without_heavy_packages(told: dict[str, Any]) -> None:
    assert told["found"] == {}, "imported at the top of a module, not where it is used"


def test_the_walk_reached_every_command_and_every_room(told: dict[str, Any]) -> None:
    jobs = {f"jobs/{path.name}" for path in (ROOT / "jobs").glob("*.py")}
    assert {what.split()[0] for what in told["statuses"]} == jobs | {"raysyn/__main__.py"} and len(jobs) >= 7
    assert all(status == (2 if "--no" in what else 0) for what, status in told["statuses"].items()), told["statuses"]
    rooms = {path.parent.name for path in (ROOT / "raysyn").glob("*/*.py")}
    assert rooms == {name.split(".")[1] for name in told["modules"] if name.count(".") > 1}


@pytest.mark.slow
def test_a_command_that_does_no_work_costs_at_most_half_as_much_again_as_torch() -> None:
    startup = runpy.run_path(str(ROOT / "benchmarks/startup.py"))
    spent: dict[str, list[float]] = {" ".join(command): [] for command in startup["COMMANDS"]}
    for _ in range(5):
        for command in startup["COMMANDS"]:
            spent[" ".join(command)].append(startup["cpu_seconds"](command))
    bare = median(spent[" ".join(startup["BARE"])])
    ratios = {what: median(times) / bare for what, times in spent.items()}
    assert max(ratios.values()) <= 1.5, ratios


@pytest.mark.parametrize(
    ("own", "spins"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
    ids=["nothing said", "said", "said otherwise"],
)
def test_threads_that_wait_let_the_core_go_soon_unless_told_how(own: dict[str, str], spins: str | None) -> None:
    """A child starts with it in its environment, before any module of its own is imported."""
    child = "import os; print(os.environ.get('GOMP_SPINCOUNT'))"
    code = f"import raysyn, subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    asked = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=asked | own, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.strip() == str(spins)
