"""GAN training on the simplest images there are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from halves import halves
from ranks import on_ranks

from raysyn.compute.local import Local
from raysyn.compute.worker import Alone
from raysyn.models.biggan import BigGANConfig, Generator
from raysyn.train import gan
from raysyn.train.gan import GANConfig, checkpoint_name, draw

NET = BigGANConfig(channels=8, depth=1, latent=8, embedding=8)
QUICK = GANConfig(epochs=4, batch_size=16, discriminator_steps=2, checkpoint_every=2, learning_rate=2e-3, ema=0.9)


@pytest.mark.slow
def test_it_learns_what_the_classes_look_like(tmp_path: Path) -> None:
    config = replace(QUICK, epochs=15, checkpoint_every=15, discriminator_steps=1)
    compute = Local(tmp_path)
    answer = compute.train(gan.fit, NET, halves(128), config, 0, name="gan")
    assert [entry["epoch"] for entry in answer["history"]] == list(range(1, 16))
    generator = Generator(NET, (8, 8, 1), 2, spectral=False)
    generator.load_state_dict(compute.kept(checkpoint_name(15)))
    labels = torch.arange(100) % 2
    images = draw(generator, labels, 1.0, 0).float()
    assert images.shape == (100, 8, 8, 1)
    above = images[:, :4].mean((1, 2, 3)) - images[:, 4:].mean((1, 2, 3))
    assert ((above > 0) == (labels == 0)).float().mean() > 0.9


def test_a_killed_training_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(folder: Path) -> dict[str, torch.Tensor]:
        Local(folder).train(gan.fit, NET, halves(64), QUICK, 0, name="gan")
        return Local(folder).kept(checkpoint_name(4))

    whole = train(tmp_path / "whole")
    step = gan._discriminator_step

    def dies(*args: object) -> Any:
        if args[-1] == 11:  # in the third epoch of four steps each
            raise InterruptedError
        return step(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(gan, "_discriminator_step", dies)
        with pytest.raises(InterruptedError):
            train(tmp_path / "broken")
    again = train(tmp_path / "broken")
    assert all(torch.equal(value, again[name]) for name, value in whole.items())


def test_two_ranks_train_the_same_generator_as_one(tmp_path: Path) -> None:
    """Threads as ranks, uneven shares: batches, latents, statistics and gradients are those of the whole batch."""
    config = replace(QUICK, epochs=2, batch_size=15)
    torch.set_num_threads(1)
    # Built one after the other: threads share the generator that first weights come from.
    built = iter([gan.new_networks(NET, halves(64), 0) for _ in range(2)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gan, "new_networks", lambda *args: next(built))
        _, ranks = on_ranks(lambda worker: gan.fit(worker, NET, halves(64), config, 0), 2)
    Local(tmp_path).train(gan.fit, NET, halves(64), config, 0, name="gan")
    whole, start = Local(tmp_path).kept(checkpoint_name(2)), gan.new_networks(NET, halves(64), 0)[0].plain()

    def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
        return float(sum((one[name] - other[name]).square().sum() for name in whole)) ** 0.5

    # By norm: Adam's first steps have the sign of the gradient, which rounding may turn where it is nearly 0.
    assert apart(ranks[0].found[checkpoint_name(2)], whole) < 0.005 * apart(whole, start)


def test_training_ends_where_the_discriminator_has_died(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = gan._discriminator_step

    def dies(worker: Alone, networks: dict[str, torch.nn.Module], *args: Any) -> Any:
        if args[-1] == dead_from * 4:  # epochs of four steps
            with torch.no_grad():
                networks["discriminator"].conv.bias.fill_(-100)  # type: ignore[union-attr,operator]
                for name, parameter in networks["discriminator"].blocks.named_parameters():  # type: ignore[union-attr,operator]
                    if "bias" in name:
                        parameter.zero_()
        return step(worker, networks, *args)

    monkeypatch.setattr(gan, "_discriminator_step", dies)
    dead_from = 3
    answer = Local(tmp_path / "late").train(gan.fit, NET, halves(64), QUICK, 0, name="gan")
    assert answer["kept"] == [2] and len(answer["history"]) == 3
    dead_from = 1
    with pytest.raises(RuntimeError, match=r"epoch 2 of the GAN .* lower gan\.discriminator_learning_rate"):
        Local(tmp_path / "soon").train(gan.fit, NET, halves(64), QUICK, 0, name="gan")


def test_generators_are_kept_at_intervals_and_at_the_end() -> None:
    assert GANConfig().kept() == list(range(5, 501, 5))
    assert GANConfig(epochs=12, checkpoint_every=5).kept() == [5, 10, 12]


def test_the_same_seed_draws_the_same_latents_at_any_spread() -> None:
    generator, _ = gan.new_networks(NET, halves(2), 0)
    labels = torch.zeros(7, dtype=torch.int64)
    narrow, again, wide = (draw(generator, labels, std, 3) for std in (1.0, 1.0, 2.0))
    assert torch.equal(narrow, again) and not torch.equal(narrow, wide)
    # Drawn in parts or at once, each image is the same.
    assert torch.equal(draw(generator, labels, 1.0, 3, batch_size=2), narrow)


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"label_smoothing": 1.0}, {"ema": -0.1}, {"checkpoint_every": 600}, {"learning_rate": 0}]
)
def test_a_wrong_field_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GANConfig(**wrong)  # type: ignore[arg-type]


def test_losses_are_means_over_the_steps_of_each_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gan, "_generator_step", lambda *args: torch.tensor(3.0))
    config = replace(QUICK, discriminator_steps=3, epoch_steps=2)
    told = Local(tmp_path).train(gan.fit, NET, halves(64), config, 0, name="gan")["history"]
    # Its steps are after the 3rd and the 6th of eight.
    assert [entry.get("generator_loss") for entry in told] == [None, 3.0, 3.0, None]


def test_errors_name_the_flags_that_there_are(tmp_path: Path) -> None:
    config = replace(QUICK, learning_rate=1e30)
    with pytest.raises(RuntimeError, match=r"lower gan\.pretrain\.learning_rate$"):
        Local(tmp_path).train(gan.fit, NET, halves(64), config, 0, None, None, "gan.pretrain", name="gan")
