"""A cluster without workers grows for a sweep, shrinks after it, and says what it can never give."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from growing import growing_cluster

SWEEPER = str(Path(__file__).with_name("sweeper.py"))


def sweep(env: dict[str, str], folder: Path, kind: str, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "traces").mkdir()
    command = [sys.executable, SWEEPER, kind, str(folder / "store"), str(folder / "traces"), *more]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=170)


@pytest.fixture(scope="module")
def grown_to_two() -> Iterator[dict[str, str]]:
    """The way into a cluster without workers that may have two; every test leaves it as it found it."""
    with growing_cluster(most=2) as env:
        yield env


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_what_no_node_can_give_is_said_at_once_and_a_sweep_of_12_units_grows_the_cluster_and_lets_it_go(
    grown_to_two: dict[str, str], tmp_path: Path
) -> None:
    """One driver asks for a GPU first, and then for what there may be."""
    done = sweep(grown_to_two, tmp_path, "map", "12", "0.2", "1")
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads((tmp_path / "traces" / "answer.json").read_text())
    no_cpus = "the cluster has no CPUs, and its autoscaler cannot add 1 times 1 CPUs and 1 GPUs"
    assert no_cpus in seen["refused"]
    assert (seen["before"], seen["most"], seen["after"]) == (0, 2, 0)
    assert [one["square"] for one in seen["found"]] == [item**2 for item in range(12)]
    assert len({one["node"] for one in seen["found"]}) == 2, "both nodes worked"
    ran = [path.name.split(".")[0] for path in (tmp_path / "traces").glob("unit-*")]
    assert sorted(ran) == sorted(f"unit-{item}" for item in range(12)), "each once"
    # Progress tells what it waits for.
    assert any(one.get("waiting", 0) > 0 for one in seen["told"])


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sweep_that_keeps_the_largest_cluster_busy_for_long_is_not_called_impossible(
    grown_to_two: dict[str, str], tmp_path: Path
) -> None:
    done = sweep(grown_to_two, tmp_path, "map", "22", "8.0")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kind", "units", "found"), [("search", 6, [item**2 for item in range(6)]), ("train", 2, [2.0])]
)
def test_a_search_and_a_training_grow_it_too(
    grown_to_two: dict[str, str], kind: str, units: int, found: list[float], tmp_path: Path
) -> None:
    done = sweep(grown_to_two, tmp_path, kind, str(units), "3.0")
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads((tmp_path / "traces" / "answer.json").read_text())
    assert (seen["before"], seen["most"], seen["after"], seen["found"]) == (0, 2, 0, found)
    assert any(one.get("nodes") or one.get("waiting") or one.get("starting") for one in seen["told"]), seen["told"]
