"""`raysyn draw`: more images from a finished run, which read nothing private and cost nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import raysyn
from raysyn.command import main
from raysyn.data.images import DataConfig, Images, load
from raysyn.report.release import parquet_bytes, read_images
from raysyn.report.verify import verify

HERE = ("--on.address", "here")


def said(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    """What the command prints; on stderr where it refuses, in one line."""
    try:
        found = main(words)
    except SystemExit as left:
        found = left.code if isinstance(left.code, int) else 0
    out, err = capsys.readouterr()
    assert found == status and (status == 0 or err.count("\n") == 1), err
    return out if status == 0 else err


def files(folder: Path) -> dict[str, str]:
    """{name: SHA-256} of everything in it."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def images_of(out: Path) -> Images:
    return read_images((out / "release/synthetic.parquet").read_bytes())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed run, whose private images are gone."""
    place = tmp_path_factory.mktemp("draw")
    digits, source = load(DataConfig(limit=200)).train, place / "private.parquet"
    names = tuple(f"digit {name}" for name in digits.class_names)
    source.write_bytes(parquet_bytes(Images(digits.images_NHWC, digits.labels_N, names), "hand-written"))
    raysyn.run(
        "dp_feta", data={"path": source, "test_share": 0.2}, epsilon=8, out=str(place / "run"), synthetic=40, seed=3,
        network={"width": 8, "multipliers": (1,), "patch": 2}, central={"count": 10}, warmup={"iterations": 3},
        finetune={"batch_size": 32, "epochs": 1}, sampler={"steps": 2}, quiet=True, seal=True, on={"address": "here"},
        eval={"classifiers": (), "feature_epochs": 0},
    )  # fmt: skip
    source.unlink()
    return place / "run"


def test_more_of_a_sealed_run_begins_with_what_it_released(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, out = files(finished), tmp_path / "more"
    told = said(capsys, "draw", str(finished), "--synthetic", "70", "--out", str(out), *HERE)
    assert "draw: 70 images" in told and "Release (may leave)" in told
    assert files(finished) == before, "the run itself is as it was"
    more, first = images_of(out), images_of(finished)
    np.testing.assert_array_equal(more.images_NHWC[:40], first.images_NHWC)
    assert len(more) == 70 and more.class_names == first.class_names
    assert not (out / "internal/ledger.jsonl").exists()

    signed, was = (json.loads((one / "release/certificate.json").read_text()) for one in (out, finished))
    assert signed["drawn_anew"] == {"of": was["files"], "settings": "synthetic=70"}
    different = {name for name in signed if signed[name] != was.get(name)}
    assert different == {"drawn_anew", "files"} and all(check.holds for check in verify(out / "release"))

    # The same command finds it finished; another one is another release.
    assert "found finished" in said(capsys, "draw", str(finished), "--synthetic", "70", "--out", str(out), *HERE)
    before = files(out / "release")
    refused = said(capsys, "draw", str(finished), "--synthetic", "71", "--out", str(out), *HERE, status=2)
    assert "synthetic = 70" in refused and files(out / "release") == before


def test_other_classes_shares_seed_and_sampler(finished: Path, tmp_path: Path) -> None:
    chosen = ("digit 7", "digit 3")
    drawn = raysyn.draw(
        str(finished), out=str(tmp_path / "some"), synthetic=30, classes=chosen, shares=(1, 2), seed=4,
        sampler={"steps": 3, "guidance": 0.5}, chosen_among="3 guidances", quiet=True, on={"address": "here"},
    )  # fmt: skip
    assert np.bincount(drawn.images.labels_N, minlength=10).tolist() == [0, 0, 0, 20, 0, 0, 0, 10, 0, 0]
    settings = drawn.certificate["drawn_anew"]["settings"]
    for part in ("synthetic=30", "classes=('digit 7', 'digit 3')", "shares=(1.0, 2.0)", "seed=4", "sampler.steps=3"):
        assert part in settings
    assert any("3 guidances" in choice for choice in drawn.certificate["uncharged_choices"])
    same, other = (
        raysyn.draw(str(finished), out=str(tmp_path / name), quiet=True, on={"address": "here"}, **flags).images
        for name, flags in {"same": {}, "other": {"sampler.guidance": 2.0}}.items()
    )
    np.testing.assert_array_equal(same.images_NHWC, images_of(finished).images_NHWC)
    assert (other.images_NHWC != same.images_NHWC).any(), "guidance makes other images"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--synthetic 0 --out OUT", "synthetic is 0"),
        ("--classes 3 --out OUT", "classes has 3"),
        ("--classes 'digit 3' 'digit 3' --out OUT", "name each once"),
        ("--classes 'digit 3' --shares 1 2 --out OUT", "shares is"),
        ("--shares 1 2 --out OUT", "shares is"),
        ("--sampler.steps 0 --out OUT", "steps is 0"),
        ("--finetune.epochs 3 --out OUT", "--finetune.epochs is no flag"),
        ("--synthetic 3", "out is not given"),
        ("--out RUN", "dp_feta"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    words: str, sentence: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    before = files(finished)
    given = [{"OUT": str(tmp_path / "new"), "RUN": str(finished)}.get(word, word) for word in shlex.split(words)]
    assert sentence in said(capsys, "draw", str(finished), *given, *HERE, status=2)
    assert files(finished) == before and not (tmp_path / "new").exists()


def test_runs_that_nothing_can_be_drawn_from_are_refused(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = ("--out", str(tmp_path / "new"))
    assert "begin with the folder" in said(capsys, "draw", "--out", "x", status=2)
    assert "holds no finished run" in said(capsys, "draw", str(tmp_path), *new, status=2)
    for changes, sentence in (
        ({"method": "dp_imgsyn"}, "no further images"), ({"raysyn": "0.0.1"}, "made by raysyn 0.0.1"),
        ({"preset": "gone"}, "of the preset gone"), ({"method": "gone"}, "gone"),
    ):  # fmt: skip
        other = tmp_path / "other"
        shutil.copytree(finished, other)
        about = json.loads((other / "internal/run.json").read_text())
        (other / "internal/run.json").write_text(json.dumps(about | changes))
        assert sentence in said(capsys, "draw", str(other), *new, status=2)
        shutil.rmtree(other)
    (tmp_path / "old").mkdir()
    shutil.copytree(finished, tmp_path / "old", dirs_exist_ok=True)
    (tmp_path / "old/internal/stages/finetune.pt").unlink()
    assert "finetune" in said(capsys, "draw", str(tmp_path / "old"), *new, status=2)
