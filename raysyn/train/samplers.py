"""Turn noise into images with a trained denoiser: DDIM, EDM's stochastic sampler, DPM-Solver++(2M).

All walk down the same noise levels (Karras et al. 2022, equation 5) and end with the denoiser's last answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from raysyn.train.diffusion import denoise, no_class, to_images
from raysyn.train.memory import at_once
from raysyn.train.precision import layout, on_cpu_in_bf16

Denoiser = Callable[[Tensor, float], Tensor]
"""denoiser(x, sigma) -> the clean image expected behind x."""
Noise = Callable[[], Tensor]
"""noise() -> fresh standard normal numbers of x's shape and dtype."""

MOST_AT_ONCE = {"cpu": 128, "cuda": 2048}  # small images per network call: no effect on the result beyond rounding


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How images are drawn from the denoiser."""

    name: Literal["ddim", "edm", "dpmpp"] = "dpmpp"
    """`dpmpp`: DPM-Solver++(2M), `ddim`: both one network call per step; `edm`: stochastic Heun, two."""
    steps: int = 20
    """Noise levels to pass. Published: edm and ddim with 1000, 250 or 50."""
    guidance: float = 0.0
    """w in (1 + w) conditional - w unconditional; anything but 0 doubles the network calls."""
    sigma_min: float = 0.002
    """Last noise level before the final denoising."""
    sigma_max: float = 80.0
    """First noise level."""
    rho: float = 7.0
    """Spacing of the noise levels: larger puts more of them near sigma_min."""
    churn: float = 0.0
    """edm: noise put back per step, S_churn of the paper (published 10 to 100 for 1000 steps).
    dpmpp: 0 is the deterministic solver, 1 the fully stochastic one."""
    s_min: float = 0.0
    """Lowest noise level with churn."""
    s_max: float = 50.0
    """Highest noise level with churn."""
    s_noise: float = 1.0
    """Standard deviation of the noise put back."""

    def __post_init__(self) -> None:
        if self.name not in _SOLVERS:
            raise ValueError(f"sampler.name is {self.name!r}; choose from {', '.join(_SOLVERS)}.")
        if self.steps < 1:
            raise ValueError(f"sampler.steps is {self.steps}; give at least 1.")
        if not 0 < self.sigma_min < self.sigma_max or self.rho <= 0 or self.churn < 0:
            raise ValueError(
                f"sampler has sigma_min {self.sigma_min}, sigma_max {self.sigma_max}, rho {self.rho} and "
                f"churn {self.churn}; it needs 0 < sigma_min < sigma_max, rho > 0 and churn >= 0."
            )


def network_calls(config: SamplerConfig) -> int:
    """Network evaluations per image; guidance asks twice, and EDM's Heun steps ask twice but for the last."""
    calls = 2 * config.steps - 1 if config.name == "edm" else config.steps
    return calls * (2 if config.guidance else 1)


@torch.inference_mode()
def generate(
    model: nn.Module, sampler: SamplerConfig, labels_N: Tensor, shape: tuple[int, int, int], seed: int,
    device: torch.device,
) -> Tensor:  # fmt: skip
    """One image per label, as uint8 (N, H, W, C) on the CPU; a function of the weights, labels and seed.

    Args:
        model: a UNet (or a module with its `forward` and `classes`); it is moved to `device` and left there.
        sampler: which solver, and how.
        labels_N: int64 (N,), in [0, classes]; `no_class(classes)` asks for an image of any class.
        shape: (H, W, C).
        seed: of the starting noise and of the churn; drawn on the CPU, so the same on every device.
        device: where the network runs.
    """
    height, width, channels = shape
    was_training = model.training
    model.to(device).to(memory_format=layout(model, device, math.prod(shape))).eval()
    assert isinstance(model.classes, int)
    denoiser = _guided(model, model.classes, sampler.guidance, labels_N.to(device).long())
    generator = torch.Generator().manual_seed(seed)
    size = (len(labels_N), channels, height, width)

    def noise() -> Tensor:
        return torch.randn(size, generator=generator).to(device)

    x = sample(denoiser, sampler, noise)
    model.train(was_training)
    return to_images(x).cpu()


