"""Networks of the user's see images in PyTorch's usual memory, which they were written for: where channels lie last, as
is faster, `view` is refused. Their weights stay as they lie too, for a convolution's answer lies as its weights do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.models.imported import Imported


@dataclass(frozen=True)
class Plain:
    """An architecture of the user's."""

    inner: Imported

    def build(self, channels: int, classes: int) -> nn.Module:
        """The user's network, which makes a plain copy of whatever images it is shown."""
        network = self.inner.build(channels, classes)
        # What is compiled by torch.jit takes no hooks, and sees channels last (docs/attack_your_classifier.md).
        if not isinstance(network, torch.jit.ScriptModule):
            network.register_forward_pre_hook(_plain_first)
        return network


def plain(images_NCHW: Tensor) -> Tensor:
    """The same images one channel after the other; `contiguous` leaves those of one channel as they are."""
    return images_NCHW.clone(memory_format=torch.contiguous_format)


def is_plain(network: nn.Module) -> bool:
    """Whether it is of the user's, or is behind something else."""
    return any(_plain_first in one._forward_pre_hooks.values() for one in network.modules())


def _plain_first(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    return plain(given[0]), *given[1:]
