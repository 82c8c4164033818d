"""GroupNorm on a GPU, of channels-last tensors: a program per row, which reads it twice, the second time from cache.

A compiler writes the reductions and the scaling as kernels of their own, each of which reads and writes the whole
activation in memory. Imported on CUDA alone, as `gpu_kernels` is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.fx import Graph, Node

WARPS, AT_ONCE = 4, 2048
"""Of a program: its threads by 32, and how many numbers of its row it holds at a time."""
FEWEST_ROWS, MOST_CHANNELS, MOST_IN_GROUP = 64, 1024, 32
"""A row is one program's: with fewer of them most of a GPU would wait. A channel reads the sums of its whole group."""
ALIASES = (torch.ops.aten.alias.default, torch.ops.aten.detach.default)


def serves(x_MCHW: Tensor, groups: int) -> bool:
    """Whether these kernels are the fast ones for this input, which lies channels-last on a GPU."""
    rows, channels = x_MCHW.shape[:2]
    small = channels <= MOST_CHANNELS and channels // groups <= MOST_IN_GROUP
    return rows >= FEWEST_ROWS and small and x_MCHW.numel() // rows < 1 << 31


@triton.jit
def _read(ptr, at, c, CHANNELS: tl.constexpr, there):  # type: ignore[no-untyped-def]
    """Numbers of positions `at` and channels `c` of a row, as float32."""
    return tl.load(ptr + at[:, None] * CHANNELS + c[None, :], mask=there, other=0.0).to(tl.float32)


@triton.jit
def _group_sum(sums_ptr, first, PER_GROUP: tl.constexpr, known):  # type: ignore[no-untyped-def]
    total = tl.load(sums_ptr + first, mask=known, other=0.0)
    for i in tl.static_range(1, PER_GROUP):
        total += tl.load(sums_ptr + first + i, mask=known, other=0.0)
    return total


