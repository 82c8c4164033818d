"""Settings that fit another number of images are told before anything is spent, with flags that mend them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysyn.data.images import Images
from raysyn.methods.dp_feta.config import plan
from raysyn.methods.dp_feta.presets import PRESETS
from raysyn.methods.misfits import FEW_STEPS, drowned, few_steps
from raysyn.privacy.cost import Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.sgd_config import SGDConfig

SHAPES = {"quick": (1_498, 8, 1, 10), "mnist": (60_000, 28, 1, 10), "fashion_mnist": (60_000, 28, 1, 10),
          "celeba": (162_770, 32, 3, 2), "camelyon": (302_436, 32, 3, 2)}  # fmt: skip
"""Images of each preset: how many, pixels a side, channels, classes."""


class Told(Images):
    """So many images that nobody looks at."""

    def __init__(self, n: int, side: int, channels: int, classes: int) -> None:
        names = tuple(map(str, range(classes)))
        super().__init__(np.zeros((0, side, side, channels), np.uint8), np.zeros(0, np.int64), names)
        object.__setattr__(self, "_n", n)

    def __len__(self) -> int:
        return getattr(self, "_n", 0)


def planned(config: SGDConfig, n: int) -> Plan:
    price = replace(config.cost(n), noise_multiplier=100.0)
    return Plan(stages={"finetune": price}, delta=1e-6, accountant="rdp", epsilon_budget=1e6)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_images_that_they_are_named_after(name: str) -> None:
    config = PRESETS[name]
    images = Told(*SHAPES[name.removeprefix("cpu-").removeprefix("paper-").partition("-")[0]])
    assert drowned(config.central, images) == []
    assert few_steps(planned(config.finetune, len(images)), "finetune", len(images), "finetune") == []


def test_a_hospital_s_set_is_told_of_both_and_what_is_advised_is_silent() -> None:
    """5,312 grey images of 28 pixels in four classes, with a preset for 60,000."""
    config, images = PRESETS["cpu-mnist"], Told(5_312, 28, 1, 4)
    (noise,) = drowned(config.central, images)
    (few,) = few_steps(plan(config, len(images), 4), "finetune", len(images), "finetune")
    assert "about 133 images of a class" in noise and "give --central.sampling-rate 1 --central.count 8" in noise
    assert "finetune has 35 steps of DP-SGD on 5,312 images" in few and "give --finetune.batch-size 128" in few
    assert drowned(replace(config.central, sampling_rate=1.0, count=8), images) == []
    mended = replace(config, central=CentralConfig(count=0), finetune=replace(config.finetune, batch_size=128))
    assert few_steps(plan(mended, len(images), 4), "finetune", len(images), "finetune") == []


@settings(deadline=None)
@given(st.integers(100, 100_000), st.floats(0.5, 300), st.floats(0.001, 1))
def test_an_advised_batch_gives_enough_steps(n: int, epochs: float, rate: float) -> None:
    config = SGDConfig(batch_size=max(1, int(rate * n)), epochs=epochs)
    for said in few_steps(planned(config, n), "finetune", n, "finetune"):
        if found := re.search(r"--finetune.batch-size (\d+)", said):
            assert int(found[1]) < config.batch_size
            assert planned(replace(config, batch_size=int(found[1])), n).stages["finetune"].steps >= FEW_STEPS
        else:
            assert "a higher --finetune.epochs" in said


@pytest.mark.parametrize("changes", [{"kind": "mode"}, {"conditional": False}, {"sampling_rate": 1.0}, {"count": 0}])
def test_words_follow_the_query(changes: dict[str, Any]) -> None:
    config = replace(CentralConfig(noise_multiplier=50.0), **changes)
    said = drowned(config, Told(200, 28, 1, 4))
    if config.count == 0:
        assert said == []
        return
    assert ("of all classes together" in said[0]) == (not config.conditional)
    assert ("--central.noise-multiplier" in said[0]) == (config.sampling_rate == 1)


def test_the_size_of_the_noise_is_that_of_the_query() -> None:
    """28 x 28 pixels at half the size have norm 14, times 1.005 for counts: 6 times that over 70 images is 1.206."""
    (said,) = drowned(CentralConfig(noise_multiplier=6.0), Told(2_800, 28, 1, 4))
    assert "its noise is 121 % of the way from black to white" in said


def test_enough_steps_are_no_matter() -> None:
    price = Cost(mechanism="DP-SGD", noise_multiplier=1.0, sampling_rate=0.1, steps=FEW_STEPS)
    assert few_steps(Plan(stages={"s": price}, delta=1e-5, accountant="rdp", epsilon_budget=1e3), "s", 100, "g") == []
