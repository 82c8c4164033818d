"""A node is lost in the middle of a stage, or the memory of one, or the head: nothing is lost, nothing doubled, and the
released bytes are those of an undisturbed run."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from nodes import Nodes, cluster
from ray._private.utils import get_system_memory, get_used_memory

from raysyn.storage import load_saved

LOSER = str(Path(__file__).with_name("loser.py"))
SEEDS = [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(10)]
pytestmark = pytest.mark.timeout(400)


class Run:
    """loser.py with one kind of stage."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.traces, self.store = folder / "traces", folder / "store"
        self.traces.mkdir(parents=True)
        self._command = [sys.executable, LOSER, kind, str(self.store), str(self.traces)]

    def start(self, env: dict[str, str]) -> None:
        self.log = (self.traces / "log").open("wb")
        self.driver = subprocess.Popen(self._command, env=env, stdout=self.log, stderr=subprocess.STDOUT)

    def wait_for(self, pattern: str, count: int = 1) -> None:
        end = time.monotonic() + 150
        while len(list(self.store.parent.glob(pattern))) < count:
            assert self.driver.poll() is None and time.monotonic() < end, self.said()
            time.sleep(0.02)

    def end(self) -> int:
        try:
            return self.driver.wait(200)
        finally:
            self.driver.kill()
            self.log.close()

    def said(self) -> str:
        return (self.traces / "log").read_text()

    def released(self) -> Any:
        return torch.load(self.traces / "released.pt", weights_only=True)

    def ran(self) -> Counter[str]:
        """How often each unit ran."""
        return Counter(path.name.split(".")[0] for path in self.traces.glob("unit-*"))


def calm(kind: str, folder: Path, env: dict[str, str]) -> Run:
    """The undisturbed run."""
    run = Run(kind, folder / "calm")
    run.start(env)
    assert run.end() == 0, run.said()
    return run


def same(left: Any, right: Any) -> bool:
    if isinstance(left, torch.Tensor):
        return torch.equal(left, right)
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    return bool(left == right) if not isinstance(left, list) else all(map(same, left, right))


def take(nodes: Nodes, chance: random.Random) -> None:
    """One of the nodes crashes, or is taken with a short notice; another one comes."""
    at = chance.randrange(len(nodes.workers))
    nodes.lose(at) if chance.random() < 0.5 else nodes.preempt(at, chance.uniform(0, 2))
    nodes.add()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", ["sweep", "semantic"])
def test_a_fan_out_outlives_a_node(kind: str, seed: int, tmp_path: Path) -> None:
    chance, run = random.Random(f"{kind} {seed}"), Run(kind, tmp_path)
    with cluster(workers=2) as nodes:
        run.start(nodes.env)
        run.wait_for(f"store/units/{kind}/*.pt", 1 + chance.randrange(8))
        time.sleep(chance.uniform(0, 0.6))
        take(nodes, chance)
        assert run.end() == 0, run.said()
    undisturbed = calm(kind, tmp_path, {name: value for name, value in nodes.env.items() if name != "RAY_ADDRESS"})
    assert same(run.released(), undisturbed.released())
    ran = run.ran()
    assert ran.keys() == undisturbed.ran().keys()
    # What ran on the lost node ran again, and answers that had lain there; nothing else did.
    assert ran.total() <= 12 + 4, ran
    if kind == "semantic":
        entries = [
            path.read_text().splitlines()
            for path in (run.traces, undisturbed.traces)
            for path in [path / "ledger.jsonl"]
        ]
        assert len(entries[0]) == len(entries[1]) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_dp_sgd_on_two_workers_outlives_a_node(seed: int, tmp_path: Path, two_workers: Run) -> None:
    chance, run = random.Random(seed), Run("dp_sgd", tmp_path)
    with cluster(workers=2) as nodes:
        run.start(nodes.env)
        run.wait_for("store/checkpoints/finetune.pt")
        time.sleep(chance.uniform(0, 4))
        take(nodes, chance)
        assert run.end() == 0, run.said()
    assert same(run.released(), two_workers.released())
    assert len((run.traces / "ledger.jsonl").read_text().splitlines()) == 1


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """DP-SGD on two nodes that stay."""
    with cluster(workers=2) as nodes:
        return calm("dp_sgd", tmp_path_factory.mktemp("two"), nodes.env)


@pytest.mark.parametrize("seed", SEEDS)
def test_units_that_run_out_of_memory_have_more_room_and_are_named_in_the_end(seed: int, tmp_path: Path) -> None:
    """On one node of two CPUs, whose memory is full with two units and never holds the sixth."""
    run = Run("memory", tmp_path)
    each = 1500 << 20
    limit = (get_used_memory() + 1.6 * each + (1 << 30)) / get_system_memory()
    monitor = {"RAY_memory_usage_threshold": f"{limit:.4f}", "RAY_memory_monitor_refresh_ms": "100"}
    with cluster(workers=0) as nodes:
        nodes.add(cpus=2, **monitor)
        run.start(nodes.env | {"EACH_MIB": str(each >> 20)})
        assert run.end() != 0
    units = sorted((run.store / "units" / "memory").glob("*.pt"))
    assert [path.stem for path in units] == [f"{item:06d}" for item in (0, 1, 2, 3, 4)], run.said()
    assert [load_saved(path) for path in units] == [1, 2, 3, 4, 5]
    assert "RuntimeError: memory, unit 5 of 6 failed: OutOfMemoryError: " in run.said()