def sample(denoiser: Denoiser, config: SamplerConfig, noise: Noise) -> Tensor:
    """Run the configured solver from sigma_max down; shape and dtype are those of `noise()`."""
    sigmas = noise_levels(config)
    return _SOLVERS[config.name](denoiser, config, sigmas, noise, noise() * sigmas[0])


def noise_levels(config: SamplerConfig) -> list[float]:
    """`steps` falling noise levels from sigma_max to sigma_min, then 0 (equation 5)."""
    high, low = config.sigma_max ** (1 / config.rho), config.sigma_min ** (1 / config.rho)
    last = max(config.steps - 1, 1)
    return [(high + i / last * (low - high)) ** config.rho for i in range(config.steps)] + [0.0]


def _ddim(denoiser: Denoiser, config: SamplerConfig, sigmas: list[float], noise: Noise, x: Tensor) -> Tensor:
    """Deterministic DDIM: Euler steps along the probability-flow ODE; the last is a plain denoising."""
    for sigma, below in pairwise(sigmas):
        x = below / sigma * x + (1 - below / sigma) * denoiser(x, sigma)
    return x


def _edm(denoiser: Denoiser, config: SamplerConfig, sigmas: list[float], noise: Noise, x: Tensor) -> Tensor:
    """Stochastic Heun sampler (algorithm 2)."""
    most = min(config.churn / config.steps, math.sqrt(2) - 1)
    for sigma, below in pairwise(sigmas):
        if most and config.s_min <= sigma <= config.s_max:
            raised = sigma * (1 + most)
            x = x + math.sqrt(raised**2 - sigma**2) * config.s_noise * noise()
            sigma = raised
        slope = (x - denoiser(x, sigma)) / sigma
        there = x + (below - sigma) * slope
        if below:
            slope = (slope + (there - denoiser(there, below)) / below) / 2
            there = x + (below - sigma) * slope
        x = there
    return x


def _dpmpp(denoiser: Denoiser, config: SamplerConfig, sigmas: list[float], noise: Noise, x: Tensor) -> Tensor:
    """DPM-Solver++(2M) in half-log-SNR (Lu et al. 2022, algorithm 2), and with churn its SDE form.

    With churn c, x decays by another exp(-c h) over a step of length h and the variance lost is put back as
    fresh noise: the SDE with c times the noise rate of the reverse of the forward process.
    """
    before: Tensor | None = None
    step_before = 0.0
    for sigma, below in pairwise(sigmas):
        clean = denoiser(x, sigma)
        if not below:
            return clean
        step = math.log(sigma / below)
        churn = config.churn if config.s_min <= sigma <= config.s_max else 0.0
        weight = -math.expm1(-(1 + churn) * step)
        guess = clean
        if before is not None:  # extrapolate to the middle of the step
            guess = clean + step / (2 * step_before) * (clean - before)
        x = (1 - weight) * x + weight * guess
        if churn:
            x = x + below * math.sqrt(-math.expm1(-2 * churn * step)) * config.s_noise * noise()
        before, step_before = clean, step
    raise AssertionError("noise levels end with 0")


_SOLVERS = {"ddim": _ddim, "edm": _edm, "dpmpp": _dpmpp}


def _guided(model: nn.Module, classes: int, guidance: float, labels_N: Tensor) -> Denoiser:
    """(1 + w) D(x | label) - w D(x), asked in pieces that fit the caches or the memory of the device."""
    most = MOST_AT_ONCE.get(labels_N.device.type, 128)
    nobody = torch.full_like(labels_N, no_class(classes))

    def ask(x: Tensor, sigma: float, labels: Tensor) -> Tensor:
        sigmas = torch.full((len(x),), sigma, device=x.device)
        size = at_once(most, x.shape[2:])
        pieces = zip(x.split(size), sigmas.split(size), labels.split(size), strict=True)
        with on_cpu_in_bf16(model, x.device, math.prod(x.shape[1:])):
            return torch.cat([denoise(model, *piece) for piece in pieces])

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        clean = ask(x, sigma, labels_N)
        return (1 + guidance) * clean - guidance * ask(x, sigma, nobody) if guidance else clean

    return denoiser
