"""What layer rules need on a GPU. Imported on CUDA alone, with which PyTorch brings Triton (on Linux)."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK_O, BLOCK_P, BLOCK_L = 64, 64, 64
"""Sides of the tiles: channels out, entries of a patch, positions."""


@triton.jit
def _sum_of_products(
    x_ptr, g_ptr, out_ptr, copies, high, wide, high_out, wide_out,
    CHANNELS: tl.constexpr, CHANNELS_OUT: tl.constexpr, PATCH: tl.constexpr, KERNEL_WIDE: tl.constexpr,
    STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr, SPREAD_H: tl.constexpr, SPREAD_W: tl.constexpr,
    MARGIN_H: tl.constexpr, MARGIN_W: tl.constexpr,
    TILE_O: tl.constexpr, TILE_P: tl.constexpr, TILE_L: tl.constexpr, ONE_TAP: tl.constexpr,
):  # fmt: skip
    """One tile (TILE_O, TILE_P) of one image's gradient (CHANNELS_OUT, PATCH), summed over its positions.

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
    for start in range(0, length, TILE_L):
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
    out = out_ptr + image * CHANNELS_OUT * PATCH + o[:, None] * PATCH + p[None, :]
    tl.store(out, total, mask=(o[:, None] < CHANNELS_OUT) & (p[None, :] < PATCH))


@triton.jit
def _sums_of_three(
    x_ptr, g_ptr, out_ptr, copies, high, wide, high_out, wide_out,
    CHANNELS: tl.constexpr, CHANNELS_OUT: tl.constexpr, KERNEL_HIGH: tl.constexpr,
    STRIDE_H: tl.constexpr, STRIDE_W: tl.constexpr, SPREAD_H: tl.constexpr, SPREAD_W: tl.constexpr,
    MARGIN_H: tl.constexpr, MARGIN_W: tl.constexpr,
    TILE_O: tl.constexpr, TILE_C: tl.constexpr, TILE_L: tl.constexpr,
):  # fmt: skip
    """As `_sum_of_products` for kernels three wide: one row of the kernel at a time, whose three places share what is
    read of the output's gradient. On an H100 2.3 to 2.7 times as fast."""
    image, tile = tl.program_id(1).to(tl.int64), tl.program_id(0)
    tiles_c = CHANNELS // TILE_C
    c = (tile % tiles_c) * TILE_C + tl.arange(0, TILE_C)
    kernel_row = (tile // tiles_c) % KERNEL_HIGH
    o = (tile // tiles_c // KERNEL_HIGH) * TILE_O + tl.arange(0, TILE_O)
    area_out = high_out * wide_out
    length = copies * area_out
    x_ptr += image * copies * high * wide * CHANNELS
    g_ptr += image * length * CHANNELS_OUT
    first = tl.zeros((TILE_O, TILE_C), tl.float32)
    second = tl.zeros((TILE_O, TILE_C), tl.float32)
    third = tl.zeros((TILE_O, TILE_C), tl.float32)
    for start in range(0, length, TILE_L):
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
        inside = there & (z >= 0) & (z < wide)
        first = tl.dot(g, tl.load(row, mask=inside[:, None], other=0.0), first)
        inside = there & (z + SPREAD_W >= 0) & (z + SPREAD_W < wide)
        second = tl.dot(g, tl.load(row + SPREAD_W * CHANNELS, mask=inside[:, None], other=0.0), second)
        inside = there & (z + 2 * SPREAD_W >= 0) & (z + 2 * SPREAD_W < wide)
        third = tl.dot(g, tl.load(row + 2 * SPREAD_W * CHANNELS, mask=inside[:, None], other=0.0), third)
    out = out_ptr + image * CHANNELS_OUT * KERNEL_HIGH * 3 * CHANNELS
    out += o[:, None] * (KERNEL_HIGH * 3 * CHANNELS) + kernel_row * 3 * CHANNELS + c[None, :]
    known = (o[:, None] < CHANNELS_OUT) & (c[None, :] < CHANNELS)
    tl.store(out, first, mask=known)
    tl.store(out + CHANNELS, second, mask=known)
    tl.store(out + 2 * CHANNELS, third, mask=known)


@torch.library.custom_op("raysyn::conv_grads", mutates_args=())
def conv_grads(
    x_MHWC: Tensor, g_MHWO: Tensor, images: int, kernel: list[int], stride: list[int], margin: list[int],
    dilation: list[int],
) -> Tensor:  # fmt: skip
    """(images, O * kh * kw * C) float32: gradient of each image's copies for the weight, in the order (O, kh, kw, C).

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
    patch = kernel[0] * kernel[1] * channels
    out = torch.empty(images, channels_out * patch, device=x_MHWC.device, dtype=torch.float32)
    sizes = (rows // images, high, wide, high_out, wide_out)
    geometry = (*stride, *dilation, *margin)
    # Float32 numbers take twice the room, and all but data-centre GPUs have 99 KiB of shared memory.
    tile_l = BLOCK_L if x_MHWC.element_size() == 2 else BLOCK_L // 2
    tile_o = min(BLOCK_O, max(16, triton.next_power_of_2(channels_out)))
    tile_c = next((tile for tile in (BLOCK_P, BLOCK_P // 2, 16) if channels % tile == 0), None)
    if kernel[1] == 3 and tile_c is not None:
        _sums_of_three[(channels // tile_c * kernel[0] * triton.cdiv(channels_out, tile_o), images)](
            x_MHWC, g_MHWO, out, *sizes, channels, channels_out, kernel[0], *geometry, tile_o, tile_c, tile_l,
            num_warps=4, num_stages=3,
        )  # fmt: skip
        return out
    tile_p = tile_c or min(BLOCK_P, max(16, triton.next_power_of_2(patch)))
    _sum_of_products[(triton.cdiv(patch, tile_p) * triton.cdiv(channels_out, tile_o), images)](
        x_MHWC, g_MHWO, out, *sizes, channels, channels_out, patch, kernel[1], *geometry, tile_o, tile_p, tile_l,
        tile_c is not None, num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


@conv_grads.register_fake
def _(x_MHWC, g_MHWO, images, kernel, stride, margin, dilation):  # type: ignore[no-untyped-def]
    return x_MHWC.new_empty(images, g_MHWO.shape[3] * kernel[0] * kernel[1] * x_MHWC.shape[3], dtype=torch.float32)


@torch.library.custom_op("raysyn::written", mutates_args=())
def written(x: Tensor) -> Tensor:
    """`x`, written to memory once. Compiled code (`fused.py`) may compute a number anew for each of its uses and round
    it differently; the gradient that is measured must be the one that is summed."""
    return x.clone()


@written.register_fake
def _(x):  # type: ignore[no-untyped-def]
    return torch.empty_like(x)
