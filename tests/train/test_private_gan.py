"""DPGAN: the discriminator by DP-SGD, the generator from the discriminator."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from halves import halves
from ranks import on_ranks

from raysyn.compute.local import Local
from raysyn.compute.worker import Alone, Worker
from raysyn.data.images import Images
from raysyn.models.biggan import BigGANConfig
from raysyn.models.biggan import Generator as BigGenerator
from raysyn.models.dcgan import DCGANConfig, Discriminator, Generator
from raysyn.models.private_discriminator import PrivateDiscriminator, PrivateDiscriminatorConfig
from raysyn.privacy import sgd
from raysyn.privacy.engines import refuse_unsupported
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train import private_gan
from raysyn.train.adversarial import wishes
from raysyn.train.private_gan import PlayConfig, PrivateGame

NET = DCGANConfig(width=0.125, latent=8)
CONFIG = SGDConfig(batch_size=16, epochs=2, noise_multiplicity=1, learning_rate=2e-3, beta1=0.5)
SECRET = bytes(range(32))
SPEED = SGDSpeed(engine="bookkeeping", micro_batch=16, channels_last=True)


def game_and_discriminator() -> tuple[PrivateGame, Discriminator]:
    torch.manual_seed(0)
    generator, discriminator = Generator(NET, (8, 8, 1), 2), Discriminator(NET, (8, 8, 1), 2)
    return PrivateGame(generator, PlayConfig(batch_size=16, learning_rate=2e-3), 0), discriminator


def train(worker: Worker, noise_multiplier: float = 0.5, config: SGDConfig = CONFIG, count: int = 64) -> dict[str, Any]:
    game, discriminator = game_and_discriminator()
    cost = replace(config.cost(count), noise_multiplier=noise_multiplier)
    return sgd.fit(worker, discriminator, game, halves(count), config, cost, SECRET, SPEED, partner=game).value


@pytest.mark.slow
def test_without_noise_it_learns_what_the_classes_look_like(tmp_path: Path) -> None:
    config = replace(CONFIG, epochs=15, max_grad_norm=10.0)
    answer = Local(tmp_path).train(train, 1e-6, config, 128, name="dpgan")
    generator = game_and_discriminator()[0].generator
    generator.load_state_dict(answer["partner"])
    labels = torch.arange(100) % 2
    with torch.inference_mode():
        images = generator.eval()(torch.randn(100, 8, generator=torch.Generator().manual_seed(0)), labels)
    above = images[:, 0, :4].mean((1, 2)) - images[:, 0, 4:].mean((1, 2))
    assert ((above > 0) == (labels == 0)).float().mean() > 0.9


def test_the_pair_of_an_image_depends_on_no_other_image() -> None:
    """Also after steps that have moved the running statistics, and whatever mode the generator was left in."""
    game, discriminator = game_and_discriminator()
    game.join(Alone())
    game.step(Alone(), discriminator, 1)
    images = torch.from_numpy(halves(6).images_NHWC)
    labels, seeds = torch.arange(6) % 2, list(range(6))
    whole = game.draw(images, labels, seeds, 2)
    for index in range(6):
        one = game.draw(images[index : index + 1], labels[index : index + 1], seeds[index : index + 1], 2)
        for mine, all_ in zip(one, whole, strict=True):
            torch.testing.assert_close(mine[0], all_[index])
    pixels, classes, is_real = whole
    assert pixels.shape == (6, 4, 1, 8, 8) and classes.shape == is_real.shape == (6, 4)
    assert is_real[0].tolist() == [1, 1, 0, 0] and torch.equal(classes[:, 0], labels)
    assert game.generator.training


def test_generated_images_are_of_classes_that_no_private_label_decides() -> None:
    """How frequent classes are is private: each is asked for equally often, by the seeds alone. 600 draws of 2 classes:
    five standard errors."""
    game, _ = game_and_discriminator()
    game.join(Alone())
    images, seeds = torch.from_numpy(halves(200).images_NHWC), list(range(200))
    found = [game.draw(images, labels, seeds, 3) for labels in (torch.zeros(200).long(), torch.arange(200) % 2)]
    (pixels, classes, _), (others, other_classes, _) = found
    assert torch.equal(classes[:, 3:], other_classes[:, 3:]) and torch.equal(pixels[:, 3:], others[:, 3:])
    assert abs(float(classes[:, 3:].float().mean()) - 0.5) < 5 * 0.5 / 600**0.5
    # What the discriminator is told of a generated image is what the generator was asked for.
    with torch.no_grad():
        noise = np.stack([np.random.default_rng(seed).standard_normal((3, 8), np.float32) for seed in seeds])
        made = game.generator.eval()(torch.from_numpy(noise).flatten(0, 1), classes[:, 3:].flatten())
    torch.testing.assert_close(pixels[:, 3:].flatten(0, 1), made)


def test_the_generator_learns_from_batches_of_public_size_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images took part in the discriminator's step."""
    asked, sizes, game_of = [], set(), PrivateGame.draw

    def noted(worker: Worker, labels_N: np.ndarray, size: int, latent: int, key: Any) -> Any:
        asked.append((labels_N.tolist(), size, key))
        return wishes(worker, labels_N, size, latent, key)

    def drawn(game: PrivateGame, images: torch.Tensor, *more: Any) -> Any:
        sizes.add(len(images))
        return game_of(game, images, *more)

    monkeypatch.setattr(private_gan, "wishes", noted)
    monkeypatch.setattr(PrivateGame, "draw", drawn)
    train(Alone())
    assert asked == [([0, 1], 16, [0, 2, done]) for done in range(1, 9)] and len(sizes) > 2


