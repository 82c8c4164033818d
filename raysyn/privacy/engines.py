"""Per-image gradients: each engine answers with the sum of clipped gradients, and no engine knows of noise.

For image i with K copies, g_i is the gradient of the mean loss of its copies. An engine returns
sum_i g_i * min(1, C / |g_i|). Averaging before the clip keeps the sensitivity at C for any K (noise multiplicity,
Dockhorn et al. 2023, equation 6). The engines differ in speed only, and agree to float rounding.

Guarantee: an image adds at most C * (1 + 1e-4) in L2 norm, whatever its pixels, in every engine and precision. Where
rounding could hide a part of its norm, the norm that it is clipped by is an upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

Loss = Callable[..., Tensor]
"""loss(model, *inputs_M) -> (M,): one loss per copy; copy m reads entry m of each input and nothing else."""

SUPPORTED = (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.LayerNorm, nn.Embedding)
"""The layers with parameters whose per-image gradient every engine can compute."""


class Clipped(NamedTuple):
    """What an engine hands back. All of it is private until the noise has been added to the sum over ranks."""

    sum_P: Tensor
    """Sum over the images of their clipped gradients, float32, in the order of `trained(model)`."""
    norms_B: Tensor
    """Gradient norm of each image before its clip; an upper bound where rounding hides the norm."""
    loss: Tensor
    """Mean loss over images and copies, a scalar."""
    doubtful_B: Tensor | None = None
    """Images of whose norm hardly anything is known (bool); `clipped_sum` has `loop` form them."""


class Engine(Protocol):
    """One way to the same answer. Inputs have leading dimensions (B, K) with B and K at least 1."""

    def __call__(self, model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float) -> Clipped: ...


def trained(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that learn, in the order of every flat gradient."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def refuse_unsupported(model: nn.Module) -> None:
    """Raise ValueError where one image's gradient would depend on another image, or where no engine has a rule."""
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        kind = type(module).__name__
        if isinstance(module, nn.modules.batchnorm._NormBase) and (
            isinstance(module, nn.modules.batchnorm._BatchNorm) or module.track_running_stats
        ):
            raise ValueError(f"layer {name} is {kind}, which mixes images of a batch: use GroupNorm in its place")
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0:
            raise ValueError(f"layer {name} is {kind} with p={module.p}: set p=0, its draws could not be repeated")
        own = [parameter for parameter in module.parameters(recurse=False) if parameter.requires_grad]
        if own and (not isinstance(module, SUPPORTED) or not _has_rule(module)):
            allowed = ", ".join(layer.__name__ for layer in SUPPORTED)
            raise ValueError(f"layer {name} is {module}, which has no per-image gradient here: use {allowed}")
        for parameter in own:
            if owners.setdefault(id(parameter), name) != name:
                raise ValueError(f"layers {owners[id(parameter)]} and {name} share a parameter: give each its own")


