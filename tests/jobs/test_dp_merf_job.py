"""`jobs/dp_merf.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

from pathlib import Path

import pytest
from running import plan, refusal

JOB = "dp_merf"
TINY = (
    "quick --data.limit 300 --features.count 100 --training.iterations 5 --synthetic 100 --eval.classifiers logreg "
    "--eval.epochs 1 --eval.feature-epochs 1 --on.address here"
).split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--features.count", "7"), "features.count is 7: give an even number"),
        (("--features.length-scales", "0"), "features.length_scales is (0.0,)"),
        (("--embedding.count-share", "-1"), "embedding.count_share is -1"),
        (("--training.iterations", "0"), "training.iterations is 0"),
        (("--network.latent", "0"), "network.latent is 0"),
        (("--data.limit", "50"), "too few for the default delta"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "noisy mean embedding" in shown and "Outlook" in shown and "generator" in shown
    assert not (tmp_path / "run").exists()
