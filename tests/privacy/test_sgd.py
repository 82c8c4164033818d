"""DP-SGD: one noise, one denominator, the same weights however the work is cut, killed or continued."""

from __future__ import annotations

import copy
import io
import threading
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import Rank
from scipy import stats
from torch import Tensor, nn

from raysyn.compute import worker as worker_room
from raysyn.compute.local import Local
from raysyn.data.images import Images
from raysyn.privacy import sgd, sgd_config
from raysyn.privacy.cost import Cost
from raysyn.privacy.noise_on_gpu import Noise
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train.few_weights import few

SECRET = bytes(range(32))
QUICK = SGDSpeed(engine="bookkeeping", micro_batch=8, channels_last=True)


class Killed(Exception):
    pass


@dataclass
class Shared:
    """What the ranks of one run have in common, and what the tests look at."""

    ranks: int
    saved: dict[str, Any] | None = None
    die_at: int | None = None
    leave_at: int | None = None
    sums: list[Tensor] = field(default_factory=list)
    shown: list[dict[str, float]] = field(default_factory=list)
    kept: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.barrier = threading.Barrier(self.ranks, timeout=60)
        self.slots: list[Any] = [None] * self.ranks


class ThreadWorker(Rank):
    """One rank as a thread of this process."""

    def __init__(self, rank: int, shared: Shared) -> None:
        super().__init__(rank, shared.slots, shared.barrier)
        self.shared, self.asked = shared, 0

    def leaving(self) -> bool:
        self.asked += 1
        return self.asked == self.shared.leave_at

    def sum_(self, tensor: Tensor) -> Tensor:
        shared = self.shared
        shared.calls[self.rank] = shared.calls.get(self.rank, 0) + 1
        super().sum_(tensor)
        if self.rank == 0:
            shared.sums.append(tensor.clone())
        return tensor

    def progress(self, done: int, total: int, **metrics: float) -> None:
        if self.rank == 0:
            self.shared.shown.append(metrics)
        if done == self.shared.die_at:
            raise Killed

    def save(self, state: dict[str, Any]) -> None:
        if self.rank == 0:
            buffer = io.BytesIO()
            torch.save(state, buffer)
            buffer.seek(0)
            self.shared.saved = torch.load(buffer, weights_only=True)

    def keep(self, key: str, value: Any) -> None:
        if self.rank == 0:
            self.shared.kept[key] = copy.deepcopy(value)
        self.share(None)

    def resume(self) -> dict[str, Any] | None:
        # Each rank reads its own copy, as from a file.
        return copy.deepcopy(self.shared.saved)


class Classify:
    """Logistic loss on images with seeded noise; `scale` 0 leaves nothing but the noise of DP-SGD."""

    def __init__(self, scale: float = 1.0) -> None:
        self.scale = scale

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        clean = images_BHWC.movedim(-1, -3).float() / 255
        if clean.ndim == 4:  # or each copy is of an image of its own
            clean, labels_B = clean[:, None], labels_B[:, None].expand(-1, copies)
        noise = [torch.randn(copies, *clean.shape[2:], generator=torch.Generator().manual_seed(s)) for s in seeds]
        return clean + 0.1 * torch.stack(noise), labels_B

    def loss(self, model: nn.Module, *inputs_M: Tensor) -> Tensor:
        x, labels = inputs_M
        return self.scale * nn.functional.cross_entropy(model(x), labels, reduction="none")


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(1, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(8 * 64, 3),
    ]
    return nn.Sequential(*layers)


def private(n: int = 40) -> Images:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (n, 8, 8, 1), dtype=np.uint8)
    return Images(pixels, random.integers(0, 3, n), ("a", "b", "c"))


CONFIG = SGDConfig(batch_size=10, epochs=3, noise_multiplicity=2, max_grad_norm=0.5, ema=0.9, learning_rate=1e-3)


SCHEDULED = replace(CONFIG, learning_rate_warmup=0.25, learning_rate_decay=0.5)


def priced(config: SGDConfig = CONFIG, n: int = 40, noise_multiplier: float = 0.5) -> Cost:
    return replace(config.cost(n), noise_multiplier=noise_multiplier)


