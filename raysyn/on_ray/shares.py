"""How the machines of a cluster are shared out among the workers of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from raysyn.compute.doorway import Machines


@dataclass(frozen=True, kw_only=True)
class Shares:
    """What each training worker gets, and each unit of a fan-out besides one CPU."""

    workers: int
    cpus: int
    gpus: float
    gpus_per_unit: float
    cpus_alone: int
    """CPUs of a worker that trains alone: as many as the workers have together, if one node holds them."""

    def alone(self) -> Shares:
        return replace(self, workers=1, cpus=self.cpus_alone)


def share_out(machines: Machines, nodes: Sequence[Mapping[str, float]]) -> Shares:
    """Fill in what `machines` leaves open.

    With GPUs: one worker per GPU. Without: one per CPU up to four, because data-parallel ranks of one thread
    beat threads inside small convolutions. CPUs are dealt out evenly.
    """
    cpus, gpus = (int(sum(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU"))
    gpus_each = machines.gpus_per_worker if machines.gpus_per_worker is not None else min(gpus, 1)
    workers = machines.workers
    if workers is None:
        workers = gpus if gpus_each else min(cpus, 4)
    if workers < 1:
        raise ValueError(f"on.workers is {workers}: the cluster must have at least one CPU")
    cpus_each = machines.cpus_per_worker or max(1, cpus // workers)
    if machines.cpus_per_worker is None:
        # CPUs are dealt out evenly over the cluster, but a worker cannot straddle two nodes.
        while cpus_each > 1 and fitting(nodes, cpus_each, gpus_each) < workers:
            cpus_each -= 1
    if (room := fitting(nodes, cpus_each, gpus_each)) < workers:
        raise ValueError(
            f"on.workers is {workers} with {cpus_each} CPUs and {gpus_each:g} GPUs each, but the cluster of "
            f"{cpus} CPUs and {gpus} GPUs has room for {room}: lower on.workers or what each of them gets"
        )
    per_unit = machines.gpus_per_unit if machines.gpus_per_unit is not None else min(gpus_each, 1.0)
    if not fitting(nodes, 1, per_unit):
        raise ValueError(
            f"on.gpus_per_unit is {per_unit:g}, but the cluster has {gpus} GPUs: lower it, or leave it out"
        )
    alone = [int(node.get("CPU", 0)) for node in nodes if fitting([node], cpus_each, gpus_each)]
    return Shares(
        workers=workers,
        cpus=cpus_each,
        gpus=float(gpus_each),
        gpus_per_unit=float(per_unit),
        cpus_alone=min(workers * cpus_each, max(alone)),
    )


def fitting(nodes: Sequence[Mapping[str, float]], cpus: float, gpus: float) -> int:
    """How many workers of this size the nodes hold."""
    per_node = [
        min(int(node.get("CPU", 0) // cpus), int(node.get("GPU", 0) / gpus + 1e-9) if gpus else 1 << 30)
        for node in nodes
    ]
    return sum(per_node)


def this_machine() -> dict[str, float]:
    """What a cluster that is started here will have, as its only node will say it."""
    # Imported where it is used, not above: `here` does without Ray, and must not wait for it.
    from ray._private.resource_and_label_spec import ResourceAndLabelSpec

    found = ResourceAndLabelSpec().resolve(is_head=True, node_ip_address="127.0.0.1")
    return {"CPU": float(found.num_cpus or 0), "GPU": float(found.num_gpus or 0)}
