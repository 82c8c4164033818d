"""Where a cluster is looked for, and how soon a command says that there is none; without a cluster."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import ray
import ray._private.worker
from ray._private import ray_constants, services

from raysyn.compute.doorway import Machines
from raysyn.on_ray import joining
from raysyn.on_ray.cluster import connect
from raysyn.on_ray.joining import Answer, found

SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", SWITCH):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture()
def port() -> Iterator[socket.socket]:
    """A port of ours, at which nobody answers."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield one


def refused(address: str) -> str:
    with pytest.raises(ValueError) as refusal, found(address):
        pass
    told = str(refusal.value)
    assert told.startswith("on.address is ") and "\n" not in told
    return told


def test_a_port_where_nobody_listens_is_refused(port: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "LISTENS_WITHIN_S", 0.1)
    told = refused(f"127.0.0.1:{port.getsockname()[1]}")
    assert "no Ray cluster answers there (Connection refused): start one with `clusters/workstation.sh`" in told


def test_a_port_that_accepts_and_is_silent_is_refused(port: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    assert joining.LISTENS_WITHIN_S + joining.ANSWERS_WITHIN_S < 30
    monkeypatch.setattr(joining, "ANSWERS_WITHIN_S", 0.5)
    port.listen()
    begun = time.monotonic()
    assert "has not answered as a Ray cluster for 0.5 s" in refused(f"127.0.0.1:{port.getsockname()[1]}")
    assert time.monotonic() - begun < 10


def test_a_job_says_so_within_half_a_minute(
    port: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ray itself would try for 14 minutes, and warn all the while."""
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    begun, machines = time.monotonic(), Machines(address=f"127.0.0.1:{port.getsockname()[1]}")
    with pytest.raises(ValueError, match="no Ray cluster answers there"), connect(machines, tmp_path):
        pass
    assert time.monotonic() - begun < 30 and capfd.readouterr().err == ""


@pytest.mark.parametrize("address", ["http://127.0.0.1:8265", "head", "head:", ":6379", "head:port"])
def test_what_is_no_address_is_refused_at_once(address: str) -> None:
    assert "give auto, local, here, or host:port of a cluster" in refused(address)


def here(address: str, *nodes: str) -> Answer:
    return Answer(address, nodes)


def away(address: str, code: grpc.StatusCode) -> Answer:
    return Answer(address, refusal=code, details="why")


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "no Ray cluster runs on this machine"),
        ([here("a:1"), here("b:2")], "--on.address a:1 or --on.address b:2"),
        ([away("a:1", grpc.StatusCode.UNAVAILABLE), away("b:2", grpc.StatusCode.UNAUTHENTICATED)], "at b:2 wants its"),
        ([away("a:1", grpc.StatusCode.INTERNAL)], r"answers there \(why\)"),
    ],
)
def test_of_several_clusters_the_one_that_lets_us_in_is_joined(answers: list[Answer], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        joining._choose("auto", answers)
    able, refusing = here("c:3", "127.0.0.1"), [one for one in answers if one.refusal]
    assert joining._choose("auto", [*refusing, able]) == able


def test_a_cluster_that_this_machine_is_no_node_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # 192.0.2.0/24 is nobody's, but test machines like it: the last one of another such block.
    monkeypatch.setattr(joining, "_ask", lambda address, patience_s: here(address, "203.0.113.254"))
    assert "no node of that cluster (203.0.113.254): send the whole command, `ray job submit" in refused("far:6379")


@pytest.mark.parametrize(("node", "alone"), [("127.0.0.1", True), (services.get_node_ip_address(), False)])
def test_loopback_is_kept_where_the_cluster_keeps_to_it(
    node: str, alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(joining, "_ask", lambda address, patience_s: here(address, node))
    monkeypatch.setattr(ray._private.worker, "_global_node", None)  # of a session that other tests share
    before = ray_constants.ENABLE_RAY_CLUSTER
    with found("127.0.0.1:6379") as address:
        assert address == "127.0.0.1:6379" and os.environ.get(SWITCH) == ("0" if alone else None)
        assert (before and not alone) == ray_constants.ENABLE_RAY_CLUSTER
        assert services.resolve_ip_for_localhost("127.0.0.1") == node or not before
    assert before == ray_constants.ENABLE_RAY_CLUSTER and SWITCH not in os.environ


def test_auto_finds_what_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    found_by_ray = {"127.0.0.1:1", "10.0.0.1:2"}
    monkeypatch.setattr(services, "_find_address_from_flag", lambda flag: found_by_ray)
    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp: None)
    assert joining._candidates("auto") == ["10.0.0.1:2", "127.0.0.1:1"]
    monkeypatch.setattr(services, "find_bootstrap_address", lambda temp: "127.0.0.1:1")
    assert joining._candidates("auto") == ["127.0.0.1:1"]
    found_by_ray.clear()
    assert joining._candidates("auto") == [], "a note that a killed cluster has left is no cluster"
