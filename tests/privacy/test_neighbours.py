"""Neighbours through whole answers at sampling rates below 1: n is held fixed, and one image adds nothing.

Removing an image means that it takes part in nothing; the number of images, which is public, stays. DP-SGD's neighbours
are in `test_sgd`, the semantic histogram's in `test_semantic_query`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from raysyn.data.images import Images
from raysyn.methods.dp_imgsyn.units import sum_shard
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy.poisson import Stream, participants
from raysyn.privacy.queries import central as central_query
from raysyn.privacy.queries import layer_statistics as ls
from raysyn.privacy.queries.central import CentralConfig, central_images
from raysyn.privacy.queries.layer_statistics import Layers, StatisticsConfig

N, CLASSES, RATE = 48, 3, 0.3
STREAM = Stream(bytes(range(32)), "central")
QUIET = 1e-9
"""A noise multiplier that leaves the answer, yet is not 0."""
BOUNDS = [
    # The kind and its settings, and by hand what one image of 36 pixels changes in one round.
    ("mean", True, {"count_share": 0.0, "clip_norm": 2.0}, 2.0),
    ("mean", True, {"count_share": 0.5}, 6 * math.sqrt(1.25)),
    ("mean", False, {"count_share": 0.5, "clip_norm": 2.0}, 2.0),
    ("mode", True, {"bins": 3}, 6.0),
    ("mode", False, {"bins": 3}, 6.0),
]
CASES = [{"kind": kind, "conditional": conditional, **more} for kind, conditional, more, _ in BOUNDS]
NAMES = [
    f"{kind}, {'per class' if conditional else 'of all'}, {next(iter(more))}" for kind, conditional, more, _ in BOUNDS
]


def pictures(seed: int = 0) -> Images:
    """Some bright enough to be clipped, one black, classes of different sizes."""
    random = np.random.default_rng(seed)
    bright = random.random((N, 1, 1, 1))
    pixels = (random.integers(0, 256, (N, 6, 6, 1)) * bright).astype(np.uint8)
    pixels[0], pixels[1] = 0, 255
    return Images(pixels, np.minimum(random.integers(0, 5, N), CLASSES - 1), ("a", "b", "c"))


def with_other(images: Images, index: int) -> Images:
    """The same but for one image, which has another class, too."""
    pixels, labels = images.images_NHWC.copy(), images.labels_N.copy()
    pixels[index] = 255 - pixels[index]
    labels[index] = (labels[index] + 1) % CLASSES
    return Images(pixels, labels, images.class_names)


def asked(settings: dict[str, Any]) -> CentralConfig:
    count = 4 * CLASSES if settings["conditional"] else 4
    return CentralConfig(count=count, sampling_rate=RATE, noise_multiplier=QUIET, downscale=1, smooth=False, **settings)


def answer(
    private: Images, config: CentralConfig, without: int | None = None, stream: Stream = STREAM
) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Noisy sums and pixels as they are read, both (4 rounds, cells, ...), and the released bytes."""
    heard: list[tuple[np.ndarray, np.ndarray]] = []

    def listening(make: Any) -> Any:
        def made(config: CentralConfig, shape: tuple[int, int, int]) -> central_query.Query:
            query = make(config, shape)

            def read(sums: np.ndarray, expected: float) -> np.ndarray:
                heard.append((sums, query.read(sums, expected)))
                return heard[-1][1]

            return replace(query, read=read)

        return made

    def taking(*args: Any) -> np.ndarray:
        chosen = participants(*args)
        return chosen[chosen != without] if without is not None else chosen

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(central_query, "mean_query", listening(central_query.mean_query))
        patch.setattr(central_query, "mode_query", listening(central_query.mode_query))
        patch.setattr(central_query, "participants", taking)
        released = central_images(private, config, stream).value
    ((sums, pixels),) = heard
    return sums, pixels, released.images_NHWC.tobytes() + released.labels_N.tobytes()


def rounds_of(index: int) -> list[int]:
    return [step for step in range(4) if index in participants(STREAM, step, N, RATE)]


@pytest.mark.parametrize(
    ("settings", "sensitivity"), [(case, row[-1]) for case, row in zip(CASES, BOUNDS, strict=True)], ids=NAMES
)
def test_trap_03_one_image_moves_central_images_by_what_is_paid_for(
    settings: dict[str, Any], sensitivity: float
) -> None:
    """Every image is removed in turn: the sums of a round in which it took part move by the sensitivity at most, others
    not at all; and so do the pixels of a mean, divided by the number that is expected, where no noisy counts divide."""
    config, private = asked(settings), pictures()
    expected = RATE * N / (CLASSES if config.conditional else 1)
    linear = config.kind == "mean" and not (config.conditional and config.count_share)
    sums, pixels, _ = answer(private, config)
    reached = []
    for index in range(N):
        fewer, seen, _ = answer(private, config, index)
        moved = np.linalg.norm((sums - fewer).reshape(4, -1), axis=1)
        assert set(np.flatnonzero(moved)) <= set(rounds_of(index))
        assert moved.max() <= sensitivity * (1 + 1e-9)
        reached.append(moved.max() / sensitivity)
        if linear:
            change = np.linalg.norm((pixels - seen).reshape(4, -1), axis=1)
            assert change.max() <= sensitivity / expected * (1 + 1e-9)
    assert max(reached) == pytest.approx(1, rel=1e-6), "the bound is no larger than it must be"