def test_the_generators_average_moves_once_a_step() -> None:
    """By hand from its weights after each of its steps: decay 0.9, less while there are few."""
    game, discriminator = game_and_discriminator()
    slow = PrivateGame(game.generator, PlayConfig(batch_size=16, discriminator_steps=2, ema=0.9), 0)
    slow.join(Alone())
    average, steps = slow.generator.dense.weight.detach().clone(), 0
    for done in range(1, 9):
        slow.step(Alone(), discriminator, done)
        if done % 2 == 0:
            keep = min(0.9, (1 + steps) / (10 + steps))
            average, steps = keep * average + (1 - keep) * slow.generator.dense.weight.detach(), steps + 1
    assert steps == 4
    torch.testing.assert_close(slow.released()["dense.weight"], average)


def test_the_generator_never_meets_a_private_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all noise and no signal, other images give the same generator, bit for bit."""
    torch.set_num_threads(1)
    config = replace(CONFIG, max_grad_norm=1e-30)

    def generator(images: Images) -> dict[str, torch.Tensor]:
        game, discriminator = game_and_discriminator()
        cost = replace(config.cost(len(images)), noise_multiplier=1e9)
        return sgd.fit(Alone(), discriminator, game, images, config, cost, SECRET, SPEED, partner=game).value["partner"]

    images = halves(64)
    others = Images(255 - images.images_NHWC, 1 - images.labels_N, images.class_names)
    one, other = generator(images), generator(others)
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_killed_training_goes_on_and_ends_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Local(tmp_path / "whole").train(train, name="dpgan")
    step = PrivateGame.step

    def dies(game: PrivateGame, worker: Worker, model: Any, done: int) -> None:
        if done == 6:
            raise InterruptedError
        step(game, worker, model, done)

    with monkeypatch.context() as patch:
        patch.setattr(PrivateGame, "step", dies)
        with pytest.raises(InterruptedError):
            Local(tmp_path / "broken").train(train, name="dpgan")
    again = Local(tmp_path / "broken").train(train, name="dpgan")
    for part in ("model", "partner"):
        assert all(torch.equal(value, again[part][name]) for name, value in whole[part].items())


def test_two_ranks_train_the_same_networks_as_one(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    made = [game_and_discriminator() for _ in range(2)]
    cost = replace(CONFIG.cost(64), noise_multiplier=0.5)

    def rank(worker: Worker) -> dict[str, Any]:
        game, discriminator = made[worker.rank]
        return sgd.fit(worker, discriminator, game, halves(64), CONFIG, cost, SECRET, SPEED, partner=game).value

    (mine, other), _ = on_ranks(rank, 2)
    whole = Local(tmp_path).train(train, name="dpgan")
    start = game_and_discriminator()[0].generator.state_dict()

    def apart(one: dict[str, torch.Tensor], another: dict[str, torch.Tensor]) -> float:
        return float(sum((one[name] - another[name]).square().sum() for name in start)) ** 0.5

    assert apart(mine["partner"], other["partner"]) == 0
    assert apart(mine["partner"], whole["partner"]) < 0.01 * apart(whole["partner"], start)


def test_label_smoothing_moves_the_target_of_real_images_alone() -> None:
    game, discriminator = game_and_discriminator()
    smooth = PrivateGame(game.generator, PlayConfig(batch_size=16, label_smoothing=0.1), 0)
    x, labels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    logits = discriminator(x, labels)
    found = smooth.loss(discriminator, x, labels, torch.tensor([1.0, 0.0]))
    of_real = -(0.9 * F.logsigmoid(logits[0]) + 0.1 * F.logsigmoid(-logits[0]))
    assert torch.allclose(found, torch.stack([of_real, -F.logsigmoid(-logits[1])]))


def test_the_hinge_asks_for_logits_beyond_one() -> None:
    game, discriminator = game_and_discriminator()
    hinge = PrivateGame(game.generator, PlayConfig(batch_size=16, hinge=True), 0)
    x, labels = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1])
    logits = discriminator(x, labels)
    found = hinge.loss(discriminator, x, labels, torch.tensor([1.0, 0.0]))
    assert torch.allclose(found, torch.stack([(1 - logits[0]).clamp_min(0), (1 + logits[1]).clamp_min(0)]))


def test_the_generator_waits_for_the_discriminator_and_leaves_it_as_it_is() -> None:
    game, discriminator = game_and_discriminator()
    slow = PrivateGame(game.generator, PlayConfig(batch_size=16, discriminator_steps=3, ema=0.9), 0)
    slow.join(Alone())
    theirs = {name: value.clone() for name, value in discriminator.state_dict().items()}
    seen = []
    for done in range(1, 7):
        before = {name: value.clone() for name, value in slow.generator.named_parameters()}
        slow.step(Alone(), discriminator, done)
        after = dict(slow.generator.named_parameters())
        seen.append(any(not torch.equal(value, after[name]) for name, value in before.items()))
    assert seen == [False, False, True, False, False, True]
    assert all(torch.equal(value, discriminator.state_dict()[name]) for name, value in theirs.items())
    assert all(parameter.grad is None for parameter in discriminator.parameters())
    # What is released is the average, not the last weights.
    assert not torch.equal(slow.released()["dense.weight"], slow.generator.state_dict()["dense.weight"])


def test_a_game_of_biggan_travels_and_pairs_pixels_on_its_own_scale() -> None:
    torch.manual_seed(0)
    generator = BigGenerator(BigGANConfig(channels=2, depth=1, latent=6, embedding=4), (8, 8, 1), 2)
    game = pickle.loads(pickle.dumps(PrivateGame(generator, PlayConfig(batch_size=4, hinge=True), 0)))
    z, labels = torch.randn(3, 6), torch.tensor([0, 1, 1])
    with torch.no_grad():
        torch.testing.assert_close(game.generator.eval()(z, labels), generator.eval()(z, labels))
    images = torch.full((2, 8, 8, 1), 255, dtype=torch.uint8)
    images[1] = 0
    pixels, _, _ = game.draw(images, torch.tensor([0, 1]), [1, 2], 1)
    assert pixels[0, 0].min() == 1 and pixels[1, 0].abs().max() == 0
    assert pixels[:, 1].min() >= 0 and pixels[:, 1].max() <= 1


def test_its_discriminator_can_be_trained_image_by_image() -> None:
    torch.manual_seed(0)
    discriminator = PrivateDiscriminator(PrivateDiscriminatorConfig(channels=3), (16, 16, 3), 4)
    refuse_unsupported(discriminator)
    x, labels = torch.rand(5, 3, 16, 16), torch.tensor([0, 1, 2, 3, 0])
    whole = discriminator(x, labels)
    for index in range(5):
        torch.testing.assert_close(discriminator(x[index : index + 1], labels[index : index + 1])[0], whole[index])
    # The classes matter, and groups divide any width.
    assert not torch.allclose(discriminator(x, (labels + 1) % 4), whole)
