"""A node is lost in the middle of a stage, or the memory of one, or the head: nothing is lost, nothing doubled, and the
released bytes are those of an undisturbed run."""

from __future__ import annotations

import copy
import json
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest.mock import patch

import loser
import pytest
import ray
import ray._private.state
import stages
import torch
from nodes import Nodes, cluster
from ranks import on_ranks
from ray._private.utils import get_system_memory, get_used_memory

from raysyn.compute.doorway import Machines
from raysyn.compute.local import Local
from raysyn.on_ray.cluster import OnRay
from raysyn.privacy.sgd_config import marks
from raysyn.runs.storage import load_saved

LOSER = str(Path(__file__).with_name("loser.py"))
KINDS = ("sweep", "semantic", "dp_sgd")
# Generous, for machines that are busy with something else.
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    """One head for all tests that leave it alone."""
    with cluster(workers=0) as found:
        yield found


class Run:
    """loser.py with one kind of stage, or several in turn."""

    started: ClassVar[list[Run]] = []

    def __init__(self, kinds: str, folder: Path) -> None:
        self.traces, self.store = folder / "traces", folder / "store"
        self.traces.mkdir(parents=True)
        self._command = [sys.executable, LOSER, kinds, str(self.store), str(self.traces)]

    def start(self, env: dict[str, str]) -> None:
        self.log = (self.traces / "log").open("wb")
        self.driver = subprocess.Popen(self._command, env=env, stdout=self.log, stderr=subprocess.STDOUT)
        self.started.append(self)

    def wait_for(self, pattern: str, count: int = 1) -> None:
        end = time.monotonic() + 300
        while len(list(self.store.parent.glob(pattern))) < count:
            assert self.driver.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.02)

    def end(self) -> int:
        try:
            return self.driver.wait(400)
        finally:
            self.driver.kill()
            self.log.close()

    def said(self) -> str:
        return (self.traces / "log").read_text()

    def released(self) -> Any:
        return torch.load(self.traces / "released.pt", weights_only=True)

    def ran(self, kind: str) -> Counter[str]:
        """How often each unit ran."""
        return Counter(path.name.split(".")[0] for path in self.traces.glob(f"{kind}-*"))


@pytest.fixture(autouse=True)
def no_driver_is_left() -> Iterator[None]:
    """Nor its file: what a failed test leaves would disturb those after it."""
    yield
    for run in Run.started:
        run.driver.kill()
        run.driver.wait()
        run.log.close()
    Run.started.clear()


class Ranks(Local):
    """Training on two ranks, which are threads of this process."""

    def train(self, f: Callable[..., Any], *args: Any, name: str, alone: bool = False) -> Any:
        return on_ranks(lambda rank: f(rank, *copy.deepcopy(args)), 2)[0][0]


def undisturbed(kind: str, folder: Path) -> tuple[Any, Counter[str]]:
    """What a stage releases in this process, and which units it has; without the waiting in which nodes are lost."""
    run, before = Run(kind, folder / "calm"), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with patch.object(loser, "time", SimpleNamespace(sleep=lambda seconds: None)):
            return loser.STAGES[kind](Ranks(run.store), run.traces), run.ran(kind)
    finally:
        torch.set_num_threads(before)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def take(nodes: Nodes, chance: random.Random) -> None:
    """One of the nodes crashes, or is taken with a short notice."""
    at = chance.randrange(len(nodes.workers))
    nodes.lose(at) if chance.random() < 0.5 else nodes.preempt(at, chance.uniform(0, 2))


