"""Every engine equals the obvious reference; what no engine can serve is refused in one sentence."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.compute import worker
from raysyn.compute.worker import full_float32, has_bf16
from raysyn.models.unet import UNet, UNetConfig
from raysyn.privacy import bookkeeping, convolutions, engines, layers, trial
from raysyn.privacy.trial import ENGINES, FUSED, Choice, SGDSpeed
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import few

# The even kernel is there for its lopsided padding, which torch warns may be slow.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

IMAGES = 3
CLIP = 0.5
CPU = torch.device("cpu")
needs_amx = pytest.mark.skipif(not has_bf16(CPU), reason="this CPU has no AMX")


@pytest.fixture(params=[False, True], ids=["without AMX", "with AMX"])
def amx(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the CPU is taken for one that has bfloat16."""
    monkeypatch.setattr(worker, "has_bf16", lambda device: request.param)
    return bool(request.param)


class Everything(nn.Module):
    """Each supported layer in each unusual setting, with attention over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(4, 8, padding_idx=3)
        self.stem = nn.Conv2d(1, 8, 3, padding="same")
        self.norm = nn.GroupNorm(4, 8)
        self.strided = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(12, 12, 3, padding=(1, 0), groups=3, bias=False)
        self.dilated = nn.Conv2d(12, 8, (3, 2), padding=2, dilation=2)
        self.even = nn.Conv2d(8, 8, 2, padding="same")
        self.small = nn.Conv2d(8, 8, 1)
        self.qkv, self.layer_norm = nn.Linear(8, 24), nn.LayerNorm(8)
        self.unused = nn.Linear(3, 3)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x) + self.table(labels)[:, :, None, None]))
        x = self.even(F.silu(self.dilated(self.grouped(F.silu(self.strided(x))))))
        tokens = self.small(x).flatten(2).transpose(1, 2)
        query, key, value = self.qkv(self.layer_norm(tokens)).chunk(3, dim=-1)
        mixed = torch.softmax(query @ key.transpose(1, 2), dim=-1) @ value
        return self.head((tokens + mixed).mean(1))


def cross_entropy(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    return 3 * F.cross_entropy(model(x, labels), labels.clamp(max=3), reduction="none")


def everything(copies: int) -> tuple[nn.Module, engines.Loss, list[Tensor]]:
    torch.manual_seed(0)
    labels = torch.randint(0, 4, (IMAGES, copies))
    return Everything(), cross_entropy, [torch.randn(IMAGES, copies, 1, 8, 8), labels]


def unet(copies: int, multipliers: tuple[int, ...] = (1, 2)) -> tuple[nn.Module, engines.Loss, Sequence[Tensor]]:
    torch.manual_seed(0)
    model = UNet(UNetConfig(width=8, multipliers=multipliers, blocks=1, attention=(4,)), 1, 8, 3)
    for parameter in model.parameters():  # the zero-initialised layers would hide all others
        nn.init.normal_(parameter, std=0.2)
    task = DiffusionTask(classes=3)
    pixels, labels = torch.randint(0, 256, (IMAGES, 8, 8, 1), dtype=torch.uint8), torch.arange(IMAGES)
    return model, task.loss, task.draw(pixels, labels, range(IMAGES), copies)


def reference(model: nn.Module, loss: engines.Loss, inputs_BK: Sequence[Tensor]) -> Tensor:
    """Gradients (B, P), image by image in float64."""
    exact = copy.deepcopy(model).double()
    inputs = [x.double() if x.is_floating_point() else x for x in inputs_BK]
    rows = []
    for image in range(len(inputs[0])):
        value = loss(exact, *(x[image] for x in inputs)).mean()
        gradients = torch.autograd.grad(value, engines.trained(exact), allow_unused=True)
        pairs = zip(gradients, engines.trained(exact), strict=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs]))
    return torch.stack(rows)


def assert_equal_to_reference(
    engine: engines.Engine, case: tuple[nn.Module, engines.Loss, Sequence[Tensor]], slack: float = 1e-5
) -> None:
    """Norms are right, or too large by `slack` at most, and the sum is that of gradients clipped by them."""
    model, loss, inputs = case
    grads_BP = reference(model, loss, inputs)
    norms_B = grads_BP.norm(dim=1)
    assert norms_B.max() > CLIP, "the case must clip"
    learning = len(engines.trained(model))
    got = engines.clipped_sum(engine, model, loss, inputs, CLIP)
    assert got.sum_P.dtype == torch.float32
    found_B = got.norms_B.double()
    assert ((1 - 1e-5) * norms_B <= found_B).all() and (found_B <= (1 + slack) * norms_B).all(), found_B / norms_B - 1
    want = engines.clip_factors(found_B, CLIP) @ grads_BP
    assert (got.sum_P - want).norm() <= 1e-5 * want.norm()
    assert len(engines.trained(model)) == learning


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("copies", [1, 4, 8])
@pytest.mark.parametrize("build", [everything, unet])
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_engines_equal_the_reference(engine: str, build: Callable, copies: int, channels_last: bool) -> None:
    case = build(copies)
    Choice(engine=engine, micro_batch=1, channels_last=channels_last, precision="float32").lay_out(case[0])
    # Where the rules of the book-keeping engine take a norm from products, its bound lies a hair above the norm.
    assert_equal_to_reference(ENGINES[engine], case, slack=1e-3 if engine == "bookkeeping" else 1e-5)


@pytest.mark.parametrize("advantage", [0, 1e12])
@pytest.mark.parametrize("piece", [1, 1 << 15, 1 << 40])
@pytest.mark.parametrize("build", [everything, unet])
def test_each_way_to_a_norm_is_right(
    build: Callable, piece: int, advantage: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rules choose by shape; here every layer is forced down each way.
    monkeypatch.setattr(layers, "SMALL_WEIGHT", 0)
    monkeypatch.setattr(convolutions, "PATCH_BYTES", piece)
    monkeypatch.setattr(layers, "GHOST_ADVANTAGE", advantage)
    monkeypatch.setattr(layers, "ONE_BY_ONE", math.inf)
    assert_equal_to_reference(bookkeeping.bookkeeping, build(2), slack=1e-5 if advantage == 0 else 1e-3)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("build", [everything, unet])
def test_convolutions_of_one_image_at_a_time_are_right(
    build: Callable, copies: int, channels_last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "SMALL_WEIGHT", 0)
    monkeypatch.setattr(layers, "GHOST_ADVANTAGE", 0)
    monkeypatch.setattr(layers, "ONE_BY_ONE", 0)
    asked = Mock(side_effect=convolutions.one_by_one)
    monkeypatch.setattr(convolutions, "one_by_one", asked)
    case = build(copies)
    if channels_last:
        case[0].to(memory_format=torch.channels_last)
    assert_equal_to_reference(bookkeeping.bookkeeping, case)
    assert asked.called


def test_of_a_large_image_each_convolution_is_asked_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Mock(side_effect=convolutions.one_by_one)
    monkeypatch.setattr(convolutions, "one_by_one", asked)
    layer, inputs = nn.Conv2d(64, 64, 3, padding=1), [torch.randn(2, 4, 64, 20, 20)]

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return 9 * model(x).square().mean((1, 2, 3))

    assert_equal_to_reference(bookkeeping.bookkeeping, (layer, loss, inputs))
    assert asked.call_count == 1
    wide = nn.Conv2d(64, 128, 3, 2, 1)  # many multiplications, but few positions
    assert_equal_to_reference(bookkeeping.bookkeeping, (wide, loss, [torch.randn(2, 1, 64, 40, 40)]))
    assert asked.call_count == 1


def test_trap_18_copies_are_averaged_before_the_clip() -> None:
    model, loss, (x, labels) = everything(1)
    once = engines.loop(model, loss, [x, labels], CLIP)
    many = engines.loop(model, loss, [x.expand(-1, 4, -1, -1, -1), labels.expand(-1, 4)], CLIP)
    torch.testing.assert_close(many.sum_P, once.sum_P, rtol=1e-4, atol=1e-6)
    assert once.sum_P.norm() <= IMAGES * CLIP * (1 + 1e-6)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_one_image_without_a_finite_gradient_counts_as_zero(engine: str) -> None:
    model, loss, (x, labels) = everything(2)
    rest = engines.clipped_sum(ENGINES[engine], model, loss, [x[1:], labels[1:]], CLIP)
    broken = x.clone()
    broken[0] = torch.nan
    got = engines.clipped_sum(ENGINES[engine], model, loss, [broken, labels], CLIP)
    torch.testing.assert_close(got.sum_P, rest.sum_P, rtol=1e-5, atol=1e-6)
    alone = engines.clipped_sum(ENGINES[engine], model, loss, [broken[:1], labels[:1]], CLIP)
    assert not alone.sum_P.any()


@pytest.mark.parametrize("broken", [None, 0, IMAGES - 1])
@pytest.mark.parametrize("size", [1, IMAGES, IMAGES + 1, 3 * IMAGES])
def test_what_fills_a_batch_up_takes_no_part(size: int, broken: int | None) -> None:
    model, loss, (x, labels) = everything(2)
    if broken is not None:
        x[broken] = torch.nan
    seen = list[int]()

    def engine(model: nn.Module, loss: Any, inputs: Any, *rest: Any) -> engines.Clipped:
        seen.append(len(inputs[0]))
        return bookkeeping.bookkeeping(model, loss, inputs, *rest)

    want = engines.clipped_sum(bookkeeping.bookkeeping, model, loss, [x, labels], CLIP)
    got = engines.clipped_sum(engine, model, loss, [x, labels], CLIP, size)
    torch.testing.assert_close(got.sum_P, want.sum_P, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(got.norms_B, want.norms_B, rtol=1e-5, atol=1e-6, equal_nan=True)
    torch.testing.assert_close(got.loss, want.loss, rtol=1e-5, atol=1e-6, equal_nan=True)
    # Also the second time, without the image that is broken.
    assert len(seen) == 1 + (broken is not None) and all(one == size for one in seen) == (size >= IMAGES)


def test_a_copy_that_overflows_where_its_image_does_not_makes_it_one_that_does() -> None:
    """Or the sum of all would be NaN."""
    rows = list[int]()

    def engine(_: nn.Module, __: Any, inputs: Any, ___: float, valid_B: Tensor | None = None) -> engines.Clipped:
        (x,) = inputs
        rows.append(len(x))
        norms_B = torch.ones(len(x))
        if valid_B is not None and x[0] == 0:
            norms_B[~valid_B] = torch.inf
        sums = (x * (1 if valid_B is None else valid_B) * norms_B.where(norms_B == 1, torch.nan)).sum()
        return engines.Clipped(sums[None], norms_B, torch.zeros(()))

    got = engines.clipped_sum(engine, nn.Linear(1, 1), Mock(), [torch.tensor([0.0, 2.0, 3.0])], 1.0, 5)
    assert got.sum_P.tolist() == [5.0] and rows == [5, 5]
    got = engines.clipped_sum(engine, nn.Linear(1, 1), Mock(), [torch.tensor([1.0, 2.0, 3.0])], 1.0, 5)
    assert got.sum_P.tolist() == [6.0]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("engine", [*sorted(ENGINES), FUSED])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_batches_are_filled_where_kernels_round_by_size(
    device: str, engine: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Mock()
    monkeypatch.setattr(engines, "clipped_sum", asked)
    monkeypatch.setattr(torch, "autocast", MagicMock())
    choice = Choice(engine=engine, micro_batch=7, channels_last=False, precision=precision)
    choice.clipped_sum(nn.Identity(), Mock(), [Mock(device=torch.device(device))], CLIP)
    filled = device == "cuda" and precision == "bf16" and engine != "loop"
    assert asked.call_args.args[-1] == (7 if filled else 0)
    choice.clipped_sum(nn.Identity(), Mock(), [Mock(device=torch.device(device))], CLIP, alone=True)
    assert asked.call_args.args[-1] == 0


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_frozen_parameters_take_no_part(engine: str) -> None:
    model, loss, inputs = everything(2)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not name.startswith("stem") and name != "head.bias")
    want = engines.loop(model, loss, inputs, CLIP)
    got = ENGINES[engine](model, loss, inputs, CLIP)
    assert got.sum_P.numel() == sum(p.numel() for p in model.parameters() if p.requires_grad)
    torch.testing.assert_close(got.sum_P, want.sum_P, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("choice", ["attention", "embedding", "lora:1", "lora:3"])
@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_few_weights_have_the_gradients_of_the_reference(engine: str, choice: str) -> None:
    plain, loss, inputs = unet(2)
    model = few(plain, choice)
    for parameter in engines.trained(model):  # updates begin at zero, behind which half of them have no gradient
        nn.init.normal_(parameter, std=0.2)
    assert_equal_to_reference(ENGINES[engine], (model, lambda *given: 20 * loss(*given), inputs), slack=1e-3)


@pytest.mark.parametrize("engine", sorted(ENGINES))
def test_bf16_stays_close(engine: str) -> None:
    model, loss, inputs = unet(2)
    want = engines.loop(model, loss, inputs, CLIP)
    choice = Choice(engine=engine, micro_batch=8, channels_last=False, precision="bf16")
    got = choice.clipped_sum(model, loss, inputs, CLIP)
    assert got.sum_P.dtype == torch.float32
    assert (got.sum_P - want.sum_P).norm() < 0.1 * want.sum_P.norm()


@needs_amx
@pytest.mark.parametrize(("copies", "images"), [(1, 40), (8, 9)])
def test_on_a_cpu_no_gradient_in_bf16_hangs_on_the_images_beside_it(copies: int, images: int) -> None:
    """Rounded coarsely, it would move by more than the noise hides where another image's absence shifts the batch."""
    torch.manual_seed(0)
    task = DiffusionTask(classes=10)
    model = UNet(UNetConfig(width=16, multipliers=(1, 2), blocks=1, patch=2), 1, 28, 10)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    pixels = torch.randint(0, 256, (images, 28, 28, 1), dtype=torch.uint8)
    inputs = task.draw(pixels, torch.arange(images) % 10, range(images), copies)
    choice = Choice(engine="bookkeeping", micro_batch=images, channels_last=False, precision="bf16")

    def norms(first: int, end: int) -> Tensor:
        return choice.clipped_sum(model, task.loss, [x[first:end] for x in inputs], CLIP).norms_B

    whole = norms(0, images)
    for first, end in [(0, images - 1), (1, images), (3, 5), (4, 5)]:
        assert torch.equal(norms(first, end), whole[first:end]), (first, end)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


