"""What one image adds to the sum is at most max_grad_norm: for every input, and an adversary chooses his.

The loss is the layer's answer times given weights, so that a case chooses the layer's input and its output's gradient
freely. Hard cases cancel: inputs nearly alike at all places, gradients of both signs that add up to almost nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from hypothesis import example, given, settings, target
from hypothesis import strategies as st
from torch import Tensor, nn

from raysyn.privacy import convolutions, engines, layers
from raysyn.privacy.trial import ENGINES, Choice

# The even kernel is there for its lopsided padding, which torch warns may be slow.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

MOST = 1 + 1e-4
"""An image's contribution, as a multiple of max_grad_norm: what the engines promise."""
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


class Layer(NamedTuple):
    """A layer, the shape of one copy's input, and the way that the rules are forced to go."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    advantage: float = 1e12
    """`GHOST_ADVANTAGE`: products of all positions wherever there is the choice, or with 0 never."""
    piece: int = 1 << 21
    channels_last: bool = False
    alone: float = math.inf
    """`ONE_BY_ONE`: with 0 a convolution of each image by itself, where products are not taken."""


LAYERS = {
    "linear": Layer(lambda: nn.Linear(256, 48, bias=False), (16, 256)),
    "linear, formed": Layer(lambda: nn.Linear(32, 48), (16, 32), advantage=0),
    "linear of one position": Layer(lambda: nn.Linear(64, 48), (64,)),
    "convolution": Layer(lambda: nn.Conv2d(32, 24, 3, padding=1), (32, 6, 6)),
    "convolution, even kernel": Layer(lambda: nn.Conv2d(32, 24, 2, padding="same"), (32, 6, 6)),
    "convolution, channels last": Layer(lambda: nn.Conv2d(32, 24, 3, padding=1), (32, 6, 6), channels_last=True),
    "convolution, unfolded": Layer(lambda: nn.Conv2d(32, 24, 3, padding=1), (32, 6, 6), advantage=0),
    "convolution, unfolded in pieces": Layer(lambda: nn.Conv2d(32, 24, 3, 2), (32, 7, 7), advantage=0, piece=1),
    "convolution, one by one": Layer(lambda: nn.Conv2d(32, 24, 3, padding=1), (32, 6, 6), advantage=0, alone=0),
    "convolution, one by one, channels last": Layer(
        lambda: nn.Conv2d(32, 24, 3, 2), (32, 7, 7), advantage=0, alone=0, channels_last=True
    ),
    "convolution, dilated": Layer(lambda: nn.Conv2d(32, 24, 3, padding=2, dilation=2), (32, 6, 6)),
    "convolution, pointwise": Layer(lambda: nn.Conv2d(64, 48, 1), (64, 4, 4)),
    "convolution, grouped": Layer(lambda: nn.Conv2d(8, 8, 3, groups=4), (8, 6, 6)),
    "embedding": Layer(lambda: nn.Embedding(5, 96), (8,)),
    "group norm": Layer(lambda: nn.GroupNorm(4, 16), (16, 8, 8)),
    "group norm, channels last": Layer(lambda: nn.GroupNorm(4, 16), (16, 8, 8), channels_last=True),
    "layer norm": Layer(lambda: nn.LayerNorm(64), (9, 64)),
}


class Hard(NamedTuple):
    """How a case cancels; every size is a power of ten."""

    seed: int = 0
    copies: int = 1
    size_x: float = 0
    size_g: float = 0
    unlike_x: float = -3
    """How much inputs differ from place to place, as a share of themselves."""
    left_g: float = -3
    """What is left of the gradients' sum, as a share of themselves."""
    paired: bool = True
    """Whether gradients come in pairs of opposite sign, or are shifted to add up to zero."""
    clip: float = 0


HARD = st.builds(
    Hard,
    seed=st.integers(0, 2**16),
    copies=st.sampled_from([1, 2, 8]),
    size_x=st.floats(-22, 12),
    size_g=st.floats(-22, 12),
    unlike_x=st.floats(-9, 0),
    left_g=st.floats(-9, 0),
    paired=st.booleans(),
    clip=st.floats(-4, 4),
)


