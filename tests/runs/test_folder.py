"""The run folder: continue the same run, refuse any other, keep secrets, never leave half a file."""

from __future__ import annotations

import gc
import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from raysyn.runs import folder as runs
from raysyn.runs import ownership
from raysyn.runs.folder import RunFolder
from raysyn.runs.refusals import identity, refused
from raysyn.runs.storage import NotPlain, write_atomically

CONFIG = {"budget": {"epsilon": 10.0, "delta": None}, "seed": 0, "network": {"channels": (32, 64)}}


def start(out: Path, config: dict[str, Any] = CONFIG, fingerprint: str = "a" * 64, **more: Any) -> RunFolder:
    more = {"method": "dp_feta", "preset": "quick", **more}
    return RunFolder.open(out, config=config, data_fingerprint=fingerprint, **more)


def would_be(out: Path, config: dict[str, Any] = CONFIG, fingerprint: str = "a" * 64, **more: Any) -> str | None:
    """What is foretold of `start`."""
    more = {"method": "dp_feta", "preset": "quick", **more}
    return refused(str(out), lambda: identity(config=config, data_fingerprint=fingerprint, **more))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secret_is_drawn_once_and_kept_private(tmp_path: Path) -> None:
    with start(tmp_path / "one") as folder:
        secret = folder.secret
        assert len(secret) == 32 and folder.secret == secret
        assert mode(folder.internal) == 0o700
        assert mode(folder.internal / "secret") == mode(folder.internal / "run.json") == 0o600
    with start(tmp_path / "one") as folder:
        assert folder.secret == secret
    with start(tmp_path / "two") as folder:
        assert folder.secret != secret, "trap 5: noise must not follow from the config"


def test_lost_secret_is_not_replaced(tmp_path: Path) -> None:
    with start(tmp_path):
        (tmp_path / "internal" / "secret").unlink()
    with (
        start(tmp_path) as folder,
        pytest.raises(ValueError, match=r"secret is missing or damaged.*another --out"),
    ):
        _ = folder.secret


def test_stage_is_done_once_and_survives(tmp_path: Path) -> None:
    calls = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"weights": torch.arange(3.0), "history": [1, 2.5, None, "x", (True,)]}

    with start(tmp_path) as folder:
        first = folder.stage("train", work)
        again = folder.stage("train", work)
        spent = folder.timings["train"]
    with start(tmp_path) as folder:
        continued = folder.stage("train", work)
        assert folder.timings["train"] == spent
    assert len(calls) == 1
    for value in (again, continued):
        assert torch.equal(value["weights"], first["weights"]) and value["history"] == first["history"]


def test_time_of_a_killed_attempt_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_TICK_S", -1.0)

    def work() -> int:
        folder.tick()
        # What a process killed at this moment would leave on disk.
        shutil.copytree(tmp_path / "run", tmp_path / "killed")
        return 7

    clock = iter(range(0, 100, 10))
    with start(tmp_path / "run", cpu_clock=lambda: float(next(clock))) as folder:
        folder.stage("train", work)
    clock = iter(range(0, 100, 10))
    with start(tmp_path / "killed", cpu_clock=lambda: float(next(clock))) as folder:
        before = folder.timings["train"]
        assert before["cpu_s"] == 10.0 and folder.stage("train", lambda: 7) == 7
        assert folder.timings["train"]["cpu_s"] == 20.0
        assert folder.timings["train"]["wall_s"] >= before["wall_s"]


def test_the_most_memory_of_a_stage_is_told_beside_its_time(tmp_path: Path) -> None:
    begun = list[str]()
    with start(tmp_path) as folder:
        folder.forget_peaks, folder.peaks = lambda: begun.append("train"), lambda: {"memory_bytes": 7}
        folder.stage("train", lambda: 1)
        assert begun == ["train"] and folder.timings["train"]["memory_bytes"] == 7
    (tmp_path / "internal/stages/train.pt").unlink()
    with start(tmp_path) as folder:
        folder.peaks = lambda: {"memory_bytes": 5}
        folder.stage("train", lambda: 1)
        assert folder.timings["train"]["memory_bytes"] == 7, "of any attempt"


def test_forgotten_folder_gives_up_its_lock(tmp_path: Path) -> None:
    folder = start(tmp_path)
    del folder
    gc.collect()
    start(tmp_path).close()


