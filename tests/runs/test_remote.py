"""A run folder on an object store: what is written there and when, one driver at a time, nothing left behind."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from raysyn.compute.doorway import Machines
from raysyn.on_ray.cluster import connect
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Ledger, Plan, Release
from raysyn.runs import remote
from raysyn.runs.folder import RunFolder
from raysyn.runs.storage import Store, file_system, read_bytes, under, write_bytes

PRICE = Cost(mechanism="counts", noise_multiplier=2.0, sampling_rate=1.0, steps=1)
PLAN = Plan(stages={"counts": PRICE}, delta=1e-5, accountant="rdp", epsilon_budget=10)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leases of half a second, and copies in a folder of the test's own."""
    monkeypatch.setattr(remote, "LEASE_S", 0.6)
    monkeypatch.setattr(remote, "BEAT_S", 0.1)
    monkeypatch.setattr(remote, "SETTLE_S", 0.02)
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "copies"))


@pytest.fixture()
def uri(tmp_path: Path) -> str:
    return f"fsspec+file://{tmp_path}/bucket/run"


def start(uri: str, seed: int = 0) -> RunFolder:
    return RunFolder.open(uri, method="dp_feta", preset="quick", config={"seed": seed}, data_fingerprint="a" * 64)


def files(tmp_path: Path) -> set[str]:
    bucket = tmp_path / "bucket" / "run"
    return {path.relative_to(bucket).as_posix() for path in bucket.rglob("*") if path.is_file()}


def test_a_run_is_continued_from_its_uri(uri: str, tmp_path: Path) -> None:
    calls = []

    def work() -> dict[str, Any]:
        calls.append(1)
        return {"weights": torch.arange(3.0)}

    with start(uri) as folder:
        secret, copy = folder.secret, folder.out
        assert stat.S_IMODE(copy.stat().st_mode) == stat.S_IMODE(folder.internal.stat().st_mode) == 0o700
        assert {"internal/secret", "internal/run.json"} <= files(tmp_path)
        folder.stage("train", work)
        assert {"internal/stages/train.pt", "internal/timings.json"} <= files(tmp_path)
        # Workers write beside it, where they are.
        Store(folder.storage)["units/counts/000000.pt"] = 1
        folder.publish({"certificate.json": b"{}"})
    assert not copy.exists() and not list((tmp_path / "copies").iterdir())
    assert "internal/lease.json" not in files(tmp_path) and "release/certificate.json" in files(tmp_path)
    with start(uri) as folder:
        assert folder.secret == secret and torch.equal(folder.stage("train", work)["weights"], torch.arange(3.0))
        assert folder.certificate.exists() and not (folder.internal / "units").exists()
        assert folder.where("Release").splitlines()[0] == f"Release: {uri}/release"
    assert len(calls) == 1
    with pytest.raises(ValueError, match=r"--out fsspec.*holds a run with seed = 0, this one has seed = 1"):
        start(uri, seed=1)


def test_what_was_paid_is_at_the_uri_before_the_value_leaves(uri: str) -> None:
    with start(uri) as folder:
        ledger = Ledger(PLAN, folder.ledger, folder.push)
        assert ledger.pay("counts", Release(7, PRICE)) == 7
        assert json.loads(read_bytes(uri, "internal/ledger.jsonl"))["stage"] == "counts"
    with start(uri) as folder:
        assert [entry["stage"] for entry in Ledger(PLAN, folder.ledger).entries()] == ["counts"]


def test_a_value_does_not_leave_where_its_price_cannot_be_kept(uri: str) -> None:
    def unreachable() -> None:
        raise OSError("no route to host")

    with start(uri) as folder, pytest.raises(OSError, match="no route"):
        Ledger(PLAN, folder.ledger, unreachable).pay("counts", Release(7, PRICE))


def test_one_driver_at_a_time(uri: str) -> None:
    with start(uri) as folder:
        with pytest.raises(ValueError, match=rf"in use by another run \(process {os.getpid()} on .*\); wait"):
            start(uri)
        folder.push()
    start(uri).close()