def test_the_weighted_sum_is_never_rounded_to_tf32() -> None:
    """Norms in float32 and a sum in TF32 would let an image contribute more than max_grad_norm."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    assert cudnn.allow_tf32, "PyTorch's default, which the test is about"
    before = (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32)
    with pytest.raises(ZeroDivisionError), full_float32(torch.device("cpu")):
        assert not cudnn.allow_tf32 and not matmul.allow_tf32 and not torch.is_autocast_enabled("cpu")
        assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic) == before[:3]
        1 / 0  # noqa: B018
    assert (cudnn.enabled, cudnn.benchmark, cudnn.deterministic, cudnn.allow_tf32) == before


def test_threads_that_want_full_precision_leave_the_process_as_it_was() -> None:
    """The first to come is the first to go; the other one still rounds nothing."""
    cudnn, cpu = torch.backends.cudnn, torch.device("cpu")
    before = cudnn.allow_tf32
    first, second = full_float32(cpu), full_float32(cpu)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not cudnn.allow_tf32
    second.__exit__(None, None, None)
    assert cudnn.allow_tf32 == before


def test_a_layer_called_twice_is_named() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).sum(1)

    with pytest.raises(ValueError, match="layer layer is called twice"):
        bookkeeping.bookkeeping(Twice(), loss, [torch.randn(2, 1, 4)], CLIP)


def test_trap_17_layers_that_mix_images_are_refused() -> None:
    for layer in (
        nn.BatchNorm2d(4),
        nn.BatchNorm1d(4, affine=False),
        nn.InstanceNorm2d(4, track_running_stats=True),
    ):
        with pytest.raises(ValueError, match=r"layer 0 is .* use GroupNorm"):
            engines.refuse_unsupported(nn.Sequential(layer))


def test_layers_without_a_rule_are_refused() -> None:
    bad = [
        nn.ConvTranspose2d(1, 1, 3),
        nn.PReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"),
        nn.Embedding(2, 2, max_norm=1.0),
    ]
    for layer in bad:
        with pytest.raises(ValueError, match="layer 0 is "):
            engines.refuse_unsupported(nn.Sequential(layer))
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    with pytest.raises(ValueError, match="layers 0 and 1 share a parameter"):
        engines.refuse_unsupported(tied)
    engines.refuse_unsupported(nn.Sequential(Everything(), nn.Dropout(0.0), nn.InstanceNorm2d(3)))


def test_the_trial_leaves_out_an_engine_that_cannot_serve_the_model() -> None:
    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).sum(1)

    def measure(speed: SGDSpeed) -> Choice:
        return trial.measure(torch.device("cpu"), Twice(), lambda b: [torch.ones(b, 1, 4)], loss, 5, speed)

    assert measure(SGDSpeed()).engine == "loop"
    with pytest.raises(ValueError, match="layer layer is called twice"):
        measure(SGDSpeed(engine="bookkeeping"))


def test_the_trial_answers_within_what_is_allowed(amx: bool) -> None:
    model, loss, inputs = unet(2)

    def draw(images: int) -> list[Tensor]:
        return [x[:1].expand(images, *x.shape[1:]) for x in inputs]

    def measure(speed: SGDSpeed) -> Choice:
        return trial.measure(torch.device("cpu"), model, draw, loss, 5, speed)

    free = measure(SGDSpeed())
    assert free.engine in ENGINES and 1 <= free.micro_batch <= 5
    fixed = measure(SGDSpeed(engine="loop", micro_batch=7, channels_last=True))
    assert fixed == Choice(engine="loop", micro_batch=7, channels_last=True, precision="float32")
    coarse = SGDSpeed(precision="bf16")
    if amx:
        assert measure(coarse).precision == "bf16" and not measure(coarse).channels_last
    else:
        with pytest.raises(ValueError, match="precision is bf16"):
            measure(coarse)
    with pytest.raises(ValueError, match="micro_batch is 0"):
        SGDSpeed(micro_batch=0)


def test_a_cpu_that_has_bf16_is_timed_in_it_too(amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    timed: list[Choice] = []

    def fastest(choices: list[Choice], *_: object) -> tuple[Choice, float]:
        timed.extend(choices)
        return choices[0], 1.0

    monkeypatch.setattr(trial, "_fastest", fastest)
    model, loss, inputs = unet(1)
    trial.measure(CPU, model, lambda b: [x[:1] for x in inputs], loss, 3, SGDSpeed())
    ways = {(one.engine, one.precision, one.channels_last) for one in timed}
    plain = {(name, "float32", layout) for name in ENGINES for layout in (True, False)}
    assert ways == plain | ({("bookkeeping", "bf16", False)} if amx else set())


class OneKind(nn.Module):
    """Writes a layer's answer into a float32 tensor, which bfloat16 numbers refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.lerp(x, self.layer(x), 0.5)


