"""`jobs/privimage.py` as a user runs it: real Ray, real digits, built-in letters."""

from __future__ import annotations

from pathlib import Path

import pytest
from running import plan, refusal, whole_run

JOB = "privimage"
TINY = (
    "quick --data.limit 300 --public.limit 600 --query.network.width 4 --query.epochs 1 --network.width 8 "
    "--network.multipliers 1 --network.patch 2 --pretrain.iterations 4 --finetune.batch-size 32 --finetune.epochs 1 "
    "--gan.network.channels 2 --gan.network.depth 1 --gan.discriminator.channels 2 --gan.pretrain.iterations 5 "
    "--sampler.steps 2 --synthetic 200 --eval.epochs 1 --eval.classifiers logreg --eval.no-floor "
    "--eval.feature-epochs 1 --on.sgd.engine bookkeeping --on.sgd.micro-batch 32 --on.sgd.channels-last True"
).split()


pytestmark = pytest.mark.usefixtures("letters")


@pytest.mark.timeout(300)
def test_a_run_on_two_workers_ends_with_a_report_and_a_quiet_console(group_of_tasks: None, tmp_path: Path) -> None:
    flags = [*TINY, *"--central.count 10 --warmup.iterations 5 --on.workers 2".split()]
    shown, report = whole_run(JOB, tmp_path / "run", *flags)
    assert report["privacy"]["guarantee"] == "dp" and report["privacy"]["epsilon"] <= 10
    assert [entry["stage"] for entry in report["privacy"]["ledger"]] == ["semantic", "central", "finetune"]
    for stage in ("query", "semantic", "pretrain", "warmup", "finetune", "synthesise", "utility", "fidelity"):
        assert f" {stage} " in shown, stage
    assert report["metrics"]["selection"]["classes"].keys() == set("0123456789")
    # Other public images are another run.
    assert "public" in refusal(JOB, *flags, "--out", tmp_path / "run", "--public.limit", "500")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--public.path", "nowhere.parquet"), "public.path='nowhere.parquet'"),
        (("--public.name", "animals"), "public.name='animals'"),
        (("--semantic.k", "30"), "the public set has 52 classes"),
        (("--query.checkpoint", "missing.pt"), "query.checkpoint"),
        (("--generator", "gan", "--central.count", "10"), "generator is gan"),
        (("--word-vectors", "missing.txt"), "word_vectors='missing.txt'"),
        (("--pretrain.iteration", "4"), "--pretrain.iterations"),
    ],
)
def test_bad_input_costs_one_sentence(tmp_path: Path, flags: tuple[str, ...], words: str) -> None:
    assert words in refusal(JOB, *TINY, "--out", tmp_path / "run", *flags)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("flags", ["", "--generator gan", "--no-private", "--pretraining none --generator gan"])
def test_a_dry_run_says_what_each_stage_will_take(tmp_path: Path, flags: str) -> None:
    said = plan(JOB, *TINY, *flags.split(), "--out", tmp_path / "run")
    assert "Outlook" in said and "finetune" in said and "synthesise" in said
    assert ("DP-SGD" in said) == ("--no-private" not in flags)
    assert ("semantic" in said) == ("none" not in flags)
    assert not (tmp_path / "run").exists()
