"""The book-keeping engine: one batched forward and backward pass, then each layer's per-image gradients by hand.

The backward pass computes gradients of activations only. Each layer's input x and output gradient g determine
its per-image weight gradient g^T x, summed over the K copies and all positions of the image as one sequence of
length L. Two ways to its norm, whichever moves fewer numbers: keep the per-image gradients, then weight them by
the clip factors in one product; or, where L is short beside the weight, take the norm from two L x L Gram
matrices ("ghost norm": Goodfellow 2015; Li et al. 2022, section 4) and compute the ordinary batched weight
gradient once the clip factors are known (book-keeping: Bu et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.privacy.engines import SUPPORTED, Clipped, Loss, clip_factors, trained

PATCH_BYTES = 2 << 20
"""Patches of convolutions are unfolded in pieces of this size, to stay in a CPU's cache between copy and product."""
GHOST_ADVANTAGE = 60
"""Multiplications that take as long as writing and reading back one number of a per-image gradient (measured)."""


class Part(NamedTuple):
    """One parameter's share of the per-image gradients."""

    parameter: nn.Parameter
    squared_B: Tensor
    """Squared norm of each image's gradient."""
    weighted: Callable[[Tensor], Tensor]
    """weighted(factors_B): sum over the images of factor times gradient, in the parameter's shape."""


def bookkeeping(model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float) -> Clipped:
    """See the module; needs every layer with parameters to be called once, with the copies as first dimension."""
    images, copies = inputs_BK[0].shape[:2]
    parts: list[Part] = []
    with _recorded(model, images, images * copies, parts) as roots:
        losses_B = loss(model, *(x.flatten(0, 1) for x in inputs_BK)).view(images, copies).mean(1)
        if roots:
            torch.autograd.grad(losses_B.sum(), roots, allow_unused=True)
    device = losses_B.device
    squared_B = sum((part.squared_B for part in parts), start=torch.zeros(images, device=device))
    norms_B = squared_B.clamp(min=0).sqrt()
    factors_B = clip_factors(norms_B, max_grad_norm)
    sums = {id(part.parameter): part.weighted(factors_B).reshape(-1) for part in parts}
    flat = [sums[id(p)] if id(p) in sums else torch.zeros(p.numel(), device=device) for p in trained(model)]
    return Clipped(torch.cat(flat), norms_B, losses_B.detach().mean())


