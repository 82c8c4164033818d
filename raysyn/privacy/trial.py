"""Which engine, micro-batch, memory layout and precision are fastest here: a short measured trial on made-up images."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from raysyn.compute import worker
from raysyn.privacy import engines
from raysyn.privacy.bookkeeping import bookkeeping
from raysyn.privacy.engines import Clipped, Engine, Loss

ENGINES: dict[str, Engine] = {"loop": engines.loop, "bookkeeping": bookkeeping}
FUSED = "fused"
"""`bookkeeping` as one compiled program (`fused.py`)."""
PIXELS_AT_ONCE = {"cpu": 1 << 16, "cuda": 1 << 20}
"""Pixels of all copies in a micro-batch where the user names none, on a CPU those of each channel: enough to keep the
device busy, few enough for a CPU's cache; a GPU whose memory they overflow gets half as many, and so on."""
IMAGES_AT_ONCE = {"cpu": 256, "cuda": 4096}
ROUNDS = 2
TRIAL_SHARE, FEW = 0.02, 16
"""Of the images of a stage on a CPU, those of all its steps together, so many are spent on the rounds of its trial; and
the fewest images in a round, which are enough to see what is far behind."""
MARGIN = 1.1
"""By so much bfloat16 must be faster than float32, where there is the choice: among equals a clock would decide how a
run is rounded."""
FUSING_PAYS_S = 600.0
"""Seconds of the whole stage, as `bookkeeping` would take them on a GPU, from which the minutes that compiling the step
takes are worth it."""


