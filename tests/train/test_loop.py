"""Plain training: averaged weights, batches that ignore the number of ranks, continuing after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from torch import Tensor, nn

from raysyn.compute import worker as worker_room
from raysyn.compute.local import LocalWorker
from raysyn.data.images import Images
from raysyn.methods.denoising import averaged
from raysyn.models.unet import UNet, UNetConfig
from raysyn.runs.storage import Store
from raysyn.train import loop
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.diverged import Diverged
from raysyn.train.few_weights import ALL
from raysyn.train.loop import Ema, LoopConfig, batch, fit

TASK, CONFIG = DiffusionTask(classes=3), LoopConfig(iterations=6, batch_size=5, copies=2)


def _images(n: int = 9) -> Images:
    rng = np.random.default_rng(0)
    return Images(rng.integers(256, size=(n, 8, 8, 1), dtype=np.uint8), np.arange(n) % 3, ("a", "b", "c"))


def _model() -> UNet:
    torch.manual_seed(1)
    model = UNet(UNetConfig(width=8, blocks=1, attention=()), 1, 8, 3)
    for parameter in model.parameters():
        # A fresh network has zero layers, and behind them no gradients to compare.
        nn.init.normal_(parameter, std=0.1)
    return model


def _worker(folder: Path) -> LocalWorker:
    return LocalWorker("warmup", Store(folder))


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


class Killed(LocalWorker):
    """Dies right after its third checkpoint is durable, in the middle of the next steps."""

    saves = 0

    def save(self, state: dict[str, Any]) -> None:
        super().save(state)
        self.saves += 1

    def progress(self, done: int, total: int, **metrics: float) -> None:
        if self.saves == 3 and done % 4 == 3:
            raise KeyboardInterrupt


def test_a_killed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    config = LoopConfig(iterations=21, batch_size=2)  # a checkpoint every 2 steps, and an odd end
    whole = fit(_worker(tmp_path / "a"), _model(), TASK, _images(), config, 7, AugmentConfig())
    with pytest.raises(KeyboardInterrupt):
        killed = Killed("warmup", Store(tmp_path / "b"))
        fit(killed, _model(), TASK, _images(), config, 7, AugmentConfig())
    again = fit(_worker(tmp_path / "b"), _model(), TASK, _images(), config, 7, AugmentConfig())
    assert _same(whole["model"], again["model"]) and _same(whole["ema"], again["ema"])
    assert whole["history"] == again["history"] and whole["history"][-1]["step"] == 21
    # Asked once more, a finished stage only reads its last checkpoint.
    assert _same(whole["model"], fit(_worker(tmp_path / "b"), _model(), TASK, _images(), config, 7)["model"])


def test_a_run_whose_machine_is_taken_goes_on_from_a_state_between_two_checkpoints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And ends with the same bits, losses of its history included."""

    class Leaving(LocalWorker):
        steps = 0

        def leaving(self) -> bool:
            self.steps += 1
            return self.steps == 5

        def progress(self, done: int, total: int, **metrics: float) -> None:
            if done == 6:
                raise KeyboardInterrupt

    monkeypatch.setattr(loop, "CHECKPOINTS", 2)
    config = LoopConfig(iterations=20, batch_size=2)  # a checkpoint every 10 steps
    whole = fit(_worker(tmp_path / "a"), _model(), TASK, _images(), config, 7)
    with pytest.raises(KeyboardInterrupt):
        fit(Leaving("warmup", Store(tmp_path / "b")), _model(), TASK, _images(), config, 7)
    state = _worker(tmp_path / "b").resume()
    assert state is not None and state["step"] == 5 and state["history"] == []
    again = fit(_worker(tmp_path / "b"), _model(), TASK, _images(), config, 7)
    assert _same(whole["model"], again["model"]) and whole["history"] == again["history"]


