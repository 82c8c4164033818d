"""A sealed run keeps what may be kept, and nothing from which its noise could be taken away."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.runs import remote, sealing
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import Store

PRICE = Cost(mechanism="counts", noise_multiplier=2.0, sampling_rate=1.0, steps=1)
PLAN = Plan(stages={"counts": PRICE}, delta=1e-5, accountant="rdp", epsilon_budget=10)
SETTINGS: dict[str, Any] = {"seed": 0, "eval": {"epochs": 3, "names": ("a",)}}
KEPT = {
    *("run.json", "report.json", "report.html", "ledger.jsonl", "timings.json", "lock", "stages/counts.pt"),
    "audit.json",
}
EXACT = torch.arange(40) * 977


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SETTLE_S", 0.02)


def start(out: Path | str) -> RunFolder:
    return RunFolder.open(out, method="m", preset="p", config={"seed": 0}, data_fingerprint="f")


@contextmanager
def finished(out: Path | str, *places: str) -> Any:
    """A run that was reported, its exact counts in its own storage and at the other places, and that storage."""
    with start(out) as folder:
        ledger = Ledger(PLAN, folder.ledger, folder.push)
        noisy = EXACT + torch.randn(40)
        folder.stage("counts", lambda: ledger.pay("counts", Release(noisy, PRICE)))
        folder.stage("judged", lambda: EXACT)
        own = [f"{place}/{folder.run_id}" for place in places]
        for place in (folder.storage, *own):
            store = Store(place)
            for key in ("units/counts/000000.pt", "checkpoints/finetune.pt", "ray/finetune/x/y.pt", "reach.pt"):
                store[key] = {"exact": EXACT, "secret": folder.secret.hex()}
        for place in own:
            sealing.note_place(folder, place)
        for path in (folder.report_json, folder.report_html, folder.internal / "audit.json"):
            path.write_text("{}")
        folder.publish({"certificate.json": b"{}"})
        folder.push()
        yield folder


def telling(where: Path, secret: bytes) -> set[str]:
    """Files from which the noise could be taken away."""
    exact, hidden = EXACT.numpy().tobytes(), (secret, secret.hex().encode())
    files = [path for path in where.rglob("*") if path.is_file()]
    return {
        path.relative_to(where).as_posix()
        for path in files
        if any(word in path.read_bytes() for word in (exact, *hidden))
    }


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scheme", ["", "fsspec+file://"])
def test_secret_exact_answers_and_states_are_gone_wherever_they_were(scheme: str, tmp_path: Path) -> None:
    place = f"{scheme}{tmp_path}/storage"
    Store(f"{scheme}{tmp_path}/storage/of-another")["kept.pt"] = 1
    out = f"{scheme}{tmp_path}/run" if scheme else tmp_path / "run"
    with finished(out, place) as folder:
        secret, shown = folder.secret, folder.where("Release")
        assert len(telling(tmp_path, secret)) >= 8
        sealing.seal(folder, SETTINGS)
        with pytest.raises(ValueError, match="is missing"):
            folder.secret  # noqa: B018
    assert telling(tmp_path, secret) == set()
    assert names(tmp_path / "run" / "internal") == KEPT - ({"lock"} if scheme else set())
    assert names(tmp_path / "run" / "release") == {"certificate.json"}
    assert names(tmp_path / "storage") == {"of-another/kept.pt"}
    with start(out) as again:
        assert again.sealed is not None and again.where("Release") == shown
        sealing.check_settings(again, SETTINGS)
        sealing.finish(again)


@pytest.mark.parametrize("at", range(6))
def test_sealing_that_was_interrupted_is_finished_later(at: int, tmp_path: Path, monkeypatch: Any) -> None:
    left = at
    overwrite = sealing._overwrite

    def interrupted(path: Path) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        overwrite(path)

    with finished(tmp_path / "run", str(tmp_path / "storage")) as folder:
        secret = folder.secret
        monkeypatch.setattr(sealing, "_overwrite", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sealing.seal(folder, SETTINGS)
    monkeypatch.undo()
    assert telling(tmp_path, secret)
    with start(tmp_path / "run") as folder:
        assert folder.sealed is not None
        sealing.finish(folder)
    assert telling(tmp_path, secret) == set() and not any((tmp_path / "storage").iterdir())


def test_a_place_named_from_elsewhere_or_taken_away_is_not_passed_over(tmp_path: Path, monkeypatch: Any) -> None:
    """What is not there to be erased is not erased: said, and done once it is back."""
    monkeypatch.chdir(tmp_path)
    with finished(tmp_path / "run", "scratch") as folder:
        secret = folder.secret
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        sealing.check_places(folder)
        (tmp_path / "scratch").rename(tmp_path / "unmounted")
        with pytest.raises(ValueError, match=r"on.storage: .*/scratch/\w+, .* is not there"):
            sealing.check_places(folder)
        with pytest.raises(ValueError, match=r"on.storage: .*/scratch/\w+, .* is not there"):
            sealing.seal(folder, SETTINGS)
    (tmp_path / "unmounted").rename(tmp_path / "scratch")
    with start(tmp_path / "run") as folder:
        sealing.finish(folder)
        sealing.finish(folder)
    assert telling(tmp_path, secret) == set() and not any((tmp_path / "scratch").iterdir())


@pytest.mark.parametrize("at", ["before", "after"])
def test_no_folder_is_erased_because_a_run_folder_names_it(at: str, tmp_path: Path) -> None:
    """One that somebody has handed over, sealed or to be sealed."""
    (kept := tmp_path / "victim/letters.txt").parent.mkdir()
    kept.write_text("mine")
    with finished(tmp_path / "run") as folder:
        if at == "before":
            (folder.internal / "places.json").write_text(json.dumps([str(kept.parent)]))
            with pytest.raises(ValueError, match=r"victim, noted in internal/ .*, is no place of this run"):
                sealing.check_places(folder)
        else:
            sealing.seal(folder, SETTINGS)
    if at == "after":
        about = json.loads(folder.run_json.read_text())
        about["sealed"] |= {"places": [str(kept.parent)], "run": "victim"}
        folder.run_json.write_text(json.dumps(about))
    with start(tmp_path / "run") as folder, pytest.raises(ValueError, match="is no place of this run"):
        (sealing.finish if at == "after" else sealing.check_places)(folder)
    assert kept.read_text() == "mine"


def test_a_run_s_own_place_at_an_address_with_settings_is_its_own() -> None:
    run = "0123456789abcdef"
    for own in (f"s3://b/x/{run}?endpoint_override=http://minio:9000&region=eu", f"/mnt/x/{run}/", f"gs://b/{run}"):
        sealing._check_ours(own, run)
    with pytest.raises(ValueError, match=r"on.storage: s3://b/x, noted"):
        sealing._check_ours("s3://key:word@b/x?region=eu", run)


def test_what_a_link_leads_to_is_not_called_erased(tmp_path: Path) -> None:
    with finished(tmp_path / "run") as folder:
        secret = folder.secret
        (folder.internal / "units").rename(tmp_path / "elsewhere")
        (folder.internal / "units").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(ValueError, match=r"internal/units is a link, and what it leads to would not be erased"):
            sealing.check_places(folder)
        (folder.internal / "units").unlink()
        (tmp_path / "elsewhere").rename(folder.internal / "units")
        sealing.check_places(folder)
        sealing.seal(folder, SETTINGS)
    assert telling(tmp_path, secret) == set()


def test_other_settings_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with finished(tmp_path / "run") as folder:
        assert folder.sealed is None
        sealing.seal(folder, SETTINGS)
        sealing.check_settings(folder, json.loads(json.dumps(SETTINGS)))
        with pytest.raises(
            ValueError, match=r"a sealed run with eval.epochs = 3, this one has eval.epochs = 9, .*--out"
        ):
            sealing.check_settings(folder, {**SETTINGS, "eval": {"epochs": 9, "names": ("a",)}})
        with pytest.raises(ValueError, match=r"stays as it was written, .*: raysyn draw, where"):
            sealing.check_settings(folder, {**SETTINGS, "release": {"license": "mit"}})


def test_a_run_that_has_not_ended_keeps_its_secret(tmp_path: Path) -> None:
    with start(tmp_path / "run") as folder:
        with pytest.raises(AssertionError, match="ended"):
            sealing.seal(folder, SETTINGS)
        assert len(folder.secret) == 32 and folder.sealed is None


def test_what_is_overwritten_holds_zeros_before_it_goes(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * ((1 << 20) + 7))
    (tmp_path / "linked").symlink_to(tmp_path / "big")
    sealing._overwrite(tmp_path / "linked")
    assert (tmp_path / "big").read_bytes()[:1] == b"x"
    sealing._overwrite(tmp_path / "big")
    assert (tmp_path / "big").read_bytes() == bytes((1 << 20) + 7)


@pytest.mark.parametrize("field", ["eval.inception_weights", "word_vectors"])
def test_where_a_file_lies_is_no_other_setting(field: str, tmp_path: Path) -> None:
    def judged(value: str | None) -> dict[str, Any]:
        group, _, name = field.rpartition(".")
        return {**SETTINGS, group: {**SETTINGS[group], name: value}} if group else {**SETTINGS, name: value}

    with start(tmp_path / "run") as folder:
        folder.publish({"certificate.json": b"{}"})
        for path in (folder.report_json, folder.report_html, folder.internal / "audit.json"):
            path.write_text("{}")
        sealing.seal(folder, judged("/mnt/a/weights.pt"))
        for spelled in ("/mnt/a/weights.pt", "weights.pt", "~/b.pt"):
            sealing.check_settings(folder, judged(spelled))
        for other in (None, "try-download", "download"):
            with pytest.raises(ValueError, match=rf"with {field} = /mnt/a/weights\.pt, this one has {field} = {other}"):
                sealing.check_settings(folder, judged(other))
        with pytest.raises(ValueError, match=r"this one has eval\.names = \['/mnt/a'\]"):
            sealing.check_settings(folder, {**judged("x.pt"), "eval": {**judged("x.pt")["eval"], "names": ("/mnt/a",)}})
