"""`jobs/noisy_means.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

import json
from pathlib import Path

import pytest
from running import plan, refusal, whole_run

JOB = "noisy_means"
TINY = (
    "quick --data.limit 300 --synthetic 100 --eval.epochs 1 --eval.classifiers logreg --eval.feature-epochs 1 "
    "--on.address here"
).split()


def test_a_run_ends_with_a_report_and_a_quiet_console(tmp_path: Path) -> None:
    shown, report = whole_run(JOB, tmp_path / "run", *TINY)
    assert report["privacy"]["guarantee"] == "dp" and 9.9 < report["privacy"]["epsilon"] <= 10
    for stage in ("means", "spread", "synthesise", "utility", "fidelity"):
        assert stage in shown
    assert "run/internal/report.html" in shown and "floor" not in shown
    assert json.loads((tmp_path / "run/release/certificate.json").read_text())["epsilon"] <= 10
    # A dry run tells the same of such a folder, and of none that goes on.
    there, other = (*TINY, "--out", tmp_path / "run"), ("--budget.epsilon", "3")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    said = refusal(JOB, *there, *other)
    assert "budget.epsilon = 10" in said and "would be refused" not in plan(JOB, *there)
    told = plan(JOB, *there, *other)
    assert told.endswith(f"WARNING: the run itself would be refused: {said.removeprefix('error: ').strip()}"), told
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--moments.frequencies", "0"), "moments.frequencies is 0: give at least 1"),
        (("--moments.spread-share", "1"), "moments.spread_share is 1"),
        (("--moments.spread-frequencies", "300"), "moments.spread_frequencies is 300"),
        (("--moments.spread-norm", "0"), "moments.spread_norm is 0"),
        (("--moments.count-share", "-1"), "moments.count_share is -1"),
        (("--moments.frequency", "4"), "--moments.frequencies"),
        (("--budget.epsilon", "1e-7", "--budget.delta", "1e-9"), "budget.epsilon is 1e-07, too small for any noisy"),
        (("--data.limit", "50"), "too few for the default delta"),
        (("--seed", "-1"), "seed is -1"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "noisy class means" in shown and "noisy spread within classes" in shown and "Outlook" in shown
    assert not (tmp_path / "run").exists()
