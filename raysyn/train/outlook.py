"""How long a plan will take and how much memory it needs, from a moment's measurement on made-up images."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from raysyn.compute.worker import Clock, best_device
from raysyn.train.loop import Task
from raysyn.train.memory import HEADROOM, at_once, available_bytes, gradient_bytes, held_bytes, told

IMAGES = 32
LONG_S = 0.5
"""What takes longer is measured once."""


def now() -> float:
    """Seconds of this process's work: its CPU time, which is deaf to other programs; where there is a GPU, the wall
    clock's, once all that is queued there is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Stopwatch(Clock):
    """Notes by `now` when it was told of progress."""

    def progress(self, done: int, total: int, **metrics: float) -> None:
        self.times.append(now())

    def step_s(self) -> float:
        """Mean seconds of a step after the first told."""
        return (self.times[-1] - self.times[0]) / (len(self.times) - 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """What is measured inside is the work of one CPU."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Pace:
    """What one worker does here."""

    gradient_s: float
    """Seconds per image copy for a forward and a backward pass, one thread."""
    call_s: float
    """Seconds per image for one network call in sampling, one thread."""
    memory_bytes: int
    """Most memory this process has held so far: data, libraries, network and one step on a few images."""


def measure(model: nn.Module, task: Task, shape: tuple[int, int, int], most: int = IMAGES) -> Pace:
    """Time `model` on random images of `shape` (H, W, C), as many as fit; takes a few seconds and reads no data."""
    device, count = best_device(), fitting_images(model, task, shape, most)
    model = model.to(device)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, device=device)
    labels = torch.zeros(count, dtype=torch.int64, device=device)
    inputs = [value.flatten(0, 1) for value in task.draw(images, labels, range(count), 1)]

    def train() -> None:
        task.loss(model, *inputs).mean().backward()

    @torch.inference_mode()
    def call() -> None:
        task.loss(model, *inputs)

    with one_thread():
        gradient_s, call_s = seconds(train) / count, seconds(call) / count
    return Pace(gradient_s, call_s, held_bytes() + (torch.cuda.max_memory_allocated() if device.type == "cuda" else 0))


def fitting_images(model: nn.Module, task: Task, shape: tuple[int, int, int], most: int = IMAGES) -> int:
    """As many images as can be measured with: `most` of small ones, fewer of large ones, and no more than half the free
    memory holds. ValueError where it does not hold one."""
    # Batch normalisation does not learn from one image whose maps are one pixel; what it holds is the same.
    counted = copy.deepcopy(model).eval()
    free, one = available_bytes(), HEADROOM * gradient_bytes(counted, task, shape, 1)
    if free is None:
        return at_once(most, shape)
    if one > free:
        raise ValueError(
            f"images are {shape[1]}x{shape[0]} pixels (data.size): one step on one of them holds {told(one)}, and "
            f"{told(free)} are free here; make them smaller, e.g. --data.size 64"
        )
    return max(1, min(at_once(most, shape), int(free / 2 / one)))


def shortest(times: Sequence[float]) -> float:
    """The shortest step of those between the moments that a `Clock` noted."""
    return min(after - before for before, after in pairwise(times))


def seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """Of one run of `action`: the shortest of a few, after one that warms up; of what takes long, the second."""
    action()
    found = list[float]()
    while len(found) < repeats and sum(found) < LONG_S:
        started = now()
        action()
        found.append(now() - started)
    return min(found)
