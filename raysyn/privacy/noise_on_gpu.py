"""DP-SGD's noise on a GPU, which takes a step of a large network in less time than a CPU core takes for the logarithms
and sines of its noise: the CPU draws the bits alone, those of the next step meanwhile, and the GPU makes numbers of
them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from raysyn.privacy.poisson import Stream

THREADS = 4
Tails = Sequence[tuple[int, float]]
"""See `Stream.fill`."""


class Noise:
    """noise(step) is `std * stream.normal(step, "noise", size)`, but for the rounding of logarithms, sines and
    cosines: float32 (size,) on `device`."""

    def __init__(self, stream: Stream, size: int, std: float, device: torch.device) -> None:
        self._stream, self._size, self._std, self._device = stream, size, std, device
        # One is copied to the device while a thread fills the other. The thread itself must not speak to the GPU, which
        # may be recording a graph.
        words = 2 * ((size + 1) // 2)
        self._bits_2W = torch.empty(2, words, dtype=torch.int64, pin_memory=device.type == "cuda")
        self._thread, self._begun = ThreadPoolExecutor(1), dict[int, Future[Tails]]()

    def __call__(self, step: int) -> Tensor:
        begun = self._begun.pop(step, None) or self._thread.submit(self._draw, step)
        self._begun = {step + 1: self._thread.submit(self._draw, step + 1)}
        tails = begun.result()
        bits_W = self._bits_2W[step % 2].to(self._device)
        return (normals(bits_W, tails)[: self._size] * self._std).float()

    def _draw(self, step: int) -> Tails:
        return self._stream.fill(step, "noise", self._bits_2W[step % 2].numpy().view(np.uint64), THREADS)


def normals(bits_W: Tensor, tails: Tails = ()) -> Tensor:
    """What `Stream.normal` makes of the bits, int64 (W,), that `Stream.fill` fills in, and of the `tails` that it
    answers: float64 (W,), on their device."""
    # 52 random bits and a half, as `poisson` has it: int64's shift brings in the sign, which the mask takes away.
    unit_W = ((bits_W >> 12) & ((1 << 52) - 1)).double().add_(0.5).mul_(2.0**-52)
    radius, angle = unit_W.chunk(2)
    for place, part in tails:  # of ten million numbers there is one in four hundred steps
        radius[place] = part
    radius, angle = radius.log().mul_(-2.0).sqrt_(), angle * (2.0 * math.pi)
    return torch.cat([radius * angle.cos(), radius * angle.sin()])
