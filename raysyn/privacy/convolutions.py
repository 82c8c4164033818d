"""Ways to the per-image gradients of a convolution's weight, to their norms and to their weighted sum.

`layers.py` chooses by shape which is the fastest.

Shapes: B images with K copies each make M = B * K rows; L is the length of an image's sequence, its copies and
their positions together; C and O are channels in and out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_weight

PATCH_BYTES = 2 << 20
"""Patches of convolutions are unfolded in pieces of this size, to stay in a CPU's cache between copy and product."""


def padded_evenly(module: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """The input, and the zeros still to be added on both sides of its height and width."""
    if module.padding == "valid":
        return x, (0, 0)
    if module.padding != "same":
        return x, (int(module.padding[0]), int(module.padding[1]))
    high, wide = (d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    if high % 2 == wide % 2 == 0:
        return x, (high // 2, wide // 2)
    # An even kernel pads one side more than the other.
    return F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2)), (0, 0)


def grouped(module: nn.Conv2d, x: Tensor, g: Tensor, margin: tuple[int, int], images: int) -> Tensor:
    """(B, P) per-image gradients as one convolution with a group per image (Rochette et al. 2019)."""
    copies, groups = len(x) // images, module.groups

    def images_as_groups(y_MCHW: Tensor) -> Tensor:
        y = y_MCHW.contiguous().view(images, copies, *y_MCHW.shape[1:]).transpose(0, 1)
        return y.reshape(copies, -1, *y_MCHW.shape[2:])

    shape = (images * len(module.weight), *module.weight.shape[1:])
    grads = conv2d_weight(
        images_as_groups(x),
        shape,
        images_as_groups(g),
        module.stride,
        margin,
        module.dilation,
        images * groups,
    )
    return grads.view(images, -1)


def one_by_one(module: nn.Conv2d, x: Tensor, g: Tensor, margin: tuple[int, int], images: int) -> Tensor:
    """(B, O * kh * kw * C) per-image gradients, each the ordinary one of an image's copies."""
    shape, copies = module.weight.shape, len(x) // images
    grads = torch.empty(images, shape[0], *shape[2:], shape[1], device=g.device)
    for mine, x_KCHW, g_KOHW in zip(grads, x.split(copies), g.split(copies), strict=True):
        found = conv2d_weight(x_KCHW, shape, g_KOHW, module.stride, margin, module.dilation)
        mine.copy_(found.permute(0, 2, 3, 1))
    return grads.flatten(1)


def unfolded(module: nn.Conv2d, x_MHWC: Tensor, g_MHWO: Tensor, images: int) -> Tensor:
    """(B, O * kh * kw * C) per-image gradients: products of output gradients with the patches they saw."""
    rows, high, wide, wide_out = g_MHWO.shape
    kernel, copies = module.kernel_size, rows // images
    strides = x_MHWC.stride()
    steps = [s * n for s, n in zip(strides[1:3], module.stride, strict=True)]
    spread = [s * n for s, n in zip(strides[1:3], module.dilation, strict=True)]
    # A view in which every patch is one row; copying a piece of it is the unfolding.
    shape = (images, copies, high, wide, *kernel, x_MHWC.shape[3])
    patches = x_MHWC.as_strided(shape, (copies * strides[0], strides[0], *steps, *spread, 1))
    g_BKLO = g_MHWO.reshape(images, copies, high * wide, wide_out)
    wide_patch = shape[4] * shape[5] * shape[6]
    out = torch.empty(images, wide_out, wide_patch, device=g_MHWO.device)
    room = PATCH_BYTES // (x_MHWC.element_size() * high * wide * wide_patch) if g_MHWO.device.type == "cpu" else rows
    if room >= copies:
        per_piece = min(images, room // copies)
        for start in range(0, images, per_piece):
            piece = slice(start, start + per_piece)
            x_BLP = patches[piece].reshape(-1, copies * high * wide, wide_patch)
            g_BOL = g_BKLO[piece].reshape(len(x_BLP), -1, wide_out).transpose(1, 2)
            if out.dtype == g_BOL.dtype:
                torch.bmm(g_BOL, x_BLP, out=out[piece])
            else:
                out[piece] = torch.bmm(g_BOL, x_BLP)
        return out.flatten(1)
    per_piece = max(1, room)
    for image in range(images):
        for start in range(0, copies, per_piece):
            piece = slice(start, start + per_piece)
            x_LP, g_LO = (
                patches[image, piece].reshape(-1, wide_patch),
                g_BKLO[image, piece].reshape(-1, wide_out),
            )
            if out.dtype == g_LO.dtype:
                torch.addmm(out[image], g_LO.T, x_LP, beta=float(start > 0), out=out[image])
            else:
                out[image] = g_LO.T @ x_LP + (out[image] if start else 0.0)
    return out.flatten(1)


def grams(x_MHWC: Tensor, g_MHWO: Tensor, kernel: torch.Size, images: int) -> tuple[Tensor, Tensor]:
    """Products (B, L, L) of the patches and of the gradients of a stride-1 convolution, without unfolding.

    The Gram matrix of patches is the sum over kernel offsets of shifted windows of the Gram matrix of the padded
    input. Output gradients padded to the input's width make each shift one contiguous window.
    """
    _, high, wide, wide_out = g_MHWO.shape
    padded_wide, channels = x_MHWC.shape[2:]
    x_BLC = x_MHWC.reshape(images, -1, channels)
    margin = (0, 0, 0, padded_wide - wide, 0, x_MHWC.shape[1] - high)
    reach = (kernel[0] - 1) * padded_wide + kernel[1] - 1
    length = x_BLC.shape[1] - reach
    g_BLO = F.pad(g_MHWO, margin).reshape(images, -1, wide_out)[:, :length]
    gram_x, gram_g = torch.bmm(x_BLC, x_BLC.transpose(1, 2)), torch.bmm(g_BLO, g_BLO.transpose(1, 2))
    patches = torch.zeros_like(gram_g)
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            at = row * padded_wide + column
            patches += gram_x[:, at : at + length, at : at + length]
    return patches, gram_g


def weighted_sum(weight: Tensor, x: Tensor, g: Tensor, margin: tuple[int, int], factors_B: Tensor) -> Tensor:
    """The ordinary weight gradient of the whole batch, each image weighted by its clip factor."""
    weighted = g * factors_B.repeat_interleave(len(g) // len(factors_B))[:, None, None, None]
    return conv2d_weight(x, weight.shape, weighted, padding=margin)