@triton.jit
def _normalise(
    x_ptr, weight_ptr, bias_ptr, y_ptr, mean_ptr, inverse_ptr, sums_ptr, length, eps,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, PER_GROUP: tl.constexpr, TILE: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, PADDED)
    known = c < CHANNELS
    first = c // PER_GROUP * PER_GROUP
    x_ptr += row * length * CHANNELS
    y_ptr += row * length * CHANNELS
    sums_ptr += row * 2 * CHANNELS
    total = tl.zeros((TILE, PADDED), tl.float32)
    square = tl.zeros((TILE, PADDED), tl.float32)
    for start in range(0, length, TILE):
        at = start + tl.arange(0, TILE)
        there = (at < length)[:, None] & known[None, :]
        x = _read(x_ptr, at, c, CHANNELS, there)
        total += x
        square += x * x
    tl.store(sums_ptr + c, tl.sum(total, 0), mask=known)
    tl.store(sums_ptr + CHANNELS + c, tl.sum(square, 0), mask=known)
    tl.debug_barrier()  # channels of a group are in other threads
    size = length * (PER_GROUP * 1.0)  # a length of 1 is a constant, and no tensor
    mean = _group_sum(sums_ptr, first, PER_GROUP, known) / size
    square_mean = _group_sum(sums_ptr + CHANNELS, first, PER_GROUP, known) / size
    variance = square_mean - mean * mean
    inverse = 1.0 / tl.sqrt(tl.where(variance < 0, 0.0, variance) + eps)  # what is no number stays none
    of_group = row * (CHANNELS // PER_GROUP) + c // PER_GROUP
    tl.store(mean_ptr + of_group, mean, mask=known & (c == first))
    tl.store(inverse_ptr + of_group, inverse, mask=known & (c == first))
    scale = inverse * tl.load(weight_ptr + c, mask=known, other=0.0)
    shift = tl.load(bias_ptr + c, mask=known, other=0.0) - mean * scale
    for start in range(0, length, TILE):
        at = start + tl.arange(0, TILE)
        there = (at < length)[:, None] & known[None, :]
        x = _read(x_ptr, at, c, CHANNELS, there)
        y = x * scale[None, :] + shift[None, :]
        if SILU:
            y = y / (1.0 + tl.exp(-y))
        tl.store(y_ptr + at[:, None] * CHANNELS + c[None, :], y, mask=there)


@triton.jit
def _before_silu(g, y):  # type: ignore[no-untyped-def]
    share = 1.0 / (1.0 + tl.exp(-y))
    return g * share * (1.0 + y * (1.0 - share))


@triton.jit
def _both(  # type: ignore[no-untyped-def]
    x_ptr, g_ptr, at, c, CHANNELS: tl.constexpr, there, scale, shift, SILU: tl.constexpr
):  # fmt: skip
    """x, and the gradient of what the norm answered for it."""
    x = _read(x_ptr, at, c, CHANNELS, there)
    g = _read(g_ptr, at, c, CHANNELS, there)
    if SILU:
        g = _before_silu(g, x * scale[None, :] + shift[None, :])
    return x, g


@triton.jit
def _slope(
    g_ptr, x_ptr, weight_ptr, bias_ptr, mean_ptr, inverse_ptr, dx_ptr, g_sum_ptr, normal_sum_ptr, length,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, PER_GROUP: tl.constexpr, TILE: tl.constexpr, SILU: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, PADDED)
    known = c < CHANNELS
    first = c // PER_GROUP * PER_GROUP
    g_ptr += row * length * CHANNELS
    x_ptr += row * length * CHANNELS
    dx_ptr += row * length * CHANNELS
    g_sum_ptr += row * CHANNELS
    normal_sum_ptr += row * CHANNELS
    of_group = row * (CHANNELS // PER_GROUP) + c // PER_GROUP
    mean = tl.load(mean_ptr + of_group, mask=known, other=0.0)
    inverse = tl.load(inverse_ptr + of_group, mask=known, other=0.0)
    weight = tl.load(weight_ptr + c, mask=known, other=0.0)
    scale = inverse * weight
    shift = tl.load(bias_ptr + c, mask=known, other=0.0) - mean * scale
    g_sum = tl.zeros((TILE, PADDED), tl.float32)
    gx_sum = tl.zeros((TILE, PADDED), tl.float32)
    for start in range(0, length, TILE):
        at = start + tl.arange(0, TILE)
        there = (at < length)[:, None] & known[None, :]
        x, g = _both(x_ptr, g_ptr, at, c, CHANNELS, there, scale, shift, SILU)
        g_sum += g
        gx_sum += g * x
    g_C = tl.sum(g_sum, 0)
    normal_C = (tl.sum(gx_sum, 0) - g_C * mean) * inverse
    tl.store(g_sum_ptr + c, g_C * weight, mask=known)
    tl.store(normal_sum_ptr + c, normal_C * weight, mask=known)
    tl.debug_barrier()  # channels of a group are in other threads
    size = length * (PER_GROUP * 1.0)  # a length of 1 is a constant, and no tensor
    mean_g = _group_sum(g_sum_ptr, first, PER_GROUP, known) / size
    mean_gx = _group_sum(normal_sum_ptr, first, PER_GROUP, known) / size
    tl.debug_barrier()  # all have read what is now overwritten by the answers
    tl.store(g_sum_ptr + c, g_C, mask=known)
    tl.store(normal_sum_ptr + c, normal_C, mask=known)
    # dx is inverse * (weight * g - mean(weight * g) - normalised x * mean(weight * g * normalised x)).
    slope = -inverse * inverse * mean_gx
    begin = -inverse * mean_g - slope * mean
    for start in range(0, length, TILE):
        at = start + tl.arange(0, TILE)
        there = (at < length)[:, None] & known[None, :]
        x, g = _both(x_ptr, g_ptr, at, c, CHANNELS, there, scale, shift, SILU)
        dx = begin[None, :] + x * slope[None, :] + g * scale[None, :]
        tl.store(dx_ptr + at[:, None] * CHANNELS + c[None, :], dx, mask=there)


def _tiles(channels: int, groups: int) -> tuple[int, int, int, int]:
    padded = triton.next_power_of_2(channels)
    return channels, padded, channels // groups, max(1, AT_ONCE // padded)


def _channels_last(x_MCHW: Tensor) -> Tensor:
    return x_MCHW.contiguous(memory_format=torch.channels_last)


@torch.library.custom_op("raysyn::group_norm", mutates_args=())
def group_norm(
    x_MCHW: Tensor, weight_C: Tensor, bias_C: Tensor, groups: int, eps: float, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """GroupNorm, and where `silu` its SiLU: in x's dtype and channels-last; each group's mean and one over its
    deviation, float32 (M, groups)."""
    x = _channels_last(x_MCHW)
    rows, channels, high, wide = x.shape
    y = torch.empty_like(x)
    mean, inverse = (torch.empty(rows, groups, device=x.device) for _ in range(2))
    sums = torch.empty(rows, 2, channels, device=x.device)
    _normalise[(rows,)](
        x, weight_C, bias_C, y, mean, inverse, sums, high * wide, eps, *_tiles(channels, groups), silu, num_warps=WARPS
    )
    return y, mean, inverse


@group_norm.register_fake
def _(x_MCHW, weight_C, bias_C, groups, eps, silu):  # type: ignore[no-untyped-def]
    per_group = x_MCHW.new_empty(len(x_MCHW), groups, dtype=torch.float32)
    return torch.empty_like(x_MCHW, memory_format=torch.channels_last), per_group, torch.empty_like(per_group)


@torch.library.custom_op("raysyn::group_norm_backward", mutates_args=())
def group_norm_backward(
    g_MCHW: Tensor, x_MCHW: Tensor, weight_C: Tensor, bias_C: Tensor, mean_MG: Tensor, inverse_MG: Tensor, silu: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """x's gradient, of x's dtype and channels-last; and over positions, float32 (M, C), the sums of the gradient of
    what the norm answered (before its SiLU), and of that times the normalised x."""
    x, g = _channels_last(x_MCHW), _channels_last(g_MCHW)
    rows, channels, high, wide = x.shape
    dx = torch.empty_like(x)
    g_MC, normal_MC = (torch.empty(rows, channels, device=x.device) for _ in range(2))
    _slope[(rows,)](
        g, x, weight_C, bias_C, mean_MG, inverse_MG, dx, g_MC, normal_MC, high * wide,
        *_tiles(channels, mean_MG.shape[1]), silu, num_warps=WARPS,
    )  # fmt: skip
    return dx, g_MC, normal_MC


@group_norm_backward.register_fake
def _(g_MCHW, x_MCHW, weight_C, bias_C, mean_MG, inverse_MG, silu):  # type: ignore[no-untyped-def]
    sums = x_MCHW.new_empty(*x_MCHW.shape[:2], dtype=torch.float32)
    return torch.empty_like(x_MCHW, memory_format=torch.channels_last), sums, torch.empty_like(sums)


def join_silu(graph: Graph) -> None:
    """Where nothing but a SiLU reads what a norm answers, let the kernels compute it too, in a recorded pass."""
    back = torch.ops.raysyn.group_norm_backward.default
    silu, before = torch.ops.aten.silu.default, torch.ops.aten.silu_backward.default
    for norm in [node for node in graph.nodes if node.target is torch.ops.raysyn.group_norm.default]:
        answers = list(norm.users)
        ys = [node for node in answers if node.args[1] == 0]
        backs = [user for answer in answers for user in answer.users if user.target is back]
        if len(ys) != 1 or not backs or [user.target for user in ys[0].users] not in ([silu, before], [before, silu]):
            continue
        y = ys[0]
        ahead, slope = sorted(y.users, key=lambda user: user.target is before)
        mine = slope.args[1] is y and all(_source(user.args[0]) is slope for user in backs) and _only(slope, backs)
        if not mine:
            continue
        norm.args = (*norm.args[:-1], True)
        ahead.replace_all_uses_with(y)
        graph.erase_node(ahead)
        for user in backs:
            user.args = (slope.args[0], *user.args[1:-1], True)
        for unread in _with_aliases(slope):
            graph.erase_node(unread)


def _source(node: Any) -> Any:
    while node.target in ALIASES:
        node = node.args[0]
    return node


def _only(node: Node, readers: Sequence[Node]) -> bool:
    """Whether nobody but these reads it."""
    return all(user in readers or (user.target in ALIASES and _only(user, readers)) for user in node.users)


def _with_aliases(node: Node) -> list[Node]:
    """It and its aliases, last first."""
    return [alias for user in node.users for alias in _with_aliases(user)] + [node]
