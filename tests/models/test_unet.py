"""The denoiser: published size, any image side, and what per-sample gradients need of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from raysyn.models.unet import UNet, UNetConfig, doubled

SMALL = UNetConfig(width=8, attention=(4,))


def _size(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def _filled(config: UNetConfig, channels: int, size: int | tuple[int, int], classes: int = 3) -> UNet:
    """A U-Net whose zero-initialised layers have something in them, so that every path matters."""
    torch.manual_seed(0)
    model = UNet(config, channels, size, classes)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    return model


def test_published_parameter_counts() -> None:
    assert _size(UNet(UNetConfig(), 1, 28, 10)) == 1_485_217  # 1.49 M in the published logs
    # A label table of 1000 classes gives the 1.52 M of the same logs.
    assert _size(UNet(UNetConfig(), 1, 28, 1000)) == pytest.approx(1.52e6, rel=0.005)
    # Table VIII prints 1.8 M for multipliers 1, 2, 2.
    colour = UNetConfig(multipliers=(1, 2, 2), attention=(16,))
    assert _size(UNet(colour, 3, 32, 2)) == pytest.approx(1.8e6, rel=0.03)


@pytest.mark.parametrize(
    ("config", "channels", "size"),
    [
        (SMALL, 1, 8),
        (SMALL, 3, 9),
        (replace(SMALL, multipliers=(1, 2, 2)), 1, 28),
        (replace(SMALL, patch=2), 1, 28),
        (replace(SMALL, patch=2, multipliers=(1, 2, 2)), 3, 11),
        (replace(SMALL, patch=2, positions=True), 3, 11),
        (SMALL, 1, (10, 13)),
    ],
)
def test_any_side_keeps_its_shape(config: UNetConfig, channels: int, size: int | tuple[int, int]) -> None:
    height, width = (size, size) if isinstance(size, int) else size
    model, x = _filled(config, channels, size), torch.randn(2, channels, height, width)
    assert model(x, torch.zeros(2), torch.tensor([0, 3])).shape == x.shape


def test_attention_is_where_it_was_asked_for_and_in_the_middle() -> None:
    def places(config: UNetConfig, size: int) -> int:
        return sum(type(m).__name__ == "Attention" for m in UNet(config, 1, size, 2).modules())

    assert places(UNetConfig(width=8, attention=()), 28) == 1
    assert places(UNetConfig(width=8, attention=(14,)), 28) == 1 + 2 + 1
    assert places(UNetConfig(width=8, attention=(14,), patch=2), 28) == 1 + 2 + 1


def test_only_four_kinds_of_layer_hold_parameters_and_each_runs_once() -> None:
    model, calls = _filled(SMALL, 1, 8), Counter[str]()
    for name, module in model.named_modules():
        if list(module.parameters(recurse=False)):
            assert type(module) in (nn.Conv2d, nn.Linear, nn.GroupNorm, nn.Embedding)
            module.register_forward_hook(lambda m, i, o, name=name: calls.update([name]))
    assert not list(model.buffers())
    model(torch.randn(2, 1, 8, 8), torch.zeros(2), torch.tensor([0, 1]))
    leaves = {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert set(calls) == leaves and set(calls.values()) == {1}


def test_no_example_sees_another_and_vmap_gives_the_same_gradients() -> None:
    model = _filled(replace(SMALL, patch=2, positions=True), 1, 9)
    x, c_noise, labels = torch.randn(3, 1, 9, 9), torch.randn(3), torch.tensor([0, 3, 1])
    weights: dict[str, Tensor] = dict(model.named_parameters())

    def loss(weights: dict[str, Tensor], x: Tensor, c_noise: Tensor, label: Tensor) -> Tensor:
        output = functional_call(model, weights, (x[None], c_noise[None], label[None]))
        return output.square().mean()

    per_sample = vmap(grad(loss), in_dims=(None, 0, 0, 0))(weights, x, c_noise, labels)
    for i in range(3):
        alone = grad(loss)(weights, x[i], c_noise[i], labels[i])
        for name, value in alone.items():
            torch.testing.assert_close(per_sample[name][i], value, rtol=1e-4, atol=1e-6)


def test_positions_tell_places_apart() -> None:
    """Of a blank image, a convolution alone answers every place but the border alike."""
    spread = []
    for positions in (False, True):
        model = _filled(replace(SMALL, attention=(), positions=positions), 1, 32)
        output = model(torch.zeros(1, 1, 32, 32), torch.zeros(1), torch.tensor([0]))
        spread.append(output[..., 14:18, 14:18].std().item())
    assert spread[0] < spread[1] / 10


def test_memory_format_changes_nothing_and_inputs_stay_as_they_are() -> None:
    model, x = _filled(SMALL, 3, 8), torch.randn(2, 3, 8, 8)
    before, labels = x.clone(), torch.tensor([0, 1])
    plain = model(x, torch.zeros(2), labels)
    last = model.to(memory_format=torch.channels_last)(
        x.contiguous(memory_format=torch.channels_last), torch.zeros(2), labels
    )
    torch.testing.assert_close(plain, last, rtol=1e-4, atol=1e-5)
    assert torch.equal(x, before)


def test_a_new_network_answers_zero_and_every_weight_can_learn() -> None:
    model = UNet(SMALL, 1, 8, 3)
    args = torch.randn(2, 1, 8, 8), torch.randn(2), torch.tensor([0, 1])
    assert not model(*args).any()
    model = _filled(SMALL, 1, 8)
    model(*args).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


@pytest.mark.parametrize(
    ("change", "word"),
    [({"width": 6}, "width"), ({"multipliers": ()}, "multipliers"), ({"patch": 0}, "patch")],
)
def test_bad_settings_name_the_field(change: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_too_small_images_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 x 8"):
        UNet(SMALL, 1, 7, 3)


def test_pixels_doubled_by_hand_are_those_of_interpolate() -> None:
    for layout in (torch.contiguous_format, torch.channels_last):
        x = torch.randn(2, 3, 5, 4).contiguous(memory_format=layout).requires_grad_()
        weights = torch.randn(2, 3, 10, 8)
        want, got = F.interpolate(x, scale_factor=2.0, mode="nearest"), doubled(x)
        assert torch.equal(got, want) and got.is_contiguous(memory_format=layout)
        assert torch.equal(torch.vmap(doubled)(x[None])[0], want)
        gradients = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (got, want)]
        torch.testing.assert_close(*gradients)
