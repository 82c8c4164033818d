"""What a function that trains is given: its rank, sums over ranks, progress, states."""

from __future__ import annotations

import functools
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from raysyn.compute.heard import tell


def best_device() -> torch.device:
    """The GPU this process may use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def has_bf16(device: torch.device) -> bool:
    """Whether it multiplies bfloat16 numbers by units of their own: GPUs that have them, and CPUs with AMX."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _has_amx()


@functools.cache
def _has_amx() -> bool:
    told: Any = getattr(torch.cpu, "get_capabilities", dict[str, Any])  # torch 2.11 may not tell
    return bool(told().get("amx_bf16", False))


def in_bf16(device: torch.device) -> torch.autocast:
    """Within, on a GPU or a CPU with AMX, layers multiply bfloat16 numbers and add up in float32; weights stay
    float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda" or has_bf16(device))


_entering = threading.Lock()
_inside, _before = list[torch.device](), list[Any]()
"""Who is in `full_float32`, and how the process was before the first of them: its switches are the process's."""


@contextmanager
def full_float32(device: torch.device) -> Iterator[None]:
    """Neither autocast nor TF32, which rounds the inputs of convolutions to 10 bits and is cuDNN's default, nor what
    torch.set_float32_matmul_precision may have asked of a CPU."""
    mkldnn: Any = torch.backends.mkldnn
    switches = [
        (torch.backends.cudnn, "allow_tf32", False), (torch.backends.cuda.matmul, "allow_tf32", False),
        (mkldnn.matmul, "fp32_precision", "ieee"), (mkldnn.conv, "fp32_precision", "ieee"),
    ]  # fmt: skip
    with _entering:
        if not _inside:
            _before[:] = [getattr(where, name) for where, name, _ in switches]
            for where, name, value in switches:
                setattr(where, name, value)
        _inside.append(device)
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        with _entering:
            _inside.pop()
            # The last one out, or the process would be left as another thread of it has found it.
            if not _inside:
                for (where, name, _), value in zip(switches, _before, strict=True):
                    setattr(where, name, value)


class Worker(ABC):
    """What a training function sees of the machine it runs on. One per rank."""

    rank: int
    world_size: int
    device: torch.device

    @abstractmethod
    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Sum `tensor` over all ranks, in place; every rank must call it in the same order."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Rank 0's `value` on every rank (small plain values: a measured choice, a flag)."""

    @abstractmethod
    def progress(self, done: int, total: int, **metrics: float) -> None:
        """Tell the user how far this stage is; cheap, may be called every step, only rank 0 is heard."""

    def doing(self, what: str) -> None:  # noqa: B027 - a worker that nobody hears need not speak
        """Tell the user, in a few words, what is done before there is progress to tell; only rank 0 is heard."""

    @abstractmethod
    def save(self, state: dict[str, Any]) -> None:
        """Make rank 0's `state` (tensors and plain values) durable; every rank calls it at the same step."""

    def leaving(self) -> bool:
        """Whether a machine of this stage will soon be taken away, so that a state is worth saving now; the same on
        every rank, each of which calls it at every step."""
        return False

    @abstractmethod
    def resume(self) -> dict[str, Any] | None:
        """The last durable state of this stage, tensors on the CPU, or None at a fresh start."""

    @abstractmethod
    def keep(self, key: str, value: Any) -> None:
        """Make rank 0's `value` durable beyond this stage, under a `key` that no other stage uses."""

    @abstractmethod
    def kept(self, key: str) -> Any:
        """What was kept under `key`, by any stage of this run."""


class Alone(Worker):
    """Rank 0 of 1: for units short enough to start again, which tell no more than how far they are."""

    _name = "training"
    """What is done."""

    def __init__(self) -> None:
        self.rank, self.world_size, self.device = 0, 1, best_device()

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor

    def share(self, value: Any) -> Any:
        return value

    def progress(self, done: int, total: int, **metrics: float) -> None:
        tell(self._name, done, total)

    def save(self, state: dict[str, Any]) -> None:
        pass

    def resume(self) -> dict[str, Any] | None:
        return None

    def keep(self, key: str, value: Any) -> None:
        raise NotImplementedError("a unit of a fan-out keeps nothing but its result")

    def kept(self, key: str) -> Any:
        raise NotImplementedError("a unit of a fan-out is given what it needs")


class Clock(Alone):
    """Notes when it was told of progress, to measure speed; keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def progress(self, done: int, total: int, **metrics: float) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()  # its steps are queued, not done
        self.times.append(time.perf_counter())

    def keep(self, key: str, value: Any) -> None:
        pass
