"""Person by person through whole answers: each is left out in turn, with 1 to 20 images in several classes.

The number of persons is held fixed, as it is public: who is left out takes part in nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import test_neighbours
import test_sgd
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods.dp_imgsyn.units import sum_shard
from raysyn.methods.privimage.stages import count_shard
from raysyn.models.semantic import SemanticNetConfig
from raysyn.privacy import engines, sgd, units
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries import central, counts, moments
from raysyn.privacy.queries import layer_statistics as ls
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.layer_statistics import Layers, StatisticsConfig
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.queries.semantic import SemanticConfig, semantic_counts
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


STREAM = Stream(bytes(range(32)), "persons")
QUIET = Cost(mechanism="test", noise_multiplier=1e-12, sampling_rate=1.0, steps=1)
ROUNDING = 1 + 1e-9
MOMENTS = MomentsConfig(frequencies=12, spread_frequencies=4, spread_norm=0.1)


class Query(NamedTuple):
    """The pipeline's own sums of an answer, all classes side by side, and by hand what one person changes in them."""

    sums: Callable[[Images], np.ndarray]
    most: float


def round_of(images: Images, **told: Any) -> np.ndarray:
    """One round of central images, of everybody."""
    config = CentralConfig(count=3, sampling_rate=1.0, noise_multiplier=1e-12, downscale=1, **told)
    query = (central.mean_query if config.kind == "mean" else central.mode_query)(config, images.shape)
    return central.one_round(images, units.weights(images), config, query, STREAM, 0).ravel()


def semantics(images: Images) -> np.ndarray:
    """Two of six public classes, which the images' first pixels decide."""
    first = images.images_NHWC[:, 0, 0, 0].astype(np.int64)
    top_NK = np.stack([first % 6, (first + 1) % 6], 1)
    return semantic_counts(top_NK, images.labels_N, 3, 6, units.weights(images)).ravel()


def spread(images: Images, own: bool) -> np.ndarray:
    means_KF = np.random.default_rng(0).standard_normal((3, 12))
    square = moments.spread_sums(images, means_KF, MOMENTS, units.priced(QUIET, images), STREAM, own=own).value
    return square.ravel()


QUERIES = {
    "means, clipped": Query(lambda images: round_of(images, clip_norm=1.0, count_share=0.0), 1.0),
    "means and counts": Query(lambda images: round_of(images, count_share=0.5), 8 * math.sqrt(1.25)),
    "mean of all": Query(lambda images: round_of(images, conditional=False, clip_norm=1.0), 1.0),
    "modes": Query(lambda images: round_of(images, kind="mode", bins=3), 8.0),
    "class counts": Query(lambda images: counts.class_counts(images, units.priced(QUIET, images), STREAM).value, 1.0),
    "class sums": Query(
        lambda images: moments.class_sums(images, MOMENTS, units.priced(QUIET, images), STREAM).value.ravel(),
        4 * math.sqrt(1.01),
    ),
    "spread of each": Query(lambda images: spread(images, True), 1.0),
    "spread of all": Query(lambda images: spread(images, False), 1.0),
    "semantics": Query(semantics, math.sqrt(2)),
}
"""Of images of 64 pixels."""


@pytest.mark.parametrize("name", QUERIES)
def test_any_person_moves_any_sum_by_at_most_what_an_image_would(name: str) -> None:
    query = QUERIES[name]

    @settings(max_examples=12, deadline=None, derandomize=True, database=None)
    @example(sizes=SIZES, seed=0, bright=True)
    @example(sizes=[20, 20, 1], seed=1, bright=True)
    @given(sizes=st.lists(st.integers(1, 20), min_size=1, max_size=5), seed=st.integers(0, 9), bright=st.booleans())
    def hold(sizes: list[int], seed: int, bright: bool) -> None:
        private = people(sizes, seed)
        if bright:  # where the bound is met
            private.images_NHWC[:] = 255
        whole, persons = query.sums(private), private.persons_N
        for person in range(len(sizes)):
            moved = np.linalg.norm(whole - query.sums(private.select(persons != person)))
            assert moved <= query.most * ROUNDING

    hold()


@pytest.mark.parametrize("name", QUERIES)
def test_with_one_image_each_answers_are_those_about_images_bit_for_bit(name: str) -> None:
    private = replace(people(), persons_N=None)
    named = replace(private, persons_N=np.arange(len(private)))
    np.testing.assert_array_equal(QUERIES[name].sums(named), QUERIES[name].sums(private))


@pytest.mark.parametrize("name", QUERIES)
def test_a_person_counts_once_however_often_they_hold_the_same(name: str) -> None:
    """A person whose images are all copies of one adds what that one adds: weights, and no denominator in images."""
    first = people([1] * 5)
    rows = np.repeat(np.arange(5), [4, 1, 7, 2, 20])
    several = replace(first.select(rows), persons_N=rows)
    np.testing.assert_allclose(QUERIES[name].sums(several), QUERIES[name].sums(first), rtol=1e-9, atol=1e-9)


GROUPS = [1, 20, 2, 7, 1, 3, 12, 1, 1]
"""Of the 48 pictures of test_neighbours."""


def grouped(seed: int = 0) -> Images:
    persons = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(GROUPS)), GROUPS))
    return replace(test_neighbours.pictures(), persons_N=persons)


