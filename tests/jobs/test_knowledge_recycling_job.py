"""`jobs/knowledge_recycling.py` as a user runs it: real Ray, real digits."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from groups import one_trial_at_a_time
from running import plan, refusal, whole_run
from typed import said

from raysyn import draw_source
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods.class_shares import turns
from raysyn.methods.synthesis import chunks_of
from raysyn.report.release import parquet_bytes, read_images
from raysyn.report.verify import verify
from raysyn.verify import check_network

JOB = "knowledge_recycling"
TINY = (
    "quick --data.limit 200 --classifier.blocks 1 --classifier.width 4 --recipe.epochs 2 --recipe.batch-size 32 "
    "--search-epochs 2 --network.channels 4 --network.latent 8 --network.embedding 8 --gan.epochs 2 "
    "--gan.checkpoint-every 1 --compare-labels soft hard --tuning.trials 2 --tuning.first-verdict 1 "
    "--attack.shadow-models 4 --attack.images 60 --no-floor"
).split()


@pytest.mark.timeout(300)
def test_a_run_on_two_workers_ends_with_a_report_and_a_quiet_console(
    group_of_tasks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits, source = load(DataConfig(limit=250)).train, tmp_path / "private.parquet"
    source.write_bytes(parquet_bytes(digits, "hand-written"))
    flags = [*TINY, *"--compare-labels soft --on.workers 2 --on.gan-alone False --release.network".split()]
    flags += ["--data.path", str(source), *"--data.test-share 0.2 --classes.shares 1 1 1 1 1 1 1 1 1 3".split()]
    with one_trial_at_a_time():
        shown, report = whole_run(JOB, tmp_path / "run", *flags)
    assert report["privacy"]["guarantee"] == "none"
    assert set(report["metrics"]["cas_by_checkpoint"]) == {"1", "2"} and len(report["metrics"]["tuning"]) == 2
    assert set(report["attacks"]) == {"teacher", "student", "shadow_models", "found", "distances"}
    for stage in ("teacher", "generator", "checkpoints", "labels", "tuning", "student", "synthesise", "attack"):
        assert f" {stage} " in shown, stage
    assert "WARNING: release.network is True, so that the teacher leaves too" in " ".join(shown.split())
    assert "recycling.labels" in refusal(JOB, *flags, "--out", tmp_path / "run", "--recycling.labels", "hard")
    source.unlink()
    more_is_drawn_without_the_images(tmp_path, capsys)


def more_is_drawn_without_the_images(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the run, and from its release alone: with soft labels, in the shares of the run or others; what an earlier
    version kept is refused."""
    run, out = place / "run", {name: place / name for name in ("same", "handed on", "some", "new")}
    shutil.copytree(run / "release", place / "release")
    for name, words in {
        "same": [run, "--seed", "0"], "handed on": [place / "release", "--synthetic", "25", "--seed", "0"],
        "some": [run, "--synthetic", "30", "--classes", "3", "7", "--shares", "2", "1", "--seed", "5"],
    }.items():  # fmt: skip
        told = said(capsys, "draw", *map(str, words), "--out", str(out[name]), "--on.address", "here")
        assert "no promise" in told and "The teacher sees the class that was asked for in " in told
    first, soft = released(run)
    for name, count in {"same": len(first), "handed on": 25}.items():
        again, softly = released(out[name])
        assert len(again) == count
        # As Ray's workers drew it, but for rounding.
        off = again.images_NHWC.astype(int) - first.images_NHWC[:count]
        assert np.abs(off).max() <= 1 and np.abs(softly - soft[:count]).max() < 0.01
    some, _ = released(out["some"])
    assert np.bincount(some.labels_N).tolist() == [0, 0, 0, 20, 0, 0, 0, 10]
    assert first.labels_N.tolist() == turns(len(first), 10, (*[1.0] * 9, 3.0)).tolist()
    for made, labels_N, seed in (
        (out["same"], turns(len(first), 10, (*[1.0] * 9, 3.0)), 0),
        (out["some"], np.array([3, 7])[turns(30, 2, (2, 1))], 5),
    ):  # fmt: skip
        asked_of(run, labels_N, seed, released(made)[0])
    for one in (run, *(out[name] for name in ("same", "handed on", "some"))):
        assert all(check.holds for check in verify(one / "release", fits=check_network)), one
    (run / "internal/stages/generator-chosen.pt").unlink()
    refused = said(capsys, "draw", str(run), "--out", str(out["new"]), "--on.address", "here", status=2)
    assert "has no internal/stages/generator-chosen.pt to draw from" in refused and "make the run again" in refused
    assert not out["new"].exists()


def released(out: Path) -> tuple[Images, np.ndarray]:
    content = out / "release/synthetic.parquet"
    return read_images(content.read_bytes()), np.array(pq.read_table(content)["soft_label"].to_pylist())


def asked_of(run: Path, labels_N: np.ndarray, seed: int, made: Images) -> None:
    """These images are drawn and labelled as the classes that were asked for, whatever the teacher calls them."""
    assert labels_N.tolist() == made.labels_N.tolist()
    source = draw_source.source(str(run))
    drawing = source.drawing(source.config, source.like, 160, source.answer)
    parts = [drawing.draw(chunk, drawing.shared).numpy() for chunk in chunks_of(labels_N, seed)]
    np.testing.assert_array_equal(np.concatenate(parts), made.images_NHWC)


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