def test_a_killed_driver_s_run_is_taken_over_and_its_copy_removed(uri: str, tmp_path: Path) -> None:
    killed = start(uri)
    secret = killed.secret
    # What SIGKILL does: nothing is renewed any more, nothing is given up, and the kernel drops the lock.
    killed._remote._ended.set()  # type: ignore[union-attr]
    killed._remote._beat.join()  # type: ignore[union-attr]
    killed._unlock()
    killed._remote._alive.close()  # type: ignore[union-attr]
    lock = killed.out / "alive"
    os.utime(lock, (time.time() - 60, time.time() - 60))
    begun = time.monotonic()
    with start(uri) as folder:
        assert time.monotonic() - begun >= 0.6 and folder.secret == secret
        assert not killed.out.exists() and [path.name for path in (tmp_path / "copies").iterdir()] == [folder.out.name]


def test_a_driver_that_lost_its_lease_pays_for_nothing_more(uri: str) -> None:
    with start(uri) as folder:
        (Path(uri.removeprefix("fsspec+file://")) / "internal" / "lease.json").write_text(
            json.dumps({"holder": "another", "who": "process 1 on moon", "beat": 3})
        )
        with pytest.raises(RuntimeError, match=r"another run has taken it over \(process 1 on moon\)"):
            Ledger(PLAN, folder.ledger, folder.push).pay("counts", Release(7, PRICE))
    assert json.loads(read_bytes(uri, "internal/lease.json"))["holder"] == "another", "not ours to delete"


