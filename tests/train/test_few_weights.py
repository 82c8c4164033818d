"""Few weights learn; the network answers as it did before they do, and is an ordinary one afterwards."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from raysyn.models.unet import UNet, UNetConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.few_weights import few, how_many, merged

CHOICES = ["all", "attention", "embedding", "lora:1", "lora:3", "lora:1000"]


class Shapes(nn.Module):
    """Convolutions and attention in unusual settings."""

    def __init__(self) -> None:
        super().__init__()
        self.strided = nn.Conv2d(2, 6, (3, 1), stride=2, padding=(1, 0), bias=False)
        self.inside = nn.Sequential(nn.Conv2d(6, 4, 2, padding="same", dilation=2), nn.Conv2d(4, 4, 3, groups=2))
        self.attention = nn.Linear(4, 5)
        self.plain = nn.Linear(5, 3)
        self.scale = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        answer: Tensor = self.plain(self.attention(self.inside(self.strided(x)).mean((2, 3)))) * self.scale
        return answer


def network(kind: str) -> tuple[nn.Module, list[Tensor]]:
    torch.manual_seed(0)
    if kind == "shapes":
        return Shapes(), [torch.randn(3, 2, 9, 8)]
    made = UNet(UNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(4,)), 1, 8, 3)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.2)
    return made, [torch.randn(3, 1, 8, 8), torch.randn(3), torch.tensor([0, 1, 3])]


def learned(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return model


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(("kind", "layers"), [("unet", one) for one in CHOICES] + [("shapes", "lora:2")])
def test_it_begins_as_the_network_and_ends_as_an_ordinary_one(kind: str, layers: str) -> None:
    plain, inputs = network(kind)
    before = {name: value.clone() for name, value in plain.state_dict().items()}
    model = few(plain, layers)
    assert torch.equal(model(*inputs), plain(*inputs))
    first = merged(model.state_dict())
    assert list(first) == list(before) and all(torch.equal(first[name], before[name]) for name in before)
    want = learned(model)(*inputs)
    assert layers == "all" or all(torch.equal(value, before[name]) for name, value in plain.state_dict().items())
    after, _ = network(kind)
    after.load_state_dict(merged(model.state_dict()))
    torch.testing.assert_close(after(*inputs), want, rtol=1e-4, atol=1e-4)
    assert (want - after(*inputs)).norm() < 1e-3 * (want - few(network(kind)[0], layers)(*inputs)).norm()


def of(layers: str) -> set[str]:
    model = few(network("unet")[0], layers)
    return {name.rpartition(".")[0] for name, value in model.named_parameters() if value.requires_grad}


def test_what_learns_is_what_is_said() -> None:
    attention = {
        f"{place}.{layer}"
        for place in ("middle.1", "down.2.attention", "up.1.attention")
        for layer in ("norm", "qkv", "out")
    }
    assert of("embedding") == {"label", "time0", "time1"}
    assert of("attention") == {"label", "time0", "time1", "stem"} | attention
    convolutions = {name for name, one in network("unet")[0].named_modules() if isinstance(one, nn.Conv2d)}
    updated = convolutions | {name for name in attention if not name.endswith("norm")}
    assert of("lora:2") == {f"{name}.raysyn_{part}" for name in updated for part in ("down", "up")} | {"label"}
    everything = [few(network("unet")[0], "lora:2").state_dict() for _ in range(2)]
    assert all(torch.equal(value, everything[1][name]) for name, value in everything[0].items()), "on every rank"


def test_what_does_not_learn_in_the_network_does_not_here() -> None:
    model, _ = network("unet")
    model.get_submodule("label").requires_grad_(False)
    model.get_submodule("stem").requires_grad_(False)
    learning = {name for name, value in few(model, "attention").named_parameters() if value.requires_grad}
    assert not [name for name in learning if name.startswith(("label", "stem"))] and "time0.weight" in learning
    assert not hasattr(few(model, "lora:2").get_submodule("stem"), "raysyn_up")


@pytest.mark.parametrize(
    "layers", ["lora:0", "lora:x", "lora:-1", "lora:", "lora", "lora:1.5", "head", "", "Attention"]
)
def test_a_bad_value_costs_one_sentence(layers: str) -> None:
    with pytest.raises(ValueError, match=r"layers is '.*': give all, attention, embedding, or lora:RANK"):
        SGDConfig(layers=layers)


@pytest.mark.parametrize("layers", ["attention", "embedding", "lora:2"])
def test_a_network_called_attention_is_not_attention_as_a_whole(layers: str) -> None:
    plain = network("unet")[0]
    kind = type("AttentionUNet", (UNet,), {})
    named = kind(UNetConfig(width=8, multipliers=(1, 2), blocks=1, attention=(4,)), 1, 8, 3)
    assert how_many(named, layers) == how_many(plain, layers)
    learning, whole = (int(one.replace(",", "")) for one in how_many(named, layers).split(" of "))
    assert learning < whole == sum(one.numel() for one in plain.parameters())


@pytest.mark.parametrize("name", ["lora_base", "lora_down", "lora_up"])
def test_layers_of_a_user_with_such_names_stay(name: str) -> None:
    own = nn.Sequential(OrderedDict([(name, nn.Conv2d(1, 2, 3)), ("last", nn.Conv2d(2, 1, 1))]))
    for model in (own, few(own, "lora:1")):
        assert list(merged(model.state_dict())) == list(own.state_dict())


def test_first_weights_of_updates_follow_the_seed() -> None:
    one, other = (few(network("unet")[0], "lora:2", seed).state_dict()["stem.raysyn_down.weight"] for seed in (1, 2))
    assert not torch.equal(one, other)