@contextmanager
def _recorded(model: nn.Module, images: int, rows: int, parts: list[Part]) -> Iterator[list[Tensor]]:
    """Within, a forward and a backward pass through `model` fill `parts`; yields where the backward pass ends."""
    learning = trained(model)
    roots: list[Tensor] = []
    seen: set[nn.Module] = set()
    names = {module: name for name, module in model.named_modules()}

    def after_forward(module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> None:
        if module in seen:
            raise ValueError(f"layer {names[module]} is called twice in one pass: set engine=loop, or give it a twin")
        if len(out) != rows:
            raise ValueError(f"layer {names[module]} sees {len(out)} rows of {rows}: set engine=loop for this model")
        seen.add(module)
        x, mine = args[0].detach(), [p for p in module.parameters(recurse=False) if id(p) in wanted]
        if not out.requires_grad:
            roots.append(out.requires_grad_())
        norm_facts = _statistics(module, x, out)
        out.register_hook(lambda g: parts.extend(_parts(module, x, g.detach(), images, norm_facts, mine)))

    wanted = {id(p) for p in learning}
    layers = [m for m in model.modules() if any(id(p) in wanted for p in m.parameters(recurse=False))]
    assert all(isinstance(layer, SUPPORTED) for layer in layers), "call refuse_unsupported first"
    hooks = [layer.register_forward_hook(after_forward) for layer in layers]
    # With constant parameters autograd skips the batched weight gradients, a third of an ordinary step.
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield roots
    finally:
        for hook in hooks:
            hook.remove()
        for parameter in learning:
            parameter.requires_grad_(True)


def _statistics(module: nn.Module, x: Tensor, out: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and 1/deviation of each group of a GroupNorm, (M, groups): those that autograd has just saved."""
    if not isinstance(module, nn.GroupNorm):
        return None
    if type(out.grad_fn).__name__ == "NativeGroupNormBackward0":
        # Detached: with their history they would keep the graph that keeps them, and no batch would be freed.
        saved = out.grad_fn._saved_result1, out.grad_fn._saved_result2  # type: ignore[union-attr]
        return saved[0].detach(), saved[1].detach()
    rows, channels = x.shape[:2]
    return torch.native_group_norm(
        x.contiguous(), None, None, rows, channels, x[0, 0].numel(), module.num_groups, module.eps
    )[1:]


def _parts(
    module: nn.Module, x: Tensor, g: Tensor, images: int, statistics: tuple[Tensor, Tensor] | None,
    learning: list[nn.Parameter],
) -> list[Part]:  # fmt: skip
    """The per-image gradients of one layer from its input and its output's gradient, in float32."""
    if x.is_floating_point():
        x = x.float()
    g = g.float()
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    parts = []
    with torch.autocast(g.device.type, enabled=False):
        if isinstance(module, nn.GroupNorm):
            assert statistics is not None
            scale_BC, shift_BC = _group_norm(module, x, g, images, statistics)
            parts = [_kept(weight, scale_BC), _kept(bias, shift_BC)]
        elif isinstance(module, nn.LayerNorm):
            normal = F.layer_norm(x, module.normalized_shape, eps=module.eps)
            wide = weight.numel()
            parts = [_kept(weight, (normal * g).view(images, -1, wide).sum(1))]
            if bias is not None:
                parts.append(_kept(bias, g.reshape(images, -1, wide).sum(1)))
        elif isinstance(module, nn.Embedding):
            parts = [_embedding(module, x, g, images)]
        else:
            parts = [_conv(module, x, g, images) if isinstance(module, nn.Conv2d) else _linear(weight, x, g, images)]
            if bias is not None:
                rows_BLO = _rows(g) if g.ndim == 4 and isinstance(module, nn.Conv2d) else g
                parts.append(_kept(bias, rows_BLO.reshape(images, -1, bias.numel()).sum(1)))
    return [part for part in parts if any(part.parameter is p for p in learning)]


def _kept(parameter: nn.Parameter, grads_BP: Tensor, order: Callable[[Tensor], Tensor] = lambda sum_P: sum_P) -> Part:
    """Per-image gradients that stay in memory; `order` brings their weighted sum into the parameter's order."""
    squared_B = torch.linalg.vector_norm(grads_BP, dim=1).square()
    return Part(parameter, squared_B, lambda factors_B: order(factors_B @ grads_BP))


def _rows(x_MCHW: Tensor) -> Tensor:
    """(M, H * W, C); a free view of a channels-last tensor."""
    return x_MCHW.permute(0, 2, 3, 1).reshape(len(x_MCHW), -1, x_MCHW.shape[1])


def _group_norm(
    module: nn.GroupNorm, x: Tensor, g: Tensor, images: int, statistics: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Per-image gradients (B, C) of scale and shift: the sums over positions of g * (x - mean) / deviation and g."""
    rows, channels = x.shape[:2]
    mean_MC, inverse_MC = (s.view(rows, -1).repeat_interleave(channels // module.num_groups, 1) for s in statistics)
    # Reduce over positions first, so that the normalised activations need not be computed again.
    if x.ndim == 4:
        gx_MC, g_MC = (_rows(x) * _rows(g)).sum(1), _rows(g).sum(1)
    else:
        gx_MC, g_MC = (x * g).flatten(2).sum(2), g.flatten(2).sum(2)
    scale_MC = (gx_MC - g_MC * mean_MC) * inverse_MC
    return scale_MC.view(images, -1, channels).sum(1), g_MC.view(images, -1, channels).sum(1)


def _embedding(module: nn.Embedding, x: Tensor, g: Tensor, images: int) -> Part:
    wide = module.embedding_dim
    index_BL, g_BLD = x.reshape(images, -1), g.reshape(images, -1, wide)
    if module.padding_idx is not None:
        g_BLD = g_BLD * (index_BL != module.padding_idx)[..., None]
    # Two positions meet in the same row of the table only where their indices agree.
    same_BLL = index_BL[:, :, None] == index_BL[:, None, :]
    squared_B = ((g_BLD @ g_BLD.transpose(1, 2)) * same_BLL).sum((1, 2))

    def weighted(factors_B: Tensor) -> Tensor:
        table = torch.zeros(module.num_embeddings, wide, device=g.device)
        return table.index_add_(0, index_BL.reshape(-1), (g_BLD * factors_B[:, None, None]).view(-1, wide))

    return Part(module.weight, squared_B, weighted)


def _linear(weight: nn.Parameter, x: Tensor, g: Tensor, images: int) -> Part:
    """Linear layers and 1 x 1 convolutions: rows of any number of positions."""
    wide_in, wide_out = x.shape[-1], g.shape[-1]
    x_BLC, g_BLO = x.reshape(images, -1, wide_in), g.reshape(images, -1, wide_out)
    length = x_BLC.shape[1]
    if 2 * length**2 * (wide_in + wide_out) > GHOST_ADVANTAGE * wide_in * wide_out:
        return _kept(weight, torch.bmm(g_BLO.transpose(1, 2), x_BLC).flatten(1))
    grams = torch.bmm(x_BLC, x_BLC.transpose(1, 2)), torch.bmm(g_BLO, g_BLO.transpose(1, 2))
    squared_B = (grams[0] * grams[1]).sum((1, 2))

    def weighted(factors_B: Tensor) -> Tensor:
        return (g_BLO * factors_B[:, None, None]).reshape(-1, wide_out).T @ x_BLC.reshape(-1, wide_in)

    return Part(weight, squared_B, weighted)


def _conv(module: nn.Conv2d, x: Tensor, g: Tensor, images: int) -> Part:
    weight = module.weight
    assert not isinstance(module.padding, str) or module.padding in ("same", "valid")
    kernel, wide_out = weight.shape[2:], len(weight)
    top, left, bottom, right = _margins(module)
    if module.groups > 1:
        return _kept(weight, _grouped(module, F.pad(x, (left, right, top, bottom)), g, images))
    plain = module.stride == (1, 1) and module.dilation == (1, 1)
    if plain and kernel == (1, 1) and not (top or left or bottom or right):
        part = _linear(weight, _rows(x), _rows(g), images)
        return part
    margin = (top, left)
    if margin != (bottom, right):  # an even kernel with "same" padding
        x, margin = F.pad(x, (left, right, top, bottom)), (0, 0)
    x_MHWC = F.pad(x.permute(0, 2, 3, 1), (0, 0, margin[1], margin[1], margin[0], margin[0])).contiguous()
    length = len(x) // images * x_MHWC.shape[1] * x_MHWC.shape[2]
    ghost = 2 * length**2 * (x.shape[1] + wide_out + 4 * kernel.numel())
    if plain and ghost < GHOST_ADVANTAGE * weight.numel():
        squared_B = _ghost_conv(x_MHWC, g.permute(0, 2, 3, 1), kernel, images)
        return Part(weight, squared_B, lambda factors_B: _batched_conv(weight, x, g, margin, factors_B))
    grads_BP = _unfolded_conv(module, x_MHWC, g.permute(0, 2, 3, 1), images)
    return _kept(weight, grads_BP, lambda sum_P: sum_P.view(wide_out, *kernel, -1).permute(0, 3, 1, 2))


def _margins(module: nn.Conv2d) -> tuple[int, int, int, int]:
    """Zeros added at the top, left, bottom and right."""
    if module.padding == "valid":
        return 0, 0, 0, 0
    if module.padding == "same":
        total = [d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True)]
        return total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2
    high, wide = module.padding
    return int(high), int(wide), int(high), int(wide)


def _unfolded_conv(module: nn.Conv2d, x_MHWC: Tensor, g_MHWO: Tensor, images: int) -> Tensor:
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
    room = PATCH_BYTES // (4 * high * wide * wide_patch) if g_MHWO.device.type == "cpu" else rows
    if room >= copies:
        per_piece = min(images, room // copies)
        for start in range(0, images, per_piece):
            piece = slice(start, start + per_piece)
            x_BLP = patches[piece].reshape(-1, copies * high * wide, wide_patch)
            g_BOL = g_BKLO[piece].reshape(len(x_BLP), -1, wide_out).transpose(1, 2)
            torch.bmm(g_BOL, x_BLP, out=out[piece])
        return out.flatten(1)
    per_piece = max(1, room)
    for image in range(images):
        for start in range(0, copies, per_piece):
            piece = slice(start, start + per_piece)
            x_LP, g_LO = patches[image, piece].reshape(-1, wide_patch), g_BKLO[image, piece].reshape(-1, wide_out)
            torch.addmm(out[image], g_LO.T, x_LP, beta=float(start > 0), out=out[image])
    return out.flatten(1)


def _ghost_conv(x_MHWC: Tensor, g_MHWO: Tensor, kernel: torch.Size, images: int) -> Tensor:
    """Squared norms (B,) of stride-1 convolutions without unfolding.

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
    return patches.mul_(gram_g).sum((1, 2))


def _batched_conv(
    weight: Tensor, x: Tensor, g: Tensor, margin: tuple[int, int], factors_B: Tensor
) -> Tensor:
    """The ordinary weight gradient of the whole batch, each image weighted by its clip factor."""
    weighted = g * factors_B.repeat_interleave(len(g) // len(factors_B))[:, None, None, None]
    return torch.nn.grad.conv2d_weight(x, weight.shape, weighted, padding=margin)


def _grouped(module: nn.Conv2d, x_padded: Tensor, g: Tensor, images: int) -> Tensor:
    """Per-image gradients of a grouped convolution, image after image."""
    shape, stride, dilation = module.weight.shape, module.stride, module.dilation
    pairs = zip(x_padded.chunk(images), g.chunk(images), strict=True)
    return torch.stack([
        torch.nn.grad.conv2d_weight(x, shape, y, stride, 0, dilation, module.groups).flatten() for x, y in pairs
    ])  # fmt: skip