def _has_rule(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.padding_mode == "zeros"
    if isinstance(module, nn.Embedding):
        return module.max_norm is None and not module.scale_grad_by_freq and not module.sparse
    return True


NORM_PIECE = 4096
"""Squares that torch adds up one after the other before the pieces are added in float64. Its norm of ten million equal
numbers, added in one go, is wrong by 1 %; of a piece, by at most 3e-5."""


def squared_norms(x_BP: Tensor) -> Tensor:
    """Squared L2 norm of each row, float32, to a relative error of 1e-4 for any number of columns."""
    whole = x_BP.shape[1] // NORM_PIECE * NORM_PIECE
    last_B = torch.linalg.vector_norm(x_BP[:, whole:], dim=1).square()
    if not whole:
        return last_B
    pieces = torch.linalg.vector_norm(x_BP[:, :whole].unflatten(1, (-1, NORM_PIECE)), dim=2)
    return (pieces.double().square().sum(1) + last_B).float()


def clip_factors(norms_B: Tensor, max_grad_norm: float) -> Tensor:
    """min(1, max_grad_norm / norm), also for a norm of 0."""
    return max_grad_norm / norms_B.clamp(min=max_grad_norm)


def clipped_sum(
    engine: Engine, model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float, size: int = 0
) -> Clipped:
    """The engine's answer, in which an image whose gradient is not finite counts as zero. Batches of fewer than `size`
    images are filled up to it, for an engine that can leave some out (see `_filled`).

    Without this rule one image could turn the sum into NaN, an unbounded influence that no noise hides. Images of whose
    norm hardly anything is known are formed alone, and clipped as formed where the engine's bound has not done so:
    their share in a sum of many would be rounding.
    """
    answer = _filled(engine, model, loss, inputs_BK, max_grad_norm, size)
    finite_B = torch.isfinite(answer.norms_B)
    doubtful_B = torch.zeros_like(finite_B) if answer.doubtful_B is None else answer.doubtful_B & finite_B
    plain_B = finite_B & ~doubtful_B
    if bool(plain_B.all()):
        return answer
    sum_P = torch.zeros_like(answer.sum_P)
    if bool(plain_B.any()):
        # Looked at again: in another batch a norm at the edge of what float32 holds may round to infinity.
        sum_P += clipped_sum(engine, model, loss, [x[plain_B] for x in inputs_BK], max_grad_norm, size).sum_P
    for image in doubtful_B.nonzero()[:, 0].tolist():
        alone = loop(model, loss, [x[image : image + 1] for x in inputs_BK], max_grad_norm)
        if bool(torch.isfinite(alone.norms_B).all()):
            # Clipped by the bound all the same: whether an image is in doubt may hang on rounding, and so on others.
            bound, formed = (clip_factors(norms, max_grad_norm) for norms in (answer.norms_B[image], alone.norms_B[0]))
            sum_P += alone.sum_P * (bound / formed).clamp(max=1)
    return answer._replace(sum_P=sum_P)


def _filled(
    engine: Any, model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float, size: int
) -> Clipped:
    """The answer for a batch that is filled up to `size` by its first image, which takes no further part. Kernels are
    chosen by size and round differently, in bf16 by up to 1 %: without, one image fewer would move all others."""
    images, device = len(inputs_BK[0]), inputs_BK[0].device
    if images >= size:
        return cast(Clipped, engine(model, loss, inputs_BK, max_grad_norm))
    rows = torch.arange(size, device=device)
    valid_B = rows < images
    full_BK = [x[rows.where(valid_B, 0)] for x in inputs_BK]
    answer: Clipped = engine(model, loss, full_BK, max_grad_norm, valid_B)
    doubtful_B = None if answer.doubtful_B is None else answer.doubtful_B[:images]
    norms_B = answer.norms_B[:images].clone()
    # Its copies may overflow where it does not itself, and so make the sum NaN: then it counts as one that does.
    norms_B[0] = norms_B[0].where(torch.isfinite(answer.norms_B[images:]).all(), torch.nan)
    return answer._replace(norms_B=norms_B, doubtful_B=doubtful_B)


def loop(model: nn.Module, loss: Loss, inputs_BK: Sequence[Tensor], max_grad_norm: float) -> Clipped:
    """One backward pass per image, its K copies as the batch: the plainest engine, and fast on a CPU for large K."""
    parameters = trained(model)
    sum_P = torch.zeros(sum(p.numel() for p in parameters), device=inputs_BK[0].device)
    norms, losses = [], []
    for example in zip(*inputs_BK, strict=True):
        value = loss(model, *example).mean()
        gradients = torch.autograd.grad(value, parameters, allow_unused=True, materialize_grads=True)
        gradient_P = torch.cat([gradient.reshape(-1) for gradient in gradients])
        norm = squared_norms(gradient_P[None])[0].sqrt()
        sum_P.addcmul_(gradient_P, clip_factors(norm, max_grad_norm))
        norms.append(norm)
        losses.append(value.detach())
    return Clipped(sum_P, torch.stack(norms), torch.stack(losses).mean())
