"""ResNet-14 is the network its name says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from raysyn.models.resnet import ResNetConfig, resnet


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_layers_count_to_six_n_plus_two(blocks: int) -> None:
    model = resnet(ResNetConfig(blocks=blocks, width=4), 1, 10)
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert len([name for name in layers if "shortcut" not in name]) == 6 * blocks + 2


def test_resnet_20_has_the_known_size() -> None:
    """269,722 parameters in He et al.'s CIFAR-10 network without shortcut weights, plus two 1 x 1 shortcuts."""
    model = resnet(ResNetConfig(blocks=3, width=16), 3, 10)
    shortcuts = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert sum(p.numel() for p in model.parameters()) == 269_722 + shortcuts


@pytest.mark.parametrize("side", [8, 28, 32])
def test_any_side_from_8_gives_logits_and_gradients(side: int) -> None:
    model = resnet(ResNetConfig(width=4), 1, 3)
    logits = model(torch.randn(2, 1, side, side))
    assert logits.shape == (2, 3)
    logits.sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match=r"resnet\.width 0"):
        ResNetConfig(width=0)
