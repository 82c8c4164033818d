"""The driver of a stage is killed with SIGKILL; the same command goes on and ends as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stages
import torch

from raysyn.attacks import lira
from raysyn.attacks.shadows import ShadowSpeed, sweep
from raysyn.attacks.whose import IMAGES
from raysyn.compute.local import Local
from raysyn.on_ray.leftovers import processes_using

# Generous, for machines that are busy with something else.
pytestmark = pytest.mark.timeout(600)


class Driver:
    """driver.py with one stage, its storage and its traces."""

    def __init__(self, stage: str, folder: Path, temporary: Path) -> None:
        self.store, self.temporary, self._folder = folder / "store", temporary, folder
        script = str(Path(__file__).with_name("driver.py"))
        self._command = [sys.executable, script, stage, str(self.store), str(folder)]
        self._environment = {**os.environ, "TMPDIR": str(temporary)}
        for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_MODE"):
            self._environment.pop(name, None)

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, env=self._environment)

    def finish(self) -> Any:
        """Run to the end; the answer, after a look at what is left behind."""
        done = subprocess.run(self._command, env=self._environment, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0 and done.stdout + done.stderr == "", done.stderr
        # Tune's own empty lock files are shared by all its processes, so that nobody may remove them.
        assert {path.name for path in self.temporary.iterdir()} <= {"_ray_lockfiles"}
        assert not processes_using(self.temporary)
        return torch.load(self._folder / "answer.pt", weights_only=True)

    def units(self) -> list[Path]:
        return sorted((self.store / "units").glob("shadows-*/*.pt"))


@pytest.fixture()
def temporary() -> Iterator[Path]:
    """A temporary folder whose path is short enough for Ray's sockets."""
    folder = Path(tempfile.mkdtemp(prefix="rs", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def wait_until(happened: Callable[[], bool], driver: subprocess.Popen[bytes], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert driver.poll() is None, "the driver ended before it was to be killed"
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_training_continues_and_leaves_nothing(tmp_path: Path, temporary: Path) -> None:
    (tmp_path / "local").mkdir()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    expected = Local(tmp_path / "l").train(stages.regress, *stages.problem(), tmp_path / "local", "", name="regress")
    torch.set_num_threads(before)
    driver = Driver("regress", tmp_path, temporary)
    first = driver.start()
    wait_until(lambda: bool(list(tmp_path.glob("trouble.*"))), first)
    first.kill()
    first.wait()
    answer = driver.finish()
    assert torch.equal(answer["weights"], expected["weights"]), "one thread must equal one process exactly"
    starts = sorted(int(path.name.split("-at-")[1].split(".")[0]) for path in tmp_path.glob("start-0-*"))
    assert starts == [0, 20]


@pytest.mark.slow
def test_a_search_continues_with_the_trials_it_has(tmp_path: Path, temporary: Path) -> None:
    driver = Driver("climb", tmp_path, temporary)
    first = driver.start()
    # The first trial hangs in its step 5; the others, one after the other on the second CPU, go on.
    others = stages.PEAK[1].trials // 2
    wait_until(lambda: len(list(tmp_path.glob("trial-*-at-0.*"))) > others, first)
    time.sleep(6)  # Tune notes what it has every five seconds.
    first.kill()
    first.wait()
    found = driver.finish()
    assert len(found) == stages.PEAK[1].trials and len({repr(one["params"]) for one in found}) == len(found)
    whole = [one for one in found if not one["pruned"]]
    assert whole and all(one["reports"] == 9 for one in whole)
    for one in found:
        assert one["score"] == pytest.approx((1 - (one["params"]["x"] - 0.3) ** 2) * one["reports"] / 9)
    begun = [path.name.split("-at-")[0] for path in tmp_path.glob("trial-*-at-0.*")]
    assert len(set(begun)) == len(begun), "no trial is begun from its start a second time"


def workers_on(folder: Path) -> list[int]:
    """Processes that train a shadow model at this moment."""
    found = []
    for process in processes_using(folder):
        try:
            if Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::raysyn shadows"):
                found.append(process)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_sweep_of_24_survives_three_workers_and_a_driver(tmp_path: Path, temporary: Path) -> None:
    """24 results, each once, and the verdict of an undisturbed sweep in one process."""
    driver = Driver("shadows", tmp_path, temporary)
    first = driver.start()
    killed = set[int]()
    for done in (3, 7, 11):
        wait_until(lambda done=done: len(driver.units()) >= done and bool(workers_on(temporary)), first)  # type: ignore[misc]
        victim = workers_on(temporary)[0]
        os.kill(victim, signal.SIGKILL)
        killed.add(victim)
    wait_until(lambda: len(driver.units()) >= 15, first)
    first.kill()
    first.wait()
    survived = {path.name: path.stat().st_mtime_ns for path in driver.units()}
    assert len(killed) == 3 and 15 <= len(survived) < 24
    found = driver.finish()
    units = {path.name: path.stat().st_mtime_ns for path in driver.units()}
    assert sorted(units) == [f"{model:06d}.pt" for model in range(24)]
    assert survived.items() <= units.items(), "what existed was not made again"

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    calm, _ = sweep(Local(tmp_path / "calm"), *stages.shadows(), ShadowSpeed(stack=1))
    torch.set_num_threads(before)
    shadow_MNQ, inside_MN = found["shadow_MNQ"].numpy(), found["inside_MN"].numpy()
    torch.testing.assert_close(torch.from_numpy(shadow_MNQ), torch.from_numpy(calm.shadow_MNQ), rtol=0, atol=0)
    assert lira.spread(shadow_MNQ, inside_MN, IMAGES) == lira.spread(*calm, IMAGES)


TERMINATED = """
import sys, time
from pathlib import Path
from raysyn.compute.doorway import Machines
from raysyn.on_ray.cluster import connect
from raysyn.screen.cli import run_or_explain
from stages import wait
workers = Machines(workers=2, gpus_per_worker=0, cpus_per_worker=1)
check = lambda stack: stack.enter_context(connect(workers, sys.argv[1]))
sys.exit(run_or_explain(check, lambda compute: compute.train(wait, Path(sys.argv[2]), name="wait")))
"""


@pytest.mark.slow
def test_a_terminated_driver_says_so_at_once_and_leaves_nothing(temporary: Path, tmp_path: Path) -> None:
    """As `ray job stop` and a spot machine's notice end it, in the middle of a stage of several workers."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    here = Path(__file__).parent
    own |= {"TMPDIR": str(temporary), "PYTHONPATH": f"{here}:{here.parents[1]}"}
    command = [sys.executable, "-c", TERMINATED, str(tmp_path / "store"), str(tmp_path)]
    with (tmp_path / "errors").open("w") as errors:
        driver = subprocess.Popen(command, env=own, stderr=errors)
    end = time.monotonic() + 300
    while not list(tmp_path.glob("waiting.*")):
        assert driver.poll() is None and time.monotonic() < end, (tmp_path / "errors").read_text()
        time.sleep(0.2)
    driver.terminate()
    assert driver.wait(60) == 143
    assert (tmp_path / "errors").read_text() == "interrupted: the same command continues where this one stopped\n"
    assert not processes_using(temporary)
