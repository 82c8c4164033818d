"""A cluster that is not there is named before an image is read."""

from __future__ import annotations

from pathlib import Path

import pytest

import raysyn
from raysyn.command import main
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.on_ray import ahead, cluster, joining

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
@pytest.mark.parametrize("address", ["here", "local", "ray://somewhere:10001"])
def test_other_addresses_are_left_to_where_they_are_joined(address: str) -> None:
    ahead.look_for(address)