def test_failed_stage_stores_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    def fail() -> int:
        raise ValueError("no")

    with start(tmp_path) as folder:
        with pytest.raises(ValueError, match="no"):
            folder.stage("train", fail)
        assert folder.stage("train", lambda: 3) == 3


def test_stage_refuses_what_a_continued_run_could_not_read(tmp_path: Path) -> None:
    with start(tmp_path) as folder:
        with pytest.raises(NotPlain, match=r"^stage train\['a'\]\[1\] answers a PosixPath, which is not stored"):
            folder.stage("train", lambda: {"a": [1, Path("x")]})
        assert not list((tmp_path / "internal").glob("stages/*.pt"))


def test_crash_before_the_rename_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def crash(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, "new, and longer")
    assert path.read_text() == "old"
    write_atomically(path, "new")
    assert path.read_text() == "new" and os.listdir(tmp_path) == ["file"]


def test_half_written_files_are_swept_away(tmp_path: Path) -> None:
    start(tmp_path).close()
    (tmp_path / "release").mkdir()
    left = [tmp_path / "release" / ".synthetic.parquet.1.tmp", tmp_path / "internal" / ".run.json.1.tmp"]
    for path in left:
        path.write_text("half")
    start(tmp_path).close()
    assert not any(path.exists() for path in left)


def test_killed_before_run_json_starts_afresh(tmp_path: Path) -> None:
    start(tmp_path).close()
    (tmp_path / "internal" / "run.json").rename(tmp_path / "internal" / ".run.json.1.tmp")
    start(tmp_path).close()
    assert json.loads((tmp_path / "internal" / "run.json").read_text())["method"] == "dp_feta"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"config": {**CONFIG, "budget": {"epsilon": 1.0, "delta": None}}},
            r"budget\.epsilon = 10\.0, this one has budget\.epsilon = 1\.0; choose another --out\.$",
        ),
        ({"config": {"budget": CONFIG["budget"], "seed": 0}}, r"network\.channels = \[32, 64\].*= absent"),
        ({"method": "pigan"}, r"method = dp_feta, this one has method = pigan"),
        (
            {"fingerprint": "b" * 64},
            r"other images.*answer twice with the same noise; choose another --out\.$",
        ),
        # Of which there are more, so that the plan has another price.
        (
            {"fingerprint": "b" * 64, "config": {**CONFIG, "plan": {"means": {"noise_multiplier": 1.5}}}},
            r"other images.*answer twice with the same noise; choose another --out\.$",
        ),
        (
            {"fingerprint": "b" * 64, "config": {**CONFIG, "plan": {"means": {"sampling_rate": 1}}, "seed": 1}},
            r"holds a run with seed = 0, this one has seed = 1; choose another --out\.$",
        ),
        (
            {"config": {**CONFIG, "plan": {"means": {"noise_multiplier": 1.5}}}},
            r"plan\.means\.noise_multiplier = absent, this one has plan\.means\.noise_multiplier = 1\.5"
            r" \(the same was asked of another version of raysyn, which alone can go on with it\); choose",
        ),
        (
            {"config": {"plan": {"means": {"noise_multiplier": 1.5}}, **CONFIG, "seed": 1}},
            r"holds a run with seed = 0, this one has seed = 1; choose another --out\.$",
        ),
    ],
)
def test_another_run_is_refused_in_one_sentence(tmp_path: Path, change: dict[str, Any], sentence: str) -> None:
    start(tmp_path).close()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=sentence) as error:
        start(tmp_path, **change)
    assert "\n" not in str(error.value) and would_be(tmp_path, **change) == str(error.value)
    assert would_be(tmp_path) is None
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    start(tmp_path, preset="the same config under another name").close()


def another(path: str = "b/scans.parquet", **more: Any) -> dict[str, Any]:
    """A configuration that names its images and weights by where they lie."""
    return {"data": {"path": path, "name": "digits", "limit": None}, "target": {"checkpoint": "a.pt"}, **more}


