"""Which engine, micro-batch and memory layout are fastest here: a short measured trial on made-up images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raysyn.compute import Worker
from raysyn.privacy import engines
from raysyn.privacy.engines import Clipped, Engine, Loss

ENGINES: dict[str, Engine] = {"loop": engines.loop, "vmap": engines.vectorised}
TRIAL_IMAGES = 8
COPIES_AT_ONCE = 256
"""Copies in one micro-batch when the user names no micro-batch: more costs memory and gains no speed."""


@dataclass(frozen=True, kw_only=True)
class SGDSpeed:
    """How DP-SGD's gradients are computed. Nothing here changes the result beyond rounding."""

    engine: Literal["auto", "loop", "vmap", "bookkeeping"] = "auto"
    """How per-image gradients are computed; `auto` times every way for a moment and takes the fastest."""
    micro_batch: int | None = None
    """Images (with all their copies) held in memory at once; by default measured together with the engine."""
    channels_last: bool | None = None
    """Memory layout of images and convolutions; by default measured together with the engine."""
    precision: Literal["float32", "bf16"] = "float32"
    """`bf16` runs the network in bfloat16 (on a GPU only); clip, sum and noise stay in float32."""

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch is {self.micro_batch}: give at least 1")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen; stored in the checkpoint, so that a continued run repeats the same arithmetic."""

    engine: str
    micro_batch: int
    channels_last: bool
    precision: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lay_out(self, model: nn.Module) -> None:
        """Give the convolution weights the chosen memory layout; activations follow the weights."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model.to(memory_format=layout)

    def clipped_sum(
        self, model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float
    ) -> Clipped:
        """See `engines.clipped_sum`."""
        device = inputs_BK[0].device.type
        with torch.autocast(device, torch.bfloat16) if self.precision == "bf16" else nullcontext():
            return engines.clipped_sum(ENGINES[self.engine], model, loss, inputs_BK, max_grad_norm)


def choose(
    worker: Worker,
    model: nn.Module,
    draw: Callable[[int], Sequence[Tensor]],
    loss: Loss,
    expected: int,
    speed: SGDSpeed,
) -> Choice:
    """The fastest choice that `speed` allows; rank 0 measures and every rank follows it.

    Args:
        draw: draw(b) gives made-up inputs for b images, never private ones: the choice is released.
        expected: images that one rank expects in a step, the largest useful micro-batch.
    """
    if speed.precision == "bf16" and worker.device.type != "cuda":
        raise ValueError("precision is bf16, but this worker has no GPU: use float32")
    best = _measured(worker.device, model, draw, loss, expected, speed) if worker.rank == 0 else None
    return Choice(**worker.share(best))


def _measured(
    device: torch.device,
    model: nn.Module,
    draw: Callable[[int], Sequence[Tensor]],
    loss: Loss,
    expected: int,
    speed: SGDSpeed,
) -> dict[str, Any]:
    names = list(ENGINES) if speed.engine == "auto" else [speed.engine]
    layouts = [True, False] if speed.channels_last is None else [speed.channels_last]
    copies = draw(1)[0].shape[1]
    micro_batch = speed.micro_batch or max(1, min(expected, COPIES_AT_ONCE // copies))
    choices = [
        Choice(engine=name, micro_batch=micro_batch, channels_last=layout, precision=speed.precision)
        for name in names
        for layout in layouts
    ]
    if len(choices) == 1:
        return choices[0].as_dict()
    inputs = draw(min(micro_batch, TRIAL_IMAGES))
    seconds = {choice: math.inf for choice in choices}
    # Interleaved, so that a slow moment of the machine does not fall on one choice; the first round warms up.
    for measured in (False, True, True):
        for choice in choices:
            taken = _time(choice, model, inputs, loss, device)
            seconds[choice] = min(seconds[choice], taken if measured else math.inf)
    return min(seconds, key=seconds.__getitem__).as_dict()


def _time(
    choice: Choice, model: nn.Module, inputs: Sequence[Tensor], loss: Loss, device: torch.device
) -> float:
    choice.lay_out(model)
    # CPU time of one thread is deaf to other programs on the machine; with several threads only the clock is fair.
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    choice.clipped_sum(model, loss, inputs, 1.0)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started
