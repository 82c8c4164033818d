"""`jobs/pigan.py` as a user runs it: real Ray, real digits."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from running import environment, job, plan, refusal, whole_run

JOB = "pigan"
TINY = (
    "quick --data.limit 400 --network.width 0.125 --gan.epochs 2 --gan.batch-size 32 --penalty.pretrain-epochs 1 "
    "--penalty.delay-epochs 1 --penalty.privgan-delay-epochs 1 --synthetic 100 --monte-carlo.fakes 300 "
    "--monte-carlo.suspects 20 --monte-carlo.components 10 --monte-carlo.repeats 5 --eval.classifiers logreg "
    "--eval.epochs 1 --eval.feature-epochs 1 --eval.precision-recall-images 50"
).split()
SWEEP = "--experiment.lambdas 0 2 --experiment.compare --experiment.privgan-lambdas 1 --experiment.epsilons 20".split()


@pytest.mark.timeout(300)
def test_a_run_and_its_sweep_end_with_a_report_and_a_quiet_console(ray_session: None, tmp_path: Path) -> None:
    """With DPGAN as the released GAN, which is in the sweep too, and pays once."""
    flags = [*TINY, *"--experiment.lambdas 2 --model dpgan --on.sgd.engine bookkeeping --on.workers 1".split()]
    shown, report = whole_run(JOB, out := tmp_path / "run", *flags)
    for stage in ("generator", "synthesise", "experiments", "utility"):
        assert f" {stage} " in shown, stage
    assert report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 10
    assert [entry["stage"] for entry in report["privacy"]["ledger"]] == ["generator"]
    assert set(report["metrics"]["experiments"]) == {"lambdas"}
    began = json.loads((out / "internal/run.json").read_text())
    # Members and others, drawn by the seed, are the run's identity; the images that were divided are noted.
    assert len(began["data_fingerprint"].split()) == len(began["source_fingerprint"].split()) == 2
    assert began["data_fingerprint"] != began["source_fingerprint"]
    assert "penalty.weight" in refusal(JOB, *flags, "--out", out, "--penalty.weight", "3")


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
def test_a_sweep_whose_driver_was_killed_continues_and_repeats_nothing(
    ray_session: None, workers: int, tmp_path: Path
) -> None:
    """With DPGAN as the released GAN, trained in a process and on a cluster as a user has them: it is in the sweep too,
    and pays once. What several workers have of their own is in test_lost_nodes.py, with a driver like this one."""
    flags = [*TINY, *SWEEP, *"--model dpgan --on.sgd.engine bookkeeping --on.workers".split(), str(workers)]
    out = tmp_path / "run"
    with (tmp_path / "said").open("wb") as said:
        driver = subprocess.Popen(
            job(JOB, *flags, "--out", out), env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.DEVNULL,
            stderr=said,
        )  # fmt: skip
    units, end = out / "internal/units", time.monotonic() + 200
    while not list(units.glob("gans/*.pt")):
        assert driver.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    assert (tmp_path / "said").read_text() == "", "a quiet console"
    before = {path.name: path.stat().st_mtime_ns for path in units.glob("*s/*.pt")}
    generator = (out / "internal/stages/generator.pt").stat().st_mtime_ns

    _, report = whole_run(JOB, out, *flags)
    after = {path.name: path.stat().st_mtime_ns for path in units.glob("*s/*.pt")}
    # The GAN, two weights and that of --penalty.weight, PrivGAN, two DPGANs, of which the released one is known.
    assert len(list(units.glob("attacks/*.pt"))) == 7 and len(list(units.glob("gans/*.pt"))) == 6
    assert before.items() <= after.items()
    assert (out / "internal/stages/generator.pt").stat().st_mtime_ns == generator
    assert report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 10
    assert [entry["stage"] for entry in report["privacy"]["ledger"]] == ["generator"]
    assert len(report["metrics"]["experiments"]["compare"]) == 6


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--member-share", "2"), "member_share is 2"),
        (("--penalty.parts", "1"), "penalty.parts 1"),
        (("--monte-carlo.suspects", "500"), "monte_carlo.suspects is 500"),
        (("--experiment.fewer-images", "0.1", "--experiment.fewer-epochs", "1"), "18 members"),
        (("--member-share", "1e-6"), "member_share is 1e-06"),
        (("--penalty.weight", "nan"), "penalty.weight is nan"),
        (("--experiment.lambdas", "inf"), "experiment.lambdas is (inf,)"),
        (("--gan.epoch", "4"), "--gan.epochs"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, *SWEEP, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_there_is_to_train(tmp_path: Path) -> None:
    said = plan(JOB, *TINY, *SWEEP, "--out", tmp_path / "run")
    assert "PrivGAN, λ 1" in said and "members" in said and "noise multiplier" in said
    assert not (tmp_path / "run").exists()
