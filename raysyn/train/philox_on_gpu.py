"""`philox.normals` as one kernel: in tensor arithmetic it is two hundred, and a GPU waits for their launches.

Imported on CUDA alone, with which PyTorch brings Triton (on Linux).
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 256


@triton.jit
def _normals(keys_ptr, out_ptr, length, TWO_PI: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    n = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    w0, w1, w2, w3 = tl.philox(tl.load(keys_ptr + row), n, n * 0, n * 0, n * 0, n_rounds=10)
    first = tl.sqrt(-2.0 * tl.log(tl.minimum((w0.to(tl.uint32, bitcast=True).to(tl.float32) + 0.5) * 2**-32, 1.0)))
    second = tl.sqrt(-2.0 * tl.log(tl.minimum((w1.to(tl.uint32, bitcast=True).to(tl.float32) + 0.5) * 2**-32, 1.0)))
    third = (w2.to(tl.uint32, bitcast=True).to(tl.float32) + 0.5) * 2**-32 * TWO_PI
    fourth = (w3.to(tl.uint32, bitcast=True).to(tl.float32) + 0.5) * 2**-32 * TWO_PI
    out = out_ptr + row * length + 4 * n
    tl.store(out, first * tl.cos(third), mask=4 * n < length)
    tl.store(out + 1, second * tl.cos(fourth), mask=4 * n + 1 < length)
    tl.store(out + 2, first * tl.sin(third), mask=4 * n + 2 < length)
    tl.store(out + 3, second * tl.sin(fourth), mask=4 * n + 3 < length)


def normals(keys_B: Tensor, length: int) -> Tensor:
    """As `philox.normals`, whose numbers they are but for the rounding of logarithms, sines and cosines."""
    out = torch.empty(len(keys_B), length, device=keys_B.device)
    blocks = triton.cdiv(length, 4 * BLOCK)
    if blocks >= 1 << 16:  # CUDA's largest grid
        raise ValueError(f"{length} numbers of one key: give fewer copies, or smaller images")
    _normals[(len(keys_B), blocks)](keys_B, out, length, 2 * math.pi, BLOCK)
    return out
