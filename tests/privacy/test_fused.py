"""The traced program of a micro-batch equals the engine that it was traced from; on a GPU it is compiled as well."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from test_contribution import LAYERS, MOST, Hard, forced, inputs_of, weighed
from test_engines import CLIP, everything
from torch import Tensor

from raysyn.compute import worker
from raysyn.compute.worker import Alone
from raysyn.data.images import Images
from raysyn.privacy import engines, fused
from raysyn.privacy.fused import Program
from raysyn.privacy.micro_batches import MicroBatches
from raysyn.privacy.poisson import Stream
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import FUSED, Choice
from raysyn.train.naming import Naming

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
COMPILED = DEVICE == "cuda"
CLOSE = 2e-3 if COMPILED else 1e-5


def program() -> tuple[torch.nn.Module, engines.Loss, list[Tensor], Program]:
    model, loss, inputs = everything(2)
    inputs = [x.to(DEVICE) for x in inputs]
    made_up = [torch.cat([x, x[:1]]).flip(0) for x in inputs]  # four images' room
    return model.to(DEVICE), loss, inputs, Program(model, loss, made_up, CLIP, bf16=False, compiled=COMPILED)


def test_it_gives_the_engines_sum_and_images_that_fill_up_add_nothing_whatever_they_are() -> None:
    model, loss, inputs, run = program()
    for mine in run._inputs_BK:
        if mine.is_floating_point():
            mine.fill_(torch.nan)
    for images in (3, 1, 2):
        few = [x[:images] for x in inputs]
        got, want = run(few), engines.loop(model, loss, few, CLIP)
        assert bool(got.plain)
        # The program's norms may be upper bounds, a hair above.
        assert (got.sum_P - want.sum_P).norm() <= max(CLOSE, 1e-3) * want.sum_P.norm()
        torch.testing.assert_close(got.loss, want.loss, rtol=CLOSE, atol=0)
    assert all(p.requires_grad for p in model.parameters())


def test_it_reads_the_weights_as_they_are_when_it_is_asked() -> None:
    model, loss, inputs, run = program()
    before = run(inputs).sum_P.clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.1
    after = run(inputs).sum_P
    want = engines.loop(model, loss, inputs, CLIP).sum_P
    assert (after - want).norm() <= 2e-3 * want.norm() < (after - before).norm()


@pytest.mark.slow
def test_what_is_traced_goes_through_the_compiler_and_still_reads_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of the compiler but the code that it writes, which takes minutes; on a GPU the tests above have that too."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    monkeypatch.setattr(Program, "_capture", lambda self: None)
    model, loss, inputs = everything(2)
    run = Program(model, loss, inputs, CLIP, bf16=False)
    for _ in range(2):
        want = engines.loop(model, loss, inputs, CLIP).sum_P
        assert (run(inputs).sum_P - want).norm() <= 1e-3 * want.norm()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 1.1


def test_an_image_without_a_finite_gradient_makes_the_whole_answer_zero_and_says_so() -> None:
    _, _, inputs, run = program()
    broken = [x.clone() for x in inputs]
    broken[0][1] = torch.inf
    got = run(broken)
    assert not bool(got.plain) and not got.sum_P.any()
    assert bool(run(inputs).plain)


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "name", LAYERS if not COMPILED else ["convolution", "convolution, channels last", "group norm"]
)
def test_no_image_adds_more_than_the_clip(name: str, bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    forced(name, monkeypatch)
    torch.manual_seed(0)
    layer, clip = LAYERS[name], 1e-3
    module = layer.build().to(DEVICE)
    if layer.channels_last:
        module.to(memory_format=torch.channels_last)
    run = Program(module, weighed, inputs_of(layer, module, Hard(copies=2), DEVICE), clip, bf16=bf16, compiled=COMPILED)
    for seed in range(8):
        size = (-6.0, -2.0, 0.0, 3.0)[seed % 4]
        case = Hard(seed=seed, copies=2, size_x=size, unlike_x=-7, left_g=-6, paired=seed % 2 == 0)
        got = run(inputs_of(layer, module, case, DEVICE))
        assert torch.isfinite(got.sum_P).all()
        assert float(got.sum_P.double().norm()) <= clip * MOST, case


def test_micro_batches_by_program_equal_those_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches that do not fill the shape, and one image that only the engine itself can leave out."""
    if not COMPILED:
        monkeypatch.setattr(fused, "Program", lambda *args, **kinds: Program(*args, **kinds, compiled=False))
    random = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (11, 8, 8, 1), generator=random, dtype=torch.uint8).numpy()
    private = Images(pixels, torch.arange(11).numpy() % 3, ("a", "b", "c"))
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    sums = {}
    for engine in (FUSED, "bookkeeping"):
        choice = Choice(engine=engine, micro_batch=4, channels_last=True, precision="float32")
        config = SGDConfig(batch_size=8, noise_multiplicity=1, max_grad_norm=0.01)
        worker = Alone()
        choice.lay_out(model.to(DEVICE))
        task = Unless(Naming(), index=int(pixels[5].sum()))
        batches = MicroBatches(worker, model, task, private, config, choice, Stream(bytes(32), "stage"))
        sums[engine] = batches.clipped_sum(3, torch.tensor([0, 1, 4, 5, 6, 9]).numpy())
        if engine == FUSED:
            # Image 5 has no finite gradient: it leaves what the others add as it was, to the bit.
            parts = [batches.clipped_sum(3, torch.tensor(some).numpy()) for some in ([0, 1, 4], [6, 9])]
            assert torch.equal(sums[FUSED], parts[0] + parts[1])
    assert sums[FUSED].any()
    torch.testing.assert_close(sums[FUSED], sums["bookkeeping"], rtol=1e-3, atol=1e-6)


