"""`ray job submit` to the cluster of clusters/workstation.sh: the console is the job's log, a stopped job goes on."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import numpy as np
import pytest
from growing import free_ports, kill_session
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.on_ray.joining import found
from raysyn.on_ray.leftovers import end_processes, processes_using

ROOT = Path(__file__).parents[2]
TINY = (
    "quick --network.width 8 --network.multipliers 1 --network.patch 2 --central.count 10 "
    "--warmup.iterations 5 --finetune.batch-size 32 --finetune.epochs 2 --sampler.steps 3 --synthetic 300 "
    "--eval.epochs 1 --eval.classifiers logreg --eval.feature-epochs 1 --eval.no-floor --snapshots 0 "
    "--on.sgd.engine bookkeeping --on.sgd.micro-batch 32 --on.sgd.channels-last True --on.workers 1 "
    "--on.cpus-per-worker 1 --on.address auto"
).split()


# 127.0.0.1 and ::1 in /proc/net/tcp and tcp6, and the first as an address of the second's.
LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}


@pytest.fixture(scope="module")
def workstation() -> Iterator[dict[str, str]]:
    """The environment in which clients of the cluster submit jobs."""
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ports = dict(zip(("PORT", "DASHBOARD_PORT", "CLIENT_PORT", "AGENT_PORT"), map(str, free_ports(4)), strict=True))
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
        # The job's python is the cluster's; its token lies in the home of whoever started it.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = own | ports | {"HOME": folder, "SCRATCH": f"{folder}/ray", "CPUS": "1", "PATH": path}
        with (Path(folder) / "head.log").open("wb") as log:
            head = subprocess.Popen(
                [str(ROOT / "clusters/workstation.sh")], env=env, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        try:
            end = time.monotonic() + 90
            while "Ray runtime started" not in (told := Path(folder, "head.log").read_text()):
                assert head.poll() is None and time.monotonic() < end, told
                time.sleep(0.2)
            yield env | {
                "RAY_AUTH_MODE": "token",
                "RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{ports['DASHBOARD_PORT']}",
            }
        finally:
            kill_session(head)
            end_processes(Path(folder))


def listening(scratch: Path) -> set[str]:
    """Where, as the kernel writes it, the processes listen that have files open under `scratch`: all of the cluster."""
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path("/proc/net", name).read_text().splitlines()[1:]]
    at = {f"socket:[{row[9]}]": row[1] for row in rows if row[3] == "0A"}
    links = list[Path]()
    for process in processes_using(scratch):
        with suppress(FileNotFoundError):  # it has just ended
            links += Path(f"/proc/{process}/fd").iterdir()
    return {at[name] for link in links if link.is_symlink() and (name := os.readlink(link)) in at}


def ray_job(env: dict[str, str], *arguments: str, timeout_s: float = 200) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", *arguments]
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s)


# A user's script in another terminal: by address, and by what Ray finds.
DRIVER = """
import math, os, sys
from raysyn.compute.doorway import Machines
from raysyn.on_ray.cluster import connect
address, storage = sys.argv[1:]
for given in (address, "auto"):
    with connect(Machines(address=given, workers=1), f"{storage}/{given}") as compute:
        # Once is enough: each of its workers imports for seconds.
        found = compute.map(math.pow, [3.0], name="squares", shared=2.0) if given == address else []
        print(given, compute.workers, *found)
    os.environ["RAY_ADDRESS"] = address
