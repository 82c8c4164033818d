"""`jobs/dp_feta.py` as a user runs it: real Ray, real digits."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from running import environment, here, job, plan, refusal, run, whole_run

JOB = "dp_feta"
TINY = (
    "quick --data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 --central.count 10 "
    "--warmup.iterations 4 --finetune.batch-size 32 --finetune.epochs 2 --sampler.steps 2 --synthetic 200 "
    "--eval.epochs 1 --eval.classifiers logreg --eval.feature-epochs 1 --on.sgd.engine bookkeeping "
    "--on.sgd.micro-batch 32 --on.sgd.channels-last True"
).split()
LONG_ENOUGH = "--on.workers 1 --finetune.epochs 20".split()
"""For a stage II of a minute: what is killed in its midst must not be at its end."""


def ledger(out: Path) -> list[dict]:
    entries = [json.loads(line) for line in (out / "internal/ledger.jsonl").read_text().splitlines()]
    return [{key: value for key, value in entry.items() if key != "time"} for entry in entries]


@pytest.mark.timeout(300)
def test_a_run_on_two_workers_ends_with_a_report_and_a_quiet_console(group_of_tasks: None, tmp_path: Path) -> None:
    shown, report = whole_run(JOB, tmp_path / "run", *TINY, *"--on.workers 2".split())
    assert report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 10
    assert report["environment"]["workers"] == 2
    assert "run/internal/report.html" in shown
    for stage in ("central", "warmup", "finetune", "synthesise", "utility", "fidelity"):
        assert stage in shown
    assert "budget.epsilon = 10" in refusal(JOB, *TINY, "--out", tmp_path / "run", "--budget.epsilon", "3")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--central.count", "-7"), "central.count is -7"),
        (("--budget.epsilon", "0.1"), "epsilon"),
        (("--data.path", "no-such-file.parquet"), "no-such-file.parquet"),
        (("--seed", "-1"), "seed is -1"),
        (("--sampler.guidance", "1", "--noise.label-dropout", "0"), "noise.label_dropout is 0"),
        (("--eval.inception-weights", "no-such-weights.pth"), "no-such-weights.pth"),
        (("--finetune.batch-sise", "4"), "--finetune.batch-size"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_warm_up_that_diverges_costs_one_sentence_too(tmp_path: Path) -> None:
    flags = "--on.address here --warmup.iterations 40 --warmup.learning-rate 1e30".split()
    status, _, said = here(JOB, *TINY, *flags, "--out", tmp_path / "run")
    assert status == 1 and re.fullmatch(r"error: warmup\.learning_rate is 1e\+30, and step .*: lower it\n", said), said


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "DP-SGD" in shown and "Outlook" in shown
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scheme", ["", "fsspec+file://"])
def test_killed_driver_and_killed_worker_release_the_same_bytes(
    tmp_path: Path, scheme: str, started: list[subprocess.Popen[str]]
) -> None:
    """Killed with SIGKILL at random steps of stage II, then continued, against the same run left alone; in a folder, or
    where only a URI leads."""
    rng = random.Random(os.urandom(4))
    killed, alone = tmp_path / "killed", tmp_path / "alone"
    started.append(driver := start(killed, scheme))
    until_it_trains(driver, killed, rng.uniform(0, 3))
    driver.kill()
    driver.wait()
    # Not `communicate`: what Ray left behind still holds the other end.
    assert driver.stdout is not None
    driver.stdout.close()
    # The twin begins with the same secret and nothing else done.
    (alone / "internal").mkdir(parents=True, mode=0o700)
    (alone / "release").mkdir()
    for name in ("secret", "run.json"):
        shutil.copy(killed / "internal" / name, alone / "internal" / name)
    started.append(driver := start(killed, scheme))
    os.kill(until_it_trains(driver, killed, rng.uniform(0, 2)), signal.SIGKILL)
    output, _ = driver.communicate(timeout=400)
    assert driver.returncode == 0, output
    done = run(JOB, *TINY, "--out", alone, *LONG_ENOUGH, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for name in ("synthetic.parquet", "samples.png", "certificate.json"):
        assert (killed / "release" / name).read_bytes() == (alone / "release" / name).read_bytes(), name
    assert ledger(killed) == ledger(alone)


@pytest.fixture()
def started() -> Iterator[list[subprocess.Popen[str]]]:
    """Drivers to be ended with the test, however it ends."""
    drivers: list[subprocess.Popen[str]] = []
    yield drivers
    for driver in drivers:
        if driver.poll() is None:
            driver.terminate()
            driver.wait()


def start(out: Path, scheme: str) -> subprocess.Popen[str]:
    command = job(JOB, *TINY, "--out", f"{scheme}{out}", *LONG_ENOUGH)
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until_it_trains(driver: subprocess.Popen[str], out: Path, seconds: float) -> int:
    """The worker of this driver, which has written a state of stage II by now, a moment ago."""
    checkpoint = out / "internal/checkpoints/finetune.pt"
    # A driver that was killed leaves a lease behind, for a minute, and a worker that may still write, for seconds.
    end, before = time.monotonic() + 200, None
    while True:
        written = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        if workers := train_workers(driver.pid):
            before = written if before is None else before
            if written != before:
                break
        assert driver.poll() is None, driver.stdout and driver.stdout.read()
        assert time.monotonic() < end, "stage II has not written a state"
        time.sleep(0.05)
    time.sleep(seconds)
    (worker,) = workers
    return worker


def train_workers(driver: int) -> list[int]:
    """Processes below `driver` that train stage II."""
    parents, names = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
            names[int(stat.parent.name)] = (stat.parent / "cmdline").read_text()
        except OSError:
            continue  # gone in the meantime
        parents[int(stat.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found = []
    for process, name in names.items():
        above = process
        while above in parents and above != driver:
            above = parents[above]
        if above == driver and name.startswith("ray::raysyn finetune"):
            found.append(process)
    return found
