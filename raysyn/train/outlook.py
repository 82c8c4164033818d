"""How long a plan will take and how much memory it needs, from a moment's measurement on made-up images."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from raysyn.compute.worker import best_device
from raysyn.train.loop import Task
from raysyn.train.memory import HEADROOM, at_once, available_bytes, gradient_bytes, held_bytes, told

IMAGES = 32


@dataclass(frozen=True)
class Pace:
    """What one worker does here."""

    gradient_s: float
    """Seconds per image copy for a forward and a backward pass, one thread."""
    call_s: float
    """Seconds per image for one network call in sampling, one thread."""
    memory_bytes: int
    """Most memory this process has held so far: data, libraries, network and one step on a few images."""


def measure(model: nn.Module, task: Task, shape: tuple[int, int, int]) -> Pace:
    """Time `model` on random images of `shape` (H, W, C), as many as fit; takes a few seconds and reads no data."""
    device, count = best_device(), fitting_images(model, task, shape)
    model = model.to(device)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, device=device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    inputs = [value.flatten(0, 1) for value in task.draw(images, labels, range(count), 1)]

    def train() -> None:
        task.loss(model, *inputs).mean().backward()

    @torch.inference_mode()
    def call() -> None:
        task.loss(model, *inputs)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gradient_s, call_s = _seconds(train) / count, _seconds(call) / count
    torch.set_num_threads(threads)
    return Pace(gradient_s, call_s, held_bytes() + (torch.cuda.max_memory_allocated() if device.type == "cuda" else 0))


def fitting_images(model: nn.Module, task: Task, shape: tuple[int, int, int]) -> int:
    """As many images as can be measured with: 32 of small ones, fewer of large ones, and no more than half the free
    memory holds. ValueError where it does not hold one."""
    # Batch normalisation does not learn from one image whose maps are one pixel; what it holds is the same.
    counted = copy.deepcopy(model).eval()
    free, one = available_bytes(), HEADROOM * gradient_bytes(counted, task, shape, 1)
    if free is None:
        return at_once(IMAGES, shape)
    if one > free:
        raise ValueError(
            f"images are {shape[1]}x{shape[0]} pixels (data.size): one step on one of them holds {told(one)}, and "
            f"{told(free)} are free here; make them smaller, e.g. --data.size 64"
        )
    return max(1, min(at_once(IMAGES, shape), int(free / 2 / one)))


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
