"""Training through real Ray: same answers as in one process, whatever dies on the way."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import ray
import stages
import torch

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.on_ray import group, rank, train
from raysyn.on_ray.cluster import OnRay
from raysyn.runs.storage import Store

# Generous, for machines that are busy with something else.
pytestmark = pytest.mark.timeout(600)


@pytest.fixture()
def expected(tmp_path: Path) -> torch.Tensor:
    traces = tmp_path / "local-traces"
    traces.mkdir()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    answer = Local(tmp_path / "local").train(stages.regress, *stages.problem(), traces, "", name="regress")
    torch.set_num_threads(before)
    return answer["weights"]


def starts(folder: Path, rank: int) -> list[int]:
    """The steps at which attempts of a rank began."""
    return sorted(int(path.name.split("-at-")[1].split(".")[0]) for path in folder.glob(f"start-{rank}-*"))


def actors(kind: str) -> list[dict[str, str]]:
    """That there are or have been."""
    return [one for one in ray._private.state.actors().values() if one["ActorClassName"] == kind]


def ranks() -> int:
    """Processes of Ray Train's that there are or have been."""
    return len(actors("RayTrainWorker"))


def abs_of(item: int, shared: None) -> int:
    return abs(item)


def test_two_workers_give_the_answer_of_one_process(
    group_of_tasks: None, tmp_path: Path, expected: torch.Tensor
) -> None:
    """With Ray Train they do in test_lost_nodes.py, down to the last bit."""
    told = []
    compute = OnRay(Machines(workers=2, gpus_per_worker=0), tmp_path / "store", lambda *all_: told.append(all_))
    before_s = compute.cpu_s()
    answer = compute.train(stages.regress, *stages.problem(), tmp_path, "", name="regress")
    torch.testing.assert_close(answer["weights"], expected, rtol=0, atol=1e-12)
    assert answer["threads"] == 1 and starts(tmp_path, 0) == starts(tmp_path, 1) == [0]
    assert [done for _, done, _, _ in told] == sorted(done for _, done, _, _ in told)
    assert told[-1][:3] == ("regress", stages.STEPS, stages.STEPS) and told[-1][3]["loss"] < 1
    assert compute.cpu_s() > before_s
    # A stage that has answered is not run again.
    again = compute.train(stages.regress, *stages.problem(), tmp_path, "error", name="regress")
    assert torch.equal(again["weights"], answer["weights"]) and starts(tmp_path, 0) == [0]
    # What Ray wrote, a run without Ray understands.
    (tmp_path / "store" / "answers" / "regress.pt").unlink()
    local = Local(tmp_path / "store").train(stages.regress, *stages.problem(), tmp_path, "", name="regress")
    assert torch.equal(local["weights"], answer["weights"]) and starts(tmp_path, 0) == [0, stages.STEPS]


def test_what_a_stage_was_given_goes_with_it(ray_session: None, tmp_path: Path) -> None:
    """Private images, and the secret of their noise: Ray keeps what a function refers to until the driver ends."""
    compute, before = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path / "store"), stages.objects()
    seen = compute.once(stages.size_of, np.zeros(1_000_000), name="size")
    assert seen == 1_000_000
    stages.wait_until(lambda: stages.objects() <= before)


class FakeGroup:
    """Answers and ends at once, and notes it."""

    told: ClassVar[list[str]] = []

    def __init__(self, *_: Any) -> None:
        self.told.append("formed")

    def serves(self, *_: Any) -> bool:
        return True

    def run(self, *_: Any) -> None:
        self.told.append("run")

    def close(self) -> None:
        self.told.append("closed")

    def end(self, at_once: bool) -> None:
        self.told.append("ended")