def test_a_network_that_takes_float32_alone_is_not_run_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "has_bf16", lambda device: True)

    def loss(model: nn.Module, x: Tensor) -> Tensor:
        return model(x).sum(1)

    def measure(speed: SGDSpeed) -> Choice:
        return trial.measure(CPU, OneKind(), lambda b: [torch.ones(b, 1, 4)], loss, 5, speed)

    assert measure(SGDSpeed()).precision == "float32"
    with pytest.raises(RuntimeError):
        measure(SGDSpeed(precision="bf16"))


@pytest.mark.parametrize(("steps", "most"), [(1, 16), (117, 75), (100_000, 230)])
def test_the_trial_of_a_short_stage_takes_few_images(steps: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At most a fiftieth of the images that the stage will see, in its interleaved rounds, and never a whole
    micro-batch to find out what is far behind: `loop` takes an image at a time."""
    seen: list[tuple[str, int]] = []

    def timed(choice: trial.Choice, model: nn.Module, inputs_BK: Any, loss: Any, device: torch.device) -> float:
        seen.append((choice.engine, len(inputs_BK[0])))
        return 9.0 if choice.engine == "loop" else 1.0

    monkeypatch.setattr(trial, "_time", timed)
    monkeypatch.setattr(trial, "ROUNDS", 2)
    monkeypatch.setattr(trial.worker, "has_bf16", lambda device: False)
    draw: Any = lambda b: [torch.ones(b, 1, 8, 8)]  # noqa: E731
    choice = trial.measure(CPU, nn.Linear(1, 1), draw, lambda *_: torch.ones(1), 256, SGDSpeed(micro_batch=230), steps)
    assert choice.engine == "bookkeeping" and choice.micro_batch == 230
    assert max(count for _, count in seen) == most
    assert max(count for engine, count in seen if engine == "loop") <= 16


@pytest.mark.parametrize(("faster", "taken"), [(1.3, "bf16"), (1.05, "float32")])
def test_bf16_is_taken_where_it_is_faster_by_a_tenth(
    faster: float, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "has_bf16", lambda device: True)
    took = {"bf16": 1 / faster, "float32": 1.0}
    monkeypatch.setattr(trial, "_time", lambda choice, *_: took[choice.precision])
    model, loss, inputs = unet(1)
    found = trial.measure(CPU, model, lambda b: [x[:1] for x in inputs], loss, 3, SGDSpeed(engine="bookkeeping"))
    assert found.precision == taken


@pytest.mark.parametrize("asked", ["highest", "medium"])
def test_what_is_asked_of_float32_products_does_not_reach_the_rules(asked: str) -> None:
    before = torch.get_float32_matmul_precision()
    random = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 512, generator=random), torch.randn(512, 64, generator=random)
    try:
        torch.set_float32_matmul_precision(asked)
        was = torch.backends.mkldnn.matmul.fp32_precision
        with full_float32(CPU):
            product = x @ y
        assert torch.backends.mkldnn.matmul.fp32_precision == was
    finally:
        torch.set_float32_matmul_precision(before)
    assert float((product - (x.double() @ y.double())).abs().max()) < 1e-4


def test_what_a_cpu_cannot_do_is_refused_there(amx: bool) -> None:
    model, loss, inputs = unet(1)
    for speed in (SGDSpeed(engine="fused"), *([] if amx else [SGDSpeed(precision="bf16", engine="loop")])):
        with pytest.raises(
            ValueError, match=r"on\.sgd\.(engine is fused|precision is bf16), but the workers have no GPU"
        ):
            trial.measure(torch.device("cpu"), model, lambda b: inputs, loss, 3, speed)


@pytest.mark.parametrize(("expected", "copies", "channels"), [(4096, 32, 1), (16_384, 1, 3), (100, 1, 1), (3, 64, 1)])
def test_micro_batches_of_a_gpu_are_alike_and_hold_nearly_every_poisson_batch(
    expected: int, copies: int, channels: int
) -> None:
    gpu, one = torch.device("cuda"), torch.empty(1, copies, channels, 28, 28, device="meta")
    images = trial.fitting(gpu, one, expected)
    assert 1 <= images <= max(1, trial.PIXELS_AT_ONCE["cuda"] * channels // one.numel())
    parts = math.ceil((expected + 3 * math.sqrt(expected)) / images)
    assert parts * images >= expected + 3 * math.sqrt(expected), "such a batch needs no further part"
    assert parts * images <= expected + 3 * math.sqrt(expected) + parts, "and little is filled up"


def test_a_gpu_is_tried_with_as_many_images_as_it_will_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def fastest(choices, inputs, device, model, loss):  # type: ignore[no-untyped-def]
        return choices[0], 1.0

    def draw(images: int) -> list[Tensor]:
        drawn.append(images)
        return [torch.zeros(images, 1, 1, 8, 8)]

    monkeypatch.setattr(trial, "_fastest", fastest)
    model, loss, _ = unet(1)
    speed, gpu = SGDSpeed(precision="float32"), torch.device("cuda")
    chosen = trial.measure(gpu, model, draw, loss, 100, speed)
    assert chosen.micro_batch == 130 == drawn[-1], "three standard deviations above the mean of a Poisson batch"
    # Compiled where the stage would else take more than 600 s: 1 s for 130 images, of which a step has 100.
    monkeypatch.setattr(trial, "ENGINES", {"bookkeeping": trial.bookkeeping})
    for steps, engine in ((780, "bookkeeping"), (781, trial.FUSED)):
        assert trial.measure(gpu, model, draw, loss, 100, speed, steps).engine == engine


def test_a_cpu_with_one_choice_is_not_timed() -> None:
    model, loss, inputs = unet(1)

    def draw(images: int) -> list[Tensor]:
        assert images == 1, "only for the size of an image"
        return [x[:1] for x in inputs]

    speed = SGDSpeed(engine="bookkeeping", channels_last=True)
    assert trial.measure(torch.device("cpu"), model, draw, loss, 3, speed).engine == "bookkeeping"


def test_what_does_not_fit_a_gpus_memory_is_halved_until_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def best(device, model, draw, loss, expected, speed, steps, micro_batch):  # type: ignore[no-untyped-def]
        tried.append(micro_batch)
        if micro_batch > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return Choice(engine="bookkeeping", micro_batch=micro_batch, channels_last=True, precision="float32")

    monkeypatch.setattr(trial, "_best", best)
    model, loss, inputs = unet(1)

    def measure(speed: SGDSpeed) -> Choice:
        return trial.measure(torch.device("cpu"), model, lambda b: [x[:1] for x in inputs], loss, 11, speed)

    assert measure(SGDSpeed()).micro_batch == 3 and tried == [11, 6, 3]
    with pytest.raises(ValueError, match="micro_batch is 8, and this does not fit"):
        measure(SGDSpeed(micro_batch=8))
