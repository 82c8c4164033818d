"""Person by person through whole answers: each is left out in turn, with 1 to 20 images in several classes.

The numbers of persons and images are held fixed, as they are public: who is left out takes part in nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import test_sgd
import torch
from torch import Tensor

from raysyn.data.images import Images
from raysyn.privacy import engines, sgd, units
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed

SIZES = [1, 20, 2, 7, 1, 3, 12, 1, 2, 1, 5, 1]
"""Images of each person."""
MOST = 0.5
"""max_grad_norm."""


def people(sizes: list[int] = SIZES, seed: int = 0) -> Images:
    """Images of these persons among one another, those of one person in several classes."""
    random = np.random.default_rng(seed)
    persons = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    pixels = random.integers(0, 256, (len(persons), 8, 8, 1), dtype=np.uint8)
    return Images(pixels, random.integers(0, 3, len(persons)), ("a", "b", "c"), persons)


STEPS = SGDConfig(
    batch_size=6, epochs=1.5, noise_multiplicity=3, max_grad_norm=MOST, optimizer="sgd", learning_rate=1e-12, beta1=0.0,
    ema=0.0,
)  # fmt: skip
"""Three steps of a network that stands still."""


def priced(private: Images, config: SGDConfig = STEPS, noise: float = 1e-6) -> Cost:
    return units.priced(test_sgd.priced(config, private.units, noise), private)


def sums(private: Images, gone: int | None = None, config: SGDConfig = STEPS, **more: Any) -> list[Tensor]:
    """Of each step, what all ranks sum, without the person who is `gone`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sgd, "participants", lambda *args: np.setdiff1d(participants(*args), [] if gone is None else gone)
        )
        _, shared = test_sgd.run(images=private, config=config, cost=priced(private, config), **more)
    return [total.double() for total in shared.sums]


def joining(private: Images, config: SGDConfig = STEPS) -> list[set[int]]:
    cost, stream = priced(private, config), Stream(test_sgd.SECRET, "finetune")
    return [set(participants(stream, step, private.units, cost.sampling_rate).tolist()) for step in range(cost.steps)]


@pytest.mark.parametrize("engine", ["bookkeeping", "loop"])
def test_one_person_moves_the_sum_by_at_most_the_clip_whatever_they_hold(engine: Any) -> None:
    private = people()
    speed = SGDSpeed(engine=engine, micro_batch=5, channels_last=True)
    whole, taking = sums(private, speed=speed), joining(private)
    assert len(whole) == 3 and set.union(*taking) >= {1, 3, 6}, "those with most images must be met"
    reached = []
    for person in range(private.units):
        fewer = sums(private, person, speed=speed)
        for step, (a, b) in enumerate(zip(whole, fewer, strict=True)):
            moved = float((a - b).norm())
            assert (moved > 1e-4) == (person in taking[step])
            assert moved <= MOST * (1 + 1e-4)
            reached.append(moved)
    assert max(reached) > 0.99 * MOST, "the clip bites"


def test_a_step_is_the_sum_of_clipped_means_of_copies_of_persons_images() -> None:
    """By hand: of each person who takes part, copies of the drawn images, their mean gradient, clipped."""
    private, model, task = people(), test_sgd.network(), test_sgd.Classify()
    albums, stream = units.Albums.of(private), Stream(test_sgd.SECRET, "finetune")
    assert albums is not None
    several = 0
    for step, (taking, got) in enumerate(zip(joining(private), sums(private), strict=True)):
        want = torch.zeros_like(got)
        for person in sorted(taking):
            (rows,) = albums.draw(stream, step, np.array([person]), 3)
            seeds = [stream.seed(step, "draw", person)]
            images, labels = torch.from_numpy(private.images_NHWC[rows]), torch.from_numpy(private.labels_N[rows])
            inputs = task.draw(images[None], labels[None], seeds, 3)
            loss = task.loss(model, *(one[0] for one in inputs)).mean()
            gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, engines.trained(model))]).double()
            want += gradient * min(1.0, MOST / float(gradient.norm()))
            several += len(set(labels.tolist())) > 1
        torch.testing.assert_close(got, want, rtol=1e-4, atol=5e-5)
    assert several, "copies of one person have different labels"


@pytest.mark.parametrize("cut", [{"ranks": 3}, {"speed": replace(test_sgd.QUICK, micro_batch=1)}])
def test_no_cut_changes_what_persons_show(cut: dict[str, Any]) -> None:
    for mine, theirs in zip(sums(people()), sums(people(), **cut), strict=True):
        torch.testing.assert_close(theirs, mine, rtol=1e-4, atol=1e-5)


def test_the_denominator_is_the_expected_number_of_persons(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[Tensor] = []

    def remember(optimizer: torch.optim.SGD) -> None:
        steps.append(torch.cat([p.grad.flatten() for p in optimizer.param_groups[0]["params"]]))

    monkeypatch.setattr(torch.optim.SGD, "step", remember)
    for total, step in zip(sums(people()), steps, strict=True):
        torch.testing.assert_close(step.double(), total / 6)


@pytest.mark.parametrize("copies", [1, 2])
def test_with_one_image_each_persons_are_images_bit_for_bit(copies: int) -> None:
    images = test_sgd.private()
    config = replace(test_sgd.CONFIG, noise_multiplicity=copies)
    own = replace(images, persons_N=np.arange(40))
    unnamed, _ = test_sgd.run(images=images, config=config)
    named, _ = test_sgd.run(images=own, config=config, cost=priced(own, config, 0.5))
    test_sgd.assert_same(named, unnamed)
    # Person 3 is whoever has that number, wherever the image lies.
    order = np.random.default_rng(0).permutation(40)
    shuffled = replace(images.select(order), persons_N=order)
    again, _ = test_sgd.run(images=shuffled, config=config, cost=priced(own, config, 0.5))
    test_sgd.assert_same(again, unnamed)


def test_persons_are_not_sold_at_the_price_of_images() -> None:
    private = people()
    with pytest.raises(ValueError, match="the price of DP-SGD is for adjacency 'add/remove one image"):
        test_sgd.run(images=private, config=STEPS, cost=test_sgd.priced(STEPS, private.units))
    with pytest.raises(ValueError, match="this config on 12 images takes"):
        test_sgd.run(images=private, config=STEPS, cost=test_sgd.priced(STEPS, len(private)))
