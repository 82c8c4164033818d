"""`jobs/dp_ntk.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

from pathlib import Path

import pytest
from running import plan, refusal

JOB = "dp_ntk"
TINY = (
    "quick --data.limit 300 --features.widths 5 --training.iterations 5 --synthetic 100 --eval.classifiers logreg "
    "--eval.epochs 1 --eval.feature-epochs 1 --on.address here"
).split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--features.widths", "1"), "features.widths is (1,): give one or two widths"),
        (("--features.widths", "5", "5", "5"), "features.widths is (5, 5, 5)"),
        (("--features.outputs", "0"), "features.outputs is 0: give 1 to 65536"),
        (("--features.outputs", "100000000000", "--dry-run"), "features.outputs is 100000000000: give 1 to 65536"),
        (("--embedding.count-share", "-1"), "embedding.count_share is -1"),
        (("--training.batch-size", "1"), "training.batch_size is 1"),
        (("--data.limit", "50"), "too few for the default delta"),
    ],
)
def test_what_cannot_be_asked_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_shows_the_plan_and_makes_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "noisy mean embedding" in shown and "Outlook" in shown and "generator" in shown
    assert not (tmp_path / "run").exists()