def test_a_driver_that_loses_its_lease_in_the_middle_writes_out_nothing_more(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Path(uri.removeprefix("fsspec+file://")) / "internal" / "lease.json"

    def slow(root: str, name: str, content: bytes) -> None:
        write_bytes(root, name, content)
        if name == "internal/first":
            lease.write_text(json.dumps({"holder": "another", "who": "process 1 on moon", "beat": 3}))

    with start(uri) as folder:
        monkeypatch.setattr(remote, "write_bytes", slow)
        (folder.internal / "first").write_text("1")
        time.sleep(0.02)
        folder.ledger.write_text("mine")
        with pytest.raises(RuntimeError, match=r"another run has taken it over \(process 1 on moon\)"):
            folder.push()
        assert "internal/first" in folder._remote.names()  # type: ignore[union-attr]
    assert not lease.with_name("ledger.jsonl").exists()


def test_the_lease_is_not_read_again_for_every_image_of_a_layout(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with start(uri) as folder:
        assert folder._remote is not None
        monkeypatch.setattr(remote, "LOOK_S", 60.0)
        looked, look = list[int](), folder._remote._look
        monkeypatch.setattr(folder._remote, "_look", lambda: (looked.append(1), look())[1])
        monkeypatch.setattr(remote, "BEAT_S", 60.0)
        images = {f"folder/train/a/{at:06d}.png": b"p" for at in range(40)}
        folder.publish({"certificate.json": b'{"uncharged_choices": []}', **images})
        assert 2 <= len(looked) < 10 and f"release/{list(images)[-1]}" in folder._remote.names()


def test_what_workers_of_another_run_have_left_is_no_beginning(uri: str) -> None:
    left = Path(uri.removeprefix("fsspec+file://")) / "internal" / "answers" / "finetune.pt"
    left.parent.mkdir(parents=True)
    left.touch()
    with pytest.raises(ValueError, match=r"is not empty and holds no run \(it has internal/answers/finetune.pt\)"):
        start(uri)


def test_strangers_and_impossible_places_are_refused(uri: str, tmp_path: Path) -> None:
    bucket = Path(uri.removeprefix("fsspec+file://"))
    bucket.mkdir(parents=True)
    (bucket / "thesis.tex").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty and holds no run \(it has thesis.tex\)"):
        start(uri)
    assert files(tmp_path) == {"thesis.tex"} and not list((tmp_path / "copies").iterdir())
    with pytest.raises(ValueError, match=r"'s4://bucket/run' is no place that can be written to"):
        start("s4://bucket/run")


@pytest.mark.parametrize("error", [OSError("no such bucket"), ValueError("no such scheme")])
def test_storage_that_is_no_place_is_refused_before_any_work_and_tells_no_password(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow.fs

    file_system.cache_clear()
    monkeypatch.setattr(pyarrow.fs, "FileSystem", Mock(from_uri=Mock(side_effect=error)))
    machines = Machines(address="here", storage="s3://user:word@bucket/run")
    said = rf"^'s3://bucket/run' is no place that can be written to \({error}\): give a folder"
    with pytest.raises(ValueError, match=said), connect(machines, tmp_path):
        pytest.fail("the machines were had")


def test_storage_that_takes_no_file_is_refused_and_one_that_does_is_left_as_it_was(uri: str, tmp_path: Path) -> None:
    with connect(Machines(address="here", storage=uri), tmp_path):
        assert files(tmp_path) == set()
    (tmp_path / "bucket/run").rmdir()
    (tmp_path / "bucket/run").write_text("a file")
    with (
        pytest.raises(
            ValueError, match=rf"^'{re.escape(uri)}' cannot be written to \(.*\): see to its name, and to who may write"
        ),
        connect(Machines(address="here", storage=uri), tmp_path),
    ):
        pytest.fail("the machines were had")


def test_a_release_at_a_uri_has_no_certificate_until_it_is_whole(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files come one by one there: what lies without a certificate is not released, and a continued run repairs it."""
    old = {
        "synthetic.parquet": b"old",
        "folder/train/a/000000.png": b"o",
        "certificate.json": b'{"uncharged_choices": ["old"]}',
    }
    new = {"synthetic.parquet": b"new", "certificate.json": b'{"uncharged_choices": ["new"]}'}
    seen: list[set[str]] = []

    def watched(root: str, name: str, content: bytes) -> None:
        write_bytes(root, name, content)
        if not name.endswith("lease.json"):
            seen.append({one.removeprefix("release/") for one in files(tmp_path) if one.startswith("release/")})

    with start(uri) as folder:
        folder.publish(old)
    monkeypatch.setattr(remote, "write_bytes", watched)
    with start(uri) as folder:
        folder.publish(new)
    assert seen[-1] == set(new) and set(old) in seen and {"synthetic.parquet"} in seen
    assert all("certificate.json" not in one for one in seen if one not in (set(old), set(new)))

    def cut_off(root: str, name: str, content: bytes) -> None:
        if name == "release/certificate.json":
            raise OSError("no route to host")
        write_bytes(root, name, content)

    monkeypatch.setattr(remote, "write_bytes", cut_off)
    with start(uri) as folder, pytest.raises(OSError, match="no route"):
        folder.publish(old)
    assert "release/certificate.json" not in files(tmp_path)
    monkeypatch.setattr(remote, "write_bytes", write_bytes)
    with start(uri) as folder:
        # What was once looked at stays declared, though its certificate is gone.
        assert folder.signed() == {"uncharged_choices": ["new"]}
        folder.publish(old)
        assert {name for name in files(tmp_path) if name.startswith("release/")} == {f"release/{one}" for one in old}


def test_what_a_user_puts_into_a_release_at_a_uri_stays(uri: str, tmp_path: Path) -> None:
    with start(uri) as folder:
        folder.publish({"student.pt": b"old", "certificate.json": b'{"uncharged_choices": ["old"]}'})
    write_bytes(uri, "release/README.txt", b"mine")
    write_bytes(uri, "release/.ipynb_checkpoints/x.json", b"mine too")
    with start(uri) as folder:
        folder.publish({"certificate.json": b'{"uncharged_choices": ["new"]}'})
    left = {name.removeprefix("release/") for name in files(tmp_path) if name.startswith("release/")}
    assert left == {"certificate.json", "README.txt", ".ipynb_checkpoints/x.json"}


def test_places_inside_a_uri_keep_its_query() -> None:
    assert under("s3://bucket/run/?scheme=http", "internal", "units") == "s3://bucket/run/internal/units?scheme=http"
    assert under("/data/run/", "internal") == "/data/run/internal"
