"""What layer rules need on a GPU. Imported on CUDA alone, with which PyTorch brings Triton (on Linux)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_O, BLOCK_P, BLOCK_L = 64, 64, 64
"""Sides of the tiles: channels out, entries of a patch, positions."""
WARPS, STAGES = 4, 3
SUMMED = 2048
"""Numbers that a sum over positions holds at a time."""
PROGRAMS, SHORTEST = 1024, 1024
"""A GPU is busy with so many programs: fewer are cut along an image's positions, into pieces of no fewer than so
many."""


@triton.jit
def _sum_of_products(
    x_ptr, g_ptr, out_ptr, copies, high, wide, high_out, wide_out, piece,
    CHANNELS: tl.constexpr, CHANNELS_OUT: tl.constexpr, PATCH: tl.constexpr, KERNEL_WIDE: tl.constexpr,
    STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr, SPREAD_H: tl.constexpr, SPREAD_W: tl.constexpr,
    MARGIN_H: tl.constexpr, MARGIN_W: tl.constexpr,
    TILE_O: tl.constexpr, TILE_P: tl.constexpr, TILE_L: tl.constexpr, ONE_TAP: tl.constexpr,
):  # fmt: skip
    """One tile (TILE_O, TILE_P) of one image's gradient (CHANNELS_OUT, PATCH), summed over a piece of its positions.

    A matrix product whose left side is read through the kernel's offsets: unfolding would copy every patch, nine times
    the activations of a 3 x 3 kernel.
    """
    image, tile = tl.program_id(1).to(tl.int64), tl.program_id(0)
    tiles_p = (PATCH + TILE_P - 1) // TILE_P
    first_p, first_o = (tile % tiles_p) * TILE_P, (tile // tiles_p) * TILE_O
    p = first_p + tl.arange(0, TILE_P)
    o = first_o + tl.arange(0, TILE_O)
    if ONE_TAP:  # the whole tile lies in one place of the kernel, so its channels lie side by side in memory
        tap = first_p // CHANNELS
        channel = first_p % CHANNELS + tl.arange(0, TILE_P)
        down = (tap // KERNEL_WIDE) * SPREAD_H - MARGIN_H + tl.zeros((TILE_P,), tl.int32)
        across = (tap % KERNEL_WIDE) * SPREAD_W - MARGIN_W + tl.zeros((TILE_P,), tl.int32)
    else:
        tap = p // CHANNELS
        channel = p % CHANNELS
        down = (tap // KERNEL_WIDE) * SPREAD_H - MARGIN_H
        across = (tap % KERNEL_WIDE) * SPREAD_W - MARGIN_W
    area_out = high_out * wide_out
    length = copies * area_out
    x_ptr += image * copies * high * wide * CHANNELS
    g_ptr += image * length * CHANNELS_OUT
    total = tl.zeros((TILE_O, TILE_P), tl.float32)
    begin = tl.program_id(2) * piece
    for start in range(begin, tl.minimum(begin + piece, length), TILE_L):
        at = start + tl.arange(0, TILE_L)
        copy, place = at // area_out, at % area_out
        row, column = place // wide_out * STRIDE_H, place % wide_out * STRIDE_W
        g = tl.load(
            g_ptr + at[:, None] * CHANNELS_OUT + o[None, :],
            mask=(at[:, None] < length) & (o[None, :] < CHANNELS_OUT), other=0.0,
        )  # fmt: skip
        y, z = row[:, None] + down[None, :], column[:, None] + across[None, :]
        inside = (y >= 0) & (y < high) & (z >= 0) & (z < wide) & (at[:, None] < length) & (p[None, :] < PATCH)
        x = tl.load(
            x_ptr + ((copy[:, None] * high + y) * wide + z) * CHANNELS + channel[None, :], mask=inside, other=0.0
        )
        total = tl.dot(tl.trans(g), x, total)
    part = image * tl.num_programs(2) + tl.program_id(2)
    out = out_ptr + part * CHANNELS_OUT * PATCH + o[:, None] * PATCH + p[None, :]
    tl.store(out, total, mask=(o[:, None] < CHANNELS_OUT) & (p[None, :] < PATCH))


@triton.jit
def _sums_of_three(
    x_ptr, g_ptr, out_ptr, copies, high, wide, high_out, wide_out, piece,
    CHANNELS: tl.constexpr, CHANNELS_OUT: tl.constexpr, KERNEL_HIGH: tl.constexpr,
    STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr, SPREAD_H: tl.constexpr, SPREAD_W: tl.constexpr,
    MARGIN_H: tl.constexpr, MARGIN_W: tl.constexpr,
    TILE_O: tl.constexpr, TILE_C: tl.constexpr, TILE_L: tl.constexpr,
):  # fmt: skip
    """As `_sum_of_products` for kernels three wide: one row of the kernel at a time, whose three places share what is
    read of the output's gradient. On an H100 2.3 to 2.7 times as fast."""
    image, tile = tl.program_id(1).to(tl.int64), tl.program_id(0)
    tiles_c = (CHANNELS + TILE_C - 1) // TILE_C
    c = (tile % tiles_c) * TILE_C + tl.arange(0, TILE_C)
    kernel_row = (tile // tiles_c) % KERNEL_HIGH
    o = (tile // tiles_c // KERNEL_HIGH) * TILE_O + tl.arange(0, TILE_O)
    ours = (c < CHANNELS)[None, :]
    area_out = high_out * wide_out
    length = copies * area_out
    x_ptr += image * copies * high * wide * CHANNELS
    g_ptr += image * length * CHANNELS_OUT
    first = tl.zeros((TILE_O, TILE_C), tl.float32)
    second = tl.zeros((TILE_O, TILE_C), tl.float32)
    third = tl.zeros((TILE_O, TILE_C), tl.float32)
    begin = tl.program_id(2) * piece
    for start in range(begin, tl.minimum(begin + piece, length), TILE_L):
        at = start + tl.arange(0, TILE_L)
        copy, place = at // area_out, at % area_out
        y = place // wide_out * STRIDE_H + kernel_row * SPREAD_H - MARGIN_H
        z = place % wide_out * STRIDE_W - MARGIN_W
        there = (at < length) & (y >= 0) & (y < high)
        g = tl.load(
            g_ptr + at[:, None] * CHANNELS_OUT + o[None, :],
            mask=(at[:, None] < length) & (o[None, :] < CHANNELS_OUT), other=0.0,
        )  # fmt: skip
        g = tl.trans(g)
        row = x_ptr + ((copy * high + y) * wide + z)[:, None] * CHANNELS + c[None, :]
        inside = (there & (z >= 0) & (z < wide))[:, None] & ours
        first = tl.dot(g, tl.load(row, mask=inside, other=0.0), first)
        inside = (there & (z + SPREAD_W >= 0) & (z + SPREAD_W < wide))[:, None] & ours
        second = tl.dot(g, tl.load(row + SPREAD_W * CHANNELS, mask=inside, other=0.0), second)
        inside = (there & (z + 2 * SPREAD_W >= 0) & (z + 2 * SPREAD_W < wide))[:, None] & ours
        third = tl.dot(g, tl.load(row + 2 * SPREAD_W * CHANNELS, mask=inside, other=0.0), third)
    part = image * tl.num_programs(2) + tl.program_id(2)
    out = out_ptr + part * CHANNELS_OUT * KERNEL_HIGH * 3 * CHANNELS
    out += o[:, None] * (KERNEL_HIGH * 3 * CHANNELS) + kernel_row * 3 * CHANNELS + c[None, :]
    known = (o[:, None] < CHANNELS_OUT) & (c[None, :] < CHANNELS)
    tl.store(out, first, mask=known)
    tl.store(out + CHANNELS, second, mask=known)
    tl.store(out + 2 * CHANNELS, third, mask=known)


@triton.jit
def _sum_of_positions(
    g_ptr, out_ptr, length, piece, CHANNELS: tl.constexpr, TILE_O: tl.constexpr, TILE_L: tl.constexpr
):  # fmt: skip
    """The gradient of one image's bias (CHANNELS,) from a piece of its positions."""
    image = tl.program_id(1).to(tl.int64)
    o = tl.program_id(0) * TILE_O + tl.arange(0, TILE_O)
    g_ptr += image * length * CHANNELS
    total = tl.zeros((TILE_L, TILE_O), tl.float32)
    begin = tl.program_id(2) * piece
    end = tl.minimum(begin + piece, length)
    for start in range(begin, end, TILE_L):
        at = start + tl.arange(0, TILE_L)
        there = (at[:, None] < end) & (o[None, :] < CHANNELS)
        total += tl.load(g_ptr + at[:, None] * CHANNELS + o[None, :], mask=there, other=0.0).to(tl.float32)
    part = image * tl.num_programs(2) + tl.program_id(2)
    tl.store(out_ptr + part * CHANNELS + o, tl.sum(total, 0), mask=o < CHANNELS)


@torch.library.custom_op("raysyn::conv_grads", mutates_args=())
def conv_grads(
    x_MHWC: Tensor, g_MHWO: Tensor, images: int, kernel: list[int], stride: list[int], margin: list[int],
    dilation: list[int],
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(images, O * kh * kw * C) float32: gradient of each image's copies for the weight, in the order (O, kh, kw, C);
    and (images, O) float32: for the bias, the sum of the output's gradient.

    Args:
        x_MHWC: input, contiguous, float32 (multiplied as TF32), bfloat16 or float16.
        g_MHWO: gradient of the output, contiguous, of the input's dtype.
        images: B, a divisor of M.
        kernel, stride, margin, dilation: as of torch.nn.Conv2d, for height and width; margin is the padding.
    """
    rows, high, wide, channels = x_MHWC.shape
    high_out, wide_out, channels_out = g_MHWO.shape[1:]
    of_an_image = max(x_MHWC.numel(), g_MHWO.numel()) // images
    if of_an_image >= 1 << 31 or images >= 1 << 16:  # the kernels' 32-bit offsets, and CUDA's largest grid
        raise ValueError(f"{images} images of {of_an_image} numbers each: give fewer images or copies, or smaller ones")
    patch, copies = kernel[0] * kernel[1] * channels, rows // images
    # Float32 numbers take twice the room, and all but data-centre GPUs have 99 KiB of shared memory.
    tile_l = BLOCK_L if x_MHWC.element_size() == 2 else BLOCK_L // 2
    tile_o = min(BLOCK_O, max(16, triton.next_power_of_2(channels_out)))
    tile_c = next((tile for tile in (BLOCK_P, BLOCK_P // 2, 16) if channels % tile == 0), None)
    threes = kernel[1] == 3 and (tile_c is not None or channels > BLOCK_P)
    tile_p = tile_c or min(BLOCK_P, max(16, triton.next_power_of_2(patch)))
    tiles_p = triton.cdiv(channels, tile_p) * kernel[0] if threes else triton.cdiv(patch, tile_p)
    tiles = tiles_p * triton.cdiv(channels_out, tile_o)
    length = copies * high_out * wide_out
    piece, pieces = _pieces(tiles * images, length)
    out = torch.empty(images * pieces, channels_out * patch, device=x_MHWC.device)
    common = (x_MHWC, g_MHWO, out, copies, high, wide, high_out, wide_out, piece, channels, channels_out)
    geometry = (*stride, *dilation, *margin)
    if threes:
        _sums_of_three[(tiles, images, pieces)](
            *common, kernel[0], *geometry, tile_o, tile_p, tile_l, num_warps=WARPS, num_stages=STAGES
        )
    else:
        _sum_of_products[(tiles, images, pieces)](
            *common, patch, kernel[1], *geometry, tile_o, tile_p, tile_l, tile_c is not None, num_warps=WARPS,
            num_stages=STAGES,
        )  # fmt: skip
    out = out if pieces == 1 else out.view(images, pieces, -1).sum(1)
    return out, _bias_grads(g_MHWO, images, length)


def _bias_grads(g_MHWO: Tensor, images: int, length: int) -> Tensor:
    channels = g_MHWO.shape[3]
    tile_o = min(BLOCK_O, triton.next_power_of_2(channels))
    tiles = triton.cdiv(channels, tile_o)
    piece, pieces = _pieces(tiles * images, length)
    out = torch.empty(images * pieces, channels, device=g_MHWO.device)
    _sum_of_positions[(tiles, images, pieces)](
        g_MHWO, out, length, piece, channels, tile_o, SUMMED // tile_o, num_warps=WARPS
    )
    return out if pieces == 1 else out.view(images, pieces, -1).sum(1)


def _pieces(programs: int, length: int) -> tuple[int, int]:
    """Into how long pieces an image's positions are cut, and how many, for whoever has so many programs without."""
    wanted = max(1, min(PROGRAMS // programs, length // SHORTEST))
    piece = triton.cdiv(triton.cdiv(length, wanted), BLOCK_L) * BLOCK_L
    return piece, triton.cdiv(length, piece)


@conv_grads.register_fake
def _(x_MHWC, g_MHWO, images, kernel, stride, margin, dilation):  # type: ignore[no-untyped-def]
    size = g_MHWO.shape[3] * kernel[0] * kernel[1] * x_MHWC.shape[3]
    return tuple(x_MHWC.new_empty(images, wide, dtype=torch.float32) for wide in (size, g_MHWO.shape[3]))


@torch.library.custom_op("raysyn::written", mutates_args=())
def written(x: Tensor) -> Tensor:
    """`x`, written to memory once. Compiled code (`fused.py`) may compute a number anew for each of its uses and round
    it differently; the gradient that is measured must be the one that is summed."""
    return x.clone()


@written.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)