def run(
    ranks: int = 1,
    *,
    model: nn.Module | None = None,
    task: Classify | None = None,
    images: Images | None = None,
    config: SGDConfig = CONFIG,
    cost: Cost | None = None,
    secret: bytes = SECRET,
    speed: SGDSpeed = QUICK,
    shared: Shared | None = None,
    snapshots: Collection[int] = (),
) -> tuple[dict[str, Any], Shared]:
    """What rank 0 releases, and what the ranks shared."""
    images = private() if images is None else images
    shared = shared or Shared(ranks)
    # Layers draw from torch's global generator, so they are made here and not in racing threads.
    models = [model or network() for _ in range(shared.ranks)]
    released: list[Any] = [None] * shared.ranks
    failures: list[BaseException] = []

    def rank(index: int) -> None:
        try:
            released[index] = sgd.fit(
                ThreadWorker(index, shared), models[index], task or Classify(), images, config,
                cost or priced(config, len(images)), secret, speed, epsilon_at=float, snapshots=snapshots,
            )  # fmt: skip
        except BaseException as failure:
            failures.append(failure)
            shared.barrier.abort()

    threads = [threading.Thread(target=rank, args=(index,)) for index in range(shared.ranks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return released[0].value, shared


def assert_same(got: dict[str, Any], want: dict[str, Any], rtol: float = 0.0) -> None:
    for kind in ("model", "ema"):
        assert got[kind].keys() == want[kind].keys()
        for name in want[kind]:
            torch.testing.assert_close(got[kind][name], want[kind][name], rtol=rtol, atol=rtol / 10)


# Adam divides by the gradient's own size, which magnifies rounding.
CLOSE = 1e-3


@pytest.mark.parametrize("ranks", [2, 3])
def test_ranks_change_nothing_beyond_rounding(ranks: int) -> None:
    alone, one = run(1)
    together, many = run(ranks)
    assert_same(together, alone, CLOSE)
    for mine, theirs in zip(one.sums[:1], many.sums[:1], strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("engine", ["loop", "bookkeeping"])
def test_trap_19_micro_batches_change_nothing(engine: Any) -> None:
    whole, _ = run(speed=SGDSpeed(engine="loop", micro_batch=100, channels_last=False))
    cut, _ = run(speed=SGDSpeed(engine=engine, micro_batch=1, channels_last=True))
    assert_same(cut, whole, CLOSE)


def test_trap_19_the_average_moves_once_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand from the weights after each step: decay 0.9, less while there are few."""
    step, after = sgd._Run.step, []

    def noted(self: Any, taking: np.ndarray) -> float:
        loss = step(self, taking)
        after.append({name: value.clone() for name, value in self.model.state_dict().items()})
        return loss

    monkeypatch.setattr(sgd._Run, "step", noted)
    value, _ = run(speed=replace(QUICK, micro_batch=3))
    average = network().state_dict()
    for done, weights in enumerate(after):
        keep = min(0.9, (1 + done) / (10 + done))
        average = {name: keep * average[name] + (1 - keep) * weight for name, weight in weights.items()}
    assert len(after) == 12
    for name, weight in average.items():
        torch.testing.assert_close(value["ema"][name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_trap_7_noise_enters_once_whatever_the_number_of_ranks(ranks: int) -> None:
    """With zero loss the summed gradient is the noise alone; its variance is tested at an error rate of 1e-6."""
    config = replace(CONFIG, batch_size=20, epochs=2.5, max_grad_norm=0.7)
    _, shared = run(ranks, task=Classify(scale=0.0), config=config, cost=priced(config, noise_multiplier=1.3))
    noise = torch.cat(shared.sums).double() / (1.3 * 0.7)
    assert len(shared.sums) == 5 and len(noise) > 5000
    low, high = stats.chi2.ppf([5e-7, 1 - 5e-7], len(noise))
    assert low < float(noise.square().sum()) < high
    assert stats.kstest(noise.numpy(), "norm").pvalue > 1e-6
    # No step repeats the noise of another.
    first, second = shared.sums[:2]
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 5 / len(first) ** 0.5


def test_trap_2_empty_batches_take_their_noisy_step() -> None:
    config = replace(CONFIG, batch_size=1, epochs=0.3)
    cost = priced(config)
    sizes = [len(participants(Stream(SECRET, "finetune"), t, 40, cost.sampling_rate)) for t in range(cost.steps)]
    assert 0 in sizes and max(sizes) < 6, "the case must have steps without any image"
    value, shared = run(3, config=config)
    assert shared.calls == {0: cost.steps, 1: cost.steps, 2: cost.steps}
    assert all(float(total.std()) > 0.1 for total in shared.sums)
    assert_same(value, run(1, config=config)[0], CLOSE)


def test_trap_1_the_batches_are_poisson_samples_at_the_priced_rate() -> None:
    seen: list[int] = []

    class Counting(Classify):
        def draw(self, images_BHWC: Tensor, *rest: Any) -> tuple[Tensor, ...]:
            seen.append(len(images_BHWC))
            return super().draw(images_BHWC, *rest)

    cost = priced()
    run(task=Counting(), speed=replace(QUICK, micro_batch=1000))
    stream = Stream(SECRET, "finetune")
    assert seen == [len(participants(stream, t, 40, cost.sampling_rate)) for t in range(cost.steps)]
    assert len(set(seen)) > 2


def test_trap_3_one_image_moves_the_noisy_sum_by_at_most_the_clip() -> None:
    """Neighbours differ in the last image; noise and all other draws stay, and so does the denominator."""
    # A full batch and still weights leave the last image as the only difference.
    still = replace(CONFIG, max_grad_norm=0.5, learning_rate=1e-12)
    _, with_it = run(config=replace(still, batch_size=40))
    _, without = run(config=replace(still, batch_size=39), images=private().select(slice(0, 39)))
    moved = [float((a - b).norm()) for a, b in zip(with_it.sums, without.sums, strict=True)]
    assert 0.05 < max(moved) <= 0.5 * (1 + 1e-4)


def test_trap_3_one_image_moves_the_weights_by_the_clip_over_the_expected_batch() -> None:
    """Through a whole step of plain descent at a rate of 1/4, n held fixed: each image is left out in turn. Those that
    took no part change no byte, whatever they show."""
    config = SGDConfig(
        batch_size=10, epochs=0.25, noise_multiplicity=1, max_grad_norm=0.5, optimizer="sgd", learning_rate=1.0,
        beta1=0.0, ema=0.0,
    )  # fmt: skip
    taking = participants(Stream(SECRET, "finetune"), 0, 40, 0.25)
    assert 0 < len(taking) < 40 and len(taking) != 10

    def weights(gone: int | None = None, images: Images | None = None) -> Tensor:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                sgd, "participants", lambda *args: np.setdiff1d(participants(*args), [] if gone is None else gone)
            )
            value, _ = run(config=config, images=images, cost=priced(config, noise_multiplier=1e-6))
        return torch.cat([weight.flatten() for weight in value["model"].values()]).double()

    whole, moved = weights(), []
    for index in range(40):
        change = float((weights(index) - whole).norm())
        moved.append(change)
        assert (change > 0) == (index in taking)
    # 0.5 / 10, but for float32: weights are kept to 1e-7.
    assert 0.01 < max(moved) <= 0.05 * (1 + 1e-3)
    other = private()
    out = np.setdiff1d(np.arange(40), taking)
    other.images_NHWC[out], other.labels_N[out] = 255 - other.images_NHWC[out], (other.labels_N[out] + 1) % 3
    assert torch.equal(weights(images=other), whole)


def test_every_draw_of_every_image_has_a_seed_of_its_own() -> None:
    """In each step another one, or an image would show itself under the same noise again and again; and none that a
    cut into ranks and micro-batches changes."""

    class Noting(Classify):
        def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
            noted.extend(seeds)
            return super().draw(images_BHWC, labels_B, seeds, copies)

    config, found = replace(CONFIG, batch_size=40), []
    for ranks in (1, 3):
        noted: list[int] = []
        run(ranks, task=Noting(), config=config)
        assert len(noted) == 40 * 3 == len(set(noted))
        found.append(sorted(noted))
    assert found[0] == found[1]


def test_trap_3_the_denominator_is_the_expected_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Tensor] = []

    def remember(optimizer: torch.optim.Adam) -> None:
        steps.append(torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]))

    monkeypatch.setattr(torch.optim.Adam, "step", remember)
    _, shared = run()
    for total, step in zip(shared.sums, steps, strict=True):
        torch.testing.assert_close(step, total / 10)


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_whose_machine_is_taken_continues_from_its_last_step(ranks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of many steps has few states; one whose machine is announced to go has one more, and the same bytes."""
    monkeypatch.setattr(sgd, "marks", lambda steps: 12)
    whole, _ = run(ranks)
    shared = Shared(ranks, die_at=6, leave_at=5)
    with pytest.raises((Killed, threading.BrokenBarrierError)):
        run(shared=shared)
    assert shared.saved is not None and shared.saved["done"] == 5
    continued, _ = run(shared=replace(shared, die_at=None, leave_at=None))
    assert_same(continued, whole)
    assert continued["history"] == whole["history"]


@pytest.mark.parametrize("config", [CONFIG, SCHEDULED])
@pytest.mark.parametrize("die_at", [1, 5, 11])
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_run_continues_to_the_same_bytes(die_at: int, ranks: int, config: SGDConfig) -> None:
    whole, _ = run(ranks, config=config)
    shared = Shared(ranks, die_at=die_at)
    with pytest.raises((Killed, threading.BrokenBarrierError)):
        run(shared=shared, config=config)
    # The rank that dies may be a step ahead of the one that saves.
    assert shared.saved is not None and die_at - (ranks - 1) <= shared.saved["done"] <= die_at
    continued, _ = run(shared=replace(shared, die_at=None), config=config)
    assert_same(continued, whole)
    assert continued["history"] == whole["history"]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_run_in_bf16_does_so_too_and_without_amx_goes_on_in_float32(
    ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    amx = [True]
    monkeypatch.setattr(worker_room, "has_bf16", lambda device: amx[0])
    coarse = SGDSpeed(engine="bookkeeping", micro_batch=3, channels_last=False, precision="bf16")
    whole, _ = run(ranks, speed=coarse)
    shared = Shared(ranks, die_at=5)
    with pytest.raises((Killed, threading.BrokenBarrierError)):
        run(shared=shared, speed=coarse)
    continued, _ = run(shared=replace(shared, die_at=None), speed=coarse)
    assert_same(continued, whole)
    assert continued["engine"]["precision"] == "bf16"
    amx[0] = False
    elsewhere, _ = run(shared=replace(shared, die_at=None))
    assert elsewhere["engine"]["precision"] == "float32"


@pytest.mark.parametrize("die_at", [3, 4, 7])
@pytest.mark.parametrize("ranks", [1, 2])
def test_averages_are_kept_as_they_were_at_their_steps_also_of_a_killed_run(
    die_at: int, ranks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state is saved at every fourth of 12 steps: a run that dies right after one keeps what it had no time for."""
    monkeypatch.setattr(sgd_config, "MARKS", 3)
    asked = sgd_config.snapshots(12, 3)
    assert asked == (0, 4, 8)
    plain, without = run(ranks)
    whole, shared = run(ranks, snapshots=asked)
    assert_same(whole, plain)
    assert not without.kept and list(shared.kept) == ["finetune-0", "finetune-4", "finetune-8"]
    for name, value in network().state_dict().items():
        torch.testing.assert_close(shared.kept["finetune-0"][name], value, rtol=0, atol=0)
    with pytest.raises((Killed, threading.BrokenBarrierError)):
        run(shared=(stopped := Shared(ranks, die_at=die_at)), snapshots=asked)
    run(shared=(continued := replace(stopped, die_at=None)), snapshots=asked)
    assert continued.kept.keys() == shared.kept.keys()
    for key, weights in shared.kept.items():
        assert_same({"model": continued.kept[key], "ema": {}}, {"model": weights, "ema": {}})
    # What is kept is the average of that step: the last one is what a run of so many steps would release.
    short = replace(CONFIG, epochs=2)
    released, _ = run(ranks, config=short, cost=priced(short))
    assert_same({"model": {}, "ema": shared.kept["finetune-8"]}, {"model": {}, "ema": released["ema"]})


def test_snapshots_are_at_steps_whose_state_is_saved() -> None:
    assert sgd_config.snapshots(117, 4) == (0, 30, 58, 88)
    assert sgd_config.snapshots(1_000, 5) == (0, 200, 400, 600, 800)
    assert sgd_config.snapshots(2, 4) == (0, 1) and sgd_config.snapshots(100, 0) == ()
    for steps in (1, 7, 49, 50, 99, 153, 13_400):
        found = sgd_config.snapshots(steps, 4)
        assert found[0] == 0 and found[-1] < steps and all(step % sgd_config.marks(steps) == 0 for step in found)


@pytest.mark.parametrize(
    ("layers", "learns"), [("lora:2", ["0.weight"]), ("embedding", ["label.weight", "label.bias"])]
)
def test_few_weights_are_cut_killed_and_continued_alike_and_the_others_stay(layers: str, learns: list[str]) -> None:
    def model() -> nn.Module:
        made = network()
        # The same layer under the name of an embedding.
        return (
            made
            if layers != "embedding"
            else nn.Sequential(OrderedDict(zip("abcd", made[:4], strict=True), label=made[4]))
        )

    config, before = replace(CONFIG, layers=layers), model().state_dict()
    price = priced(config)
    whole, shared = run(2, config=config, cost=price, model=model())
    for kind in ("model", "ema"):
        assert list(whole[kind]) == list(before), "the network's own names"
        changed = [name for name in before if not torch.equal(whole[kind][name], before[name])]
        assert changed == learns
    trained = sum(one.numel() for one in few(model(), layers).parameters() if one.requires_grad)
    assert {len(sum_P) for sum_P in shared.sums} == {trained}, "what is frozen has no part in the sum and its noise"
    assert_same(run(1, config=config, cost=price, model=model())[0], whole, CLOSE)
    stopped = Shared(2, die_at=5)
    with pytest.raises((Killed, threading.BrokenBarrierError)):
        run(shared=stopped, config=config, cost=price, model=model())
    assert_same(run(shared=replace(stopped, die_at=None), config=config, cost=price, model=model())[0], whole)


def test_a_run_that_began_on_a_gpu_continues_with_the_optimizer_of_a_cpu() -> None:
    """A GPU's optimizer reads gradients in the order of memory, which is not that of channels-last weights here."""
    model = network()
    model.insert(1, nn.Conv2d(8, 8, 3, padding=1))
    whole, _ = run(model=copy.deepcopy(model))
    shared = Shared(1, die_at=6)
    with pytest.raises(Killed):
        run(model=copy.deepcopy(model), shared=shared)
    assert shared.saved is not None
    for group in shared.saved["optimizer"]["param_groups"]:
        group["fused"] = True
    continued, _ = run(model=copy.deepcopy(model), shared=replace(shared, die_at=None))
    assert_same(continued, whole)


def test_trap_30_a_killed_run_continues_with_another_number_of_workers() -> None:
    whole, _ = run(1)
    shared = Shared(2, die_at=6)
    with pytest.raises((Killed, threading.BrokenBarrierError)):
        run(shared=shared)
    continued, _ = run(shared=replace(shared, ranks=3, die_at=None))
    assert_same(continued, whole, CLOSE)


def test_a_continued_run_keeps_its_engine_and_measures_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Shared(1, die_at=3)
    with pytest.raises(Killed):
        run(shared=shared, speed=SGDSpeed(engine="loop", micro_batch=3, channels_last=False))

    def measure(*_: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr(sgd, "measure", measure)
    value, _ = run(shared=replace(shared, die_at=None), speed=SGDSpeed())
    assert value["engine"] == {
        "engine": "loop",
        "micro_batch": 3,
        "channels_last": False,
        "precision": "float32",
    }


def test_a_run_killed_in_its_first_step_keeps_its_engine() -> None:
    class Dies(Classify):
        def draw(self, *_: Any) -> tuple[Tensor, ...]:
            raise Killed

    shared = Shared(1)
    with pytest.raises(Killed):
        run(task=Dies(), shared=shared)
    assert shared.saved is not None and shared.saved["done"] == 0
    assert shared.saved["engine"]["engine"] == "bookkeeping"
    assert_same(run(shared=replace(shared))[0], run()[0])


def test_neither_a_checkpoint_nor_an_answer_is_sold_at_another_price(tmp_path: Path) -> None:
    dearer = priced(noise_multiplier=0.7)
    _, shared = run()
    with pytest.raises(ValueError, match="steps of two prices"):
        run(cost=dearer, shared=Shared(1, saved=shared.saved))

    class Remembers(Local):
        answer: Any = None

        def train(self, f: Any, *args: Any, name: str) -> Any:
            self.answer = self.answer or super().train(f, *args, name=name)
            return self.answer

    compute = Remembers(tmp_path)

    def buy(cost: Cost) -> Any:
        return sgd.train(compute, network(), Classify(), private(), CONFIG, cost, SECRET, QUICK)

    assert buy(priced()).cost == priced()
    with pytest.raises(ValueError, match="steps of two prices"):
        buy(dearer)


def test_the_trial_sees_no_private_image() -> None:
    class Watching(Classify):
        def draw(self, images_BHWC: Tensor, *rest: Any) -> tuple[Tensor, ...]:
            assert not any((images_BHWC == image).flatten(1).all(1).any() for image in private_pixels)
            return super().draw(images_BHWC, *rest)

    private_pixels = torch.from_numpy(private().images_NHWC)
    one_step = replace(CONFIG, batch_size=1, epochs=1 / 40)
    secret = next(
        bytes([first] * 32)
        for first in range(256)
        if not len(participants(Stream(bytes([first] * 32), "finetune"), 0, 40, one_step.cost(40).sampling_rate))
    )
    value, _ = run(task=Watching(), config=one_step, secret=secret, speed=SGDSpeed(channels_last=True))
    assert value["engine"]["engine"] in ("loop", "bookkeeping")


def test_the_release_holds_weights_and_no_private_number() -> None:
    value, shared = run()
    assert set(value) == {"model", "ema", "engine", "history"}
    assert value["history"] == [{"step": t, "epsilon": float(t)} for t in range(1, 13)]
    assert all({"loss", "examples_per_s", "epsilon"} <= set(metrics) for metrics in shared.shown)
    assert all(weight.is_contiguous() for weight in value["model"].values())
    for name, weight in network().state_dict().items():
        assert not torch.equal(value["model"][name], weight) and not torch.equal(value["ema"][name], weight)


def test_trap_5_the_noise_follows_the_secret_alone() -> None:
    torch.manual_seed(1)
    first, _ = run()
    torch.manual_seed(2)
    again, _ = run()
    other, _ = run(secret=bytes(32))
    assert_same(again, first)
    assert not torch.equal(other["model"]["0.weight"], first["model"]["0.weight"])


def test_a_gpu_s_own_way_of_drawing_the_noise_changes_nothing_beyond_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    want = run()[0]

    def noise(self: Any, step: int) -> torch.Tensor:
        if not hasattr(self, "ahead"):
            self.ahead = Noise(self.stream, self.size, self._noise_std(), self.worker.device)
        return self.ahead(step)

    monkeypatch.setattr(sgd._Run, "_noise", noise)
    assert_same(run()[0], want, CLOSE)


def test_trap_29_the_schedule_follows_from_sizes() -> None:
    cost = SGDConfig(batch_size=4096, epochs=150).cost(60_000)
    assert (cost.sampling_rate, cost.steps, cost.noise_multiplier) == (4096 / 60_000, 2197, None)


def test_the_learning_rate_rises_stays_and_falls_and_every_step_has_its_own() -> None:
    """Of 12 steps: 3 to rise, 6 to fall; by plain gradient descent each step is as long as its rate, noise and all."""
    rates = [SCHEDULED.learning_rate_at(step, 12) / SCHEDULED.learning_rate for step in range(12)]
    rise, fall = [1 / 3, 2 / 3, 1, 1, 1, 1], [1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6]
    assert rates == pytest.approx([*rise, *fall])
    assert {CONFIG.learning_rate_at(step, 12) for step in range(12)} == {CONFIG.learning_rate}
    steep = replace(SCHEDULED, learning_rate_warmup=1.0)
    assert [steep.learning_rate_at(step, 4) for step in (0, 3)] == pytest.approx([0.25e-3, 0.5e-3])
    plain = replace(SCHEDULED, optimizer="sgd", beta1=0.0, ema=0.0)
    released, shared = run(config=plain, task=Classify(scale=0.0))
    noise = sum(rate * total for rate, total in zip(rates, shared.sums, strict=True))
    moved = torch.cat([(released["model"][n] - p.detach()).flatten() for n, p in network().named_parameters()])
    torch.testing.assert_close(moved, -plain.learning_rate * noise / 10)


def test_trap_17_and_other_mistakes_are_named() -> None:
    batch_norm = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(72, 3))
    with pytest.raises(ValueError, match="layer 1 is BatchNorm2d"):
        run(model=batch_norm)
    with pytest.raises(ValueError, match="calibrate the cost"):
        run(cost=CONFIG.cost(40))
    with pytest.raises(ValueError, match="cost is for rate"):
        run(cost=priced(n=50))
    for wrong in (
        {"batch_size": 0},
        {"noise_multiplicity": 0},
        {"max_grad_norm": 0.0},
        {"ema": 1.0},
        {"epochs": 0},
        {"learning_rate_warmup": 1.5},
        {"learning_rate_decay": -0.1},
        {"learning_rate_decay": float("nan")},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))} is "):
            SGDConfig(**wrong)  # type: ignore[arg-type]
