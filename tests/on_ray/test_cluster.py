"""How machines are shared out, what is refused, and what is cleared away; most of it without a cluster."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.fs
import pytest
import ray
import torch

from raysyn.compute.doorway import Machines, NotStarted
from raysyn.on_ray import leftovers, scaling
from raysyn.on_ray.cluster import OnRay, connect, session
from raysyn.on_ray.scaling import Growth, Watch
from raysyn.on_ray.shares import Shares, share_out
from raysyn.runs.storage import Store
from raysyn.screen import cli


@pytest.mark.parametrize(
    ("asked", "nodes", "given"),
    [
        ({}, [{"CPU": 2}], (2, 1, 0, 0, 2)),
        ({}, [{"CPU": 1}], (1, 1, 0, 0, 1)),
        ({}, [{"CPU": 16}], (4, 4, 0, 0, 16)),
        ({}, [{"CPU": 16, "GPU": 1}], (1, 16, 1, 1, 16)),
        ({}, [{}, {"CPU": 12, "GPU": 4}, {"CPU": 12, "GPU": 4}], (8, 3, 1, 1, 12)),
        ({}, [{"CPU": 3}, {"CPU": 3}], (4, 1, 0, 0, 3)),
        ({"workers": 2}, [{"CPU": 3}, {"CPU": 5}], (2, 3, 0, 0, 5)),
        ({"workers": 3, "gpus_per_worker": 0.25}, [{"CPU": 6, "GPU": 1}], (3, 2, 0.25, 0.25, 6)),
        ({"gpus_per_worker": 0}, [{"CPU": 2, "GPU": 1}], (2, 1, 0, 0, 2)),
        ({"workers": 1, "cpus_per_worker": 1}, [{"CPU": 2}], (1, 1, 0, 0, 1)),
        ({"gpus_per_unit": 0.25}, [{"CPU": 16, "GPU": 1}], (1, 16, 1, 0.25, 16)),
    ],
)
def test_shares(
    asked: dict[str, Any], nodes: list[dict[str, float]], given: tuple[int, int, float, float, int]
) -> None:
    workers, cpus, gpus, per_unit, alone = given
    expected = Shares(workers=workers, cpus=cpus, gpus=gpus, gpus_per_unit=per_unit, cpus_alone=alone)
    assert share_out(Machines(**asked), nodes) == expected


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        ({"workers": 3}, [{"CPU": 2}]),
        ({"cpus_per_worker": 3}, [{"CPU": 2}, {"CPU": 2}]),
        ({"gpus_per_worker": 1}, [{"CPU": 2}]),
        ({"workers": 2, "gpus_per_worker": 0.6}, [{"CPU": 2, "GPU": 1}]),
        ({}, [{}]),
    ],
)
def test_what_the_cluster_cannot_hold_is_refused(asked: dict[str, Any], nodes: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match=r"on\.\w+ is"):
        share_out(Machines(**asked), nodes)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"workers": 0}, "on.workers is 0"),
        ({"workers": -2}, "on.workers is -2"),
        ({"cpus_per_worker": 0}, "on.cpus_per_worker is 0"),
        ({"gpus_per_worker": -1}, "on.gpus_per_worker is -1"),
        ({"gpus_per_worker": 1.5}, "on.gpus_per_worker is 1.5"),
        ({"gpus_per_worker": float("inf")}, "on.gpus_per_worker is inf"),
        ({"gpus_per_worker": float("nan")}, "on.gpus_per_worker is nan"),
        ({"gpus_per_unit": -0.5}, "on.gpus_per_unit is -0.5"),
        ({"gpus_per_unit": 2}, "on.gpus_per_unit is 2"),
        ({"address": "here", "workers": 2}, "on.workers is 2, but `here` is one process"),
        ({"address": ""}, "on.address is empty"),
    ],
)
def test_what_no_machine_can_give_is_refused_with_the_flags(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Machines(**asked)


@pytest.mark.parametrize("asked", [{"workers": 5000}, {"cpus_per_worker": 5000}, {"gpus_per_worker": 5000}])
def test_what_this_machine_cannot_hold_is_refused_before_a_cluster_starts(
    asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("a cluster starts"))
    with pytest.raises(ValueError, match=r"on\.\w+ is"), connect(Machines(**asked), tmp_path):
        pass


def test_too_many_workers_are_refused_before_anything_waits(ray_session: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"on\.workers is 50 .* of 2 CPUs .* has room for 2"):
        OnRay(Machines(workers=50, gpus_per_worker=0), tmp_path)


def test_ray_client_is_refused_with_the_way_to_do_it(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="ray job submit"),
        connect(Machines(address="ray://h:10001"), tmp_path),
    ):
        pass


def test_stored_files_are_found_by_path_and_by_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def from_uri(uri: str) -> tuple[Any, str]:
        assert uri == "far://bucket/run"
        return pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem()), "run"

    monkeypatch.setattr(pyarrow.fs, "FileSystem", type("Fake", (), {"from_uri": staticmethod(from_uri)}))
    value = {"step": 3, "weights": torch.arange(3.0)}
    for store in (Store("far://bucket/run"), Store(tmp_path / "run"), Store(f"file://{tmp_path}/run")):
        assert "a/b.pt" not in store
        store["a/b.pt"] = value
        for reader in (Store("far://bucket/run"), Store(tmp_path / "run")):
            assert "a/b.pt" in reader
            assert reader["a/b.pt"]["step"] == 3 and torch.equal(reader["a/b.pt"]["weights"], value["weights"])
        (tmp_path / "run" / "a" / "b.pt").unlink()


def test_what_a_dead_driver_left_goes_and_what_a_living_one_uses_stays(tmp_path: Path) -> None:
    dead, alive = (tmp_path / f"{leftovers.PREFIX}{name}" for name in ("dead", "alive"))
    for folder in (dead, alive):
        folder.mkdir()
        (tmp_path / "spill" / folder.name).mkdir(parents=True)
        (folder / leftovers.LOCK).write_text(str(tmp_path / "spill" / folder.name))
        os.utime(folder / leftovers.LOCK, (time.time() - 60,) * 2)
    script = "import sys, time; log = open(sys.argv[1], 'w'); print(flush=True); time.sleep(60)"
    orphan = subprocess.Popen([sys.executable, "-c", script, str(dead / "log")], stdout=subprocess.PIPE)
    assert orphan.stdout is not None
    orphan.stdout.readline()
    with open(alive / leftovers.LOCK) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        leftovers.sweep(tmp_path)
    assert not dead.exists() and alive.exists()
    assert [path.name for path in (tmp_path / "spill").iterdir()] == [alive.name], "what it spilled goes with it"
    assert orphan.wait(10) != 0
    orphan.stdout.close()


def test_ray_s_own_files_lie_where_they_are_asked_for_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[dict[str, Any]] = []
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)

    def init(**arguments: Any) -> None:
        places = [Path(arguments[name]) for name in ("_temp_dir", "object_spilling_directory")]
        assert all(place.is_dir() for place in places)
        outer = [place.parent for place in places]
        begun.append({"places": outer, "modes": [stat.S_IMODE(place.stat().st_mode) for place in outer]})

    monkeypatch.setattr(ray, "init", init)
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp") as temp, tempfile.TemporaryDirectory() as spill:
        with session("local", temp=temp, spill=spill):
            pass
        with session("local", temp=temp):
            pass
        first, second = (one["places"] for one in begun)
        assert first[0].parent == Path(temp) and first[1].parent == Path(spill)
        assert second[0].parent == Path(temp) and second[1] == second[0]
        assert all(one["modes"] == [0o700, 0o700] for one in begun)
        assert not any(place.exists() for place in (*first, *second))


@pytest.mark.parametrize(
    ("said", "status"), [("The current node timed out during startup. This could", 1), ("no such option", None)]
)
def test_a_ray_that_does_not_start_in_time_is_one_sentence(
    said: str, status: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)

    def init(**_: Any) -> None:
        raise Exception(said)

    monkeypatch.setattr(ray, "init", init)
    left = list[object]()

    def check(stack: ExitStack) -> None:
        stack.push(lambda failed, *_: left.append(failed))
        stack.enter_context(session("local"))

    if status is None:
        with pytest.raises(Exception, match=said):
            cli.run_or_explain(check, pytest.fail)
        return
    assert cli.run_or_explain(check, pytest.fail) == status
    told = capsys.readouterr().err
    assert told.startswith("error: Ray did not start on this machine in time (busy?): ") and told.count("\n") == 1
    assert told.endswith(f" It says: {said}\n")
    # A run that shall be sealed at its end is told that it has not ended well.
    assert left == [NotStarted]


def test_nobody_else_reads_what_ray_keeps(ray_session: None) -> None:
    """Every process of Ray opens its folder to everybody when it starts."""
    theirs = Path(ray._private.worker._global_node.get_temp_dir_path())
    ray.get(ray.remote(num_cpus=0)(lambda: None).remote())
    assert stat.S_IMODE(theirs.stat().st_mode) == 0o777, "Ray no longer does: one folder less is needed"
    assert theirs.parent.name.startswith(leftovers.PREFIX) and stat.S_IMODE(theirs.parent.stat().st_mode) == 0o700


def test_a_cluster_of_one_run_listens_on_loopback_alone(ray_session: None) -> None:
    here, theirs = "0100007F", Path(ray._private.worker._global_node.get_temp_dir_path())
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path("/proc/net", name).read_text().splitlines()[1:]]
    at = {f"socket:[{row[9]}]": row[1].partition(":")[0] for row in rows if row[3] == "0A"}
    links = [link for one in leftovers.processes_using(theirs) for link in Path(f"/proc/{one}/fd").iterdir()]
    places = {at[name] for link in links if link.is_symlink() and (name := os.readlink(link)) in at}
    loopback = {here, "00000000000000000000000001000000", f"0000000000000000FFFF0000{here}"}
    assert here in places and places <= loopback, places
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]


def test_a_lock_that_names_another_folder_takes_nothing_with_it(tmp_path: Path) -> None:
    dead, precious = tmp_path / f"{leftovers.PREFIX}dead", tmp_path / "home" / "spill"
    dead.mkdir()
    precious.mkdir(parents=True)
    (dead / leftovers.LOCK).write_text(str(precious))
    os.utime(dead / leftovers.LOCK, (time.time() - 60,) * 2)
    leftovers.sweep(tmp_path)
    assert not dead.exists() and precious.exists()


def test_a_busy_cluster_is_not_an_impossible_one() -> None:
    """At its largest, the autoscaler calls all that waits infeasible."""
    one, wide = {"CPU": 1.0, "GPU": 0.0}, {"CPU": 4.0, "GPU": 0.0}
    two = [{"CPU": 2.0}, {"CPU": 2.0}]
    now = Growth(nodes=2, starting=0, waiting=8, unplaced=[one, wide], largest=two, refused=[], version=3, seen=3)
    assert not now.never(one) and now.never(wide) and not replace(now, starting=1).never(wide)
    assert replace(now, largest=[]).never(one) and not replace(now, unplaced=[]).never(wide)
    assert now.never({"CPU": 1.0, "GPU": 1.0}) is False, "nobody has asked for it"
    # Nobody will add a node.
    alone = replace(now, unplaced=[], seen=0)
    assert alone.never(wide) and not alone.never(one)


def test_a_node_that_does_not_come_back_is_missed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, now = [0.0], Growth(
        nodes=1, starting=0, waiting=1, unplaced=[], largest=[{"CPU": 1.0}], refused=[], version=1, seen=0,
    )  # fmt: skip
    monkeypatch.setattr(scaling, "growth", lambda: now)
    monkeypatch.setattr(scaling.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 1.0})
    watch, fits = Watch("finetune", {"CPU": 1.0, "GPU": 1.0}), Watch("central", {"CPU": 1.0})
    for clock[0] in (10.0, 100.0, 600.0):
        assert watch() == fits() == {}
    clock[0] = 700.0
    assert fits() == {}
    with pytest.raises(RuntimeError, match=r"finetune asks for 1 CPUs and 1 GPUs .* no node has nor has come back"):
        watch()


class Autoscaler:
    """Keeps one question, of whoever asked last, and answers it when it looks, once in 5 s."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refuses: Any = None) -> None:
        self.kept, self.version, self.seen, self.answered = list[Any](), 1, 0, list[Any]()
        self.clock, self.refuses, self.others = 0.0, refuses, dict[float, list[Any]]()
        gcs = SimpleNamespace(request_cluster_resource_constraint=self.ask)
        monkeypatch.setattr(scaling, "growth", self.growth)
        monkeypatch.setattr(scaling, "_gcs", lambda: gcs)
        monkeypatch.setattr(scaling.time, "sleep", self.sleep)
        monkeypatch.setattr(scaling.time, "monotonic", lambda: self.clock)

    def ask(self, bundles: list[Any], _: Any, counts: list[int], timeout_s: float) -> None:
        self.kept, self.version = list(zip(bundles, counts, strict=True)), self.version + 1

    def growth(self) -> Growth:
        self.version += 1
        refused = [bundle for bundle, _ in self.answered if bundle == self.refuses]
        return Growth(nodes=1, starting=0, waiting=0, unplaced=[], largest=[], refused=refused, version=self.version,
                      seen=self.seen, constraints=list(self.kept))  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        if self.clock % 5 == 0:
            self.seen, self.answered = self.version, list(self.kept)
        if self.clock in self.others:
            self.kept = self.others[self.clock]


