"""Diffusion training in EDM's formulation (Karras et al. 2022, section 5), as DPDM and DP-FETA use it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor, nn

from raysyn.train import philox

SIGMA_DATA = math.sqrt(1 / 3)
"""Standard deviation of pixels spread evenly over [-1, 1]."""


def no_class(classes: int) -> int:
    """The label meaning "no class": the last row of the embedding table, in training and in sampling."""
    return classes


def to_network(images_BHWC: Tensor) -> Tensor:
    """uint8 (..., H, W, C) to float32 (..., C, H, W) in [-1, 1]."""
    return images_BHWC.movedim(-1, -3).float() / 127.5 - 1


def to_images(x_NCHW: Tensor) -> Tensor:
    """Float (N, C, H, W) around [-1, 1] to uint8 (N, H, W, C), rounded and clipped."""
    return ((x_NCHW + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def denoise(model: nn.Module, x_NCHW: Tensor, sigma_N: Tensor, labels_N: Tensor) -> Tensor:
    """D(x; sigma), the clean image expected behind a noisy one (EDM equation 7): float32 (N, C, H, W).

    Args:
        model: maps (x, c_noise, labels) to an output of x's shape, for example a UNet.
        x_NCHW: clean image in [-1, 1] plus sigma times unit Gaussian noise.
        sigma_N: standard deviation of the noise, above 0.
        labels_N: int64 class, or `no_class(classes)`.
    """
    sigma = sigma_N[:, None, None, None]
    total = sigma**2 + SIGMA_DATA**2
    scaled = x_NCHW * total.rsqrt()
    output = model(scaled, sigma_N.log() / 4, labels_N).float()
    return SIGMA_DATA**2 / total * x_NCHW + sigma * SIGMA_DATA * total.rsqrt() * output


@dataclass(frozen=True, kw_only=True)
class NoiseConfig:
    """Which noise levels and labels the denoiser trains on; the defaults are EDM's."""

    p_mean: float = -1.2
    """Mean of ln(sigma): higher teaches the outline of things first, lower their details."""
    p_std: float = 1.2
    """Standard deviation of ln(sigma)."""
    label_dropout: float = 0.1
    """Share of examples trained without their class, for guidance."""

    def __post_init__(self) -> None:
        if self.p_std < 0 or not 0 <= self.label_dropout < 1:
            raise ValueError(
                f"noise.p_std is {self.p_std} and noise.label_dropout {self.label_dropout}: give a p_std of at least 0 "
                "and a label_dropout from 0 up to below 1"
            )


@dataclass(frozen=True, kw_only=True)
class DiffusionTask:
    """What one example asks of the denoiser: draw noise levels and noise, then score the restored image."""

    classes: int
    """Number of classes; label `classes` means "no class"."""
    p_mean: float = -1.2
    """Mean of ln(sigma) in training."""
    p_std: float = 1.2
    """Standard deviation of ln(sigma) in training."""
    label_dropout: float = 0.1
    """Share of examples trained without their class, for guidance; 1 trains an unconditional model."""

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        """`copies` noisy versions of each example, as functions of its seed alone.

        So neither micro-batches nor ranks change what an example sees. Drawn on the images' device: at K = 32
        drawing on the CPU would take about as long as a GPU's whole training step. A GPU draws other numbers from
        the same seeds than a CPU.

        Args:
            images_BHWC: uint8 (B, H, W, C), or (B, K, H, W, C) where each copy is of an image of its own.
            labels_B: int64 (B,), or (B, K).
            seeds: one whole number in [0, 2**63) per example.
            copies: noise multiplicity K.

        Returns:
            noisy image (B, K, C, H, W), clean image of that shape, sigma (B, K), label (B, K).
        """
        clean = to_network(images_BHWC)
        if clean.ndim == 4:
            clean, labels_B = clean[:, None].expand(-1, copies, -1, -1, -1), labels_B[:, None].expand(-1, copies)
        numbers = normals(seeds, 1 + copies + copies * math.prod(clean.shape[2:]), clean.device)
        # One draw per example decides on its label, shared by its copies.
        dropped = torch.special.ndtr(numbers[:, :1]) < self.label_dropout
        labels = torch.where(dropped, no_class(self.classes), labels_B.long())
        sigma = torch.exp(self.p_mean + self.p_std * numbers[:, 1 : 1 + copies])
        noise = numbers[:, 1 + copies :].view(clean.shape)
        noisy = clean + sigma[:, :, None, None, None] * noise
        return noisy, clean, sigma, labels

    def loss(self, model: nn.Module, noisy: Tensor, clean: Tensor, sigma: Tensor, labels: Tensor) -> Tensor:
        """EDM's weighted squared error, mean over pixels: (M,). Inputs as from `draw`, with (B, K) as M."""
        weight = (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2
        error = denoise(model, noisy, sigma, labels) - clean
        return weight * error.square().flatten(1).mean(1)


def normals(seeds: Sequence[int], length: int, device: torch.device) -> Tensor:
    """Standard normal float32 (len(seeds), length); row i depends on seeds[i] alone, on a CPU on its
    lower 32 bits."""
    if device.type == "cuda":  # a generator per image would be two launches per image
        keys_B = torch.tensor(seeds, dtype=torch.int64).to(device, non_blocking=True)
        if find_spec("triton") is None:  # comes with PyTorch for CUDA, on Linux
            return philox.normals(keys_B, length)
        from raysyn.train import philox_on_gpu

        return philox_on_gpu.normals(keys_B, length)
    generator = torch.Generator(device=device)
    rows = torch.empty(len(seeds), length, device=device)
    for row, seed in zip(rows, seeds, strict=True):
        row.normal_(generator=generator.manual_seed(int(seed)))
    return rows
