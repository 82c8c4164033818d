"""python driver.py STAGE STORAGE TRACES: one stage of a run in a process of its own, for tests that kill it."""

import sys
from dataclasses import asdict
from pathlib import Path

import stages
import torch

from raysyn.attacks.shadows import ShadowSpeed, sweep
from raysyn.compute.doorway import Compute, Machines
from raysyn.on_ray.cluster import connect


def answer_of(stage: str, compute: Compute, traces: Path) -> object:
    if stage == "regress":
        return compute.train(stages.regress, *stages.problem(), traces, "driver", name="regress")
    if stage == "climb":
        shared = (str(traces), "driver")
        return [asdict(one) for one in compute.search(stages.climb, *stages.PEAK, name="climb", shared=shared)]
    found, _ = sweep(compute, *stages.shadows(), ShadowSpeed(stack=1))
    return {"shadow_MNQ": torch.from_numpy(found.shadow_MNQ), "inside_MN": torch.from_numpy(found.inside_MN)}


if __name__ == "__main__":
    stage, storage, traces = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    workers = Machines(workers=1, gpus_per_worker=0, cpus_per_worker=1)
    with connect(workers, storage) as compute:
        answer = answer_of(stage, compute, traces)
    torch.save(answer, traces / "answer.pt")
