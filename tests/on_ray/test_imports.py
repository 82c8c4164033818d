"""Which folders Ray's workers import from, and that a runtime environment is left to Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from raysyn.on_ray.imports import OurJob

ROOT = Path(__file__).parents[2]


def sent(job: OurJob) -> list[str]:
    """The folders that workers of a driver in this one are told, after Ray has put it and its script's on the list."""
    job._py_driver_sys_path.extend(["/the/scripts", os.getcwd()])
    return list(job._get_proto_job_config().py_driver_sys_path)


@pytest.mark.parametrize(
    ("ours", "place", "told"),
    [
        (False, None, False),
        (False, "", True),  # python -m, python -c
        (False, "first", True),  # PYTHONPATH
        (False, "last", False),  # models.imported
        (True, "", False),  # its workers have the whole path
    ],
)
def test_workers_are_told_the_start_folder_only_where_the_driver_imports_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: bool, place: str | None, told: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = ["/the/scripts", sysconfig.get_path("stdlib"), "/packages"]
    if place is not None:
        path.insert(3 if place == "last" else 0, str(tmp_path) if place else "")
    monkeypatch.setattr(sys, "path", path)
    assert sent(OurJob(ours=ours)) == ["/the/scripts", *([str(tmp_path)] if told else [])]


def test_the_folder_of_raysyn_itself_and_that_of_a_submitted_job_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [sysconfig.get_path("stdlib")])
    monkeypatch.chdir(ROOT)
    assert sent(OurJob(ours=False)) == ["/the/scripts", str(ROOT)]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert sent(OurJob(ours=False)) == ["/the/scripts", str(tmp_path)]


DRIVER = """
from raysyn.compute.doorway import Machines
from raysyn.on_ray.cluster import connect
import myunits

if __name__ == "__main__":
    with connect(Machines(workers=1, gpus_per_worker=0), "store") as compute:
        print(*compute.map(myunits.where, [1], name="units"))
"""
UNITS = """
import os, statistics

def where(item, shared):
    return f"{item}:{'_ray_pkg_' in os.getcwd()}"
"""
HOOK = "import os\n\ndef hook(env):\n    return {**(env or {}), 'working_dir': os.getcwd()}\n"


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_a_hook_that_sends_the_folder_to_the_workers_works(tmp_path: Path) -> None:
    """As `uv run` does by itself."""
    (tmp_path / "start").mkdir()
    for name, text in {"driver": DRIVER, "myunits": UNITS, "myhook": HOOK}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "start/notes.txt").write_text("something to send")
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, str(tmp_path / "driver.py")], cwd=tmp_path / "start", capture_output=True, text=True,
        timeout=180, env=own | {"PYTHONPATH": f"{ROOT}:{tmp_path}", "RAY_RUNTIME_ENV_HOOK": "myhook.hook"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1:True"]
