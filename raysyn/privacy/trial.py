"""Which engine, micro-batch and memory layout are fastest here: a short measured trial on made-up images."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raysyn.privacy import engines
from raysyn.privacy.bookkeeping import bookkeeping
from raysyn.privacy.engines import Clipped, Engine, Loss

ENGINES: dict[str, Engine] = {"loop": engines.loop, "bookkeeping": bookkeeping}
PIXELS_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Pixels of all copies in a micro-batch where the user names none: enough to keep the device busy, few enough for
its cache and memory."""
IMAGES_AT_ONCE = 256
ROUNDS = 2


@dataclass(frozen=True, kw_only=True)
class SGDSpeed:
    """How DP-SGD's gradients are computed. Nothing here changes the result beyond rounding."""

    engine: Literal["auto", "loop", "bookkeeping"] = "auto"
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

    def leaves_open(self) -> bool:
        """Whether there is more than one way, so that `measure` takes its time."""
        return self.engine == "auto" or self.channels_last is None


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

    def clipped_sum(self, model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float) -> Clipped:
        """See `engines.clipped_sum`."""
        device = inputs_BK[0].device.type
        with torch.autocast(device, torch.bfloat16) if self.precision == "bf16" else nullcontext():
            return engines.clipped_sum(ENGINES[self.engine], model, loss, inputs_BK, max_grad_norm)


def measure(
    device: torch.device,
    model: nn.Module,
    draw: Callable[[int], Sequence[Tensor]],
    loss: Loss,
    expected: int,
    speed: SGDSpeed,
) -> Choice:
    """The fastest choice that `speed` allows. Changes nothing in the model but its memory layout.

    Args:
        draw: draw(b) gives made-up inputs for b images, never private ones: the choice is released.
        expected: images that one rank expects in a step, the largest useful micro-batch.
    """
    if speed.precision == "bf16" and device.type != "cuda":
        raise ValueError("precision is bf16, but this worker has no GPU: use float32")
    micro_batch = speed.micro_batch or min(expected, fitting(device, draw(1)[0]))
    choices = [
        Choice(engine=name, micro_batch=micro_batch, channels_last=layout, precision=speed.precision)
        for name in (ENGINES if speed.engine == "auto" else [speed.engine])
        for layout in ([True, False] if speed.channels_last is None else [speed.channels_last])
    ]
    if len(choices) == 1:
        return choices[0]
    return _fastest(choices, draw(min(micro_batch, expected)), device, model, loss)


def fitting(device: torch.device, x_1K: Tensor) -> int:
    """Images in a micro-batch, judged by the first input of one image, (1, K, ...)."""
    return max(1, min(IMAGES_AT_ONCE, PIXELS_AT_ONCE[device.type] // x_1K.numel()))


def _fastest(
    choices: Sequence[Choice], inputs_BK: Sequence[Tensor], device: torch.device, model: nn.Module, loss: Loss
) -> Choice:
    choices = _able(choices, lambda choice: _time(choice, model, [x[:1] for x in inputs_BK], loss, device))
    # One round drops what is far behind. Later rounds are interleaved, so that a slow moment of the machine does
    # not fall on one choice.
    rough = {choice: _time(choice, model, inputs_BK, loss, device) for choice in choices}
    left = [choice for choice in choices if rough[choice] < 2 * min(rough.values())]
    rounds = [{choice: _time(choice, model, inputs_BK, loss, device) for choice in left} for _ in range(ROUNDS)]
    return min(left, key=lambda choice: min(times[choice] for times in rounds))


def _able(choices: Sequence[Choice], attempt: Callable[[Choice], object]) -> list[Choice]:
    """Those that can serve this model; the attempt also pays for imports and plans of the libraries below."""
    able, refusals = [], []
    for choice in choices:
        try:
            attempt(choice)
            able.append(choice)
        except ValueError as refusal:  # this engine has no answer for this model; another may
            refusals.append(refusal)
    if not able:
        raise refusals[0]
    return able


def _time(choice: Choice, model: nn.Module, inputs_BK: Sequence[Tensor], loss: Loss, device: torch.device) -> float:
    choice.lay_out(model)
    # CPU time of one thread is deaf to other programs on the machine; with several threads only the clock is fair.
    clock = time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
    started = clock()
    choice.clipped_sum(model, loss, inputs_BK, 1.0)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - started
