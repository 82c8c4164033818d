"""`jobs/dp_imgsyn.py` as a user runs it: real Ray, real digits, built-in letters."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from running import plan, refusal, whole_run

JOB = "dp_imgsyn"
TINY = (
    "quick --data.limit 300 --public.limit 300 --teacher.width 4 --training.batch-size 60 --training.epochs 1 "
    "--alignment.iterations 2 --alignment.batch-size 20 --synthetic 200 --students shufflenet_v2 "
    "--distillation.epochs 1 --dissimilarity.images 50 --dissimilarity.epochs 1 --eval.no-floor "
    "--on.sgd.engine bookkeeping --on.sgd.micro-batch 20 --on.sgd.channels-last True"
).split()


pytestmark = pytest.mark.usefixtures("letters")


@pytest.mark.timeout(300)
def test_a_run_on_two_workers_ends_with_a_report_and_a_quiet_console(group_of_tasks: None, tmp_path: Path) -> None:
    flags = [*TINY, *"--experiment.iterations 0 2 --on.workers 2".split()]
    shown, report = whole_run(JOB, tmp_path / "run", *flags)
    assert report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 10
    assert [entry["stage"] for entry in report["privacy"]["ledger"]] == ["teacher", "statistics"]
    for stage in ("teacher", "statistics", "align", "students", "dissimilarity", "experiments"):
        assert f" {stage} " in shown, stage
    assert pq.read_table(tmp_path / "run/release/synthetic.parquet").num_rows == 200
    assert [len(group) for group in report["metrics"]["experiments"].values()] == [2]
    # Other public images are another run.
    assert "public" in refusal(JOB, *flags, "--out", tmp_path / "run", "--public.limit", "250")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--public.path", "nowhere.parquet"), "public.path='nowhere.parquet'"),
        (("--experiment.public", "animals"), "animals"),
        (("--experiment.public", "digits"), "the sensitive images themselves"),
        (("--experiment.kernel-sizes", "17"), "experiment.kernel_sizes is 17"),
        (("--alignment.kernel-size", "4"), "alignment.kernel_size is 4"),
        (("--experiment.iterations", "0", "5", "--students"), "students is empty"),
        (("--synthetic", "301"), "301, but there are 300 public images"),
        (("--statistics.share", "1.5"), "statistics.share is 1.5"),
        (("--alignment.iteration", "4"), "--alignment.iterations"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "flags",
    [
        "",
        pytest.param("--alignment.start gaussian --students", marks=pytest.mark.slow),
        pytest.param("--experiment.losses", marks=pytest.mark.slow),
    ],
)
def test_a_dry_run_says_what_each_stage_will_take(tmp_path: Path, flags: str) -> None:
    said = plan(JOB, *TINY, *flags.split(), "--out", tmp_path / "run")
    for stage in ("Outlook", "layer statistics", "teacher", "align", "students"):
        assert stage in said, stage
    assert ("experiments" in said) == ("losses" in flags)
    assert not (tmp_path / "run").exists()
