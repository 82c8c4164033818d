"""How long a plan will take and how much memory it needs, from a moment's measurement on made-up images."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from raysyn.compute import best_device
from raysyn.train.loop import Task

IMAGES = 32


@dataclass(frozen=True)
class Pace:
    """What one worker does here."""

    gradient_s: float
    """Seconds per image copy for a forward and a backward pass, one thread."""
    call_s: float
    """Seconds per image for one network call in sampling, one thread."""
    memory_bytes: int
    """Most memory this process has held so far: data, libraries, network and one step on 32 images."""


def measure(model: nn.Module, task: Task, shape: tuple[int, int, int]) -> Pace:
    """Time `model` on random images of `shape` (H, W, C); takes a few seconds and reads no data."""
    device = best_device()
    model = model.to(device)
    images = torch.randint(256, (IMAGES, *shape), dtype=torch.uint8, device=device)
    labels = torch.zeros(IMAGES, dtype=torch.int64, device=device)
    inputs = [value.flatten(0, 1) for value in task.draw(images, labels, range(IMAGES), 1)]

    def train() -> None:
        task.loss(model, *inputs).mean().backward()

    @torch.inference_mode()
    def call() -> None:
        task.loss(model, *inputs)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gradient_s, call_s = _seconds(train) / IMAGES, _seconds(call) / IMAGES
    torch.set_num_threads(threads)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return Pace(gradient_s, call_s, held + (torch.cuda.max_memory_allocated() if device.type == "cuda" else 0))


def shortest(times: Sequence[float]) -> float:
    """The shortest step of those between the moments that a `Clock` noted."""
    return min(after - before for before, after in pairwise(times))


def _seconds(action: Callable[[], None], repeats: int = 3) -> float:
    """Shortest of a few runs, after one that warms up."""
    action()
    return min(_once(action) for _ in range(repeats))


def _once(action: Callable[[], None]) -> float:
    start = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
