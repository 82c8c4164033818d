"""Per-image gradients of one layer from its input and its output's gradient: the rules of the book-keeping engine.

A rule answers with a squared norm that is never too small, whatever the input, and there are two kinds of rule. Some
form each image's gradient: then what is measured is what is summed. The others never form it and take the norm from
Gram matrices; there rounding can be larger than the norm, so they answer with an upper bound (see `_ghost`).

Shapes: B images with K copies each make M = B * K rows; L is the length of an image's sequence, its copies and
their positions together; C and O are channels in and out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute.worker import full_float32
from raysyn.privacy import convolutions
from raysyn.privacy.engines import squared_norms
from raysyn.privacy.group_norm import GroupNormCall, over_positions, rows_of

GHOST_ADVANTAGE = 60
"""Multiplications that take as long as writing and reading back one number of a per-image gradient (measured)."""

SMALL_WEIGHT = 32 * 32 * 9
"""Up to this many weights a convolution with a group per image beats unfolding (measured)."""
ONE_BY_ONE = 1500
"""From so many positions on, of an image's copies together, a convolution of it alone beats unfolding (measured)."""

EPSILON = torch.finfo(torch.float32).eps
SUM_TERMS = 64
"""Roundings that torch's sum of many numbers may add up to: it sums in a tree, and so in far fewer."""
UNDERFLOW = 1e-30
"""Added to squared lengths of which float32 may have lost a product below 1e-38; as a share of the length it is lost
in rounding for all but the shortest."""


class Part(NamedTuple):
    """One parameter's share of the per-image gradients."""

    parameter: Tensor
    squared_B: Tensor
    """Squared norm of each image's gradient, or more."""
    slack_B: Tensor | None
    """How much of `squared_B` is there for what rounding may have hidden; None where the gradient was measured."""
    weighted: Callable[[Tensor], Tensor]
    """weighted(factors_B): sum over the images of factor times gradient, in the parameter's shape."""
    bias_BO: Tensor | None = None
    """The gradients of the layer's bias, where they came with its weight's."""


def parts_of(layer: nn.Module, x: Tensor, g: Tensor, images: int, norm: GroupNormCall | None) -> list[Part]:
    """The per-image gradients of one layer's weight and bias: float32 numbers whatever the precision of the pass.

    Products that are formed multiply numbers of the pass's precision and add them up in float32; on a CPU each is then
    rounded to that precision, of an image too large for one product each piece. That is as private as any other way to
    choose a gradient: what is measured and summed is what was formed. Norms of what is not formed are computed in
    float32.

    Args:
        layer: one of `engines.SUPPORTED`.
        x: what the layer was given, (M, ...).
        g: gradient of the summed example losses for what it answered, (M, ...).
        images: B.
        norm: the call that computed a GroupNorm.
    """
    weight, bias = cast(Tensor, layer.weight), cast("Tensor | None", getattr(layer, "bias", None))
    if x.is_floating_point() and not x.is_cuda:
        x = x.to(g.dtype)  # as the layer saw it
    with full_float32(g.device):
        if isinstance(layer, nn.Embedding):
            return [_embedding(layer, x, g.float(), images)]
        if isinstance(layer, nn.GroupNorm):
            assert norm is not None
            shift_MC, scale_MC = norm.sums(x, g)
            return _kept_both(weight, scale_MC, bias, shift_MC, images)
        if isinstance(layer, nn.LayerNorm):
            normal, g = F.layer_norm(x.float(), layer.normalized_shape, eps=layer.eps), g.float()
            shape = (len(x), -1, weight.numel())
            return _kept_both(weight, (normal * g).reshape(shape).sum(1), bias, g.reshape(shape).sum(1), images)
        part = _conv(layer, x, g, images) if isinstance(layer, nn.Conv2d) else _linear(weight, x, g, images)
        if bias is None:
            return [part]
        if part.bias_BO is not None:
            return [part, _measured(bias, part.bias_BO, lambda sum_O: sum_O)]
        if isinstance(layer, nn.Conv2d):
            g_MO = over_positions(g)
        else:
            g = g.float() if g.is_cuda else g
            g_MO = g.reshape(len(g), -1, g.shape[-1]).sum(1, dtype=torch.float32)
        return [part, _kept(bias, _per_image(g_MO, images))]


