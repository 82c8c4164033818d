"""Where networks that learn from what is not private, or draw, run in bfloat16."""

from __future__ import annotations

import torch
from torch import nn

from raysyn.compute import worker
from raysyn.models.denoiser import is_ours

FEWEST = 200
"""Numbers of an image from which on it pays: of 8 x 8 pixels networks are as fast in float32 (measured)."""


def pays(model: nn.Module, device: torch.device, numbers: int) -> bool:
    """Whether `model` is to run in bfloat16 on images of so many numbers: on a CPU with AMX, unless it is a user's,
    whose operations may take one kind of number alone."""
    return device.type == "cpu" and numbers >= FEWEST and worker.has_bf16(device) and is_ours(model)


def on_cpu_in_bf16(model: nn.Module, device: torch.device, numbers: int) -> torch.autocast:
    """Within, where it `pays`, layers multiply bfloat16 numbers and add up in float32; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=pays(model, device, numbers))


def layout(model: nn.Module, device: torch.device, numbers: int) -> torch.memory_format:
    """In which convolutions are the fastest: channels last, but for bfloat16 on a CPU."""
    return torch.contiguous_format if pays(model, device, numbers) else torch.channels_last


def drawing(model: nn.Module, device: torch.device, numbers: int) -> torch.autocast:
    """As `on_cpu_in_bf16`, and so on a GPU that has bfloat16 as well: the published network for
    MNIST, with its first weights, drew images that were 0.9 grey levels (root of the mean square) from those in
    float32."""
    on_gpu = device.type == "cuda" and worker.has_bf16(device) and is_ours(model)
    return torch.autocast(device.type, torch.bfloat16, enabled=on_gpu or pays(model, device, numbers))