@pytest.mark.parametrize(
    ("case", "most"),
    [(case, row[-1]) for case, row in zip(test_neighbours.CASES, test_neighbours.BOUNDS, strict=True)],
    ids=test_neighbours.NAMES,
)
def test_one_person_moves_central_images_by_what_is_paid_for(case: dict[str, Any], most: float) -> None:
    """At a rate of 0.3 of persons: the sums of a round in which they took part, and no others; and pixels of a mean by
    that over the number of persons who are expected, where no noisy counts divide."""
    config, private, rate = test_neighbours.asked(case), grouped(), test_neighbours.RATE
    taking = [participants(test_neighbours.STREAM, step, len(GROUPS), rate) for step in range(4)]
    assert {1, 3, 6} & set(np.concatenate(taking))
    expected = rate * len(GROUPS) / (3 if config.conditional else 1)
    sums, pixels, _ = test_neighbours.answer(private, config)
    if config.kind == "mean" and not (config.conditional and config.count_share):
        np.testing.assert_allclose(pixels.ravel() * expected, sums.ravel(), rtol=1e-9)
    for person in range(len(GROUPS)):
        fewer, _, _ = test_neighbours.answer(private, config, person)
        moved = np.linalg.norm((sums - fewer).reshape(4, -1), axis=1)
        assert set(np.flatnonzero(moved)) == {step for step in range(4) if person in taking[step]}
        assert moved.max() <= most * ROUNDING


def test_one_person_moves_layer_statistics_by_what_is_paid_for() -> None:
    """By the pipeline's own units, whose shards cut persons in two; each as often as the person took part."""
    network, private, config = test_neighbours.teacher(), grouped(), StatisticsConfig(batch_size=3, clip_norm=0.2)
    layers = Layers.of(network, torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    price = units.priced(config.cost(private.units, 1e-12), private)
    assert price.sampling_rate == 1 / 3 and price.steps == 3
    counted_N, persons = ls.takes_part(price, STREAM, private), private.persons_N
    times_U = np.bincount(persons, counted_N).round(9)
    assert set(times_U) <= {0.0, 1.0, 2.0, 3.0} and len(set(times_U)) > 2

    def read(gone: int | None = None) -> np.ndarray:
        own_N = np.where(persons == gone, 0.0, counted_N)
        shared = (network, private, own_N, layers.scales, config.clip_norm)
        shards = [sum_shard(shard, shared).numpy() for shard in ((0, 20), (20, 48))]
        found = ls.layer_statistics(shards, layers, config, price, STREAM, private.units).value
        parts = zip(found, layers.scales, strict=True)
        return np.concatenate([torch.cat([m, v + m.square()]).double().numpy() / scale for (m, v), scale in parts])

    whole, each = read(), 0.2 * math.sqrt(20) / (1 / 3 * 3 * 9)
    reached = []
    for person, times in enumerate(times_U):
        moved = float(np.linalg.norm(whole - read(person)))
        assert moved <= times * each * (1 + 1e-3) + 1e-7
        reached.append(moved / each / max(times, 1))
    assert max(reached) > 0.9


def test_one_person_moves_the_semantic_histogram_by_the_root_of_k_whatever_the_shards() -> None:
    torch.manual_seed(0)
    network, config, private = SemanticNetConfig(name="resnet14", width=4).build(1, 12), SemanticConfig(k=3), people()

    def sums(images: Images) -> np.ndarray:
        ends = [0, 17, 30, len(images)]
        shared = (network, images, config, 12)
        return sum(count_shard(shard, shared).numpy() for shard in pairwise(ends))

    whole = sums(private)
    assert whole.shape == (3, 12) and whole.sum() == pytest.approx(3 * private.units)
    for person in (1, 3, 6, 0):
        moved = np.linalg.norm(whole - sums(private.select(private.persons_N != person)))
        assert moved <= math.sqrt(3) * ROUNDING


def test_answers_about_persons_are_not_sold_at_the_price_of_images() -> None:
    private, means_KF = people(), np.zeros((3, 12))
    for ask in (
        lambda: counts.class_counts(private, QUIET, STREAM),
        lambda: moments.class_sums(private, MOMENTS, QUIET, STREAM),
        lambda: moments.spread_sums(private, means_KF, MOMENTS, QUIET, STREAM, own=True),
        lambda: ls.takes_part(QUIET, STREAM, private),
    ):
        with pytest.raises(ValueError, match="the price of test is for adjacency 'add/remove one image"):
            ask()
    config = CentralConfig(count=3, noise_multiplier=1.0)
    unnamed, named = config.cost(3), central.central_images(private, config, STREAM).cost
    assert unnamed is not None and named == units.priced(unnamed, private) != unnamed


@pytest.mark.parametrize("case", test_neighbours.CASES, ids=test_neighbours.NAMES)
def test_a_person_takes_part_in_central_images_with_every_image_or_with_none(case: dict[str, Any]) -> None:
    """Other pixels of one image show in the rounds of its person, and in no others."""
    config, private = test_neighbours.asked(case), grouped()
    assert private.persons_N is not None
    rounds = [participants(test_neighbours.STREAM, step, len(GROUPS), test_neighbours.RATE) for step in range(4)]
    sums, _, _ = test_neighbours.answer(private, config)
    for image in range(0, 48, 3):
        pixels = private.images_NHWC.copy()
        pixels[image] = pixels[image][:, ::-1] ^ 128
        other, _, _ = test_neighbours.answer(replace(private, images_NHWC=pixels), config)
        moved = np.flatnonzero(np.abs(sums - other).reshape(4, -1).max(1) > 1e-6)
        assert set(moved) == {step for step in range(4) if private.persons_N[image] in rounds[step]}