def reached(run: Run, kind: str, chance: random.Random) -> None:
    """Return at a random moment in the middle of a stage of `run`."""
    if kind == "dp_sgd":
        run.wait_for("store/checkpoints/finetune.pt")
        # Of 20 steps, of which a node that is taken with notice takes some more.
        step = chance.randrange(10)
        while load_saved(run.store / "checkpoints" / "finetune.pt")["done"] < step:
            assert run.driver.poll() is None, run.said()
            time.sleep(0.02)
    else:
        run.wait_for(f"store/units/{kind}/*.pt", 1 + chance.randrange(4))
        time.sleep(chance.uniform(0, 1))
        assert len(list((run.store / "units" / kind).glob("*.pt"))) < 12, "in the middle"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_sweep_semantic_inference_and_dp_sgd_on_two_workers_outlive_nodes(
    seed: int, nodes: Nodes, tmp_path: Path
) -> None:
    """One after the other, and each loses one; another one comes, but for units at the end, for which one is enough."""
    chance, run = random.Random(seed), Run(",".join(KINDS), tmp_path)
    nodes.hold(1, 1)
    run.start(nodes.env)
    for kind in KINDS:
        (run.traces / f"{kind}.may-begin").touch()
        reached(run, kind, chance)
        # Of what it loses Ray tells itself.
        assert kind != KINDS[0] or run.said() == "", "a quiet console"
        take(nodes, chance)
        if kind == "dp_sgd":
            assert not (run.store / "answers" / "finetune.pt").exists(), "lost in the middle"
        if kind == "dp_sgd" or kind != KINDS[-1]:
            nodes.add()
    assert run.end() == 0, run.said()
    for kind in KINDS:
        released, units = undisturbed(kind, tmp_path / kind)
        assert same(run.released()[kind], released)
        ran = run.ran(kind)
        assert ran.keys() == units.keys()
        # What ran on the lost node ran again, and answers that had lain there; nothing else did.
        assert ran.total() <= len(units) + 4, ran
    for paid in ("semantic", "finetune"):
        assert len((run.traces / f"{paid}.jsonl").read_text().splitlines()) == 1


def test_ray_still_says_which_nodes_go(ray_session: None) -> None:
    """By a call that it does not promise to keep: without it no state is saved ahead, and nobody notices."""
    assert ray._private.state.state.get_draining_nodes() == {}  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_group_that_is_told_of_a_node_that_goes_saves_a_state_at_once(nodes: Nodes, tmp_path: Path) -> None:
    """And again until the node is gone, at steps that would else have left none; what is released is the same."""
    run, every = Run("announced", tmp_path), marks(200)
    assert every > 2
    nodes.hold(1, 1)
    run.start(nodes.env)
    run.wait_for("store/checkpoints/finetune.pt")
    saved = run.store / "checkpoints" / "finetune.pt"
    nodes.announce(0, notice_s=300)
    end = time.monotonic() + 100
    while load_saved(saved)["done"] % every == 0:
        assert run.driver.poll() is None and time.monotonic() < end, run.said()
        time.sleep(0.02)
    assert not (run.store / "answers" / "finetune.pt").exists(), "in the middle"
    nodes.lose(0)
    nodes.add()
    assert run.end() == 0, run.said()
    assert same(run.released()["announced"], undisturbed("announced", tmp_path / "calm")[0])


@pytest.mark.slow
def test_units_short_of_memory_have_more_room_and_are_named_in_the_end(ray_session: None, tmp_path: Path) -> None:
    """On one node of two CPUs, where units say themselves that two of them are too many, and one is always."""
    run = Run("scarce", tmp_path)
    compute = OnRay(Machines(workers=1, gpus_per_worker=0), run.store)
    with pytest.raises(RuntimeError) as failure:
        compute.map(stages.crowded, range(6), name="scarce", shared=(str(run.traces), 2))
    check_memory(run, "scarce", 2, "memory ran out", f"RuntimeError: {failure.value}")