@dataclass(frozen=True, kw_only=True)
class SGDSpeed:
    """How DP-SGD's gradients are computed. Nothing here changes the result beyond rounding, which is coarser in
    bfloat16."""

    engine: Literal["auto", "loop", "bookkeeping", "fused"] = "auto"
    """How per-image gradients are computed; `auto` times every way for a moment and takes the fastest. `fused`, on a
    GPU only, compiles the whole step, which takes minutes once and makes it several times as fast; `auto` does so where
    a stage would else take more than ten minutes."""
    micro_batch: int | None = None
    """Images (with all their copies) held in memory at once; by default what fits the CPU's cache or the GPU's
    memory."""
    channels_last: bool | None = None
    """Memory layout of images and convolutions; by default measured together with the engine."""
    precision: Literal["auto", "float32", "bf16"] = "auto"
    """`bf16` runs the network in bfloat16, on a GPU that has it or a CPU with AMX; clip, sum and noise stay in float32.
    `auto` is bf16 on such a GPU; on such a CPU it is measured for `bookkeeping` where the engine or the layout is
    left open, and taken if it is faster by a tenth; else it is float32."""

    def __post_init__(self) -> None:
        if self.micro_batch is not None and self.micro_batch < 1:
            raise ValueError(f"micro_batch is {self.micro_batch}: give at least 1")

    def leaves_open(self) -> bool:
        """Whether there is more than one way, so that `measure` takes its time."""
        return self.engine == "auto" or self.channels_last is None

    def refuse_on_cpu(self) -> None:
        """Raise ValueError for what this machine's CPU cannot do."""
        if self.precision == "bf16" and not worker.has_bf16(torch.device("cpu")):
            raise ValueError("on.sgd.precision is bf16, but the workers have no GPU, nor this CPU AMX: use float32")
        if self.engine == FUSED:
            raise ValueError("on.sgd.engine is fused, but the workers have no GPU: use auto")

    def precisions_on(self, device: torch.device, engine: str) -> list[str]:
        """Those that `auto` may choose from, for an engine; raises ValueError for one that the device does not have."""
        able = worker.has_bf16(device)
        if self.precision == "bf16" and not able:
            raise ValueError(f"on.sgd.precision is bf16, which this {device.type} device does not have: use float32")
        if self.precision != "auto" or not able:
            return ["bf16" if self.precision == "bf16" else "float32"]
        if device.type == "cuda":
            return ["bf16"]
        return ["float32", "bf16"] if self.leaves_open() and engine != "loop" else ["float32"]

    def layouts_on(self, device: torch.device, precision: str) -> list[bool]:
        """Whether channels come last: in which layouts it is worth trying."""
        if self.channels_last is not None:
            return [self.channels_last]
        # Compiled code is fastest with channels last, and compiling both to compare them would take too long. Of a CPU
        # bfloat16 was faster without in every network that was measured.
        if self.engine == FUSED:
            return [True]
        return [False] if device.type == "cpu" and precision == "bf16" else [True, False]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen; stored in the checkpoint, so that a continued run repeats the same arithmetic."""

    engine: str
    micro_batch: int
    channels_last: bool
    precision: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def on(self, device: torch.device) -> Choice:
        """The same where the device can do it: a run that began on a GPU may continue on a CPU, or on another one."""
        engine = "bookkeeping" if self.engine == FUSED and device.type == "cpu" else self.engine
        return replace(self, engine=engine, precision=self.precision if worker.has_bf16(device) else "float32")

    def lay_out(self, model: nn.Module) -> None:
        """Give the convolution weights the chosen memory layout; activations follow the weights."""
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        model.to(memory_format=layout)

    def clipped_sum(
        self, model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float, alone: bool = False
    ) -> Clipped:
        """See `engines.clipped_sum`; `alone`: of images that no others are ever asked with, whose batch is theirs."""
        device = inputs_BK[0].device.type
        with torch.autocast(device, torch.bfloat16) if self.precision == "bf16" else nullcontext():
            name = "bookkeeping" if self.engine == FUSED else self.engine
            # `loop` knows no batch but that of one image.
            filled = not alone and (name, device, self.precision) == ("bookkeeping", "cuda", "bf16")
            size = self.micro_batch if filled else 0
            return engines.clipped_sum(ENGINES[name], model, loss, inputs_BK, max_grad_norm, size)


def measure(
    device: torch.device,
    model: nn.Module,
    draw: Callable[[int], Sequence[Tensor]],
    loss: Loss,
    expected: int,
    speed: SGDSpeed,
    steps: int = 1,
) -> Choice:
    """The fastest choice that `speed` allows. Changes nothing in the model but its memory layout.

    Args:
        draw: draw(b) gives made-up inputs for b images, never private ones: the choice is released.
        expected: images that one rank expects in a step, the largest useful micro-batch.
        steps: how many are to come: compiling must pay, and so must the trial, which takes fewer images before few.

    Raises ValueError for what this device cannot do.
    """
    if device.type == "cpu":
        speed.refuse_on_cpu()
    micro_batch = speed.micro_batch or fitting(device, draw(1)[0], expected)
    while True:
        try:
            return _best(device, model, draw, loss, expected, speed, steps, micro_batch)
        except torch.OutOfMemoryError as error:
            if speed.micro_batch is not None or micro_batch == 1:
                raise ValueError(
                    f"micro_batch is {micro_batch}, and this does not fit the GPU's memory: give fewer, or a smaller "
                    "network"
                ) from error
        torch.cuda.empty_cache()
        micro_batch = -(-micro_batch // 2)


def _best(
    device: torch.device, model: nn.Module, draw: Callable[[int], Sequence[Tensor]], loss: Loss, expected: int,
    speed: SGDSpeed, steps: int, micro_batch: int,
) -> Choice:  # fmt: skip
    """Of the choices with one micro-batch."""
    choices = [
        Choice(engine=name, micro_batch=micro_batch, channels_last=layout, precision=precision)
        for name in (ENGINES if speed.engine == "auto" else [speed.engine])
        for precision in speed.precisions_on(device, name)
        for layout in speed.layouts_on(device, precision)
    ]
    if len(choices) == 1 and (device.type == "cpu" or speed.micro_batch is not None):
        return choices[0]
    # On a GPU as many as will be held, which may be more than are expected: it must be seen that they fit.
    images = micro_batch
    if device.type == "cpu":  # of a short stage so few that the trial takes no large part of it
        few = math.ceil(TRIAL_SHARE * steps * expected / (ROUNDS * len(choices)))
        images = min(micro_batch, expected, max(FEW, few))
    best, seconds = _fastest(choices, draw(images), device, model, loss)
    long = seconds * steps * expected / images > FUSING_PAYS_S
    if speed.engine == "auto" and device.type == "cuda" and best.engine == "bookkeeping" and long:
        return replace(best, engine=FUSED, channels_last=speed.channels_last is not False)
    return best


def fitting(device: torch.device, x_1K: Tensor, expected: int) -> int:
    """Images in a micro-batch, judged by the first input of one image, (1, K, ...), and the images of a step."""
    channels = x_1K.shape[2] if device.type == "cuda" and x_1K.ndim == 5 else 1
    most = max(1, min(IMAGES_AT_ONCE[device.type], PIXELS_AT_ONCE[device.type] * channels // x_1K.numel()))
    if device.type == "cpu":
        return min(expected, most)
    # On a GPU micro-batches have one shape and are filled up: of equal size, they leave little to fill, and a Poisson
    # batch of up to three standard deviations above its mean needs no further one.
    room = expected + 3 * math.sqrt(expected)
    return math.ceil(room / math.ceil(room / most))


def _fastest(
    choices: Sequence[Choice], inputs_BK: Sequence[Tensor], device: torch.device, model: nn.Module, loss: Loss
) -> tuple[Choice, float]:
    """And its seconds for these images."""
    choices = _able(choices, lambda choice: _time(choice, model, [x[:1] for x in inputs_BK], loss, device))
    if device.type == "cuda":  # which has nothing to do image by image: `loop` is for what the other engine refuses
        choices = [choice for choice in choices if choice.engine != "loop"] or choices
    # One round drops what is far behind. Later rounds are interleaved, so that a slow moment of the machine does
    # not fall on one choice.
    # On a CPU a few images tell, and `loop` takes long for many.
    first_BK = [x[:FEW] for x in inputs_BK] if device.type == "cpu" else inputs_BK
    rough = {choice: _time(choice, model, first_BK, loss, device) for choice in choices}
    left = [choice for choice in choices if rough[choice] < 2 * min(rough.values())]
    rounds = [{choice: _time(choice, model, inputs_BK, loss, device) for choice in left} for _ in range(ROUNDS)]
    coarse = {choice: MARGIN if choice.precision == "bf16" else 1.0 for choice in left}
    seconds = {choice: coarse[choice] * min(times[choice] for times in rounds) for choice in left}
    best = min(left, key=seconds.__getitem__)
    return best, seconds[best] / coarse[best]


def _able(choices: Sequence[Choice], attempt: Callable[[Choice], object]) -> list[Choice]:
    """Those that can serve this model; the attempt also pays for imports and plans of the libraries below."""
    able, refusals = [], []
    for choice in choices:
        try:
            attempt(choice)
            able.append(choice)
        except ValueError as refusal:  # this engine has no answer for this model; another may
            refusals.append(refusal)
        except (RuntimeError, TypeError):  # of a user's network, which takes one kind of number alone
            if choice.precision != "bf16" or all(other.precision == "bf16" for other in choices):
                raise
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