def _kept(parameter: Tensor, grads_BP: Tensor, order: Callable[[Tensor], Tensor] = lambda sum_P: sum_P) -> Part:
    """Per-image gradients that stay in memory; `order` brings their weighted sum into the parameter's order."""
    return _measured(parameter, _once(grads_BP), order)


def _once(x: Tensor) -> Tensor:
    """`x`, of which norm and sum read the same numbers: see `gpu_kernels.written`."""
    if not x.is_cuda:
        return x
    from raysyn.privacy.gpu_kernels import written  # needs Triton, which is there with CUDA

    return written(x)


def _measured(parameter: Tensor, grads_BP: Tensor, order: Callable[[Tensor], Tensor]) -> Part:
    return Part(parameter, squared_norms(grads_BP), None, lambda factors_B: order(factors_B @ grads_BP))


def _kept_both(weight: Tensor, weight_MC: Tensor, bias: Tensor | None, bias_MC: Tensor, images: int) -> list[Part]:
    part = _kept(weight, _per_image(weight_MC, images))
    return [part] if bias is None else [part, _kept(bias, _per_image(bias_MC, images))]


def _per_image(x_MC: Tensor, images: int) -> Tensor:
    """Sum over each image's copies: (B, C)."""
    return x_MC.view(images, -1, x_MC.shape[1]).sum(1)


def _embedding(module: nn.Embedding, x: Tensor, g: Tensor, images: int) -> Part:
    wide = module.embedding_dim
    index_BL, g_BLD = x.reshape(images, -1), g.reshape(images, -1, wide)
    if module.padding_idx is not None:
        g_BLD = g_BLD * (index_BL != module.padding_idx)[..., None]
    # Positions that read the same row of the table share its gradient, each an equal part.
    same_BLL = (index_BL[:, :, None] == index_BL[:, None, :]).float()
    shares_BLD, sharers_BL = _once(torch.bmm(same_BLL, g_BLD)), same_BLL.sum(2)
    squared_B = squared_norms((shares_BLD / sharers_BL.sqrt()[..., None]).flatten(1))

    def weighted(factors_B: Tensor) -> Tensor:
        table = torch.zeros(module.num_embeddings, wide, device=g.device)
        parts_BLD = shares_BLD * (factors_B[:, None] / sharers_BL)[..., None]
        return table.index_add_(0, index_BL.reshape(-1), parts_BLD.view(-1, wide))

    return Part(module.weight, squared_B, None, weighted)


def _linear(weight: Tensor, x: Tensor, g: Tensor, images: int) -> Part:
    """Linear layers and 1 x 1 convolutions: rows of any number of positions."""
    wide_in, wide_out = x.shape[-1], g.shape[-1]
    x_BLC, g_BLO = x.reshape(images, -1, wide_in), g.reshape(images, -1, wide_out)
    length = x_BLC.shape[1]
    if 2 * length**2 * (wide_in + wide_out) > GHOST_ADVANTAGE * wide_in * wide_out:
        if x.is_cuda:
            return _on_gpu(weight, x_BLC[:, :, None], g_BLO[:, :, None], images, (1, 1), (1, 1), (0, 0), (1, 1))
        return _kept(weight, torch.bmm(g_BLO.transpose(1, 2), x_BLC).flatten(1).float())
    x_BLC, g_BLO = _once(x_BLC.float()), _once(g_BLO.float())
    grams = torch.bmm(x_BLC, x_BLC.transpose(1, 2)), torch.bmm(g_BLO, g_BLO.transpose(1, 2))

    def weighted(factors_B: Tensor) -> Tensor:
        return (g_BLO * factors_B[:, None, None]).reshape(-1, wide_out).T @ x_BLC.reshape(-1, wide_in)

    return _ghost(weight, *grams, wide_in + wide_out, weighted)