@pytest.mark.parametrize(
    "config",
    [
        another("b/scans.parquet/"),
        another("/mnt/b/scans.parquet"),
        another("c.npz"),
        {**another(), "data": {"name": "digits"}},
    ],
)
def test_the_same_images_are_the_same_run_however_their_path_is_spelled(tmp_path: Path, config: dict[str, Any]) -> None:
    with start(tmp_path, another()) as folder:
        secret = folder.secret
    with start(tmp_path, config) as folder:
        assert folder.secret == secret
    # And what was refused before still is, in its own words.
    with pytest.raises(ValueError, match=r"on other images \(fingerprint aaaaaaaaaaaa, now bbbbbbbbbbbb\)"):
        start(tmp_path, another(), fingerprint="b" * 64)
    fewer = {**another(), "data": {**another()["data"], "limit": 60}}
    with pytest.raises(ValueError, match=r"holds a run with data\.limit = None, this one has data\.limit = 60; choose"):
        start(tmp_path, fewer, fingerprint="b" * 64)
    with pytest.raises(ValueError, match=r"seed = absent, this one has seed = 1"):
        start(tmp_path, another(seed=1))


def test_a_checkpoint_is_its_weights_where_these_are_known(tmp_path: Path) -> None:
    elsewhere = {**another(), "target": {"checkpoint": "/mnt/a.pt"}}
    start(tmp_path / "known", another(weights="f" * 8)).close()
    start(tmp_path / "known", {**elsewhere, "weights": "f" * 8}).close()
    with pytest.raises(ValueError, match=r"weights = ffffffff, this one has weights = eeeeeeee"):
        start(tmp_path / "known", {**elsewhere, "weights": "e" * 8})
    start(tmp_path / "unknown", another()).close()
    with pytest.raises(ValueError, match=r"target\.checkpoint = a\.pt"):
        start(tmp_path / "unknown", elsewhere)


OLD = {"synthetic.parquet": b"old", "samples.png": b"o", "certificate.json": b'{"uncharged_choices": ["old"]}'}
NEW = {
    "synthetic.parquet": b"new",
    "student.pt": b"w",
    "folder/train/a/000000.png": b"n",
    "certificate.json": b'{"uncharged_choices": ["new"]}',
}


def released(out: Path) -> dict[str, bytes]:
    found = [path for path in (out / "release").rglob("*") if path.is_file()]
    return {path.relative_to(out / "release").as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("before", [{}, OLD], ids=["first", "again"])
def test_a_release_is_whole_or_as_before_wherever_it_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: dict[str, bytes]
) -> None:
    """What a kill would leave at each step of the writing; and the continued run."""
    out, left = tmp_path / "run", list[Path]()
    with start(out) as folder:
        assert not folder.release.exists()
        if before:
            folder.publish(before)

        def photographed(call: Any) -> Any:
            def wrapper(*args: Any) -> Any:
                left.append(tmp_path / f"killed{len(left)}")
                shutil.copytree(out, left[-1])
                return call(*args)

            return wrapper

        with monkeypatch.context() as patch:
            for call in ("replace", "fsync", "rename"):
                patch.setattr(os, call, photographed(getattr(os, call)))
            folder.publish(NEW)
    assert released(out) == NEW and [path.name for path in out.iterdir() if path.name.startswith(".")] == []
    assert len(left) >= 9
    for killed in left:
        # Between two renames nothing is there for a moment.
        assert released(killed) in (before, NEW, {}), killed
        with start(killed) as folder:
            assert released(killed) in (before, NEW), killed
            folder.publish(NEW)
        assert released(killed) == NEW and not list(killed.glob(".*"))


def test_a_release_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(tmp_path) as folder:
        folder.publish(OLD)
        for call in ("replace", "rename"):
            with monkeypatch.context() as patch:
                patch.setattr(os, call, lambda *_: (_ for _ in ()).throw(OSError("no space left")))
                with pytest.raises(OSError, match="no space"):
                    folder.publish(NEW)
            assert released(tmp_path) == OLD and not list(tmp_path.glob(".*"))
        folder.publish(NEW)
        assert released(tmp_path) == NEW


STRANGE = {"README.txt", ".ipynb_checkpoints", "link"}


def with_strangers(out: Path) -> None:
    """What a user may have put beside the released files."""
    (out / "release" / "README.txt").write_text("mine")
    (out / "release" / ".ipynb_checkpoints").mkdir()
    (out / "release" / ".ipynb_checkpoints" / "x.json").write_text("mine too")
    (out / "release" / "link").symlink_to("nowhere")
    (out / "release" / "folder" / "train").mkdir(parents=True)
    (out / "release" / "folder" / "train" / "notes.txt").write_text("mine within")


def strangers_are_there(out: Path) -> bool:
    release = out / "release"
    return (
        (release / "README.txt").read_text() == "mine"
        and (release / ".ipynb_checkpoints" / "x.json").read_text() == "mine too"
        and os.readlink(release / "link") == "nowhere"
        and (release / "folder" / "train" / "notes.txt").read_text() == "mine within"
    )


