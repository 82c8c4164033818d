"""What a network says of images, each a function of that image alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raysyn.compute.worker import full_float32
from raysyn.train.memory import at_once


def each_alone(
    ask: Callable[[Tensor], Sequence[Tensor]], images_NHWC: NDArray[np.uint8], most: int, device: torch.device
) -> Iterator[list[NDArray[Any]]]:  # fmt: skip
    """`ask` of images, uint8 (N, H, W, C), in blocks of at most so many: the rows of each of its answers.

    Full precision, and batches of one size, filled up with black images, because kernels are chosen by size and round
    differently. Batches shrink until they fit the device's memory.
    """
    size, at = at_once(most, images_NHWC.shape[1:]), 0
    while at < len(images_NHWC):
        try:
            part = images_NHWC[at : at + size]
            pixels = torch.zeros((size, *part.shape[1:]), dtype=torch.uint8, device=device)
            # torch.tensor copies: arrays that came through Ray are read-only, and a view of them would warn.
            pixels[: len(part)] = torch.tensor(part, device=device)
            with torch.inference_mode(), full_float32(device):
                found = ask(pixels)
            block = [one[: len(part)].cpu().numpy() for one in found]
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            size //= 2
            continue
        at += size
        yield block