def inputs_of(layer: Layer, module: nn.Module, case: Hard, device: str) -> list[Tensor]:
    """One image's input and its output's gradient, each (1, K, ...)."""
    random = torch.Generator().manual_seed(case.seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    if isinstance(module, nn.Embedding):
        x = torch.randint(0, 3, (1, case.copies, *layer.shape), generator=random)
    else:
        # The same at all places but for a little: channels of images come first, those of sequences last.
        channels = (layer.shape[0], *[1] * (len(layer.shape) - 1)) if len(layer.shape) == 3 else layer.shape[-1:]
        x = noise(*channels) + 10**case.unlike_x * noise(1, case.copies, *layer.shape)
        x = x * 10**case.size_x
    with torch.no_grad():
        out = module(x[0].to(device)).shape
    g = noise(*out)
    rows = g.flatten(2).transpose(1, 2).reshape(-1, out[1]) if len(out) == 4 else g.reshape(-1, out[-1])
    if case.paired and len(rows) > 1:
        half = len(rows) // 2
        rows = torch.cat([rows[:half], -rows[:half], torch.zeros(len(rows) - 2 * half, rows.shape[1])])
    else:
        rows = rows - rows.mean(0)
    rows = (rows + 10**case.left_g * noise(*rows.shape)) * 10**case.size_g
    g = rows.reshape(out[0], -1, out[1]).transpose(1, 2).reshape(out) if len(out) == 4 else rows.reshape(out)
    return [x.to(device), g[None].to(device)]


def weighed(model: nn.Module, x: Tensor, w: Tensor) -> Tensor:
    """(M,): the layer's answer times w, whose gradient with respect to the answer is w."""
    return (model(x).float() * w).flatten(1).sum(1)


def contribution(name: str, engine: str, precision: str, device: str, case: Hard) -> float:
    """Norm of what one image adds, in units of the clip."""
    torch.manual_seed(0)
    layer = LAYERS[name]
    module, clip = layer.build().to(device), 10**case.clip
    choice = Choice(engine=engine, micro_batch=1, channels_last=layer.channels_last, precision=precision)
    choice.lay_out(module)
    inputs = inputs_of(layer, module, case, device)
    # As in training, where products below 1e-38 vanish; hypothesis itself cannot do without them.
    torch.set_flush_denormal(True)
    try:
        got = choice.clipped_sum(module, weighed, inputs, clip)
    finally:
        torch.set_flush_denormal(False)
    assert torch.isfinite(got.sum_P).all()
    return float(got.sum_P.double().norm()) / clip


def forced(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "GHOST_ADVANTAGE", LAYERS[name].advantage)
    monkeypatch.setattr(convolutions, "PATCH_BYTES", LAYERS[name].piece)
    monkeypatch.setattr(layers, "SMALL_WEIGHT", 0)
    monkeypatch.setattr(layers, "ONE_BY_ONE", LAYERS[name].alone)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("engine", sorted(ENGINES))
@pytest.mark.parametrize("name", LAYERS)
def test_no_image_adds_more_than_the_clip(
    name: str, engine: str, precision: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    forced(name, monkeypatch)

    # `loop` leaves the sums to torch, one image at a time: less can go wrong there.
    @settings(
        max_examples=15 if engine == "loop" else 40, deadline=None, derandomize=True, database=None
    )  # fmt: skip
    @given(HARD)
    @example(Hard(unlike_x=-6, left_g=-6))
    @example(Hard(unlike_x=-7, left_g=-2, copies=8, clip=-2))
    @example(Hard(size_x=-21, size_g=18, clip=-4))
    @example(Hard(size_x=10, size_g=-21, clip=-4))
    def hold(case: Hard) -> None:
        found = contribution(name, engine, precision, device, case)
        target(math.log10(max(found, 1e-12)))
        assert found <= MOST, case

    hold()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("as_it_comes", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_in_bf16_a_layers_gradients_are_those_of_float32_to_its_rounding(
    name: str, as_it_comes: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not as_it_comes:
        forced(name, monkeypatch)
    torch.manual_seed(0)
    layer = LAYERS[name]
    module = layer.build().to(device)
    # Nothing cancels, so that what is rounded is a small share.
    inputs = inputs_of(layer, module, Hard(copies=2, unlike_x=0, left_g=0, paired=False), device)
    sums = []
    for engine, precision in (("loop", "float32"), ("bookkeeping", "bf16")):
        choice = Choice(engine=engine, micro_batch=1, channels_last=layer.channels_last, precision=precision)
        choice.lay_out(module)
        sums.append(choice.clipped_sum(module, weighed, inputs, 1e6).sum_P)
    assert (sums[1] - sums[0]).norm() <= 0.01 * sums[0].norm()


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_a_layer_of_many_equal_gradients_adds_no_more_either(engine: str) -> None:
    """Four million equal squares, which float32 adds up to too little when they come one after the other."""
    module = nn.Linear(2048, 2048, bias=False)
    x = torch.full((1, 1, 2048), 0.3)
    got = engines.clipped_sum(ENGINES[engine], module, weighed, [x, x], 0.1)
    assert float(got.sum_P.double().norm()) <= 0.1 * MOST


@pytest.mark.parametrize("columns", [1, 4095, 4096, 100_000, 4_000_000])
@pytest.mark.parametrize("value", [0.1, 0.3, 1.0])
def test_squared_norms_are_right_for_any_number_of_columns(columns: int, value: float) -> None:
    x = torch.full((2, columns), value)
    torch.testing.assert_close(engines.squared_norms(x).double(), x.double().square().sum(1), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["linear", "convolution, pointwise"])
def test_an_image_whose_norm_cancels_is_formed_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its share of the batch's sum would be rounding of the terms that cancel. It is as long as the bound leaves it, so
    that nothing jumps where another image's presence tips the scales between in doubt and not."""
    forced(name, monkeypatch)
    torch.manual_seed(0)
    module, clip = LAYERS[name].build(), 1e-4
    inputs = inputs_of(LAYERS[name], module, Hard(unlike_x=-8, left_g=-8), "cpu")
    engine = ENGINES["bookkeeping"]
    told, got = engine(module, weighed, inputs, clip), engines.clipped_sum(engine, module, weighed, inputs, clip)
    assert told.doubtful_B is not None and told.doubtful_B.all()
    alone = ENGINES["loop"](module, weighed, inputs, clip)
    assert alone.norms_B[0] < 0.99 * told.norms_B[0], "the bound lies above the norm"
    gradient_P = alone.sum_P / engines.clip_factors(alone.norms_B[0], clip)
    torch.testing.assert_close(got.sum_P, gradient_P * engines.clip_factors(told.norms_B[0], clip), rtol=1e-5, atol=0)


def test_one_image_at_the_edge_of_what_float32_holds_leaves_the_sum_finite() -> None:
    """Its norm may be finite in one batch and not in another: dropped again and again until what is left is finite."""
    asked: list[int] = []

    def engine(model: nn.Module, loss: engines.Loss, inputs_BK: list[Tensor], clip: float) -> engines.Clipped:
        (x_B1,) = inputs_BK
        asked.append(len(x_B1))
        norms_B = x_B1[:, 0].abs()
        # The second image's norm is finite only as long as the first one is there.
        norms_B = torch.where(norms_B == 2, norms_B if len(norms_B) == 3 else torch.inf, norms_B)
        return engines.Clipped(
            norms_B.masked_fill(~torch.isfinite(norms_B), torch.nan).sum()[None], norms_B, x_B1[0, 0]
        )

    x = torch.tensor([[torch.inf], [2.0], [1.0]])
    got = engines.clipped_sum(engine, nn.Identity(), weighed, [x], 1.0)
    assert asked == [3, 2, 1] and got.sum_P.tolist() == [1.0]