"""


@pytest.mark.slow
def test_a_driver_needs_nothing_in_its_environment(workstation: dict[str, str], tmp_path: Path) -> None:
    """The cluster listens on loopback alone, which only its own processes are told."""
    bare = {name: workstation[name] for name in ("HOME", "PATH")} | {"PYTHONPATH": str(ROOT)}
    address = f"127.0.0.1:{workstation['PORT']}"
    command = [sys.executable, "-c", DRIVER, address, str(tmp_path)]
    done = subprocess.run(command, env=bare, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{address} 1 9.0", "auto 1"] and done.stderr == ""


def test_a_stranger_is_told_what_to_type(workstation: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(sys, "argv", ["jobs/dp_feta.py", "quick", "--on.address", "auto"])
    address = f"127.0.0.1:{workstation['PORT']}"
    words = r"wants its token: type `RAY_AUTH_MODE=token python jobs/dp_feta.py quick --on.address auto`"
    with pytest.raises(ValueError, match=words), found(address):
        pass


def token(env: dict[str, str]) -> str:
    return (Path(env["HOME"]) / ".ray/auth_token").read_text().strip()


def asked(env: dict[str, str], token: str, place: str = "", given: Any = None) -> Request:
    url = f"{env['RAY_API_SERVER_ADDRESS']}/api/jobs/{place}"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return Request(url, headers=headers, data=None if given is None else json.dumps(given).encode())


def answered(env: dict[str, str], place: str, given: Any = None) -> dict[str, Any]:
    """What the cluster answers, to what `ray job` would ask: each of its commands imports for seconds."""
    with urlopen(asked(env, token(env), place, given), timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def log_of(env: dict[str, str], job: str) -> str:
    """What `ray job submit` prints, too."""
    return str(answered(env, f"{job}/logs")["logs"])


def ended(env: dict[str, str], job: str) -> str:
    """How this job has ended."""
    end = time.monotonic() + 90
    while (status := answered(env, job)["status"]) in ("PENDING", "RUNNING"):
        assert time.monotonic() < end, log_of(env, job)
        time.sleep(0.2)
    return str(status)


def status_of(env: dict[str, str], token: str) -> int:
    """What the cluster's list of jobs answers to whoever shows this token: an HTTP status, 0 where nobody listens."""
    try:
        with urlopen(asked(env, token), timeout=30) as answer:
            return int(answer.status)
    except HTTPError as error:
        with error:
            return error.code
    except URLError:
        return 0


def until_it_answers(env: dict[str, str]) -> None:
    """The cluster has started: asked here, because every command of Ray imports for seconds."""
    end = time.monotonic() + 90
    while not (Path(env["HOME"]) / ".ray/auth_token").exists() or status_of(env, token(env)) != 200:
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture()
def patients(tmp_path: Path) -> Path:
    """Digits as a folder of files whose names nobody should read in a log."""
    digits = load(DataConfig())
    for split, images, count in (("train", digits.train, 300), ("test", digits.test, 100)):
        for index in range(count):
            folder = tmp_path / "patients" / split / f"ward{images.labels_N[index]}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images.images_NHWC[index, ..., 0]).save(folder / f"jane-doe-{index:04d}.png")
    return tmp_path / "patients"


def what_logs_tell(logs: list[Path], patients: Path) -> list[str]:
    """Logs in which a file's name, its label's folder, its bytes or its pixels stand, as bytes or in figures."""
    secret, figures = [b"jane-doe", b"/ward"], list[bytes]()
    for path in patients.rglob("*.png"):
        pixels = np.asarray(Image.open(path))
        secret += [pixels[2:6].tobytes(), path.read_bytes()[40:70]]
        figures.append(b"," + b",".join(b"%d" % value for value in pixels[3]) + b",")
    found = []
    for log in logs:
        content = log.read_bytes()
        plain = re.sub(rb"[^\w.]+", b",", content)
        if any(one in content for one in secret) or any(one in plain for one in figures):
            found.append(str(log))
    return found