@pytest.mark.parametrize("settings", CASES, ids=NAMES)
def test_who_does_not_take_part_changes_no_byte_of_central_images(settings: dict[str, Any]) -> None:
    config, private = asked(settings), pictures()
    released = answer(private, config)[2]
    out = [index for index in range(N) if not rounds_of(index)]
    assert len(out) > 5
    assert all(answer(with_other(private, index), config)[2] == released for index in out)


@pytest.mark.parametrize("conditional", [True, False])
def test_trap_03_a_black_image_is_in_no_denominator(conditional: bool) -> None:
    """It adds nothing to a mean without counts, so whether it takes part must not show, not in a single bit."""
    config, private = asked({"kind": "mean", "conditional": conditional, "count_share": 0.0}), pictures()
    pixels = private.images_NHWC.copy()
    pixels[::2] = 0
    black = Images(pixels, private.labels_N, private.class_names)
    taking = [index for index in range(0, N, 2) if rounds_of(index)]
    assert len(taking) > 5
    sums, read, released = answer(black, config)
    for index in taking:
        other = answer(black, config, index)
        assert np.array_equal(other[0], sums) and np.array_equal(other[1], read) and other[2] == released


@pytest.mark.parametrize("settings", CASES, ids=NAMES)
def test_trap_03_and_04_central_images_are_made_of_noisy_sums_and_public_facts(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given the same noisy sums, other images, classes and samples give the same bytes."""
    random, made = np.random.default_rng(3), {}

    def noisy_sum(parts: Any, sensitivity: float, noise_multiplier: float, noise: np.ndarray) -> np.ndarray:
        list(parts)
        return made.setdefault(len(made), random.random(noise.shape) * 20)

    monkeypatch.setattr(central_query, "noisy_sum", noisy_sum)
    config = asked(settings)
    released = answer(pictures(), config)[2]
    sums, made = list(made.values()), {}
    monkeypatch.setattr(central_query, "noisy_sum", lambda parts, *_: (list(parts), sums.pop(0))[1])
    other = Stream(bytes(32), "central")
    assert [len(participants(other, t, N, RATE)) for t in range(4)] != [
        len(participants(STREAM, t, N, RATE)) for t in range(4)
    ]
    assert answer(pictures(9), config, stream=other)[2] == released and not sums


STATISTICS = StatisticsConfig(epochs=1.0, batch_size=12, clip_norm=0.2)
PRICE = STATISTICS.cost(N, QUIET)


def teacher() -> nn.Module:
    torch.manual_seed(0)
    return Teacher(TeacherConfig(width=4), (6, 6, 1), CLASSES)


def of_layers(
    private: Images, network: nn.Module, layers: Layers, without: int | None = None, stream: Stream = STREAM
) -> tuple[np.ndarray, bytes]:
    """What leaves of the means and mean squares, in units of their scales, and the released bytes: by the units and the
    answer of the pipeline."""
    times_N = ls.takes_part(PRICE, stream, private)
    if without is not None:
        times_N[without] = 0
    shared = (network, private, times_N, layers.scales, STATISTICS.clip_norm)
    shards = [sum_shard(shard, shared).numpy() for shard in ((0, 20), (20, N))]
    found = ls.layer_statistics(shards, layers, STATISTICS, PRICE, stream, N).value
    read = [
        torch.cat([mean, variance + mean.square()]).double().numpy() / scale
        for (mean, variance), scale in zip(found, layers.scales, strict=True)
    ]
    return np.concatenate(read), b"".join(part.numpy().tobytes() for pair in found for part in pair)


def test_trap_03_one_image_moves_layer_statistics_by_what_is_paid_for() -> None:
    """Every image is removed in turn, at a rate of 1/4: what leaves moves by the sensitivity at most for each time it
    took part, divided by the number that is expected; and not at all if it never did."""
    assert PRICE.sampling_rate == 0.25 and PRICE.steps == 4
    network, private = teacher(), pictures()
    layers = Layers.of(network, torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    read, released = of_layers(private, network, layers)
    each = 0.2 * math.sqrt(20) / (0.25 * 4 * N)
    times_N = ls.takes_part(PRICE, STREAM, private)
    assert 0 in times_N and len(set(times_N)) > 2
    reached = []
    for index, times in enumerate(times_N):
        fewer, bytes_ = of_layers(private, network, layers, index)
        moved = float(np.linalg.norm(read - fewer))
        if not times:
            assert bytes_ == released and of_layers(with_other(private, index), network, layers)[1] == released
            continue
        assert moved <= times * each * (1 + 1e-3)
        reached.append(moved / times / each)
    # Images that all layers clip reach it, but for float32 and mean squares that come out below a squared mean.
    assert max(reached) > 0.9


def test_trap_03_layer_statistics_are_made_of_noisy_sums_and_public_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Given the same noisy sums, other images and samples give the same bytes."""
    network = teacher()
    layers = Layers.of(network, torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    size = 2 * sum(layers.channels)
    monkeypatch.setattr(ls, "noisy_sum", lambda *_: np.linspace(0.1, 3.0, size))
    other = Stream(bytes(32), "statistics")
    assert ls.takes_part(PRICE, other, pictures()).sum() != ls.takes_part(PRICE, STREAM, pictures()).sum()
    released = of_layers(pictures(), network, layers)[1]
    assert of_layers(pictures(9), network, layers, stream=other)[1] == released