def test_a_group_without_work_is_given_back_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "Group", FakeGroup)
    monkeypatch.setattr(FakeGroup, "told", [])
    monkeypatch.setattr(group, "IDLE_S", 60.0)
    kept, stage = group.Kept(), ("job", "name", None, None, None, None)
    for _ in range(2):
        assert kept.run(lambda *_: None, *stage) is None  # type: ignore[arg-type]
    assert FakeGroup.told == ["formed", "run", "run"]
    monkeypatch.setattr(group, "IDLE_S", 0.05)
    kept.run(lambda *_: None, *stage)  # type: ignore[arg-type]
    stages.wait_until(lambda: FakeGroup.told[4:] == ["closed"])
    kept.run(lambda *_: None, *stage)  # type: ignore[arg-type]
    assert FakeGroup.told[5:7] == ["formed", "run"]
    kept.release()
    kept.release()
    time.sleep(0.2)
    assert FakeGroup.told[7:] == ["closed"]
    # One whose time is over while the next stage runs takes nothing away.
    for _ in range(2):
        with kept._lock:
            kept.run(lambda *_: None, *stage)  # type: ignore[arg-type]
            time.sleep(0.2)
            monkeypatch.setattr(group, "IDLE_S", 60.0)
            kept.run(lambda *_: None, *stage)  # type: ignore[arg-type]
    time.sleep(0.2)
    assert FakeGroup.told[8:] == ["formed", "run", "run", "run", "run"]
    kept.release()
    del FakeGroup.told[8:]
    assert FakeGroup.told[7:] == ["closed"]


