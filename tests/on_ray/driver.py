"""python driver.py STORAGE TRACES: a whole run in a process of its own, for tests that kill it."""

import sys
from pathlib import Path

import stages
import torch

from raysyn.compute import Machines
from raysyn.on_ray.cluster import connect

if __name__ == "__main__":
    storage, traces = Path(sys.argv[1]), Path(sys.argv[2])
    with connect(Machines(workers=1, gpus_per_worker=0), storage) as compute:
        answer = compute.train(stages.regress, *stages.problem(), traces, "driver", name="regress")
    torch.save(answer, traces / "answer.pt")
