"""Fine-tuning of few weights: which layers learn, or low-rank updates beside layers that do not.

A frozen weight has no part in any gradient: it is not clipped, gets no noise, and costs no gradient of its own. What
was learned beside a layer is put into its weights at the end, so that nobody else ever meets another network.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

ALL = "all"
BASE, DOWN, UP = "raysyn_base", "raysyn_down", "raysyn_up"


def rank_of(layers: str) -> int | None:
    """R of `lora:R`, None of the others; ValueError for what is none of them."""
    if layers in (ALL, "attention", "embedding"):
        return None
    found = re.fullmatch(r"lora:([1-9][0-9]*)", layers)
    if found is None:
        raise ValueError(
            f"layers is {layers!r}: give all, attention, embedding, or lora:RANK with a rank of at least 1, as lora:4"
        )
    return int(found[1])


def few(network: nn.Module, layers: str, seed: int = 0) -> nn.Module:
    """A copy of the network in which these layers alone learn, and which answers as the network does; for `all` the
    network itself. What does not learn in the network does not in the copy. The first weights of low-rank updates are
    the same each time for a seed.

    Raises ValueError, in one sentence, for a network that has no such layers.
    """
    rank = rank_of(layers)
    if layers == ALL:
        return network
    network = copy.deepcopy(network)
    learning = {id(parameter) for parameter in network.parameters() if parameter.requires_grad}
    network.requires_grad_(False)
    inside = getattr(network, "network", network)  # of a user's
    if rank is None:
        whole = _named(inside, layers)
    else:
        # Rows of classes that are alike could never be told apart by what is beside other layers.
        whole = [module for name, module in inside.named_children() if name.startswith("label")]
        _put_updates(
            inside, layers, rank, learning - {id(one) for module in whole for one in module.parameters()}, seed
        )
    for module in whole:
        for parameter in module.parameters():
            parameter.requires_grad_(id(parameter) in learning)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"finetune.layers is {layers}, but none of these layers learns in the network: give all")
    return network


def how_many(network: nn.Module, layers: str) -> str:
    """How many weights learn, as `26,688 of 410,964`: those of updates among the first, not among the second."""
    learning = sum(one.numel() for one in few(network, layers).parameters() if one.requires_grad)
    return f"{learning:,} of {sum(one.numel() for one in network.parameters()):,}"


def _named(network: nn.Module, layers: str) -> list[nn.Module]:
    embeddings = [module for name, module in network.named_children() if name.startswith(("label", "time"))]
    wanted = {"layer whose name begins with label or time, the embedding of labels and noise levels": embeddings}
    if layers == "attention":
        first = getattr(network, "stem", None)
        wanted["convolution called stem, the first one"] = [first] if isinstance(first, nn.Conv2d) else []
        wanted["attention, by the name of a layer or of its class"] = _attention(network)
    for what, found in wanted.items():
        if not found:
            raise ValueError(f"finetune.layers is {layers}, but the network has no {what}: give it one, or give all")
    return [module for found in wanted.values() for module in found]


def _attention(network: nn.Module) -> list[nn.Module]:
    return [
        module for name, module in network.named_modules()
        if name  # not the network itself, all of which would learn
        and ("attention" in name.rpartition(".")[2].lower() or "attention" in type(module).__name__.lower())
    ]  # fmt: skip


def _put_updates(network: nn.Module, layers: str, rank: int, learning: Iterable[int], seed: int) -> None:
    attending = {inner for module in _attention(network) for inner in module.modules()}
    # No class derived from these: what it makes of its weights is not known.
    bases = [
        (name, layer) for name, layer in network.named_modules()
        if ((type(layer) is nn.Conv2d and layer.groups == 1) or (type(layer) is nn.Linear and layer in attending))
        and id(layer.weight) in learning
    ]  # fmt: skip
    if not bases:
        raise ValueError(
            f"finetune.layers is {layers}, but the network has no attention and no nn.Conv2d that learns: give all"
        )
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # from which new layers draw what is then drawn over
        for name, layer in bases:
            parent, _, own = name.rpartition(".")
            setattr(network.get_submodule(parent), own, LowRank(layer, rank, random))


class LowRank(nn.Module):
    """A layer, and beside it one of as many channels as the rank with one that widens these again, zero at first.

    Both are layers of their own, for which every engine has its rule.
    """

    def __init__(self, base: nn.Module, rank: int, random: torch.Generator) -> None:
        super().__init__()
        assert isinstance(base, nn.Conv2d | nn.Linear)
        weight = base.weight
        rank = min(rank, len(weight), weight[0].numel())  # more than a layer has would be noise alone
        self.raysyn_base = base
        self.raysyn_down: nn.Module
        self.raysyn_up: nn.Module
        if isinstance(base, nn.Conv2d):
            sides = base.kernel_size, base.stride, base.padding, base.dilation
            self.raysyn_down = nn.Conv2d(base.in_channels, rank, *sides, bias=False, padding_mode=base.padding_mode)  # type: ignore[arg-type]
            self.raysyn_up = nn.Conv2d(rank, base.out_channels, 1, bias=False)
        else:
            self.raysyn_down = nn.Linear(base.in_features, rank, bias=False)
            self.raysyn_up = nn.Linear(rank, base.out_features, bias=False)
        bound = 1 / math.sqrt(weight[0].numel())
        nn.init.uniform_(self.raysyn_down.weight, -bound, bound, generator=random)  # type: ignore[arg-type]
        nn.init.zeros_(self.raysyn_up.weight)  # type: ignore[arg-type]
        self.to(weight.device)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.raysyn_base(x) + self.raysyn_up(self.raysyn_down(x))
        return answer


def merged(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the ordinary network that answers as the one with low-rank updates does. Of averaged weights an
    update is the product of the averages, not the average of the products."""
    found = dict[str, Tensor]()
    for name, value in weights.items():
        layer, part, kind = (["", "", *name.rsplit(".", 2)])[-3:]
        before = f"{layer}." if layer else ""
        if part in (DOWN, UP):
            continue
        if part != BASE:
            found[name] = value
        elif kind == "weight":
            up, down = (weights[f"{before}{one}.weight"].flatten(1).double() for one in (UP, DOWN))
            found[f"{before}weight"] = (value + (up @ down).view_as(value)).to(value.dtype)
        else:
            found[f"{before}{kind}"] = value
    return found