def test_persons_come_through_the_program_as_through_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    if not COMPILED:
        monkeypatch.setattr(fused, "Program", lambda *args, **kinds: Program(*args, **kinds, compiled=False))
    random, persons = np.random.default_rng(0), np.array([0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 4])
    private = Images(random.integers(0, 256, (11, 8, 8, 1), np.uint8), np.arange(11) % 3, ("a", "b", "c"), persons)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    config, sums = SGDConfig(batch_size=4, noise_multiplicity=3, max_grad_norm=0.01), []
    for engine in (FUSED, "bookkeeping"):
        choice = Choice(engine=engine, micro_batch=2, channels_last=True, precision="float32")
        choice.lay_out(model.to(DEVICE))
        batches = MicroBatches(Alone(), model, Naming(), private, config, choice, Stream(bytes(32), "stage"))
        sums.append(batches.clipped_sum(3, np.array([0, 1, 4])))
        sums[-1] += batches.clipped_sum(3, np.array([3]))
    torch.testing.assert_close(*sums, rtol=1e-3, atol=1e-6)


class Unless(Naming):
    """Asks what `task` asks, but of one image, known by the sum of its pixels, what has no finite gradient."""

    def __init__(self, task: Naming, index: int) -> None:
        self.task, self.index = task, index

    def draw(self, images_BHWC, labels_B, seeds, copies):  # type: ignore[no-untyped-def]
        first, *rest = self.task.draw(images_BHWC, labels_B, seeds, copies)
        broken = images_BHWC.flatten(1).sum(1) == self.index
        return first.masked_fill(broken.view(-1, *[1] * (first.ndim - 1)), torch.inf), *rest


def test_a_step_that_cannot_be_compiled_is_computed_by_hand_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kinds: object) -> None:
        raise RuntimeError("no compiler here\nand much more")

    monkeypatch.setattr(fused, "Program", refuse)
    private = Images(torch.zeros(5, 8, 8, 1, dtype=torch.uint8).numpy(), torch.arange(5).numpy() % 2, ("a", "b"))
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2)).to(DEVICE)
    choice = Choice(engine=FUSED, micro_batch=4, channels_last=True, precision="float32")
    args = (Alone(), model, Naming(), private, SGDConfig(batch_size=2), choice, Stream(bytes(32), "stage"))
    with pytest.warns(UserWarning, match=r"cannot be compiled, so it runs uncompiled: no compiler here$"):
        batches = MicroBatches(*args)
    assert batches.choice.engine == "bookkeeping"
    assert batches.clipped_sum(0, torch.tensor([0, 1, 2, 3, 4]).numpy()).any()


@pytest.mark.parametrize("amx", [False, True])
def test_a_choice_made_on_a_gpu_is_what_a_cpu_can_do_when_it_continues_there(
    amx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "has_bf16", lambda device: amx or device.type == "cuda")
    made = Choice(engine=FUSED, micro_batch=4, channels_last=True, precision="bf16")
    assert made.on(torch.device("cuda")) == made
    assert made.on(torch.device("cpu")) == Choice(
        engine="bookkeeping", micro_batch=4, channels_last=True, precision="bf16" if amx else "float32"
    )