def ours(out: Path) -> dict[str, bytes]:
    found = {name: content for name, content in released(out).items() if name.partition("/")[0] not in STRANGE}
    return {name: content for name, content in found.items() if not name.endswith("notes.txt")}


def test_what_a_user_puts_into_a_release_stays_and_changes_nothing(tmp_path: Path) -> None:
    with start(tmp_path) as folder:
        folder.publish(OLD)
    with_strangers(tmp_path)
    with start(tmp_path) as folder:
        before = (tmp_path / "release").stat().st_ino
        folder.publish(OLD)
        assert (tmp_path / "release").stat().st_ino == before
        folder.publish(NEW)
    assert ours(tmp_path) == NEW and strangers_are_there(tmp_path) and not list(tmp_path.glob(".*"))


def test_a_user_s_files_outlive_a_kill_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, left, rename, rmtree = tmp_path / "run", list[Path](), Path.rename, shutil.rmtree
    with start(out) as folder:
        folder.publish(OLD)
        with_strangers(out)

        def photographed(call: Any) -> Any:
            def wrapper(*args: Any, **more: Any) -> Any:
                left.append(tmp_path / f"killed{len(left)}")
                shutil.copytree(out, left[-1], symlinks=True)
                return call(*args, **more)

            return wrapper

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", photographed(rename))
            patch.setattr(shutil, "rmtree", photographed(rmtree))
            folder.publish(NEW)
    assert len(left) >= 5
    for killed in left:
        with start(killed) as folder:
            assert ours(killed) in (OLD, NEW) and strangers_are_there(killed), killed
            folder.publish(NEW)
        assert ours(killed) == NEW and strangers_are_there(killed) and not list(killed.glob(".*")), killed


def test_the_same_release_again_touches_nothing(tmp_path: Path) -> None:
    with start(tmp_path) as folder:
        folder.publish(OLD)
        before = {path: path.stat().st_mtime_ns for path in folder.release.iterdir()}
        folder.publish(OLD)
        assert {path: path.stat().st_mtime_ns for path in folder.release.iterdir()} == before


def test_texts_with_a_path_that_is_no_utf_8_are_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / "x.json", json.dumps({"path": "pati\udcebnten"}, ensure_ascii=False))
    assert json.loads((tmp_path / "x.json").read_text()) == {"path": "pati\udcebnten"}


def test_strange_folder_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"not empty and holds no run \(it has thesis\.txt\)") as error:
        start(tmp_path)
    assert would_be(tmp_path) == str(error.value) and would_be(tmp_path / "new") is None
    assert os.listdir(tmp_path) == ["thesis.txt"]
    with pytest.raises(ValueError, match="is a file"):
        start(tmp_path / "thesis.txt")
    (tmp_path / "other" / "release").mkdir(parents=True)
    (tmp_path / "other" / "release" / "song.mp3").write_text("la")
    with pytest.raises(ValueError, match=r"it has release/song\.mp3"):
        start(tmp_path / "other")


def test_two_drivers_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = start(tmp_path)
    with pytest.raises(ValueError, match=rf"in use by another run \(process {os.getpid()} on .*\); wait until"):
        start(tmp_path)
    with pytest.raises(ValueError, match="in use"):  # the refused one has not taken the lock away
        start(tmp_path)
    folder.close()
    folder.close()
    start(tmp_path).close()


def test_the_lock_of_a_machine_that_vanished_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file server keeps it for a while."""
    folder, slept = start(tmp_path), list[float]()
    (tmp_path / "internal" / "lock").write_text("7 on another-machine")

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            folder.close()

    monkeypatch.setattr(time, "sleep", sleep)
    with start(tmp_path):
        assert len(slept) == 3
        (tmp_path / "internal" / "lock").write_text("7 on another-machine")
        monkeypatch.setattr(ownership, "VANISHED_S", 0.0)
        with pytest.raises(ValueError, match=r"in use by another run \(process 7 on another-machine\)"):
            start(tmp_path)


def test_a_setting_that_came_later_and_is_left_out_is_no_other_run(tmp_path: Path) -> None:
    start(tmp_path).close()
    start(tmp_path, CONFIG | {"later": None}).close()
    with pytest.raises(ValueError, match="later = absent, this one has later = 0"):
        start(tmp_path, CONFIG | {"later": 0})
