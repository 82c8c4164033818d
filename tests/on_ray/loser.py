"""python loser.py KINDS STORAGE TRACES: stages on the cluster of RAY_ADDRESS, whose nodes are taken away meanwhile.

What it released is TRACES/released.pt, the ledger of a stage that pays TRACES/<stage>.jsonl.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stages import leave_trace

from raysyn.compute.doorway import Compute, Machines
from raysyn.data.images import DataConfig, Images, load
from raysyn.methods.privimage.stages import count_shard
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.unet import UNet, UNetConfig
from raysyn.on_ray import rank
from raysyn.on_ray.cluster import connect
from raysyn.privacy import sgd
from raysyn.privacy.ledger import Ledger, Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import semantic as semantic_query
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train.diffusion import DiffusionTask

PRICE = sgd.Cost(mechanism="DP-SGD", noise_multiplier=1.0, sampling_rate=0.1, steps=20)
MIB = 1 << 20


def slow_square(item: int, shared: tuple[str, float]) -> dict[str, Any]:
    leave_trace(Path(shared[0]), f"sweep-{item}")
    time.sleep(shared[1])
    return {"square": item * item, "many": torch.full((300_000,), float(item))}


def sweep(compute: Compute, traces: Path) -> Any:
    """Twelve units, whose answers are too large to travel with the message that they are done."""
    return compute.map(slow_square, range(12), name="sweep", shared=(str(traces), 0.6))


def slow_count(shard: tuple[int, int], shared: tuple[tuple[Any, ...], str]) -> dict[str, torch.Tensor]:
    leave_trace(Path(shared[1]), f"semantic-{shard[0]}")
    time.sleep(0.5)
    return {"count": count_shard(shard, shared[0]), "many": torch.full((300_000,), float(shard[0]))}


def semantic(compute: Compute, traces: Path) -> Any:
    """PrivImage's query, whose answers here are as large as those of `sweep`."""
    rng, config = np.random.default_rng(0), SemanticConfig(k=2)
    private = Images(rng.integers(0, 256, (240, 8, 8, 1), np.uint8), np.arange(240) % 3, ("a", "b", "c"))
    torch.manual_seed(0)
    shared = (SemanticNetConfig(name="resnet14", width=4).build(1, 12), private, config, 12)
    parts = [(at, at + 20) for at in range(0, 240, 20)]
    exact = compute.map(slow_count, parts, name="semantic", shared=(shared, str(traces)))
    counts = [one["count"].numpy() for one in exact]
    answer = semantic_query.semantic_histogram(counts, config, config.cost(), Stream(bytes(32), "semantic"))
    many = torch.stack([one["many"] for one in exact])
    return {"histogram": torch.from_numpy(pay(traces, "semantic", answer.cost, answer)), "many": many}


class SlowTask(DiffusionTask):
    """Long to wait for, and little to compute: a node is lost in the middle."""

    def loss(self, *given: Any) -> Any:
        time.sleep(0.1)
        return super().loss(*given)


class AskingTask(SlowTask):
    """In a process that asks often whether a machine will go."""

    def draw(self, *given: Any) -> Any:
        rank.ASKED_EVERY_S = 0.5
        return super().draw(*given)


def announced(compute: Compute, traces: Path) -> Any:
    """So many steps that most of them leave no state."""
    return dp_sgd(compute, traces, AskingTask(classes=10), epochs=20.0)


def dp_sgd(compute: Compute, traces: Path, task: DiffusionTask | None = None, epochs: float = 2.0) -> Any:
    """Training of a small network on two workers."""
    config = SGDConfig(batch_size=20, epochs=epochs, noise_multiplicity=2)
    price = replace(PRICE, steps=round(10 * epochs))
    torch.manual_seed(0)
    model = UNet(UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), patch=2), 1, 8, 10)
    speed = SGDSpeed(engine="bookkeeping", micro_batch=7, channels_last=True)
    private, task = load(DataConfig(limit=200)).train, task or SlowTask(classes=10)
    release = sgd.train(compute, model, task, private, config, price, bytes(32), speed, name="finetune")
    return pay(traces, "finetune", price, release)["ema"]


def hungry(item: int, shared: tuple[str, int, int]) -> int:
    """Takes memory for a while; one of the items takes more than there is."""
    leave_trace(Path(shared[0]), f"memory-{item}")
    taken = np.ones(shared[1] * MIB * (3 if item == shared[2] else 1), np.uint8)
    time.sleep(1.0)
    return int(taken[-1]) + item


def memory(compute: Compute, traces: Path) -> Any:
    """Units of which only one fits into memory at a time, and one that never does."""
    shared = (str(traces), int(os.environ["EACH_MIB"]), int(os.environ["HUGE"]))
    return compute.map(hungry, range(6), name="memory", shared=shared)


def pay(traces: Path, stage: str, price: sgd.Cost, release: Any) -> Any:
    plan = Plan(stages={stage: price}, delta=1e-5, accountant="rdp", epsilon_budget=1e3)
    return Ledger(plan, traces / f"{stage}.jsonl").pay(stage, release)


STAGES = {"sweep": sweep, "semantic": semantic, "dp_sgd": dp_sgd, "announced": announced, "memory": memory}


if __name__ == "__main__":
    kinds, storage, traces = sys.argv[1].split(","), Path(sys.argv[2]), Path(sys.argv[3])
    machines = Machines(
        address="auto", workers=2 if {"dp_sgd", "announced"} & {*kinds} else 1, cpus_per_worker=1, gpus_per_worker=0
    )
    with connect(machines, storage) as compute:
        released = {}
        for at, kind in enumerate(kinds):
            # Whoever takes nodes away decides when the next stage begins.
            while at and not (traces / f"{kind}.may-begin").exists():
                time.sleep(0.05)
            released[kind] = STAGES[kind](compute, traces)
    torch.save(released, traces / "released.pt")
