"""A cluster that is not there is named before an image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

import raysyn
from raysyn.command import main
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.on_ray import ahead, cluster, joining
from raysyn.runs.sealing import is_sealed

NOBODY = "on.address is 'auto', but no Ray cluster runs on this machine"


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, and images that must not be read."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for module in (ahead, cluster):
        monkeypatch.setattr(module, "connected", lambda: False)
    monkeypatch.setattr(joining, "_candidates", lambda given: [])


def read(*_: object, **more: object) -> None:
    raise AssertionError("images were read")


@pytest.mark.usefixtures("nobody")
def test_a_run_is_refused_before_its_images_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dp_feta, "look", read)
    words = ["dp_feta", "quick", "--on.address", "auto", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr()
    assert ended.value.code == 2 and NOBODY in said.err and "Traceback" not in said.err
    assert "images are read" not in said.out and not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="no Ray cluster runs on this machine"):
        raysyn.run("dp_feta", out=str(tmp_path / "run"), on={"address": "auto"}, quiet=True)


@pytest.mark.usefixtures("nobody")
def test_a_dry_run_and_what_needs_no_cluster_look_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dp_feta, "look", read)
    for more in (("--on.address", "auto", "--dry-run"), ("--on.address", "here"), ()):
        with pytest.raises(AssertionError, match="images were read"):
            main(["dp_feta", "quick", *more, "--out", str(tmp_path / "run")])


@pytest.mark.usefixtures("nobody")
def test_a_sealed_run_is_finished_by_its_own_command_when_its_cluster_is_gone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["noisy_means", "quick", "--data.limit", "300", "--synthetic", "100", "--eval.feature-epochs", "0"]
    words += ["--eval.classifiers", "logreg", "--eval.distances", "0", "--budget.account", "none", "--out", str(out)]
    assert main([*words, "--on.address", "here"]) == 0
    with pytest.raises(SystemExit) as refused:
        main([*words, "--on.address", "auto"])
    assert refused.value.code == 2 and not is_sealed(str(out)) and not is_sealed(str(tmp_path))
    assert main([*words, "--on.address", "here", "--seal"]) == 0
    assert is_sealed(str(out)) and is_sealed(f"file://{out}")
    # As an interruption would have left it: noted, and not all of it erased.
    left = out / "internal/stages/left.pt"
    left.write_bytes(b"exact")
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*words, "--on.address", "auto"])
    assert ended.value.code == 0 and not left.exists()
    assert "Sealed, finished: nothing is left to do." in capsys.readouterr().out


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("address", ["here", "local", "ray://somewhere:10001"])
def test_other_addresses_are_left_to_where_they_are_joined(address: str) -> None:
    ahead.look_for(address)
