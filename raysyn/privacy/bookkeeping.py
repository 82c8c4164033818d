"""The book-keeping engine: one batched forward and backward pass, then each layer's per-image gradients by hand.

The backward pass computes gradients of activations only. Each layer's input x and output gradient g determine
its per-image weight gradient g^T x, summed over the K copies and all positions of the image as one sequence.
`layers.py` holds the rules. Once the clip factors are known each layer answers with its weighted sum
(book-keeping: Bu et al. 2023), so nothing is propagated twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from raysyn.compute.worker import full_float32
from raysyn.privacy.engines import SUPPORTED, Clipped, Loss, clip_factors, trained
from raysyn.privacy.group_norm import GroupNormCall
from raysyn.privacy.layers import Part, parts_of

IN_DOUBT = 0.1
"""Share of a squared norm that may be slack before the image's gradient is formed alone."""


def bookkeeping(
    model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float, valid_B: Tensor | None = None
) -> Clipped:
    """See the module; needs every layer with parameters to be called once, with the copies as first dimension.

    Images for which `valid_B` (bool) is false take no part: they fill a batch up to a fixed shape.
    """
    images, copies = inputs_BK[0].shape[:2]
    parts: list[Part] = []
    with _recorded(model, images, images * copies, parts) as roots:
        losses_B = loss(model, *(x.flatten(0, 1) for x in inputs_BK)).view(images, copies).mean(1)
        if roots:
            torch.autograd.grad(losses_B.sum(), roots, allow_unused=True)
    device = losses_B.device
    nothing = torch.zeros(images, device=device)
    squared_B = sum((part.squared_B for part in parts), start=nothing)
    slack_B = sum((part.slack_B for part in parts if part.slack_B is not None), start=nothing)
    norms_B = squared_B.sqrt()
    # Below the clip nothing is shortened, and what was summed is at most the bound.
    doubtful_B = (norms_B > max_grad_norm) & (slack_B > IN_DOUBT * squared_B)
    factors_B = clip_factors(norms_B, max_grad_norm)
    if valid_B is not None:
        factors_B = factors_B * valid_B
    # The forward and backward pass may round as they like: they only choose the gradients. Their sum must have those
    # whose norms were clipped, or an image could contribute more than max_grad_norm.
    with full_float32(device):
        sums = {id(part.parameter): part.weighted(factors_B).reshape(-1) for part in parts}
    flat = [sums[id(p)] if id(p) in sums else torch.zeros(p.numel(), device=device) for p in trained(model)]
    losses_B = losses_B.detach()
    mean = losses_B.mean() if valid_B is None else (losses_B * valid_B).sum() / valid_B.sum().clamp(min=1)
    return Clipped(torch.cat(flat), norms_B, mean, doubtful_B)


def _named(model: nn.Module, wanted: set[int]) -> dict[nn.Module, str]:
    """Layers with weights that learn, `wanted` by their identity, and what they are called."""
    layers = {
        module: name
        for name, module in model.named_modules()
        if any(id(p) in wanted for p in module.parameters(recurse=False))
    }
    assert all(isinstance(layer, SUPPORTED) for layer in layers), "call refuse_unsupported first"
    return layers


@contextmanager
def _recorded(model: nn.Module, images: int, rows: int, parts: list[Part]) -> Iterator[list[Tensor]]:
    """Within, a forward and a backward pass through `model` fill `parts`; yields where the backward pass ends."""
    learning = trained(model)
    wanted = {id(p) for p in learning}
    layers = _named(model, wanted)
    norms: dict[nn.Module, GroupNormCall] = {
        layer: GroupNormCall(layer) for layer in layers if isinstance(layer, nn.GroupNorm)
    }
    roots: list[Tensor] = []
    seen: set[nn.Module] = set()

    def after_forward(layer: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        if layer in seen:
            raise ValueError(f"layer {layers[layer]} is called twice in a pass: set engine=loop, or give it a twin")
        if len(out) != rows:
            raise ValueError(f"layer {layers[layer]} sees {len(out)} rows of {rows}: set engine=loop")
        seen.add(layer)
        x, call, version = args[0].detach(), norms.get(layer), args[0]._version
        begins = not out.requires_grad
        if begins:
            roots.append(out.requires_grad_())

        def after_backward(g: Tensor) -> None:
            # The weights are constants here, so autograd would not notice.
            if x._version != version:
                raise ValueError(f"the input of layer {layers[layer]} is changed in place: set engine=loop")
            found = parts_of(layer, x, g.detach(), images, call)
            parts.extend(part for part in found if id(part.parameter) in wanted)

        out.register_hook(after_backward)
        # What comes next may change its input in place, which autograd does not allow where it begins.
        return out.clone() if begins else None

    hooks = [layer.register_forward_hook(after_forward) for layer in layers]
    for layer, call in norms.items():
        layer.forward = call
    # With constant parameters autograd skips the batched weight gradients, a third of an ordinary step.
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield roots
    finally:
        for hook in hooks:
            hook.remove()
        for layer in norms:
            del layer.forward
        for parameter in learning:
            parameter.requires_grad_(True)
