"""`jobs/knowledge_recycling.py` as a user runs it: real Ray, real digits."""

from __future__ import annotations

from pathlib import Path

import pytest
from groups import one_trial_at_a_time
from running import plan, refusal, whole_run

JOB = "knowledge_recycling"
TINY = (
    "quick --data.limit 200 --classifier.blocks 1 --classifier.width 4 --recipe.epochs 2 --recipe.batch-size 32 "
    "--search-epochs 2 --network.channels 4 --network.latent 8 --network.embedding 8 --gan.epochs 2 "
    "--gan.checkpoint-every 1 --compare-labels soft hard --tuning.trials 2 --tuning.first-verdict 1 "
    "--attack.shadow-models 4 --attack.images 60 --no-floor"
).split()


@pytest.mark.timeout(300)
def test_a_run_on_two_workers_ends_with_a_report_and_a_quiet_console(group_of_tasks: None, tmp_path: Path) -> None:
    flags = [*TINY, *"--compare-labels soft --on.workers 2 --on.gan-alone False".split()]
    with one_trial_at_a_time():
        shown, report = whole_run(JOB, tmp_path / "run", *flags)
    assert report["privacy"]["guarantee"] == "none"
    assert set(report["metrics"]["cas_by_checkpoint"]) == {"1", "2"} and len(report["metrics"]["tuning"]) == 2
    assert set(report["attacks"]) == {"teacher", "student", "shadow_models"}
    for stage in ("teacher", "generator", "checkpoints", "labels", "tuning", "student", "synthesise", "attack"):
        assert f" {stage} " in shown, stage
    assert "recycling.labels" in refusal(JOB, *flags, "--out", tmp_path / "run", "--recycling.labels", "hard")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--attack.shadow-models", "1"), "attack.shadow_models is 1"),
        (("--gan.epochs", "0"), "gan.epochs is 0"),
        (("--data.path", "no-such-file.parquet"), "no-such-file.parquet"),
        (("--data.size", "9"), "--data.size 8 or --data.size 10"),
        (("--gan.epoch", "4"), "--gan.epochs"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_there_is_to_train(tmp_path: Path) -> None:
    said = plan(JOB, *TINY, "--out", tmp_path / "run")
    assert "no differential privacy" in said and "shadow models" in said
    assert not (tmp_path / "run").exists()