WANTED = {"CPU": 2.0, "GPU": 1.0}


@pytest.mark.parametrize(
    "others", [{}, {4.5: [], 9.5: []}, {4.5: [({"CPU": 1.0}, 5)], 11.0: []}, {4.5: [({"CPU": 1.0}, 5)]}]
)
@pytest.mark.parametrize("refused", [False, True])
def test_a_question_that_another_driver_has_overwritten_is_asked_again(
    refused: bool, others: dict[float, list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once the other one has had its answer: two that overwrite each other have none."""
    one = Autoscaler(monkeypatch, refuses=WANTED if refused else None)
    one.others = others
    assert scaling.may_have(WANTED, 3) is not refused
    assert one.kept == [], "nothing is wanted any more"
    assert one.clock <= 5 + 5 * len(others) + (20 if list(others) == [4.5] else 5)


def test_a_question_that_lay_there_is_not_taken_for_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was killed has left it; and there may be no autoscaler."""
    one = Autoscaler(monkeypatch, refuses=WANTED)
    one.kept = [(WANTED, 3)]
    assert not scaling.may_have(WANTED, 3)
    alone = Autoscaler(monkeypatch)
    alone.kept = [(WANTED, 3)]
    monkeypatch.setattr(scaling.time, "sleep", lambda seconds: setattr(alone, "clock", alone.clock + seconds))
    assert not scaling.may_have(WANTED, 3) and alone.clock < 10


def test_a_group_whose_cluster_has_shrunk_for_good_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with room for one worker is there; the other one has gone, or the autoscaler may add no more of them."""
    bundle = {"CPU": 2.0, "GPU": 1.0}
    node = {"CPU": 5.0, "GPU": 1.0, "memory": 9.0}
    now = Growth(nodes=1, starting=0, waiting=1, unplaced=[], largest=[node], refused=[], version=1, seen=0)
    assert (now.room(bundle), now.room({"CPU": 2.0, "GPU": 0.0}), now.room({"GPU": 0.5})) == (1, 2, 2)
    assert now.never(bundle, 2) and not now.never(bundle)
    assert not dataclasses.replace(now, largest=[node, node]).never(bundle, 2)
    grows = dataclasses.replace(now, seen=1)
    assert not grows.never(bundle, 2)  # busy, or to be added
    assert dataclasses.replace(grows, unplaced=[bundle]).never(bundle, 2)
    assert not dataclasses.replace(grows, unplaced=[bundle], starting=1).never(bundle, 2)
    clock = [0.0]
    monkeypatch.setattr(scaling, "growth", lambda: now)
    monkeypatch.setattr(scaling.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(ray, "cluster_resources", lambda: node)
    watch = Watch("finetune", bundle, 2)
    for clock[0] in (10.0, 600.0):
        watch()
    clock[0] = 700.0
    with pytest.raises(RuntimeError, match=r"asks for 2 times 2 CPUs and 1 GPUs .* where there is room for 1; what is"):
        watch()


@pytest.mark.parametrize(
    ("places", "words"),
    [
        ({"temp": "/a/path/that/is/too/long/for/sockets"}, r"on.temp is '/a/path.*at most 20 characters"),
        ({"spill": "/no/such/folder"}, r"on.spill is '/no/such/folder', which is no folder"),
        ({"temp": "/no"}, r"on.temp is '/no', which is no folder"),
        ({"temp": "/tmp", "address": "here"}, r"on.temp is '/tmp', but no cluster is started here"),
        ({"spill": "/tmp", "address": "head:6379"}, r"on.spill is '/tmp', but .*'head:6379'.*`ray start`"),
    ],
)
def test_places_that_cannot_be_are_refused(
    places: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ValueError, match=words), connect(Machines(**places), tmp_path):
        pass