@pytest.mark.timeout(400)
def test_a_submitted_job_is_stopped_and_the_same_command_continues_it(
    workstation: dict[str, str], patients: Path, tmp_path: Path
) -> None:
    out = ["--data.path", str(patients), "--out", str(tmp_path / "run")]
    command = ["--working-dir", ".", "--", "python", "jobs/dp_feta.py", *TINY, *out]
    until_it_answers(workstation)
    end = time.monotonic() + 90
    while (first := ray_job(workstation, "submit", "--no-wait", "--submission-id", "first", *command)).returncode:
        assert time.monotonic() < end, first.stdout + first.stderr
        time.sleep(1)
    warmed_up = tmp_path / "run/internal/stages/warmup.pt"
    while not warmed_up.exists():
        assert time.monotonic() < end + 120, log_of(workstation, "first")
        time.sleep(0.2)
    # As `ray job stop` does.
    assert answered(workstation, "first/stop", {}) == {"stopped": True} and ended(workstation, "first") == "STOPPED"
    log = log_of(workstation, "first")
    assert "interrupted: the same command continues where this one stopped" in log and "SIGTERM" not in log, log
    report = tmp_path / "run/internal/report.json"
    assert not report.exists()
    before = warmed_up.stat().st_mtime_ns
    # The same once more, as `ray job submit` asks it; as a user types it, it is followed to its end by slow tests.
    asked_for = {"runtime_env": answered(workstation, "first")["runtime_env"]}
    answered(workstation, "", asked_for | {"submission_id": "second", "entrypoint": shlex.join(command[3:])})
    assert ended(workstation, "second") == "SUCCEEDED", log_of(workstation, "second")
    second = log_of(workstation, "second")
    assert " finetune " in second and "Report (stays inside)" in second
    assert json.loads(report.read_text())["privacy"]["guarantee"] == "dp" and warmed_up.stat().st_mtime_ns == before
    # What a user did wrong is the end of the job, with its sentence in the log.
    wrong = shlex.join([*command[3:], "--budget.epsilon", "-1"])
    answered(workstation, "", asked_for | {"submission_id": "wrong", "entrypoint": wrong})
    assert ended(workstation, "wrong") == "FAILED" and answered(workstation, "wrong")["driver_exit_code"] == 2
    assert "budget.epsilon is -1" in log_of(workstation, "wrong")
    # What Ray opens to everybody lies where nobody else comes.
    assert stat.S_IMODE(Path(workstation["SCRATCH"]).stat().st_mode) == 0o700
    assert stat.S_IMODE((Path(workstation["HOME"]) / ".ray/auth_token").stat().st_mode) == 0o600
    places = listening(Path(workstation["SCRATCH"]))
    assert len(places) > 3 and {place.partition(":")[0] for place in places} <= LOOPBACK, places
    # Nobody without the token comes in.
    assert status_of(workstation, "0" * 64) in (401, 403) and status_of(workstation, token(workstation)) == 200
    # Logs of all of Ray's processes and of the jobs, which are theirs too, and what the user saw.
    logs = [path for path in Path(workstation["SCRATCH"]).glob("ray/session_*/logs/**/*") if path.is_file()]
    assert any("Report (stays inside)" in path.read_text(errors="replace") for path in logs)
    (tmp_path / "console").write_text(first.stdout + first.stderr + second + log_of(workstation, "wrong"))
    assert what_logs_tell([*logs, tmp_path / "console"], patients) == []
    # The search finds what it looks for.
    one = next(patients.rglob("*.png"))
    pixels = np.asarray(Image.open(one))
    for index, trap in enumerate([str(one).encode(), one.read_bytes(), pixels.tobytes(), str(pixels).encode()]):
        (tmp_path / f"trap-{index}").write_bytes(b"before " + trap + b" after")
        assert what_logs_tell([tmp_path / f"trap-{index}"], patients)


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("paper", ["privimage", "dp_imgsyn", "knowledge_recycling"])
def test_a_paper_s_quick_preset_is_submitted_and_ends_with_a_report(
    workstation: dict[str, str], paper: str, tmp_path: Path
) -> None:
    command = ["submit", "--working-dir", ".", "--submission-id", paper, "--"]
    command += ["python", f"jobs/{paper}.py", "quick", "--on.address", "auto", "--out", str(tmp_path / "run")]
    until_it_answers(workstation)
    done = ray_job(workstation, *command, timeout_s=1400)
    assert done.returncode == 0 and "succeeded" in done.stdout, done.stdout + done.stderr
    assert "SUCCEEDED" in ray_job(workstation, "list").stdout
    report = json.loads((tmp_path / "run/internal/report.json").read_text())
    assert report["preset"] == "quick" and (tmp_path / "run/internal/report.html").exists()
    assert (tmp_path / "run/release/synthetic.parquet").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_example_submits_follows_stops_and_continues(workstation: dict[str, str], tmp_path: Path) -> None:
    own = [*TINY[:-2], "--data.limit", "300"]  # --on.address is the example's
    command = [sys.executable, "examples/submit_job.py", str(tmp_path / "run"), "dp_feta", *own]
    report, warmed_up = tmp_path / "run/internal/report.json", tmp_path / "run/internal/stages/warmup.pt"
    end = time.monotonic() + 90
    while ray_job(workstation, "list").returncode:
        assert time.monotonic() < end
        time.sleep(1)
    # A suite that was started in the background ignores Ctrl-C, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    first = subprocess.Popen(
        command, env=workstation, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    signal.signal(signal.SIGINT, before)
    while not warmed_up.exists():
        assert first.poll() is None and time.monotonic() < end + 200, first.communicate(timeout=60)[0]
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    said, _ = first.communicate(timeout=100)
    assert first.returncode == 130 and said.endswith("STOPPED; the same command continues this run\n"), said
    assert not report.exists()
    again = subprocess.run(command, env=workstation, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0 and "Report (stays inside)" in again.stdout and report.exists(), again.stdout
    refused = subprocess.run(
        [*command, "--budget.epsilon", "-1"], env=workstation, cwd=ROOT, capture_output=True, text=True
    )
    assert refused.returncode == 1 and "error: budget.epsilon is -1" in refused.stdout
