"""PrivImage sealed as its job seals it: what is left tells no exact answer, and is known as finished."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_privimage import SPEED, TINY

from raysyn.compute.local import Local
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.privimage import stages
from raysyn.report.verify import main as verify
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import load_saved
from raysyn.screen.cli import Command
from raysyn.screen.console import Console

pytestmark = pytest.mark.usefixtures("letters")


@contextmanager
def connect(machines: Any, storage: str, show: Any) -> Iterator[Local]:
    yield Local(machines.storage or storage, show)


def run(out: Path, storage: Path, seal: bool, epochs: int = 1, among: str | None = None) -> str:
    """What `jobs/privimage.py` does with --seal or without, and what it says."""
    config = replace(TINY, eval=replace(TINY.eval, epochs=epochs), chosen_among=among)
    machines = replace(SPEED, storage=str(storage))
    command = Command(preset="tiny", config=config, machines=machines, out=str(out), dry_run=False, seal=seal)
    said = io.StringIO()
    with ExitStack() as stack:
        console = stack.enter_context(Console(said))
        privimage.run(privimage.METHOD.begin(command, console, connect, stack))
    return said.getvalue()


def holding(place: Path, words: list[bytes]) -> set[str]:
    files = [path for path in place.rglob("*") if path.is_file()]
    return {path.name for path in files if any(word in path.read_bytes() for word in words)}


def test_sealed_later_it_tells_nothing_exact_and_its_promise_still_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stages, "SHARD", 300)
    out, storage = tmp_path / "run", tmp_path / "storage"
    run(out, storage, seal=False)
    secret = (out / "internal" / "secret").read_bytes()
    (shard,) = storage.rglob("units/semantic/*.pt")
    exact = load_saved(shard).numpy()
    forms = [exact.tobytes(), exact.astype(np.float64).tobytes(), json.dumps(exact.tolist()).encode()]
    words = [secret, secret.hex().encode(), *forms, str(exact[0].tolist())[1:-1].encode()]
    assert holding(tmp_path, words) == {"secret", shard.name}
    release = {path.name: path.read_bytes() for path in (out / "release").iterdir()}

    # The same command with --seal, on a finished run.
    assert "Sealed: the secret" in run(out, storage, seal=True)
    assert holding(tmp_path, words) == set() and not list(storage.iterdir())
    left = {path.relative_to(out / "internal").as_posix() for path in (out / "internal").rglob("*.pt")}
    assert left == {"stages/semantic.pt", "stages/finetune.pt"}
    assert {path.name: path.read_bytes() for path in (out / "release").iterdir()} == release
    assert verify([str(out / "release")]) == 0, capsys.readouterr().out

    # Both commands again: nothing to do, status 0. Other settings: refused, and nothing is drawn anew.
    for seal in (True, False):
        with pytest.raises(SystemExit) as left_with:
            run(out, storage, seal=seal)
        assert left_with.value.code == 0
    with pytest.raises(ValueError, match=r"sealed run with eval.epochs = 1, this one has eval.epochs = 2"):
        run(out, storage, seal=False, epochs=2)
    assert not (out / "internal" / "secret").exists()
    # What the run was chosen among afterwards is no other setting, and is said.
    with pytest.raises(SystemExit) as left_with:
        run(out, storage, seal=False, among="2 runs by hand")
    assert left_with.value.code == 0
    said = json.loads((out / "release" / "certificate.json").read_text())["uncharged_choices"]
    assert said[-1] == "chosen among 2 runs by hand"
    assert verify([str(out / "release")]) == 0, capsys.readouterr().out
    with RunFolder.open(
        out, method="privimage", preset="tiny", **_identity(out / "internal" / "run.json")
    ) as folder:  # fmt: skip
        assert folder.sealed is not None and str(out / "internal" / "report.html") in folder.where("Release")


def _identity(run_json: Path) -> dict[str, Any]:
    known = json.loads(run_json.read_text())
    return {"config": known["config"], "data_fingerprint": known["data_fingerprint"]}


def test_a_run_that_fails_is_not_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(privimage, "write_report", fails)
    with pytest.raises(RuntimeError, match="disk"):
        run(tmp_path / "run", tmp_path / "storage", seal=True)
    assert len((tmp_path / "run" / "internal" / "secret").read_bytes()) == 32
    assert "sealed" not in json.loads((tmp_path / "run" / "internal" / "run.json").read_text())
