"""A tracker hears what a run is, how far it is and its epsilon, and nothing that was measured on private images."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import raysyn
from raysyn.compute.doorway import Outside
from raysyn.methods.tracking import facts, name_of
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Plan
from raysyn.screen import trackers
from raysyn.screen.trackers import Ended, Kind, Show, Told, tracked

TINY: dict[str, Any] = {
    "data": {"limit": 200}, "network": {"width": 8, "multipliers": (1,), "patch": 2}, "central": {"count": 10},
    "warmup": {"iterations": 3}, "finetune": {"batch_size": 32, "epochs": 1}, "sampler": {"steps": 2}, "synthetic": 20,
    "eval": {"classifiers": (), "feature_epochs": 0}, "on": {"address": "here"}, "quiet": True,
}  # fmt: skip
MEASURED = {"loss": 0.5, "examples_per_s": 30.0, "accuracy": 0.9, "norm": 1.5, "waiting": 2.0}


class Hearing:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, float, int]] = []
        self.ended: list[Ended] = []

    def about(self, facts: Mapping[str, str]) -> None: ...

    def figure(self, name: str, value: float, step: int) -> None:
        self.heard.append((name, value, step))

    def close(self, ended: Ended) -> None:
        self.ended.append(ended)


def _silent(*_: object) -> None: ...


OUTSIDE = Outside(frozenset(["finetune"])).told


def test_only_progress_and_epsilon_are_told() -> None:
    tracker, shown = Hearing(), list[Any]()
    told = Told(lambda: tracker, lambda *what: shown.append(what), _silent, OUTSIDE)
    told("finetune-3fa2: timing ways to compute gradients", 0, 0, {})
    told("finetune-3fa2", 10, 10, MEASURED | {"epsilon": 2.5})
    told.close("FINISHED")
    assert tracker.heard == [("progress/finetune", 1.0, 10), ("epsilon/finetune", 2.5, 10)]
    assert tracker.ended == ["FINISHED"]
    assert shown[-1] == ("finetune-3fa2", 10, 10, MEASURED | {"epsilon": 2.5})  # the console sees what it saw


def test_not_every_step_is_told_but_the_last_is(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(trackers.time, "monotonic", lambda: clock[0])
    tracker = Hearing()
    told = Told(lambda: tracker, _silent, _silent, OUTSIDE)
    for step in range(1, 101):
        clock[0] += 0.1
        told("warmup", step, 100, {})
    told.close("FINISHED")
    steps = [step for _, _, step in tracker.heard]
    assert steps[0] == 1 and steps[-1] == 100 and len(steps) == pytest.approx(10 / trackers.EVERY_S + 1, abs=1)


@pytest.mark.parametrize("fails", ["opening", "figure", "close"])
def test_a_tracker_that_fails_is_left_alone_and_the_run_goes_on(fails: str) -> None:
    class Failing(Hearing):
        def figure(self, name: str, value: float, step: int) -> None:
            if fails == "figure":
                raise ConnectionError("http://me:word@host is gone\nwith many lines")

        def close(self, ended: Ended) -> None:
            raise ConnectionError("http://me:word@host is gone\nwith many lines")

    def opened() -> Failing:
        if fails == "opening":
            raise ConnectionError("http://me:word@host is gone\nwith many lines")
        return Failing()

    said, shown = list[str](), list[int]()
    told = Told(opened, lambda stage, done, total, metrics: shown.append(done), said.append, OUTSIDE)
    for _ in range(3):
        told("warmup", 3, 3, {})
    told.close("FINISHED")
    assert said == ["The tracker does not answer, and is left alone: http://host is gone"]
    assert shown == [3, 3, 3]


def test_a_run_does_not_wait_for_a_tracker_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(Hearing):
        def figure(self, name: str, value: float, step: int) -> None:
            never.wait(60)

    never = threading.Event()
    monkeypatch.setattr(trackers, "PATIENCE_S", 0.2)
    told, began = Told(Hanging, _silent, _silent, OUTSIDE), time.monotonic()
    for done in range(1, 4):
        told("warmup", done, 3, {})
    told.close("FINISHED")
    assert time.monotonic() - began < 30
    never.set()


def test_a_tracker_that_is_not_there_costs_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    for kind in ("tensorboard", "mlflow"):
        with pytest.raises(ValueError, match=rf"^track is {kind}, which is not installed: `pip install raysyn\[{kind}"):
            raysyn.run("dp_feta", epsilon=8, out=tmp_path / "run", track=kind, dry_run=True, **TINY)
        assert not (tmp_path / "run").exists()
    with pytest.raises(ValueError, match="track"):
        raysyn.run("dp_feta", epsilon=8, out=tmp_path / "run", track="wandb", **TINY)


def test_what_a_tracker_cannot_do_is_refused_before_the_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda name: name)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ValueError, match="MLFLOW_TRACKING_URI names no server"):
        raysyn.auto("digits", epsilon=3, track="mlflow", out=tmp_path / "run", dry_run=True, quiet=True)
    with pytest.raises(ValueError, match="--out s3://bucket/run is an object store") as refused:
        raysyn.run("dp_feta", epsilon=8, out="s3://key:word@bucket/run?scheme=http", track="tensorboard", **TINY)
    assert "word" not in str(refused.value)
    with pytest.raises(ValueError, match='give it to all by --more "--track mlflow"'):
        raysyn.run("leaderboard", out=tmp_path / "board", track="mlflow", on={"address": "here"}, quiet=True)


def test_a_refused_command_leaves_nothing_of_its_tracker(tmp_path: Path) -> None:
    """So that the mended one finds an empty folder."""
    pytest.importorskip("tensorboard")
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="engine"):
        raysyn.run(
            "dp_feta", epsilon=8, out=out, track="tensorboard",
            **TINY | {"on": {"address": "here", "sgd": {"engine": "fused"}}},
        )  # fmt: skip
    assert not list(tmp_path.rglob("*"))


@contextmanager
def _following(kind: Kind, internal: Path) -> Iterator[Show]:
    with tracked(kind, internal, "scans", {"method": "dp_feta"}, _silent, pytest.fail, OUTSIDE) as show:
        yield show


def test_nobody_is_told_without_the_flag(tmp_path: Path) -> None:
    with _following("none", tmp_path) as show:
        assert show is _silent
    assert not list(tmp_path.iterdir())


def test_tensorboard_of_a_run_has_its_epsilon_and_no_figure_of_its_images(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "scans"
    result = raysyn.run("dp_feta", epsilon=8, out=out, track="tensorboard", **TINY)
    events = EventAccumulator(str(out / "internal/tensorboard/scans"))
    events.Reload()
    curves = set(events.Tags()["scalars"])
    assert {"progress/warmup", "progress/finetune", "epsilon/finetune"} <= curves
    assert all(name.startswith(("progress/", "epsilon/")) for name in curves)
    *_, last = events.Scalars("epsilon/finetune")
    assert last.value == pytest.approx(result.certificate["epsilon"], abs=1e-3)
    (text,) = events.Tags()["tensors"]
    said = events.Tensors(text)[0].tensor_proto.string_val[0].decode()
    assert "| method | dp_feta |" in said and "finetune.noise_multiplier" in said
    # Nothing of it leaves, and with another flag, or none, it is the same run.
    assert not [path for path in (out / "release").rglob("*") if "events" in path.name or "tensorboard" in path.name]
    released = (out / "release/synthetic.parquet").read_bytes()
    again = raysyn.run("dp_feta", epsilon=8, out=out, **TINY)
    assert again.certificate == result.certificate and (out / "release/synthetic.parquet").read_bytes() == released
    raysyn.run("dp_feta", epsilon=8, out=out, seal=True, track="tensorboard", **TINY)
    assert not (out / "internal/tensorboard").exists()


@pytest.mark.filterwarnings("ignore")  # of its database's packages, among themselves
def test_mlflow_goes_on_with_the_run_that_is_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(trackers, "PATIENCE_S", 60.0)
    client = mlflow.MlflowClient()
    ends: list[tuple[type[BaseException], str]] = [(KeyboardInterrupt, "KILLED"), (RuntimeError, "FAILED")]
    for step, (error, status) in enumerate(ends, 1):
        with pytest.raises(error), _following("mlflow", tmp_path) as show:
            show("finetune", 10, 10, MEASURED | {"epsilon": float(step)})
            raise error
        experiment = client.get_experiment_by_name("raysyn").experiment_id
        (run,) = client.search_runs([experiment])
        assert run.info.status == status
    with _following("mlflow", tmp_path) as show:
        show("finetune", 20, 20, MEASURED | {"epsilon": 3.0})
    (run,) = client.search_runs([experiment])
    assert run.info.status == "FINISHED" and run.info.run_name == "scans" and run.data.tags["method"] == "dp_feta"
    assert run.data.metrics == {"progress/finetune": 1.0, "epsilon/finetune": 3.0} and run.data.params == {}
    told = client.get_metric_history(run.info.run_id, "epsilon/finetune")
    assert sorted(point.value for point in told) == [1.0, 2.0, 3.0]
    # One that somebody has deleted is followed by another.
    client.delete_run(run.info.run_id)
    with _following("mlflow", tmp_path) as show:
        show("finetune", 20, 20, {})
    (other,) = client.search_runs([experiment])
    assert other.info.run_id != run.info.run_id and other.info.status == "FINISHED"


def test_what_is_told_of_a_run_is_public() -> None:
    assert facts("pigan", "quick", None) == {"method": "pigan", "preset": "quick", "guarantee": "none"}
    cost = Cost(mechanism="m", noise_multiplier=5.0, sampling_rate=1.0, steps=1)
    plan = Plan(stages={"one": cost}, delta=0.00076025, accountant="prv", epsilon_budget=9.0)
    about, spent = facts("pigan", "quick", plan), plan.priced().epsilon
    assert about["delta"] == "0.000761" and spent <= float(about["epsilon"]) <= spent * 1.001
    assert plan.rows()[0]["epsilon_alone"] <= float(about["one.epsilon_alone"])
    assert name_of("s3://key:word@bucket/runs/scans?scheme=http") == "scans"
    assert name_of("s3://key:word@bucket") == "bucket" and name_of("runs/..") not in ("", "..")
    assert name_of("runs/what & where") == "what___where"