@pytest.mark.parametrize("world_size", [2, 7])  # 7 ranks share a batch of 5: two have nothing to do
def test_any_number_of_ranks_learns_the_same(tmp_path: Path, world_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared are the gradients of one step: Adam would magnify the rounding of those near 0 to full steps. In
    float32, as bfloat16 rounds gradients of few images otherwise than one of all."""
    monkeypatch.setattr(worker_room, "has_bf16", lambda device: False)
    one, alone = LoopConfig(iterations=1, batch_size=5, copies=2), _model()
    loss = fit(_worker(tmp_path), alone, TASK, _images(), one, 3, AugmentConfig())["history"][-1]["loss"]
    models = [_model() for _ in range(world_size)]
    results, _ = on_ranks(
        lambda worker: fit(worker, models[worker.rank], TASK, _images(), one, 3, AugmentConfig()), world_size
    )
    for result, model in zip(results, models, strict=True):
        for mine, whole in zip(model.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(mine.grad, whole.grad, rtol=1e-4, atol=1e-5)
        assert result["history"][-1]["loss"] == pytest.approx(loss, rel=1e-5)
        assert _same(result["model"], results[0]["model"])


def test_training_lowers_the_loss_and_moves_the_average(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    prototypes = rng.integers(2, size=(3, 8, 8, 1), dtype=np.uint8) * 255
    images = Images(prototypes[np.arange(12) % 3], np.arange(12) % 3, ("a", "b", "c"))
    torch.manual_seed(0)
    config = LoopConfig(iterations=60, batch_size=12, learning_rate=5e-3)
    model = UNet(UNetConfig(width=8, blocks=1, attention=()), 1, 8, 3)
    result = fit(_worker(tmp_path), model, TASK, images, config, 0)
    losses = [row["loss"] for row in result["history"]]
    assert losses[-1] < 0.6 * losses[0]
    assert len(losses) <= 21 and not _same(result["model"], result["ema"])


def test_a_step_is_adams_whatever_the_memory_layout(tmp_path: Path) -> None:
    model, reference = _model(), _model()
    fit(_worker(tmp_path), model, TASK, _images(), LoopConfig(iterations=1, batch_size=5), 3)
    optimizer = torch.optim.Adam(reference.parameters(), lr=3e-4, fused=False)
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None and mine.grad.stride() == mine.stride()
        theirs.grad = mine.grad.contiguous()
    optimizer.step()
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(mine.detach(), theirs.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("layers", "stays"), [("lora:1", "time0.weight"), ("attention", "head.weight")])
def test_few_layers_learn_and_answers_and_states_are_an_ordinary_network(
    tmp_path: Path, layers: str, stays: str
) -> None:
    def model() -> torch.nn.Module:
        """All classes begin alike."""
        made = _model()
        with torch.no_grad():
            made.get_submodule("label").weight[:] = made.get_submodule("label").weight[-1].clone()  # type: ignore[index,operator]
        return made

    before = model().state_dict()
    result = fit(_worker(tmp_path), model(), TASK, _images(), CONFIG, 3, None, layers)
    for weights in (result["model"], result["ema"]):
        assert list(weights) == list(before)
        assert torch.equal(weights[stays], before[stays]) and not torch.equal(
            weights["stem.weight"], before["stem.weight"]
        )
        assert not torch.equal(weights["label.weight"][0], weights["label.weight"][1])
    # What experiments draw from along the way is a state's average.
    state = _worker(tmp_path).resume()
    assert state is not None and _same(result["ema"], dict(averaged(state)))
    again = fit(_worker(tmp_path), model(), TASK, _images(), CONFIG, 3, None, layers)
    assert _same(result["model"], again["model"])


def test_another_seed_gives_another_run(tmp_path: Path) -> None:
    folders = [_worker(tmp_path / str(seed)) for seed in (0, 1)]
    runs = [fit(w, _model(), TASK, _images(), CONFIG, s)["model"] for s, w in enumerate(folders)]
    assert not _same(*runs)


def test_no_iterations_give_back_the_model(tmp_path: Path) -> None:
    result = fit(_worker(tmp_path), _model(), TASK, _images(), LoopConfig(iterations=0), 0)
    assert _same(result["model"], _model().state_dict()) and result["history"] == []


def test_batches_walk_through_shuffles() -> None:
    drawn = np.concatenate([batch(7, 3, 5, step) for step in range(14)])  # 42 positions: six rounds of seven
    for start in range(0, 42, 7):
        assert sorted(drawn[start : start + 7]) == list(range(7))
    assert np.bincount(batch(2, 9, 0, 0)).tolist() in ([4, 5], [5, 4])


def test_ema_warms_up_and_counts_optimiser_steps() -> None:
    """Trap 19: the decay depends on the number of updates, min(decay, (1 + n) / (10 + n)), alone."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(0.0)
    ema, expected = Ema(model, decay=0.5), 0.0
    for n in range(30):
        with torch.no_grad():
            model.weight.fill_(float(n))
        ema.update(model)
        keep = min(0.5, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * n
    assert ema.weights["weight"].item() == pytest.approx(expected, rel=1e-5)

    continued = Ema(model, decay=0.1)
    continued.load_state_dict(ema.state_dict())
    for average in (ema, continued):
        average.update(model)
    assert continued.updates == 31 and torch.equal(continued.weights["weight"], ema.weights["weight"])
    ema.copy_to(model)
    assert model.weight.item() == pytest.approx(ema.weights["weight"].item())


def test_ema_copies_what_cannot_be_averaged() -> None:
    model = nn.BatchNorm1d(2)
    ema = Ema(model)
    model(torch.randn(4, 2))
    ema.update(model)
    assert ema.weights["num_batches_tracked"].item() == 1


def test_bad_settings_name_the_field(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        LoopConfig(batch_size=0)
    with pytest.raises(ValueError, match="ema"):
        Ema(nn.Linear(1, 1), decay=1.0)
    with pytest.raises(ValueError, match="0 images"):
        fit(_worker(tmp_path), _model(), TASK, _images(0), CONFIG, 0)


def test_a_training_that_has_come_to_no_numbers_ends_before_anything_is_paid_for(tmp_path: Path) -> None:
    config = LoopConfig(iterations=40, batch_size=4, learning_rate=1e30)
    for group in ("warmup", "frequency.warmup"):
        told = rf"^{group}\.learning_rate is 1e\+30, and step \d+ ended with the loss [a-z0-9.e+]+: lower it$"
        with pytest.raises(Diverged, match=told):
            fit(_worker(tmp_path / group), _model(), TASK, _images(), config, 7, None, ALL, group)
