"""What the cluster's autoscaler says: what it starts, what waits for it, and what it can never give."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
import ray._private.worker
import ray.exceptions
from ray.core.generated import autoscaler_pb2

EVERY_S = 3.0
"""Between two looks at the autoscaler, which itself looks about once in 5 s."""
PATIENCE_S = 60.0
"""After so long a request that it calls infeasible is one; a cluster that is just starting calls many so."""
PATIENCE_WITHOUT_S = 600.0
"""Where there is no autoscaler: a node that was lost may be on its way back."""

_DEAD = autoscaler_pb2.NodeStatus.Value("DEAD")  # type: ignore[attr-defined]

ANSWERS_WITHIN_S, SPEAKS_WITHIN_S = 60.0, 5.0
"""An autoscaler answers; one that has never spoken is not there."""
GIVEN_WAY_S = 15.0
"""For so long another driver's question goes before ours; longer than its answer takes."""

Bundle = Mapping[str, float]
"""Resources that are needed together on one node."""


@dataclass(frozen=True)
class Growth:
    """A cluster at one moment, as its autoscaler sees it."""

    nodes: int
    """Alive, with at least one CPU."""
    starting: int
    """Asked for, and not there yet."""
    waiting: int
    """Tasks and actors that no node has room for."""
    unplaced: list[dict[str, float]]
    """What waits and has no place, neither on a node that is there now nor on one that may be added: a cluster at its
    largest calls everything so that it is too busy for."""
    largest: list[dict[str, float]]
    """All that each node has, busy or not."""
    refused: list[dict[str, float]]
    """What `may_have` asked for and cannot be had."""
    version: int
    """Of the cluster's state, which counts up."""
    seen: int
    """The version that the autoscaler has answered to; 0 where there is none."""
    constraints: Sequence[tuple[Bundle, int]] = ()
    """What somebody wants the cluster to have room for just now, and how often."""

    def never(self, bundle: Bundle, count: int = 1) -> bool:
        """Whether nodes have no room for so many of these, and none is coming or, by an autoscaler, may come."""
        if self.seen and (self.starting or not any(_same(one, bundle) for one in self.unplaced)):
            return False
        return self.room(bundle) < count

    def room(self, bundle: Bundle) -> int:
        """For how many of these nodes have room, were they not busy."""
        return sum(
            min((int(node.get(kind, 0) / value + 1e-9) for kind, value in bundle.items() if value), default=1)
            for node in self.largest
        )


def growth() -> Growth:
    """How the cluster stands now. Without an autoscaler nothing starts."""
    reply = autoscaler_pb2.GetClusterStatusReply()  # type: ignore[attr-defined]
    reply.ParseFromString(_gcs().get_cluster_status(timeout_s=10))
    here, auto = reply.cluster_resource_state, reply.autoscaling_state
    alive = [node for node in here.node_states if node.status != _DEAD]
    gangs = [one for gang in auto.infeasible_gang_resource_requests for one in gang.requests]
    kept = [one.request for some in auto.infeasible_cluster_resource_constraints for one in some.resource_requests]
    return Growth(
        nodes=sum(node.total_resources.get("CPU", 0) > 0 for node in alive),
        starting=len(auto.pending_instances) + sum(one.count for one in auto.pending_instance_requests),
        waiting=sum(one.count for one in here.pending_resource_requests),
        unplaced=[dict(one.resources_bundle) for one in (*auto.infeasible_resource_requests, *gangs)],
        largest=[dict(node.total_resources) for node in alive],
        refused=[dict(one.resources_bundle) for one in kept],
        version=here.cluster_resource_state_version,
        seen=auto.last_seen_cluster_resource_state_version,
        constraints=[
            (dict(one.request.resources_bundle), one.count)
            for some in here.cluster_resource_constraints
            for one in some.resource_requests
        ],
    )


def may_have(bundle: Bundle, count: int) -> bool:
    """Whether the cluster has or will have `count` of these: asks its autoscaler, which begins to start them if so."""
    asked = {kind: value for kind, value in bundle.items() if value}

    def ask() -> int:
        _gcs().request_cluster_resource_constraint([asked], [{}], [count], timeout_s=10)
        return growth().version

    try:
        before, begun, another_since = ask(), time.monotonic(), 0.0
        while True:
            now, at = growth(), time.monotonic()
            if (asked, count) in now.constraints:
                another_since = 0.0
                if now.seen > before:
                    return not any(_same(one, bundle) for one in now.refused)
            elif now.constraints and (not another_since or at - another_since < GIVEN_WAY_S):
                # There is room for one question, and another driver has put its own: it goes first.
                another_since = another_since or at
            else:
                before, another_since = ask(), 0.0
            if at - begun > (ANSWERS_WITHIN_S if now.seen else SPEAKS_WITHIN_S):
                return False
            time.sleep(0.5)
    finally:
        _gcs().request_cluster_resource_constraint([], [], [], timeout_s=10)


class Watch:
    """Called while work is waited for: what progress shows of the cluster, looked up every few seconds.

    Raises RuntimeError where what the `name` stage asks for, a `bundle` each and `count` of them at the same time, can
    never be scheduled.
    """

    def __init__(self, name: str, bundle: Bundle, count: int = 1) -> None:
        self._name, self._bundle = name, {kind: value for kind, value in bundle.items() if value}
        self._count = count
        self._looked_at, self._never_since = time.monotonic(), 0.0
        self._told: dict[str, float] = {}

    def __call__(self) -> dict[str, float]:
        """{"nodes", "starting", "waiting"} where there is more than one node, or may be."""
        now = time.monotonic()
        if now - self._looked_at < EVERY_S:
            return self._told
        self._looked_at = now
        try:
            found = growth()
        except ray.exceptions.RayError:
            return self._told  # The head is busy: progress is worth no failure.
        if not found.never(self._bundle, self._count):
            self._never_since = 0.0
        elif not self._never_since:
            self._never_since = now
        elif now - self._never_since > (PATIENCE_S if found.seen else PATIENCE_WITHOUT_S):
            added = "and none that the cluster's autoscaler may add" if found.seen else "nor has come back meanwhile"
            times = f"{self._count} times " if self._count > 1 else ""
            room = f", where there is room for {found.room(self._bundle)}" if self._count > 1 else ""
            raise RuntimeError(
                f"{self._name} asks for {times}{words(self._bundle)} at a time, which no node has {added}{room}; "
                f"what is there: {words(ray.cluster_resources())}. Ask for less "
                "(--on.workers, --on.cpus-per-worker, --on.gpus-per-worker, --on.gpus-per-unit), or change the cluster"
            )
        grows = found.nodes > 1 or found.starting or not found.nodes
        self._told = {"nodes": found.nodes, "starting": found.starting, "waiting": found.waiting} if grows else {}
        return self._told


def _same(one: Bundle, other: Bundle) -> bool:
    kinds = {"CPU", "GPU"}
    return all(one.get(kind, 0) == other.get(kind, 0) for kind in kinds)


def words(resources: Bundle) -> str:
    return " and ".join(f"{resources.get(kind, 0):g} {kind}s" for kind in ("CPU", "GPU"))


def _gcs() -> Any:
    return ray._private.worker.global_worker.gcs_client  # type: ignore[attr-defined]
