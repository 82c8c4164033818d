"""Units that take no part, as an audit's coins have it: out of every answer, and as ever in what is public."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from torch import nn

from raysyn.data.images import Images
from raysyn.methods.dp_imgsyn.units import sum_shard
from raysyn.methods.privimage.stages import count_shard
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy import sgd, units
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central, counts, moments
from raysyn.privacy.queries import layer_statistics as ls
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.layer_statistics import Layers, StatisticsConfig
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train.naming import Naming

N, CLASSES, QUIET = 48, 3, 1e-9
STREAM = Stream(bytes(range(32)), "absent")
ABSENT = np.arange(N) % 5 == 1
MOMENTS = MomentsConfig(frequencies=12, spread_frequencies=5)


def pictures(persons: bool, absent: bool = True) -> Images:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (N, 6, 6, 1), dtype=np.uint8)
    made = Images(pixels, random.integers(0, CLASSES, N), ("a", "b", "c"), np.arange(N) // 3 if persons else None)
    return replace(made, absent_U=ABSENT[: made.units]) if absent else made


def whose_are_absent(private: Images) -> np.ndarray:
    assert private.absent_U is not None
    return private.absent_U if private.persons_N is None else private.absent_U[private.persons_N]


def price(private: Images, **more: Any) -> Cost:
    told = {"mechanism": "test", "noise_multiplier": QUIET, "sampling_rate": 1.0, "steps": 1} | more
    return units.priced(Cost(**told), private)


def means(private: Images) -> np.ndarray:
    return moments.class_sums(private, MOMENTS, price(private), STREAM).value


def spread(private: Images, own: bool = True) -> np.ndarray:
    known = np.zeros((CLASSES, 36))
    return moments.spread_sums(private, known, MOMENTS, price(private), STREAM, own=own).value


def counted(private: Images) -> np.ndarray:
    return counts.class_counts(private, price(private), STREAM).value


def of_centre(kind: Any, conditional: bool) -> Callable[[Images], np.ndarray]:
    config = CentralConfig(
        kind=kind, count=4, conditional=conditional, sampling_rate=0.9, noise_multiplier=QUIET, downscale=1, bins=3
    )

    def asked(private: Images) -> np.ndarray:
        query = (central.mean_query if kind == "mean" else central.mode_query)(config, private.shape)
        return central.one_round(private, units.weights(private), config, query, STREAM, 0)

    return asked


def semantic(private: Images) -> np.ndarray:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 7))
    shared = (network.eval(), private, SemanticConfig(k=2), 7)
    return np.sum([count_shard(shard, shared).numpy() for shard in ((0, 20), (20, N))], axis=0)


def layers(private: Images) -> np.ndarray:
    torch.manual_seed(0)
    network, config = Teacher(TeacherConfig(width=4), (6, 6, 1), CLASSES), StatisticsConfig(epochs=1.0, batch_size=12)
    cost = units.priced(config.cost(private.units, QUIET), private)
    of = Layers.of(network, torch.rand(20, 1, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    times_N = ls.takes_part(cost, STREAM, private)
    shared = (network, private, times_N, of.scales, config.clip_norm)
    return np.sum([sum_shard(shard, shared).numpy() for shard in ((0, 20), (20, N))], axis=0)


def trained(private: Images) -> np.ndarray:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, CLASSES))
    config = SGDConfig(batch_size=6, epochs=2, noise_multiplicity=1)
    cost = replace(units.priced(config.cost(private.units), private), noise_multiplier=0.5)
    speed = SGDSpeed(engine="loop", micro_batch=8, channels_last=False)
    (answer,), _ = on_ranks(lambda rank: sgd.fit(rank, model, Naming(), private, config, cost, STREAM.secret, speed), 1)
    return torch.cat([value.flatten() for value in answer.value["model"].values()]).numpy()


ASKED: dict[str, Callable[[Images], np.ndarray]] = {
    "central mean": of_centre("mean", True), "central mean of all": of_centre("mean", False),
    "central mode": of_centre("mode", True), "class means": means, "spread": spread,
    "spread of all": lambda private: spread(private, own=False), "counts": counted, "semantic histogram": semantic,
    "layer statistics": layers, "DP-SGD": trained,
}  # fmt: skip
PERSONS = pytest.mark.parametrize("persons", [False, True], ids=["images", "persons"])


@PERSONS
@pytest.mark.parametrize("name", ASKED)
def test_what_is_absent_is_in_no_answer(name: str, persons: bool) -> None:
    """Other pixels of all absent units at once change no bit, and other labels too none but by the order of sums; and
    were they there, the answer would be another."""
    private, ask = pictures(persons), ASKED[name]
    pixels, labels, out = private.images_NHWC.copy(), private.labels_N.copy(), whose_are_absent(private)
    pixels[out], labels[out] = 255 - pixels[out], (labels[out] + 1) % CLASSES
    answer = ask(private)
    assert np.array_equal(ask(replace(private, images_NHWC=pixels)), answer)
    np.testing.assert_allclose(ask(replace(private, images_NHWC=pixels, labels_N=labels)), answer, rtol=0, atol=1e-14)
    assert not np.allclose(ask(pictures(persons, absent=False)), answer)


@PERSONS
@pytest.mark.parametrize("name", sorted(ASKED.keys() - {"DP-SGD"}))
def test_others_count_as_ever(name: str, persons: bool) -> None:
    """Sums over those who are absent and over those who are not add up to that over all."""
    private, ask = pictures(persons), ASKED[name]
    assert private.absent_U is not None
    others = replace(private, absent_U=~private.absent_U)
    np.testing.assert_allclose(ask(private) + ask(others), ask(pictures(persons, absent=False)), atol=1e-5)


@PERSONS
def test_public_numbers_know_nobody_who_is_absent(persons: bool) -> None:
    private, whole = pictures(persons), pictures(persons, absent=False)
    assert (private.units, len(private), private.classes) == (whole.units, len(whole), whole.classes)
    assert units.priced(price(whole), private) == price(whole) and private.fingerprint() == whole.fingerprint()
    for name in ("central mean", "DP-SGD"):
        nobody = replace(private, absent_U=np.ones(private.units, bool))
        assert np.isfinite(ASKED[name](nobody)).all()


@PERSONS
def test_chosen_images_keep_who_is_absent(persons: bool) -> None:
    private = pictures(persons)
    some = np.array([40, 1, 3, 17, 4])
    part = private.select(some)
    assert whose_are_absent(part).tolist() == whose_are_absent(private)[some].tolist()
    assert pictures(persons, absent=False).select(some).absent_U is None