@pytest.mark.parametrize("hears", [True, False])
def test_a_controller_that_does_not_hear_is_killed_also_one_that_is_only_just_there(
    hears: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray Train hears nothing while it waits for a node that does not come; and a driver whose thread is still in it
    ends with status 1 when Ray is shut down."""
    over, told, looks = Event(), list[str](), iter([[], ["aa"], ["aa"]])

    def abort() -> None:
        told.append("abort")
        if hears:
            over.set()

    def kill(actor: Any, no_restart: bool) -> None:
        told.append("kill")
        over.set()

    handle = SimpleNamespace(abort=SimpleNamespace(remote=abort))
    core = SimpleNamespace(get_actor_handle=lambda actor: handle, kill_actor=kill)
    monkeypatch.setattr(group, "_controllers", lambda: next(looks, ["aa"]))
    monkeypatch.setattr(group, "ABORTS_WITHIN_S", 1.2)
    monkeypatch.setattr(ray, "ActorID", SimpleNamespace(from_hex=lambda actor: actor))
    monkeypatch.setattr(ray._private.worker, "global_worker", SimpleNamespace(core_worker=core))
    one = group.Group.__new__(group.Group)
    one._key, one._board = "key", SimpleNamespace(forget_group=SimpleNamespace(remote=told.append))
    one._thread = Thread(target=over.wait, daemon=True)
    one._thread.start()
    one.end(at_once=False)
    assert not one._thread.is_alive() and told == ["key", "abort", *([] if hears else ["kill"])]


def test_storage_that_a_worker_does_not_share_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank, "REACHED_WITHIN_S", 0.0)
    store = Store(tmp_path)
    with pytest.raises(ValueError, match=r"on\.storage is .* does not share with the driver"):
        rank._check_reach(store, "warmup", "job-2")
    store[rank.mark("warmup")] = "job-1"
    store[rank.mark("finetune")] = "job-3"  # of another program
    rank._check_reach(store, "warmup", "job-1")
    with pytest.raises(ValueError, match="every node reaches"):
        rank._check_reach(store, "warmup", "job-2")


@pytest.mark.slow
def test_one_group_trains_stages_that_follow_each_other_and_outlives_its_workers(
    ray_session: None, tmp_path: Path, expected: torch.Tensor
) -> None:
    """One of them is killed in the second stage, and one after the last."""
    compute, before = OnRay(Machines(workers=2, gpus_per_worker=0), tmp_path / "store"), ranks()
    for name, trouble, began in (("first", "", [0]), ("second", "killed", [0, 20]), ("third", "", [0])):
        (folder := tmp_path / name).mkdir()
        answer = compute.train(stages.regress, *stages.problem(), folder, trouble, name=name)
        torch.testing.assert_close(answer["weights"], expected, rtol=0, atol=1e-12)
        assert starts(folder, 0) == starts(folder, 1) == began
        assert ranks() - before == (2 if name == "first" else 4)
    # One that dies between stages hinders nobody who needs its CPUs, nor does it begin a stage again.
    os.kill(next(one["Pid"] for one in actors("RayTrainWorker") if one["State"] == "ALIVE"), signal.SIGKILL)
    began = time.monotonic()
    assert compute.map(abs_of, [-1, 2], name="after") == [1, 2]
    assert time.monotonic() - began < group.ENDS_WITHIN_S, "fresh ranks are sent home too"
    assert all(one["State"] == "DEAD" for one in actors("RayTrainWorker"))
    assert starts(tmp_path / "third", 0) == [0]


def test_an_error_of_one_rank_arrives_with_its_type_and_is_not_tried_again(
    ray_session: None, tmp_path: Path, expected: torch.Tensor
) -> None:
    """In the second stage of a group."""
    told = []
    compute = OnRay(Machines(workers=2, gpus_per_worker=0), tmp_path / "store", lambda *all_: told.append(all_))
    before, before_s = ranks(), compute.cpu_s()
    (earlier := tmp_path / "earlier").mkdir()
    answer = compute.train(stages.regress, *stages.problem(), earlier, "", name="earlier")
    torch.testing.assert_close(answer["weights"], expected, rtol=0, atol=1e-12)
    told.clear()
    with pytest.raises(ValueError, match=r"stage\.rate is 3: choose less") as caught:
        compute.train(stages.regress, *stages.problem(), tmp_path, "error", name="regress")
    assert "in strike" in caught.value.__notes__[0]
    # Nor is the group formed again, to begin the stage or to find the error.
    assert ranks() - before == 2
    assert len(list(tmp_path.glob("error.*"))) == 1 and starts(tmp_path, 0) == starts(tmp_path, 1) == [0]
    done = [done for stage, done, _, _ in told if stage == "regress"]
    assert told[0][0] == "regress: 2 workers are starting" and done == sorted(done) and 0 < done[-1] < stages.STEPS
    assert compute.cpu_s() > before_s and (tmp_path / "store" / "checkpoints" / "regress.pt").exists()


def test_once_a_killed_worker_is_replaced_and_an_error_is_not_tried_again(
    ray_session: None, tmp_path: Path, expected: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "CALLS_OF_A_PROCESS", 1)  # a process of its own, as users have it
    told = []
    compute = OnRay(Machines(workers=2, gpus_per_worker=0), tmp_path / "store", lambda *all_: told.append(all_))
    answer = compute.once(stages.regress, *stages.problem(), tmp_path, "killed", name="regress")
    assert torch.equal(answer["weights"], expected) and answer["threads"] == 2
    assert starts(tmp_path, 0) == [0, 20] and told[-1][:3] == ("regress", stages.STEPS, stages.STEPS)
    with pytest.raises(ValueError, match=r"stage\.rate is 3: choose less") as caught:
        compute.once(stages.regress, *stages.problem(), tmp_path, "error", name="other")
    assert "in strike" in caught.value.__notes__[0] and len(list(tmp_path.glob("error.*"))) == 1


def test_once_ends_where_memory_runs_out_again_and_again(ray_session: None, tmp_path: Path) -> None:
    def short(rank: int, world_size: int) -> None:
        (tmp_path / f"attempt.{uuid.uuid4().hex}").touch()
        raise ray.exceptions.OutOfMemoryError("Task was killed\nand many lines more")

    shares = OnRay(Machines(workers=1, gpus_per_worker=0), tmp_path / "store").shares
    with pytest.raises(RuntimeError, match=r"^steps ran out of memory again and again: "):
        train._in_a_task(short, "steps", shares, lambda: None)
    assert len(list(tmp_path.glob("attempt.*"))) == 1 + train.SHORT_OF_MEMORY
