"""Find the running cluster that an address names, and get in or say within half a minute what to type instead.

Left to itself Ray tries for a quarter of an hour, and goes to the machine's own address where the cluster listens on
loopback alone: a launcher tells that to its own processes only (`clusters/workstation.sh`).
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
from ray._private import ray_constants, services
from ray._private.authentication import authentication_token_setup as tokens
from ray._private.gcs_utils import create_gcs_channel
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.core.generated import gcs_pb2, gcs_service_pb2, gcs_service_pb2_grpc

from raysyn.compute.doorway import NotStarted

ANSWERS_WITHIN_S = 15.0
"""Of a busy machine; one where something else listens is waited for as long."""
LISTENS_WITHIN_S = 4.0
"""Where nobody does: the cluster may just be starting."""

_DEAD = gcs_pb2.GcsNodeInfo.DEAD  # type: ignore[attr-defined]
_LOOPBACK = ("127.", "localhost", "::1", "[::1]")
_LOOPBACK_ALONE = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR
_START = "start one with `clusters/workstation.sh`, or leave on.address at local"


@dataclass(frozen=True)
class Answer:
    """What an address said: the `nodes` of its cluster, or why it did not let us in."""

    address: str
    nodes: tuple[str, ...] = ()
    refusal: grpc.StatusCode | None = None
    details: str = ""

    def wants_token(self) -> bool:
        return self.refusal in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@contextmanager
def found(address: str) -> Iterator[str]:
    """The host:port that `address` (RAY_ADDRESS before it) leads to, with the process prepared to join what is there.

    Errors: ValueError in one sentence where no cluster answers in time, or one that does not let this process in.
    """
    given, mode = os.environ.get("RAY_ADDRESS") or address, os.environ.get(tokens.AUTH_MODE_ENV_VAR)
    try:
        answer = _choose(given, list(_answers(given)))
        if not any(map(_is_here, answer.nodes)):
            raise ValueError(
                f"{_named(given)}, but this machine is no node of that cluster ({', '.join(answer.nodes)}): "
                f"send the whole command, `ray job submit --address http://HOST:8265 -- {_typed()}`"
            )
        with loopback_alone(any(node.startswith(_LOOPBACK) for node in answer.nodes)):
            yield answer.address
    finally:
        _restore_mode(mode)


def _answers(given: str) -> Iterator[Answer]:
    """What every cluster that may be meant says, up to the first that is there where an address was given."""
    patience_s = LISTENS_WITHIN_S
    for address in _candidates(given):
        yield (answer := _let_in(given, address, patience_s))
        if given != "auto" and answer.refusal is not grpc.StatusCode.UNAVAILABLE:
            return
        patience_s = 0.0


def _candidates(given: str) -> list[str]:
    """host:port of what may be meant: of `auto`, every cluster of this machine."""
    if given != "auto":
        host, colon, port = given.rpartition(":")
        if "://" in given or not (host and colon and port.isdecimal()):
            raise ValueError(
                f"{_named(given)}: give auto, local, here, or host:port of a cluster, such as 10.0.0.1:6379"
            )
        # A cluster that is for more than this machine listens on its address alone.
        own = [f"{services.get_node_ip_address()}:{port}"] if given.startswith(_LOOPBACK) else []
        return list(dict.fromkeys([given, *own]))
    services.find_gcs_addresses.cache_clear()  # type: ignore[attr-defined]
    running, last = sorted(services.find_gcs_addresses()), services.find_bootstrap_address(None)
    # What the last plain `ray start` has noted comes first: Ray itself goes there.
    return [last] if last in running else running


def _choose(given: str, answers: Sequence[Answer]) -> Answer:
    """The one that lets us in; ValueError with what to do where there is none, or more than one."""
    if not answers:
        raise ValueError(f"{_named(given)}, but no Ray cluster runs on this machine: {_START}")
    able = [answer for answer in answers if answer.refusal is None]
    if len(able) == 1:
        return able[0]
    if able:
        named = " or ".join(f"--on.address {answer.address}" for answer in able)
        raise ValueError(f"{_named(given)}, but several Ray clusters run on this machine: name one, {named}")
    last = next((answer for answer in answers if answer.wants_token()), answers[0])
    at = f"{_named(given)}, "
    if last.wants_token():
        raise ValueError(
            f"{at}and the cluster at {last.address} wants its token: type `RAY_AUTH_MODE=token {_typed()}` as the user "
            "who started it, or put before that RAY_AUTH_TOKEN_PATH=FILE, a file with what `ray get-auth-token` prints "
            "there"
        )
    if last.refusal is grpc.StatusCode.DEADLINE_EXCEEDED:
        raise ValueError(
            f"{at}where something listens that has not answered as a Ray cluster for {ANSWERS_WITHIN_S:g} s: name "
            f"another port, {_START}"
        )
    raise ValueError(f"{at}but no Ray cluster answers there ({last.details}): {_START}")


def _let_in(given: str, address: str, patience_s: float) -> Answer:
    """What `address` says, with the token of this user where it asks for one and is on this machine.

    Ray does so for `auto` alone; to other machines nothing is sent that nobody has asked to send.
    """
    answer = _ask(address, patience_s)
    ours = given == "auto" or address.startswith(_LOOPBACK)
    if not (answer.wants_token() and ours) or tokens.AUTH_MODE_ENV_VAR in os.environ:
        return answer
    if not AuthenticationTokenLoader.instance().has_token(ignore_auth_mode=True):
        return answer
    os.environ[tokens.AUTH_MODE_ENV_VAR] = "token"
    Config.initialize("")  # Ray has read its environment already
    return _ask(address, patience_s)


def _ask(address: str, patience_s: float) -> Answer:
    """Who is in the cluster there; patient with one that is busy, for `patience_s` with one that may be starting."""
    begun, answer = time.monotonic(), Answer(address)
    channel = create_gcs_channel(address)
    try:
        asked = gcs_service_pb2.GetAllNodeInfoRequest()  # type: ignore[attr-defined]
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        while True:
            try:
                left = ANSWERS_WITHIN_S - (time.monotonic() - begun)
                reply = stub.GetAllNodeInfo(asked, timeout=max(left, 0.1))
            except grpc.RpcError as error:
                answer = replace(answer, refusal=error.code(), details=_reason(error.details() or ""))
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() - begun > patience_s:
                    return answer
                time.sleep(0.5)
            else:
                alive = {node.node_manager_address for node in reply.node_info_list if node.state != _DEAD}
                # One whose head has yet to say so is starting.
                if alive or time.monotonic() - begun > patience_s:
                    return Answer(address, tuple(sorted(alive)))
                time.sleep(0.5)
    finally:
        channel.close()


def _reason(details: str) -> str:
    """The end of what gRPC says, which is all that is new in it."""
    if "HTTP/2" in details:
        return "something else listens"
    return details.rpartition(": ")[2].rstrip(".]") or "no reason is given"


def _is_here(node: str) -> bool:
    """Whether this address, of a node, is one of this machine's."""
    try:
        infos = socket.getaddrinfo(node.strip("[]"), 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, *_, place in infos:
        with socket.socket(family, kind) as one:
            try:
                one.bind(place)
            except OSError:
                continue
            return True
    return False


def _named(given: str) -> str:
    """The setting that the address comes from."""
    return f"RAY_ADDRESS is {given!r}" if os.environ.get("RAY_ADDRESS") else f"on.address is {given!r}"


def _typed() -> str:
    """The command that this process was started with."""
    script = Path(sys.argv[0] or "script.py")
    if script.name == "__main__.py":
        return shlex.join(["python", "-m", script.parent.name, *sys.argv[1:]])
    return shlex.join(["python" if script.suffix == ".py" else script.name, *sys.argv[script.suffix != ".py" :]])


@contextmanager
def loopback_alone(wanted: bool = True) -> Iterator[None]:
    """Let Ray in this process take 127.0.0.1 for what it is, as the processes of such a cluster do."""
    read, before = ray_constants.ENABLE_RAY_CLUSTER, os.environ.get(_LOOPBACK_ALONE)
    try:
        if wanted:
            os.environ[_LOOPBACK_ALONE], ray_constants.ENABLE_RAY_CLUSTER = "0", False
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = read
        _restore(_LOOPBACK_ALONE, before)


def _restore_mode(before: str | None) -> None:
    if os.environ.get(tokens.AUTH_MODE_ENV_VAR) != before:
        _restore(tokens.AUTH_MODE_ENV_VAR, before)
        Config.initialize("")


def _restore(name: str, before: str | None) -> None:
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


@contextmanager
def in_time() -> Iterator[None]:
    """Around the start of a cluster; NotStarted where Ray gave up waiting for its own processes, which it says in
    exceptions of no class of their own."""
    try:
        yield
    except Exception as error:
        if "timed out" in (said := str(error).lower()) or "failed to start gcs" in said:
            cause = str(error).partition("\n")[0][:120]
            raise NotStarted(
                "Ray did not start on this machine in time (busy?): nothing is lost, the same command continues; "
                f"--on.address here does without Ray. It says: {cause}"
            ) from error
        raise
