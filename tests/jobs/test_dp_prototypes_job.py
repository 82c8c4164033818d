"""`jobs/dp_prototypes.py` as a user runs it, in this process: it does too little for Ray to be worth its start."""

from pathlib import Path

import pytest
from running import plan, refusal

JOB = "dp_prototypes"
TINY = (
    "quick --data.limit 300 --public.limit 300 --query.network.width 2 --query.epochs 1 --synthetic 100 --students "
    "shufflenet_v2 --distillation.epochs 1 --eval.classifiers logreg --eval.epochs 1 --eval.feature-epochs 1 "
    "--dissimilarity.images 0 --on.address here"
).split()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--prototypes.features", "0"), "prototypes.features is 0: give at least 1"),
        (("--prototypes.shrinkage", "0"), "prototypes.shrinkage is 0.0: give a number above 0"),
        (("--prototypes.temperature", "-1"), "prototypes.temperature is -1.0: give a number above 0"),
        (("--prototypes.count-share", "-1"), "prototypes.count_share is -1"),
        (("--prototypes.prior", "--prototypes.count-share", "0"), "prototypes.prior is True, but"),
        (("--query.checkpoint", "mine.pt"), "is not read with --query.checkpoint"),
        (("--query.shift", "-1"), "query.shift is -1: give at least 0"),
        (("--public.name", "digits"), "public.name names digits, the sensitive images themselves"),
        (("--synthetic", "1000"), "synthetic is 1000, but there are 300 public images"),
        (("--students", "resnet18", "resnet18"), "at most once"),
        (("--classes.shares", *"1234567899"), "dp_prototypes does not draw images of a class that is asked for"),
        (("--data.limit", "50"), "too few for the default delta"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_prints_the_plan_and_touches_nothing(tmp_path: Path) -> None:
    shown = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "noisy mean features" in shown and "squared" not in shown
    assert all(stage in shown for stage in ("Outlook", "query", "space", "label", "students"))
    assert not (tmp_path / "run").exists()
