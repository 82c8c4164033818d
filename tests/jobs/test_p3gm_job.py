"""`jobs/p3gm.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

from pathlib import Path

import pytest
from running import plan, refusal

JOB = "p3gm"
TINY = (
    "quick --data.limit 300 --network.hidden 8 --mixture.iterations 2 --warmup.iterations 5 --finetune.batch-size 60 "
    "--synthetic 100 --eval.classifiers logreg --eval.epochs 1 --eval.feature-epochs 1 --on.address here "
    "--on.sgd.engine bookkeeping --on.sgd.micro-batch 32 --on.sgd.channels-last True"
).split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--network.latent", "0"), "network.latent is 0: give 1 to 1000"),
        (("--network.latent", "100"), "network.latent is 100: an image has 74 numbers here, of 1 channel and 10 cl"),
        (("--pca.share", "0.9", "--mixture.share", "0.1"), "1 together: leave at least 0.05 for DP-SGD"),
        (("--pca.label-weight", "0"), "pca.label_weight is 0"),
        (("--moments.spread-frequencies", "0"), "moments.spread_frequencies is 0 and moments.spread_per_class False"),
        (("--finetune.layers", "attention"), "finetune.layers is attention, which is for diffusion models"),
        (("--finetune.batch-size", "400"), "finetune.batch_size is 400: give 1 to 300"),
        (
            ("--data.size", "64", "--moments.frequencies", "4096"),
            "moments.frequencies is 4096: with 1 channel and 10 classes that is a covariance of 4,106 x 4,106 numbers, "
            "give at most 4,086 frequencies",
        ),
        (("--data.limit", "50", "--finetune.batch-size", "20"), "too few for the default delta"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "noisy EM statistics" in shown and "DP-SGD" in shown and "Outlook" in shown and "synthesise" in shown
    assert not (tmp_path / "run").exists()
