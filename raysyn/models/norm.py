"""Batch normalisation for generators that several ranks train: its statistics span all of them.

Never on a DP path: it mixes the images of a batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

EPSILON = 1e-5


class _Sum(torch.autograd.Function):
    """Sum over ranks, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, sum_: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.sum_ = sum_
        return sum_(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return ctx.sum_(gradient.clone()), None


class Norm(nn.Module):
    """Batch normalisation whose statistics span all ranks; subclasses say where gain and bias come from."""

    momentum = 0.1
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.sum_: Callable[[Tensor], Tensor] | None = None

    def normalise(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """(N, C, H, W), with gain and bias (N, C) or (C,)."""
        if self.training and self.sum_ is None and x.device.type == "cpu" and x.dtype == torch.float32:
            return self._alone(x, gain, bias)
        mean, variance = self._statistics(x) if self.training else (self.mean, self.variance)
        scale = gain * (variance + EPSILON).rsqrt()
        return torch.addcmul((bias - mean * scale)[..., None, None], x, scale[..., None, None])

    def _alone(self, x: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        """The same by torch's own kernel, where no other rank has a share: on a CPU a third of the time of the sums."""
        weight, shift = (gain, bias) if gain.ndim == 1 else (None, None)
        answer, mean, scale = torch.native_batch_norm(x, weight, shift, None, None, True, 0.0, EPSILON)
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_((scale.pow(-2) - EPSILON).clamp_min(0), self.momentum)
        return answer if gain.ndim == 1 else torch.addcmul(bias[..., None, None], answer, gain[..., None, None])

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance per channel. By sums, which cost the CPU a fraction of torch.var_mean's time; measured from
        the running mean, so that the difference of squares keeps its digits. One exchange between ranks."""
        apart = x - self.mean[:, None, None]
        sums, squares, count = apart.sum((0, 2, 3)), apart.square().sum((0, 2, 3)), torch.tensor(x[:, 0].numel())
        if self.sum_ is not None:
            own = torch.cat([sums, squares, count.to(sums)[None]])
            sums, squares, count = _Sum.apply(own, self.sum_).split([len(sums), len(sums), 1])
        variance = (squares / count - (sums / count).square()).clamp_min(0)
        mean = self.mean + sums / count
        with torch.no_grad():
            self.mean.lerp_(mean, self.momentum)
            self.variance.lerp_(variance, self.momentum)
        return mean, variance


class LearnedNorm(Norm):
    """Gain and bias are learned."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gain, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.normalise(x, self.gain, self.bias)


def across_ranks(network: nn.Module, sum_: Callable[[Tensor], Tensor] | None) -> None:
    """Let the statistics of every normalisation span all ranks (None: this one alone)."""
    for module in network.modules():
        if isinstance(module, Norm):
            module.sum_ = sum_
