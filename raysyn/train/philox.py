"""Counter-based random numbers: any number of streams in one go, each a function of its key alone.

Philox 4x32-10 (Salmon et al. 2011) in whole-number tensor arithmetic. A GPU draws for thousands of images at once what
a generator per image would draw in as many launches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
LOW = 0xFFFFFFFF


def words(keys_B: Tensor, counters_N: Tensor) -> Tensor:
    """Random 32-bit words (B, N, 4) as int64: block n of stream b is that of counter n under key b.

    Args:
        keys_B: int64 (B,), whose two halves are Philox' key.
        counters_N: int64 (N,) or (B, N), from 0 to below 2**63, the lower half of Philox' counter.
    """
    key = [(keys_B & LOW)[:, None], ((keys_B >> 32) & LOW)[:, None]]
    counters_N = counters_N.expand(len(keys_B), counters_N.shape[-1])
    zero = torch.zeros_like(counters_N)
    x = [counters_N & LOW, (counters_N >> 32) & LOW, zero, zero]
    for number in range(ROUNDS):
        first, second = x[0] * MULTIPLIERS[0], x[2] * MULTIPLIERS[1]  # modulo 2**64, which int64 keeps as well
        k = [(half + number * weyl) & LOW for half, weyl in zip(key, WEYL, strict=True)]
        x = [_high(second) ^ x[1] ^ k[0], second & LOW, _high(first) ^ x[3] ^ k[1], first & LOW]
    return torch.stack(x, dim=-1)


def _high(product: Tensor) -> Tensor:
    return (product >> 32) & LOW


def normals(keys_B: Tensor, length: int) -> Tensor:
    """Standard normal float32 (B, length) by Box-Muller, row b a function of keys_B[b]; none lies beyond 6.8."""
    counters = torch.arange(-(-length // 4), device=keys_B.device)
    unit = (words(keys_B, counters).float() + 0.5) * 2.0**-32
    radius, angle = (-2 * unit[..., :2].clamp(max=1).log()).sqrt(), 2 * math.pi * unit[..., 2:]
    return torch.cat((radius * angle.cos(), radius * angle.sin()), dim=-1).flatten(1)[:, :length].contiguous()
