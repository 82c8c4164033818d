"""Turn noise into images with a trained denoiser: DDIM, EDM's stochastic sampler, DPM-Solver++(2M), UniPC.

All walk down the same noise levels (Karras et al. 2022, equation 5) and end with the denoiser's last answer.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.models.denoiser import is_ours
from raysyn.train.diffusion import denoise, no_class, to_images
from raysyn.train.memory import at_once
from raysyn.train.precision import drawing, layout

Denoiser = Callable[[Tensor, float], Tensor]
"""denoiser(x, sigma) -> the clean image expected behind x."""
Noise = Callable[[], Tensor]
"""noise() -> fresh standard normal numbers of x's shape and dtype."""

MOST_AT_ONCE = {"cpu": 128, "cuda": 2048}  # small images per network call: no effect on the result beyond rounding
CALLS_WORTH_COMPILING = 100_000
"""Of a chunk of images, whose number is no matter, so that full chunks are the same however many there are: with 250
calls for each of 500 images, half a minute of compiling is worth it from some 5,000 images on, with 1,999 from 600 on
(measured)."""


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How images are drawn from the denoiser."""

    name: Literal["ddim", "edm", "dpmpp", "unipc"] = "dpmpp"
    """`dpmpp`: DPM-Solver++(2M), `unipc`: UniPC of order 3, `ddim`: all one network call per step; `edm`: stochastic
    Heun, two."""
    steps: int = 8
    """Noise levels to pass. Published: edm and ddim with 1000, 250 or 50. Drawn from networks trained with DP by 8 of
    dpmpp, images taught as much as by its 20, or by 199 calls of edm or more (benchmarks/sampling.py). 2 to 4 of edm
    draw rubbish."""
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
    dpmpp: 0 is the deterministic solver, 1 the fully stochastic one. ddim and unipc have none."""
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


FEWEST_OF_EDM = 5
"""Steps with which its images teach (quick digits, 8 of dpmpp: 89 %): 2 to 4 of these long steps overshoot, and 50 to
78 % of test images are told right by what was drawn, 5 reach 86, 6 88. One is a plain denoising, as of the others, of
which 2 are soft and not wrong."""


def doubt(config: SamplerConfig, field: str = "sampler") -> str | None:
    """The sentence on a sampler that draws rubbish; `field` is what its flags begin with."""
    if config.name != "edm" or not 1 < config.steps < FEWEST_OF_EDM:
        return None
    return (
        f"{field}.steps is {config.steps}, of which edm overshoots and draws rubbish: give at least {FEWEST_OF_EDM}, "
        f"or --{field.replace('_', '-')}.name dpmpp"
    )


def network_calls(config: SamplerConfig) -> int:
    """Network evaluations per image; guidance asks twice, and EDM's Heun steps ask twice but for the last."""
    calls = 2 * config.steps - 1 if config.name == "edm" else config.steps
    return calls * (2 if config.guidance else 1)


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
    size, generator = (len(labels_N), channels, height, width), torch.Generator().manual_seed(seed)

    def noise() -> Tensor:
        return torch.randn(size, generator=generator).to(device)

    # Not around the move above: weights that it changed could not be trained any more.
    with torch.inference_mode():
        pays = compiling_pays(model, device, len(labels_N) * network_calls(sampler))
        network = _Compiled(model) if pays else model
        denoiser = _guided(model, network, model.classes, sampler.guidance, labels_N.to(device).long())
        images = to_images(sample(denoiser, sampler, noise)).cpu()
    model.train(was_training)
    return images


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


def _unipc(denoiser: Denoiser, config: SamplerConfig, sigmas: list[float], noise: Noise, x: Tensor) -> Tensor:
    """UniPC of order 3 for the clean image, B(h) = e^-h - 1 (Zhao et al. 2023, algorithms 5 to 8, for alpha = 1).

    Each step predicts from the last three answers, and the next answer, which is needed anyway, corrects it.
    """
    answers: list[Tensor] = []  # newest last
    before, predicted = x, 1
    for step, (sigma, below) in enumerate(pairwise(sigmas)):
        clean = denoiser(x, sigma)
        if not below:
            return clean
        if step:
            x = _united(before, [*answers, clean], sigmas[step - predicted : step + 1])
        answers = [*answers, clean][-3:]
        # Few answers are known at first; in the last steps, which are long in log-noise, high orders overshoot.
        predicted = min(len(answers), len(sigmas) - 2 - step)
        answers = answers[-predicted:]
        before = x
        x = _united(x, answers, [*sigmas[step + 1 - predicted : step + 1], below])
    raise AssertionError("noise levels end with 0")


