"""GroupNorm for one recorded pass: its statistics and sums are computed once and serve forward, backward and clip."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn


class GroupNormCall:
    """Stands in for a GroupNorm's `forward` during one pass, and shares its sums with the backward pass.

    Channels-last tensors take two reductions and one fused multiply-add, which are faster than torch's kernels, and on
    a GPU, of enough rows, kernels of their own (`gpu_norms`). Others keep torch's. Their backward pass sums what an
    image's gradient needs, and then adds the images up. But on a GPU it is shown all of them as one image of many
    channels, so that nothing is added up and nothing summed twice; these sums are as exact as torch's own, which for a
    million positions is three digits.
    """

    def __init__(self, layer: nn.GroupNorm) -> None:
        self.layer = layer
        self.mean_MG = self.inverse_MG = torch.empty(0)
        self._sums: tuple[Tensor, Tensor] | None = None
        self._by_kernel = self._on_gpu = self._wanted = False
        self._dx: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim == 4 and x.shape[1] > 1 and x.is_contiguous(memory_format=torch.channels_last):
            if served_on_gpu(x, self.layer.num_groups):
                self._by_kernel = self._on_gpu = True
                return cast(Tensor, _KernelNorm.apply(x, self))
            return cast(Tensor, _ChannelsLastNorm.apply(x.float(), self)).to(x.dtype)
        if not x.is_cuda:
            self._by_kernel, self._wanted = True, x.requires_grad
            kept = x if x.dtype == torch.bfloat16 else x.float()  # which the kernel takes beside float32 weights
            return cast(Tensor, _KernelNorm.apply(kept.contiguous(), self)).to(x.dtype)
        layer, size = self.layer, x[0, 0].numel()
        # In float32 whatever the precision of the pass: the kernel wants x to be of the weights' kind.
        out, mean_MG, inverse_MG = torch.native_group_norm(
            x.float().contiguous(), layer.weight, layer.bias, len(x), x.shape[1], size, layer.num_groups, layer.eps
        )
        # Detached: with their history they would keep alive the graph that keeps them, and no batch would be freed.
        self.mean_MG, self.inverse_MG = mean_MG.detach(), inverse_MG.detach()
        return cast(Tensor, out.to(x.dtype))

    def per_channel(self, x_MG: Tensor) -> Tensor:
        """(M, C): each group's number for all its channels."""
        return x_MG.view(-1, self.layer.num_groups).repeat_interleave(
            self.layer.num_channels // self.layer.num_groups, 1
        )

    def per_group(self, x_MC: Tensor) -> Tensor:
        """(M, groups): sums over the channels of each group."""
        return x_MC.view(len(x_MC), self.layer.num_groups, -1).sum(2)

    def by_kernel(self, x: Tensor) -> Tensor:
        """What the layer answers, by `gpu_norms` or by torch's kernel for contiguous tensors."""
        layer = self.layer
        if self._on_gpu:
            found = gpu_norms().group_norm(x, layer.weight, self.shift(), layer.num_groups, layer.eps, False)
        else:
            sizes = len(x), x.shape[1], x[0, 0].numel()
            found = torch.native_group_norm(x, layer.weight, layer.bias, *sizes, layer.num_groups, layer.eps)
        out, self.mean_MG, self.inverse_MG = found
        return cast(Tensor, out)

    def shift(self) -> Tensor:
        """(C,), zeros where the layer has none."""
        layer = self.layer
        return torch.zeros_like(layer.weight) if layer.bias is None else layer.bias

    def sums(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """Over positions, the sums (M, C) of g and of g * (x - mean) / deviation."""
        if self._sums is None and self._by_kernel:
            self._sums = self._sums_of_kernel(x, g)
        if self._sums is None:
            x, g = x.float(), g.float()
            g_MC, gx_MC = over_positions(g), over_positions(x * g)
            # Reduced first, so that the normalised activations need not be computed again.
            mean_MC, inverse_MC = self.per_channel(self.mean_MG), self.per_channel(self.inverse_MG)
            self._sums = g_MC, (gx_MC - g_MC * mean_MC) * inverse_MC
        return self._sums

    def _sums_of_kernel(self, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
        """`sums` by torch's backward pass, which computes x's gradient beside them where it is wanted."""
        layer, rows, channels, size = self.layer, len(x), x.shape[1], x[0, 0].numel()
        if self._on_gpu:
            back = gpu_norms().group_norm_backward
            self._dx, g_MC, normal_MC = back(
                g.to(x.dtype), x, layer.weight, self.shift(), self.mean_MG, self.inverse_MG, False
            )
            return g_MC, normal_MC
        # Tensors of three dimensions, for which there is one layout.
        x = x if x.dtype == torch.bfloat16 else x.float()
        g, flat = g.to(x.dtype).reshape(1, -1, size), x.reshape(1, -1, size)
        dx, normal_C, g_C = torch.ops.aten.native_group_norm_backward(
            g, flat, self.mean_MG.view(1, -1), self.inverse_MG.view(1, -1), layer.weight.repeat(rows), 1,
            rows * channels, size, rows * layer.num_groups, [self._wanted, True, True],
        )  # fmt: skip
        self._dx = dx.view(x.shape) if self._wanted else None
        return g_C.view(rows, channels), normal_C.view(rows, channels)

    def slope(self, x: Tensor, g: Tensor) -> Tensor:
        """x's gradient, once: it came with the sums."""
        self.sums(x, g)
        dx, self._dx = self._dx, None
        assert dx is not None
        return dx


def gpu_norms() -> Any:
    """Its module, which needs Triton, as the other kernels do (`gpu_kernels`)."""
    from raysyn.privacy import gpu_norms

    return gpu_norms


def served_on_gpu(x: Tensor, groups: int) -> bool:
    """Whether `gpu_norms` are the fast ones for this channels-last input."""
    return x.is_cuda and bool(gpu_norms().serves(x, groups))


class _KernelNorm(torch.autograd.Function):
    """GroupNorm by a kernel that is given all rows at once, whose scale and shift are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: GroupNormCall) -> Tensor:
        ctx.save_for_backward(x)
        ctx.call = call
        return call.by_kernel(x)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return ctx.call.slope(x, g), None


class _ChannelsLastNorm(torch.autograd.Function):
    """GroupNorm of a channels-last tensor whose scale and shift are constants."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, call: GroupNormCall) -> Tensor:
        layer, x_MLC = call.layer, rows_of(x)
        size = x_MLC[0].numel() // layer.num_groups
        call.mean_MG = call.per_group(x_MLC.sum(1)) / size
        square_MG = call.per_group((x_MLC * x_MLC).sum(1)) / size
        call.inverse_MG = (square_MG - call.mean_MG.square()).clamp(min=0).add(layer.eps).rsqrt()
        scale_MC = call.per_channel(call.inverse_MG) * layer.weight
        shift_MC = -call.per_channel(call.mean_MG) * scale_MC
        shift_MC = shift_MC if layer.bias is None else shift_MC + layer.bias
        ctx.save_for_backward(x)
        ctx.call = call
        if x.is_cuda:  # a copy, which compilers leave out: no view may be answered, or nobody could change it in place
            return _like(torch.addcmul(shift_MC[:, None], x_MLC, scale_MC[:, None]), x).clone()
        out = torch.empty_like(x)
        torch.addcmul(shift_MC[:, None], x_MLC, scale_MC[:, None], out=rows_of(out))
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        (x,), call, layer = ctx.saved_tensors, ctx.call, ctx.call.layer
        g_MC, normal_MC = call.sums(x, g)
        size = x[0].numel() // layer.num_groups
        # x's gradient is inverse * (weight * g - mean(weight * g) - normalised x * mean(weight * g * normalised x)).
        mean_g = call.per_channel(call.per_group(g_MC * layer.weight)) / size
        mean_gx = call.per_channel(call.per_group(normal_MC * layer.weight)) / size
        inverse_MC = call.per_channel(call.inverse_MG)
        slope_MC = -inverse_MC.square() * mean_gx
        start_MC = -inverse_MC * mean_g - slope_MC * call.per_channel(call.mean_MG)
        dx_MLC = torch.addcmul(start_MC[:, None], rows_of(x), slope_MC[:, None])
        return _like(dx_MLC.addcmul_(rows_of(g), (inverse_MC * layer.weight)[:, None]), x), None


def _like(x_MLC: Tensor, shape_MCHW: Tensor) -> Tensor:
    """The inverse of `rows_of`, as a channels-last view."""
    rows, channels, high, wide = shape_MCHW.shape
    return x_MLC.view(rows, high, wide, channels).permute(0, 3, 1, 2)


def over_positions(x: Tensor) -> Tensor:
    """Sum of (M, C, ...) over all but the first two dimensions, along the memory: float32 (M, C)."""
    x = x.float() if x.is_cuda else x
    if x.ndim == 4 and not x.is_contiguous():
        return rows_of(x).sum(1, dtype=torch.float32)
    return x.flatten(2).sum(2, dtype=torch.float32)


def rows_of(x_MCHW: Tensor) -> Tensor:
    """(M, H * W, C); a free view of a channels-last tensor."""
    return x_MCHW.permute(0, 2, 3, 1).reshape(len(x_MCHW), -1, x_MCHW.shape[1])
