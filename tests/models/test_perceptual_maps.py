"""What a classifier sees: the maps of its layers as they come out, however it is built and however large images are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raysyn.models.perceptual import Perceptual
from raysyn.models.semantic import SemanticNetConfig


@pytest.mark.parametrize(("name", "layers", "side"), [("resnet14", 7, 8), ("resnet14", 7, None), ("resnet50", 5, 8)])
def test_maps_are_those_that_come_out_of_each_layer(name: Any, layers: int, side: int | None) -> None:
    """Not what a later layer makes of them in place; images of more pixels than the classifier takes are averaged."""
    torch.manual_seed(0)
    network = SemanticNetConfig(name=name, width=2, side=side).build(3, 4).eval()
    features, images = Perceptual(network, squares=False), torch.rand(2, 3, 16, 16)
    taken, here = [], images * 2 - 1
    here = here if side is None else torch.nn.functional.avg_pool2d(here, 2)
    with torch.no_grad():
        for layer in network.features.children():
            here = layer(here)
            taken += [here.clone().flatten(1)] if layer in features.layers() else []
        torch.testing.assert_close(features.seen(images), torch.cat(taken, 1), rtol=1e-4, atol=1e-5)
    assert len(taken) == layers and features.count((16, 16, 3)) == sum(one.shape[1] for one in taken)


def test_it_learns_nothing_while_a_generator_does() -> None:
    """Neither weights nor statistics, in whatever mode it is put; images do get a gradient."""
    torch.manual_seed(0)
    features = Perceptual(SemanticNetConfig(name="resnet14", width=2).build(1, 4), squares=True).train()
    before = {name: value.clone() for name, value in features.state_dict().items()}
    images = torch.rand(3, 1, 8, 8, requires_grad=True)
    features(images).sum().backward()
    assert images.grad is not None and images.grad.any()
    assert all(torch.equal(value, before[name]) for name, value in features.state_dict().items())
    assert not any(parameter.requires_grad for parameter in features.parameters())
