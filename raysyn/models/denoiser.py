"""The denoiser of a diffusion model: raysyn's U-Net, or a network of the user's in its place."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.models.imported import Imported
from raysyn.models.unet import UNet, UNetConfig

Size = tuple[int, int]
"""Height and width."""


def new_denoiser(config: UNetConfig, channels: int, size: Size, classes: int) -> nn.Module:
    """The network with its first weights, from torch's random numbers; ValueError where it cannot take the images.

    It has `classes`, and maps (x (N, C, H, W), c_noise (N,), labels (N,)) as `UNet.forward` does.
    """
    if config.factory is None:
        return UNet(config, channels, size, classes)
    made_by = Imported(config.factory, flag="network.factory", takes=("channels", "(height, width)", "classes"))
    return OwnDenoiser(made_by, channels, size, classes, int(torch.randint(1 << 62, ())))


def is_ours(model: nn.Module) -> bool:
    """Whether no part of it is a user's, whose operations may take one kind of number alone."""
    return not any(isinstance(part, OwnDenoiser) for part in model.modules())


class OwnDenoiser(nn.Module):
    """A network of the user's. It travels as its function and its weights: its class is known here alone.

    Built again elsewhere it starts from the same random numbers, so that what is no weight is the same too.
    """

    def __init__(self, made_by: Imported, channels: int, size: Size, classes: int, seed: int) -> None:
        super().__init__()
        self.made_by, self.arguments, self.seed, self.classes = made_by, (channels, size, classes), seed, classes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network = made_by.build(*self.arguments)

    def forward(self, x_NCHW: Tensor, c_noise_N: Tensor, labels_N: Tensor) -> Tensor:
        """What the user's network answers, of the images' shape."""
        answer: Tensor = self.network(x_NCHW, c_noise_N, labels_N)
        return answer

    def source(self) -> str:
        """What tells it from an edited one: SHA-256 (hex)."""
        return self.made_by.source(*self.arguments)

    def made_again(self) -> OwnDenoiser:
        """Another one, with the first weights that this one had."""
        return OwnDenoiser(self.made_by, *self.arguments, self.seed)

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.made_by, *self.arguments, self.seed, self.state_dict(), self.training)

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnDenoiser:
        other = type(self).__new__(type(self))
        memo[id(self)] = other
        other.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return other


def _again(
    made_by: Imported, channels: int, size: Size, classes: int, seed: int, weights: dict[str, Tensor], training: bool
) -> OwnDenoiser:
    network = OwnDenoiser(made_by, channels, size, classes, seed)
    network.load_state_dict(weights)
    return network.train(training)


def table_of_labels(denoiser: nn.Module, classes: int) -> nn.Embedding | None:
    """Its embedding of classes, whose last row means no class; None where a user's network has none called `label`."""
    table = getattr(getattr(denoiser, "network", denoiser), "label", None)
    return table if isinstance(table, nn.Embedding) and table.num_embeddings == classes + 1 else None