def _united(x: Tensor, answers: list[Tensor], sigmas: list[float]) -> Tensor:
    """x one step further, at the last of `sigmas`, from answers at those before it and, to correct it, at itself.

    x is at the last but one. The weights are those with which polynomials in log-noise of as many terms as there are
    differences of answers are integrated exactly (equations 9 to 11).
    """
    *_, last, to = sigmas
    h = math.log(last / to)
    now = answers[len(sigmas) - 2]
    others = [(answer, math.log(last / sigma) / h) for answer, sigma in zip(answers, sigmas, strict=False)]
    others = [(answer, place) for answer, place in others if place]
    scale = -math.expm1(-h)
    x = to / last * x + scale * now
    for weight, (answer, place) in zip(_weights(h, [place for _, place in others]), others, strict=True):
        x = x + scale * weight / place * (answer - now)
    return x


def _weights(h: float, places: list[float]) -> list[float]:
    """a with sum_m a_m r_m^(k-1) = k! phi_(k+1)(-h) / B(h), B(h) = e^-h - 1, k = 1...: for differences at places r_m in
    units of the step; of one difference the limit for a short step, 1/2 (Zhao et al. 2023, section 3.3)."""
    if len(places) < 2:
        return [0.5] * len(places)
    scale, targets = math.expm1(-h), []
    phi = scale / -h
    for k in range(1, len(places) + 1):  # phi is h phi_(k+1)(-h) but for its sign
        phi = (phi if k == 1 else phi / -h) - 1 / math.factorial(k)
        targets.append(math.factorial(k) * phi / scale)
    powers = np.array([[place**k for place in places] for k in range(len(places))])
    return np.linalg.solve(powers, np.array(targets)).tolist()


_SOLVERS = {"ddim": _ddim, "edm": _edm, "dpmpp": _dpmpp, "unipc": _unipc}


def compiling_pays(model: nn.Module, device: torch.device, calls: int) -> bool:
    """Whether so many calls of the network, images times steps, are worth compiling it: they alone decide, so that a
    continued run repeats its bytes. Its operations must be known, so not for a network of the user's."""
    return device.type == "cuda" and calls >= CALLS_WORTH_COMPILING and is_ours(model)


class _Compiled:
    """The model, compiled at its first call; as it is where that fails, for want of a C compiler say."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._calls = model, 0
        self._network: Callable[..., Any] = torch.compile(model, dynamic=False)

    def __call__(self, *inputs: Tensor) -> Any:
        self._calls += 1
        if self._calls > 1:
            return self._network(*inputs)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", module="torch|triton")  # of the compiler's own parts
                return self._network(*inputs)
        except Exception as error:
            reason = str(error).strip().split("\n")[0]
            warnings.warn(f"the network cannot be compiled, so it draws uncompiled: {reason}", stacklevel=2)
            self._network = self._model
            return self._model(*inputs)


def _guided(model: nn.Module, network: Any, classes: int, guidance: float, labels_N: Tensor) -> Denoiser:
    """(1 + w) D(x | label) - w D(x), asked in pieces that fit the caches or the memory of the device; `network` is the
    model, or compiled from it."""
    most = MOST_AT_ONCE.get(labels_N.device.type, 128)
    nobody = torch.full_like(labels_N, no_class(classes))

    def ask(x: Tensor, sigma: float, labels: Tensor) -> Tensor:
        sigmas = torch.full((len(x),), sigma, device=x.device)
        size = at_once(most, x.shape[2:])
        pieces = zip(x.split(size), sigmas.split(size), labels.split(size), strict=True)
        with drawing(model, x.device, math.prod(x.shape[1:])):
            return torch.cat([denoise(network, *piece) for piece in pieces])

    def denoiser(x: Tensor, sigma: float) -> Tensor:
        clean = ask(x, sigma, labels_N)
        return (1 + guidance) * clean - guidance * ask(x, sigma, nobody) if guidance else clean

    return denoiser
