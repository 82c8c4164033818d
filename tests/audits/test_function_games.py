"""The audit of noisy functions: it lets honest ones pass, and names what is wrong in them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from raysyn.audits import findings, function_games, own_run, query_games
from raysyn.audits.findings import FINE, LITTLE, REFUTED, Finding
from raysyn.audits.own_run import Run
from raysyn.data.rbf import KernelConfig
from raysyn.privacy.cost import ADD_REMOVE, ADD_REMOVE_PERSON, Cost
from raysyn.privacy.mechanisms import Functions
from raysyn.privacy.poisson import participants
from raysyn.privacy.queries import functions
from raysyn.privacy.queries.functions import FUNCTIONS, RoundsConfig

CASES = {case.name: case for case in function_games.cases()}
IMAGES, PERSONS = CASES
FEW = 512
"""Games: what is this wrong shows in a quarter of those that are played to let the honest ones pass."""
ASKED = Functions(RoundsConfig(count=8, batch_size=60, count_share=0.2), KernelConfig(length_scales=(0.2, 0.5, 0.9)))


def judged(name: str, games: int = 2048) -> Finding:
    return findings.judge(CASES[name], CASES[name].play(games, 0), 0.999)


def of_a_run(adjacency: str = ADD_REMOVE) -> Run:
    price = Cost(
        mechanism="noisy functions", noise_multiplier=0.5, sampling_rate=0.2, steps=8, adjacency=adjacency
    )  # fmt: skip
    like = query_games.WHO[0].images.select(slice(0, 0))
    return Run(plan={FUNCTIONS: price}, asked={FUNCTIONS: ASKED}, like=like, units=300, ranks=1)


def found(run: Run, games: int = 4096) -> Finding:
    (case,) = own_run.cases(run, games, None, lambda *_: None)
    return findings.judge(case, case.play(games, 0), 0.99)


def scaled(monkeypatch: pytest.MonkeyPatch, factor: float, what: Callable[[int], bool]) -> None:
    """Noise of roots of such sizes."""
    root = functions.root

    def other(covariance: Tensor, diagonal: float) -> Tensor:
        return root(covariance, diagonal) * (factor if what(covariance.shape[-1]) else 1.0)

    monkeypatch.setattr(functions, "root", other)


@pytest.mark.parametrize("name", CASES)
def test_the_honest_mechanism_holds(name: str) -> None:
    one = judged(name)
    assert one.verdict == FINE and 0.8 < one.ratio < 1.25, one


PARTS: dict[str, Callable[[int], bool]] = {
    "outer": lambda size: size == function_games.POINTS,
    "inner": lambda size: size == function_games.POINTS * (function_games.POINTS - 1),
    "whole": lambda size: True,
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", CASES)
def test_a_fifth_of_the_noise_missing_is_refuted_wherever_it_is(
    part: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled(monkeypatch, 0.8, PARTS[part])
    one = judged(name, FEW)
    assert one.verdict == REFUTED and one.noise, one


def test_a_fifth_too_much_noise_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled(monkeypatch, 1.2, PARTS["whole"])
    one = judged(IMAGES, FEW)
    assert one.verdict == LITTLE and one.why.startswith("noise is too large"), one


def test_noise_of_counts_that_is_missing_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    normal = functions.Stream.normal

    def other(self: Any, step: int, purpose: str, n: int) -> np.ndarray:
        return normal(self, step, purpose, n) * (0.5 if purpose == "class counts" else 1.0)

    monkeypatch.setattr(functions.Stream, "normal", other)
    one = judged(IMAGES, FEW)
    assert one.verdict == REFUTED and one.noise, one


def test_the_same_noise_in_each_round_is_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    normal = functions.Stream.normal
    monkeypatch.setattr(
        functions.Stream, "normal", lambda self, step, purpose, n: normal(self, 0, purpose, n)
    )  # fmt: skip
    one = judged(IMAGES, FEW)
    assert one.verdict == REFUTED and "noise is not drawn again" in one.noise, one


def test_all_of_a_persons_images_in_the_sum_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functions.units, "weights", lambda private: np.ones(len(private)))
    assert judged(PERSONS, FEW).over > 0


@pytest.mark.parametrize("adjacency", [ADD_REMOVE, ADD_REMOVE_PERSON])
def test_a_run_of_ones_own_holds(adjacency: str) -> None:
    one = found(of_a_run(adjacency))
    assert one.verdict == FINE and 0.8 < one.ratio < 1.25, one
    assert one.name.startswith("functions: noisy functions, ") and "of an image seen" in one.name


def test_half_as_many_again_in_each_sample_are_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        functions, "participants", lambda stream, step, n, rate: participants(stream, step, n, 1.5 * rate)
    )  # fmt: skip
    one = found(of_a_run(), 2048)
    assert one.verdict == REFUTED and one.over > 0 and not one.noise, one


def test_half_as_many_in_each_sample_show_too_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        functions, "participants", lambda stream, step, n, rate: participants(stream, step, n, 0.5 * rate)
    )  # fmt: skip
    assert found(of_a_run(), 2048).verdict == LITTLE


def test_what_is_played_is_the_runs_own_and_what_is_claimed_is_less_than_its_price() -> None:
    run = of_a_run()
    (case,) = own_run.cases(run, 1024, 3, lambda *_: None)
    own = case.play.args[0]  # type: ignore[attr-defined]
    assert own.config == replace(ASKED.config, batch_size=own.batch, count=3) and own.asked.kernel == ASKED.kernel
    assert own.batch / own.canaries == pytest.approx(0.2, rel=1e-3) and case.cost.steps == 3
    assert 0.5 < own.shown < 1 and case.cost.noise_multiplier == pytest.approx(0.5 / own.shown)
    assert "3 of 8 rounds" in case.name and own_run.takes_steps([case])
    assert own_run.runs_of(case, 1024) == "2 x 510 games" and own_run.pace(case, 1024) > 0
    (told,) = own_run.as_played(run, [case])
    assert (told["steps"], told["steps_of_run"], told["of_run"]) == (3, 8, 0.2)


def test_the_covariance_that_noise_is_held_against_is_differentiated() -> None:
    lengths, points = (0.4, 1.1), torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 4)))

    def kernel(a_P: Tensor, b_P: Tensor) -> Tensor:
        squared = (a_P - b_P).square().sum()
        return torch.stack([torch.exp(-squared / (2 * one**2)) for one in lengths]).mean()

    found = function_games.covariance(points.numpy(), lengths).reshape(3, 4, 3, 4)
    for a in range(3):
        beside = function_games.gradients(points.numpy(), points[a].numpy(), lengths)
        for b in range(3):
            both = torch.func.jacrev(torch.func.jacrev(kernel, 0), 1)(points[a], points[b])
            np.testing.assert_allclose(found[a, :, b], both, atol=1e-12)
            np.testing.assert_allclose(beside[b], torch.func.grad(kernel)(points[b], points[a]), atol=1e-12)
    assert math.isclose(found[0, 0, 0, 0], np.mean([1 / one**2 for one in lengths]))