def _ghost(weight: Tensor, gram_x: Tensor, gram_g: Tensor, terms: int, weighted: Callable[[Tensor], Tensor]) -> Part:
    """A weight whose gradient is sum_l g_l x_l^T, from the products (B, L, L) of all inputs and of all gradients.

    Its squared norm is s = sum_lm (x_l . x_m)(g_l . g_m), terms of both signs. A product that sums n numbers is wrong
    by at most n * 2^-24 |x_l| |x_m| (Cauchy-Schwarz), so s by at most terms * 2^-24 (sum_l |x_l| |g_l|)^2 with n
    added up over both products and the sum. Twice that is added. It also keeps the rounding of the weighted sum,
    whose terms cancel likewise, below the bound.
    """
    lengths_BL = (_diagonal(gram_x) + UNDERFLOW).sqrt() * (_diagonal(gram_g) + UNDERFLOW).sqrt()
    slack_B = (terms + SUM_TERMS) * EPSILON * lengths_BL.sum(1).square()
    # Written over the larger matrix, which nobody needs any more.
    estimate_B = gram_g.mul_(gram_x).sum((1, 2))
    return Part(weight, estimate_B.clamp(min=0) + slack_B, slack_B, weighted)


def _diagonal(gram_BLL: Tensor) -> Tensor:
    return gram_BLL.diagonal(dim1=1, dim2=2)


def _conv(module: nn.Conv2d, x: Tensor, g: Tensor, images: int) -> Part:
    weight, kernel = module.weight, module.weight.shape[2:]
    x, margin = convolutions.padded_evenly(module, x)
    if module.groups > 1 or (weight.numel() <= SMALL_WEIGHT and x.is_contiguous() and not x.is_cuda):
        x, g = (x.float(), g.float()) if x.is_cuda else (x, g)
        return _kept(weight, convolutions.grouped(module, x, g, margin, images).float())
    plain = module.stride == (1, 1) and module.dilation == (1, 1)
    if plain and kernel == (1, 1) and margin == (0, 0):
        return _linear(weight, rows_of(x), rows_of(g), images)
    length = len(x) // images * (x.shape[2] + 2 * margin[0]) * (x.shape[3] + 2 * margin[1])
    ghost = plain and 2 * length**2 * (x.shape[1] + len(weight) + 4 * kernel.numel()) < GHOST_ADVANTAGE * weight.numel()
    if x.is_cuda and not ghost:
        x_MHWC, g_MHWO = x.permute(0, 2, 3, 1), g.permute(0, 2, 3, 1)
        return _on_gpu(weight, x_MHWC, g_MHWO, images, tuple(kernel), module.stride, margin, module.dilation)

    def in_order(sum_P: Tensor) -> Tensor:
        return sum_P.view(len(weight), *kernel, -1).permute(0, 3, 1, 2)

    if not ghost and len(g) // images * g[0, 0].numel() >= ONE_BY_ONE:
        return _kept(weight, convolutions.one_by_one(module, x, g, margin, images), in_order)
    x, g = (_once(x.float()), _once(g.float())) if ghost else (x, g)
    x_MHWC = F.pad(x.permute(0, 2, 3, 1), (0, 0, margin[1], margin[1], margin[0], margin[0])).contiguous()
    g_MHWO = g.permute(0, 2, 3, 1)
    if ghost:
        terms = x.shape[1] + kernel.numel() + len(weight)
        grams = convolutions.grams(x_MHWC, g_MHWO, kernel, images)
        weighted = functools.partial(convolutions.weighted_sum, weight, x, g, margin)
        return _ghost(weight, *grams, terms, weighted)
    return _kept(weight, convolutions.unfolded(module, x_MHWC, g_MHWO, images), in_order)


def _on_gpu(weight: Tensor, x_MHWC: Tensor, g_MHWO: Tensor, images: int, *geometry: tuple[int, ...]) -> Part:
    """`gpu_kernels.conv_grads`, of a convolution or a linear layer."""
    from raysyn.privacy.gpu_kernels import conv_grads

    x_MHWC, kernel = x_MHWC.to(g_MHWO.dtype).contiguous(), geometry[0]
    grads_BP, bias_BO = conv_grads(x_MHWC, g_MHWO.contiguous(), images, *(list(sides) for sides in geometry))

    def in_order(sum_P: Tensor) -> Tensor:
        return sum_P.view(len(weight), *kernel, x_MHWC.shape[3]).permute(0, 3, 1, 2)

    return _measured(weight, grads_BP, in_order)._replace(bias_BO=bias_BO)
