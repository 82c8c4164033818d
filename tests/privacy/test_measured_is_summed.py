"""Compiled code may compute a number anew for each of its uses, and round it differently. So on a GPU the norm of an
image's gradient and its share of the sum must both be read from numbers that were written down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from raysyn.privacy.group_norm import GroupNormCall
from raysyn.privacy.layers import parts_of

gpu_norms: Any = pytest.importorskip("raysyn.privacy.gpu_norms", reason="no Triton here, and so no kernels")
pytestmark = pytest.mark.filterwarnings("ignore:User provided device_type of 'cuda'")
B, K = 3, 2
WRITTEN = {"raysyn.written.default", "raysyn.conv_grads.default"}
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear, formed": (lambda: nn.Linear(4, 3), (40, 4)),
    "linear, ghost": (lambda: nn.Linear(64, 64), (64,)),
    "convolution, formed": (lambda: nn.Conv2d(3, 4, 3, padding=1), (3, 6, 6)),
    "convolution, ghost": (lambda: nn.Conv2d(96, 96, 3, padding=1), (96, 2, 2)),
    "convolution of one pixel, ghost": (lambda: nn.Conv2d(96, 96, 1), (96, 2, 2)),
    "convolution, groups": (lambda: nn.Conv2d(4, 4, 3, groups=2), (4, 5, 5)),
    "group norm": (lambda: nn.GroupNorm(2, 4), (4, 5, 5)),
    "group norm, channels last": (lambda: nn.GroupNorm(2, 4), (4, 5, 5)),
    "group norm, by kernels": (lambda: nn.GroupNorm(2, 4), (4, 5, 5)),
    "layer norm": (lambda: nn.LayerNorm(5), (4, 5)),
    "embedding": (lambda: nn.Embedding(7, 5), (2,)),
}


def traced(build: Callable[[], nn.Module], shape: tuple[int, ...], last: bool) -> GraphModule:
    """Norms and sums of a layer on a GPU, which need not be here: no number is computed."""

    def ask(x: Tensor, g: Tensor, factors_B: Tensor) -> list[Tensor]:
        norm = GroupNormCall(layer) if isinstance(layer, nn.GroupNorm) else None
        if norm is not None:
            norm(x)
        parts = parts_of(layer, x, g, B, norm)
        return [answer for part in parts for answer in (part.squared_B, part.weighted(factors_B))]

    with FakeTensorMode(), torch.device("cuda"):
        layer = build()
        x = torch.zeros(B * K, *shape, dtype=torch.int64 if isinstance(layer, nn.Embedding) else torch.float32)
        x = x.contiguous(memory_format=torch.channels_last) if last else x
        return make_fx(ask)(x, torch.zeros_like(layer(x)), torch.zeros(B))


@pytest.mark.parametrize("name", LAYERS)
def test_norm_and_sum_read_what_was_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    build, shape = LAYERS[name]
    kernels = name == "group norm, by kernels"
    monkeypatch.setattr(gpu_norms, "FEWEST_ROWS", 1 if kernels else B * K + 1)
    graph = traced(build, shape, kernels or name == "group norm, channels last").graph
    assert kernels == any("raysyn.group_norm" in str(node.target) for node in graph.nodes)
    x, g, _ = (node for node in graph.nodes if node.op == "placeholder")
    exact = {x} if name == "embedding" else set()  # whole numbers
    seen: set[Node] = set()
    left = list(graph.output_node().all_input_nodes)
    while left:
        node = left.pop()
        if node not in seen and str(node.target) not in WRITTEN:
            seen.add(node)
            left += node.all_input_nodes
    assert not seen & ({x, g} - exact), "norm and sum are computed from what was not written"
