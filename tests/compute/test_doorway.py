"""The doorway in one process: what `Local` promises, `OnRay` is tested against."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from raysyn.compute import threads
from raysyn.compute.doorway import machines_of
from raysyn.compute.heard import heard, tell
from raysyn.compute.inside import Inside
from raysyn.compute.local import Local
from raysyn.compute.worker import Worker
from raysyn.runs.storage import load_saved, save_atomically


def count(worker: Worker, upto: int, stop_at: int) -> dict[str, Any]:
    """Count with a state at each step; stop_at: the step at which it breaks."""
    state = worker.resume() or {"step": 0, "sum": torch.zeros(())}
    for step in range(state["step"], upto):
        if step == stop_at:
            raise InterruptedError
        state = {"step": step + 1, "sum": state["sum"] + worker.sum_(torch.tensor(float(step)))}
        worker.save(state)
        worker.progress(step + 1, upto, sum=float(state["sum"]))
    return {**state, "shared": worker.share("plain")}


def test_train_continues_from_the_last_state(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    compute = Local(tmp_path, lambda *all_: told.append(all_))
    with pytest.raises(InterruptedError):
        compute.train(count, 5, 3, name="count")
    assert load_saved(tmp_path / "checkpoints" / "count.pt")["step"] == 3
    answer = compute.train(count, 5, -1, name="count")
    assert answer["sum"] == 10 and answer["shared"] == "plain"
    assert told[-1] == ("count", 5, 5, {"sum": 10.0})


def trained(item: int, shared: None) -> int:
    def train(worker: Worker) -> int:
        for step in range(item):
            time.sleep(0.06)
            worker.progress(step + 1, item, loss=0.5)
        return item

    return int(Inside().train(train, name="finetune"))


def test_a_map_tells_how_far_its_unit_is_and_nothing_that_was_measured(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    assert Local(tmp_path, lambda *all_: told.append(all_)).map(trained, [10, 10], name="experiments") == [10, 10]
    within = [one for one in told if one[3]]
    assert {one[1] for one in within} == {0, 1} and all(one[0] == "experiments" and one[2] == 2 for one in within)
    assert all(one[3].keys() == {"finetune_share"} for one in within)
    first = [one[3]["finetune_share"] for one in within if one[1] == 0]
    assert first == sorted(first) and 0 < first[0] < first[-1] <= 1
    tell("finetune", 1, 2)  # nobody listens by now
    assert [one for one in told if one[3]] == within


def mapped(item: int, shared: None) -> int:
    """A unit in which `item` units take their time."""

    def one(_: int, __: None) -> int:
        time.sleep(0.3)
        return 1

    return sum(Inside().map(one, range(item), name="synthesise"))


def test_a_fan_out_within_a_unit_is_told_too(tmp_path: Path) -> None:
    told: list[tuple[Any, ...]] = []
    assert Local(tmp_path, lambda *all_: told.append(all_)).map(mapped, [3], name="experiments") == [3]
    shares = [one[3]["synthesise_share"] for one in told if one[3]]
    assert shares == [0.0, 1 / 3, 2 / 3, 1.0]


def test_units_that_tell_often_are_heard_now_and_then() -> None:
    told: list[tuple[str, int, int]] = []
    with heard(lambda *all_: told.append(all_), every_s=60):
        for step in range(1000):
            tell("finetune", step, 1000)
    assert told == [("finetune", 0, 1000)]


def test_map_keeps_order_and_does_only_what_is_missing(tmp_path: Path) -> None:
    called: list[int] = []

    def square(item: int, shared: int) -> dict[str, int]:
        called.append(item)
        return {"value": item**2 + shared}

    told: list[tuple[Any, ...]] = []
    compute = Local(tmp_path, lambda *all_: told.append(all_))
    expected = [{"value": item**2 + 1} for item in (3, 1, 2)]
    assert compute.map(square, [3, 1, 2], name="squares", shared=1) == expected
    (tmp_path / "units" / "squares" / "000001.pt").unlink()
    assert compute.map(square, [3, 1, 2], name="squares", shared=1) == expected
    assert called == [3, 1, 2, 1]
    assert told[-1] == ("squares", 3, 3, {})
    assert compute.map(square, [], name="nothing") == []


def test_a_saved_file_is_whole_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.pt"
    save_atomically({"a": torch.ones(2)}, path)
    with pytest.raises(AttributeError):
        save_atomically({"a": lambda: None}, path)
    assert torch.equal(load_saved(path)["a"], torch.ones(2))
    assert [file.name for file in path.parent.iterdir()] == ["state.pt"]


def test_nothing_but_plain_values_is_loaded(tmp_path: Path) -> None:
    save_atomically({"a": Path("x")}, tmp_path / "state.pt")
    with pytest.raises(pickle.UnpicklingError):
        load_saved(tmp_path / "state.pt")


def test_cpu_seconds_grow(tmp_path: Path) -> None:
    compute = Local(tmp_path)
    before, end = compute.cpu_s(), time.process_time() + 0.01
    while time.process_time() < end:
        pass
    assert compute.cpu_s() >= before + 0.01


@pytest.mark.parametrize(
    "given", [{"workers": "2"}, {"workers": 1.5}, {"gpus_per_worker": "0"}, {"cpus_per_worker": True}]
)
def test_a_number_of_machines_that_is_none_is_told_by_its_flag(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^on\.{next(iter(given))} is {next(iter(given.values()))!r}: give a"):
        machines_of(given)


def test_ranks_that_wait_for_one_that_ended_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "LONGEST_S", 0.2)
    with pytest.raises(RuntimeError, match=r"^one of 2 ranks waited 0\.2 s for the others"):
        threads.on_ranks(lambda rank: rank.sum_(torch.ones(1)) if rank.rank else None, 2)