def check_memory(run: Run, kind: str, huge: int, told: str, said: str) -> None:
    """Five units are done, and the sixth is named, which was tried beside another one and with the node to itself."""
    units = sorted((run.store / "units" / kind).glob("*.pt"))
    others = [item for item in range(6) if item != huge]
    assert [path.stem for path in units] == [f"{item:06d}" for item in others], said
    assert [load_saved(path) for path in units] == [1 + item for item in others]
    assert f"RuntimeError: {kind}, unit {huge} of 6 failed: " in said and told in said
    assert run.ran(kind)[f"{kind}-{huge}"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_units_that_the_system_kills_for_memory_have_more_room_too(seed: int, tmp_path: Path) -> None:
    """On one node of two CPUs, whose memory is full with two units and never holds one of them."""
    run, huge = Run("memory", tmp_path), random.Random(seed).randrange(6)
    # The cluster, the driver and two workers take two GiB.
    each, own = 2500 << 20, 2200 << 20
    if get_system_memory() < get_used_memory() + own + 3 * each:
        pytest.skip("needs 10 GB of free memory")
    limit = (get_used_memory() + own + 1.5 * each) / get_system_memory()
    monitor = {"RAY_memory_usage_threshold": f"{limit:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
    with cluster(workers=0) as nodes:
        nodes.add(cpus=2, **monitor)
        run.start(nodes.env | {"EACH_MIB": str(each >> 20), "HUGE": str(huge)})
        assert run.end() != 0
    check_memory(run, "memory", huge, f"unit {huge} of 6 failed: OutOfMemoryError: ", run.said())


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_lost_head_ends_the_driver_and_a_new_cluster_continues(kind: str, tmp_path: Path) -> None:
    run = Run(kind, tmp_path)
    with cluster(workers=2) as nodes:
        run.start(nodes.env)
        run.wait_for("store/checkpoints/finetune.pt" if kind == "dp_sgd" else f"store/units/{kind}/*.pt")
        nodes.lose_head()
        assert run.end() != 0
        assert not (run.traces / "released.pt").exists() and not list(run.traces.glob("*.jsonl"))
    before = run.ran(kind).total()
    with cluster(workers=2) as nodes:
        run.start(nodes.env)
        assert run.end() == 0, run.said()
    released, units = undisturbed(kind, tmp_path)
    assert same(run.released()[kind], released) and run.ran(kind).keys() == units.keys()
    assert run.ran(kind).total() - before < 12


@pytest.mark.slow
def test_a_board_whose_node_is_lost_pays_for_each_run_once(tmp_path: Path) -> None:
    small = "--data.limit 300 --network.width 8 --network.multipliers 1 --network.patch 2 --central.count 10"
    small += " --warmup.iterations 20 --finetune.batch-size 32 --finetune.epochs 6 --sampler.steps 3"
    small += " --synthetic 300 --eval.epochs 1 --eval.classifiers logreg --eval.feature-epochs 1"
    root, board = Path(__file__).parents[2], tmp_path / "board"
    command = [sys.executable, str(root / "jobs/leaderboard.py"), "quick", "--methods", "dp_feta", "--epsilons", "5"]
    command += ["--seeds", "0", "1", "2", "--on.address", "auto", "--out", str(board), f"--more={small}"]
    command += ["--judges.classifiers", "logreg", "--judges.epochs", "1"]
    with cluster(workers=2) as nodes, (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, env=nodes.env, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 150
        while not list(board.glob("internal/runs/*/internal/ledger.jsonl")):
            assert driver.poll() is None and time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.02)
        secrets = {path: path.read_bytes() for path in board.glob("internal/runs/*/internal/secret")}
        nodes.lose(0)
        nodes.add()
        assert driver.wait(300) == 0, (tmp_path / "log").read_text()
    ledgers = list(board.glob("internal/runs/*/internal/ledger.jsonl"))
    assert len(ledgers) == 3 and secrets and all(path.read_bytes() == value for path, value in secrets.items())
    for one in ledgers:
        assert [json.loads(line)["stage"] for line in one.read_text().splitlines()] == ["central", "finetune"]
    assert (board / "internal" / "table.html").exists()
