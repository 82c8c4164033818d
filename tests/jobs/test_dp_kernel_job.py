"""`jobs/dp_kernel.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

from pathlib import Path

import pytest
from running import plan, refusal

JOB = "dp_kernel"
TINY = (
    "quick --data.limit 300 --rounds.count 5 --rounds.batch-size 60 --synthetic 100 --eval.classifiers logreg "
    "--eval.epochs 1 --eval.feature-epochs 1 --on.address here"
).split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--kernel.length-scales", "0"), "kernel.length_scales is (0.0,)"),
        (("--rounds.count-share", "2"), "rounds.count_share is 2"),
        (("--rounds.batch-size", "400"), "rounds.batch_size is 400: give 1 to 300"),
        (("--training.crowd", "1"), "training.crowd is 1: give 2 to 64"),
        (("--data.no-labels", "--training.crowd", "1"), "training.crowd is 1: give 2 to 64"),
        (("--training.learning-rate", "0"), "training.learning_rate is 0"),
        (("--network.latent", "0"), "network.latent is 0"),
        (("--data.limit", "50", "--rounds.batch-size", "20"), "too few for the default delta"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "noisy functions" in shown and "Outlook" in shown and "synthesise" in shown
    assert not (tmp_path / "run").exists()
