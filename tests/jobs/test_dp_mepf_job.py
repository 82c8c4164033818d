"""`jobs/dp_mepf.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

from pathlib import Path

import pytest
from running import plan, refusal

JOB = "dp_mepf"
TINY = (
    "quick --data.limit 300 --public.limit 300 --query.network.width 2 --query.epochs 1 --training.iterations 5 "
    "--synthetic 100 --eval.classifiers logreg --eval.epochs 1 --eval.feature-epochs 1 --on.address here"
).split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--moments.squares-share", "1"), "moments.squares_share is 1.0: give a share"),
        (("--moments.count-share", "-1"), "moments.count_share is -1"),
        (("--query.checkpoint", "mine.pt"), "--public.limit is not read with --query.checkpoint"),
        (("--public.name", "digits"), "public.name names digits, the sensitive images themselves"),
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
    assert "noisy mean features" in shown and "noisy mean squared features" in shown
    assert "Outlook" in shown and "query" in shown and "generator" in shown
    assert not (tmp_path / "run").exists()
