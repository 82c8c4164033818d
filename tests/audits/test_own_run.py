"""The audit of a run's own configuration: it lets honest ones pass, and names what is wrong in the engine."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from blank_runs import METHODS
from mutants import MUTANTS, participants, sgd
from torch import Tensor, nn

from raysyn.audits import findings, own_network, own_run, own_sgd
from raysyn.audits.findings import FINE, LITTLE, REFUTED, Finding
from raysyn.audits.own_run import Run
from raysyn.methods.dp_feta import pipeline
from raysyn.methods.dp_feta.config import new_denoiser
from raysyn.privacy import engines
from raysyn.privacy.cost import ADD_REMOVE_PERSON
from raysyn.privacy.mechanisms import Learned
from raysyn.privacy.queries import central
from raysyn.privacy.trial import Choice

ENGINE = Choice(engine="bookkeeping", micro_batch=16, channels_last=False, precision="float32")


@cache
def honest(rate: float | None = None, persons: bool = False, ranks: int = 1) -> Run:
    """What a small run of dp_feta asks, with the weights that it begins with; of DP-SGD at another rate."""
    config = METHODS["dp_feta"].config
    prepared = pipeline.prepare(config)
    train = prepared.dataset.train
    like = replace(train, images_NHWC=train.images_NHWC[:0], labels_N=train.labels_N[:0])
    answer = {"finetune": {"ema": new_denoiser(config, like).state_dict(), "engine": ENGINE.as_dict()}}
    mechanisms = pipeline.METHOD.mechanisms
    assert prepared.plan is not None and mechanisms is not None
    plan = dict(prepared.plan.stages)
    if rate is not None:
        plan["finetune"] = replace(plan["finetune"], sampling_rate=rate, noise_multiplier=1.2, steps=8)
    if persons:
        plan = {stage: replace(cost, adjacency=ADD_REMOVE_PERSON) for stage, cost in plan.items()}
    asked = mechanisms(config, like, answer.__getitem__)
    return Run(plan=plan, asked=asked, like=like, units=train.units, ranks=ranks)


def found(run: Run, stage: str, games: int, seed: int = 0, confidence: float = 0.975) -> Finding:
    rows = own_run.cases(run, games, None, lambda *_: None)
    case = next(one for one in rows if one.name.startswith(f"{stage}: "))
    return findings.judge(case, case.play(max(64, round(games * case.games)), seed), confidence)


def wrong(monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    if mutant == "rate x 1.5":
        monkeypatch.setattr(sgd, "participants", lambda of, step, n, rate: participants(of, step, n, 1.5 * rate))
        return
    for where, name, instead in MUTANTS[mutant]:
        monkeypatch.setattr(where, name, instead)


def test_an_honest_configuration_holds_and_reaches_its_claim() -> None:
    one = found(honest(0.25), "finetune", 4096)
    assert (one.verdict, one.games) == (FINE, 4096) and one.over < 0 and 0.8 < one.ratio < 1.2


@pytest.mark.parametrize("mutant", [pytest.param("noise x 0.5", marks=pytest.mark.slow), "noise x 0.8", "rate x 1.5"])
def test_a_wrong_engine_is_caught_in_the_run_it_made(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong(monkeypatch, mutant)
    one = found(honest(0.25), "finetune", 4096)
    assert one.verdict == REFUTED and one.over > 0, one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mutant", "verdict"),
    [
        ("noise x 2", LITTLE),
        *(
            (name, REFUTED)
            for name in (
                "no clip", "clip of each tensor", "no noise every 8th step", "the same noise each step",
                "second half of the noise as the first", "same Poisson mask each step", "twice the rate", "no number",
            )
        ),
    ],
)  # fmt: skip
def test_every_wrong_engine_is_caught_in_the_run_it_made(
    mutant: str, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong(monkeypatch, mutant)
    assert found(honest(0.25), "finetune", 8192).verdict == verdict


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 0.8])
def test_too_little_noise_of_a_question_is_caught(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = central.noisy_sum
    monkeypatch.setattr(
        central, "noisy_sum", lambda parts, unit, std, drawn: as_it_is(parts, unit, std * factor, drawn)
    )
    assert found(honest(), "central", 16_384).verdict == REFUTED


@pytest.mark.slow
@pytest.mark.parametrize("persons", [False, True])
@pytest.mark.parametrize("rate", [None, 0.25])
def test_honest_configurations_are_hardly_ever_refuted(rate: float | None, persons: bool) -> None:
    """By findings of 95 % each: of 12, 4 are exceeded once in 400 times."""
    verdicts = [found(honest(rate, persons), "finetune", 2048, seed, 0.95).verdict for seed in range(12)]
    assert sum(one in (REFUTED, LITTLE) for one in verdicts) <= 4, verdicts


def learned(run: Run) -> Learned:
    return run.learned()["finetune"]


def test_a_network_moves_no_further_than_the_clip() -> None:
    run = honest()
    one = own_network.moved("finetune", learned(run), run.like)
    assert 0.5 < one.most <= 1 + own_network.ROUNDING and not one.fails and one.engine == "bookkeeping"


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("no clip", marks=pytest.mark.slow),
        "a clip of twice as much",
        "images that see each other",
        "no number",
    ],
)  # fmt: skip
def test_a_network_that_moves_further_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, as_it_is = honest(), engines.clipped_sum

    def clipped(engine: Any, model: nn.Module, loss: Any, inputs: Any, clip: float) -> Any:
        whole = as_it_is(engine, model, loss, inputs, clip * (2 if fault == "a clip of twice as much" else 1))
        factor: Tensor | float = {
            "no clip": 100.0, "images that see each other": float(len(inputs[0])), "no number": float("nan"),
        }.get(fault, 1.0)  # fmt: skip
        return whole._replace(sum_P=whole.sum_P * factor)

    monkeypatch.setattr(engines, "clipped_sum", clipped)
    one = own_network.moved("finetune", learned(run), run.like)
    assert one.fails and one.as_dict()["fails"]


def test_a_run_is_played_at_its_own_rate_with_its_own_noise() -> None:
    run = honest()
    price = run.plan["finetune"]
    own = own_sgd.Own.of(learned(run), price, 2048, None, 1)
    assert own.cost.sampling_rate == pytest.approx(price.sampling_rate, rel=1e-3) and own.batch <= own.canaries
    assert (own.noise, own.cost.steps) == (price.noise_multiplier, price.steps)
    assert own_sgd.Own.of(learned(run), price, 2048, 2, 1).cost.steps == 2


def test_places_of_a_network_lie_in_it() -> None:
    network = learned(honest()).model
    places, size = own_sgd.places_of(network, 100), sum(p.numel() for p in engines.trained(network))
    assert len(np.unique(places)) == len(places) and places.min() == 100 and places.max() == 100 + size - 1


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("name", ["noisy_means", "evolution", "dp_merf", "dp_mepf"])
def test_every_question_of_a_method_is_played_by_its_own_canary(name: str) -> None:
    """Each stage of its plan, with the noise that is planned, and with a canary that adds as much as one may."""
    method = METHODS[name]
    prepared = method.module.prepare(method.config)
    assert prepared.plan is not None
    like = prepared.dataset.train.select([])
    asked = method.module.METHOD.mechanisms(method.config, like, {}.__getitem__)
    run = Run(plan=prepared.plan.stages, asked=asked, like=like, units=prepared.dataset.train.units, ranks=1)
    assert not run.unknown()
    rows = own_run.cases(run, 64, None, lambda *_: None)
    assert [one.name.partition(":")[0] for one in rows] == list(method.sensitivities)
    assert all(one.tight and one.cost.noise_multiplier == run.plan[stage].noise_multiplier
               for one, stage in zip(rows, run.plan, strict=True))  # fmt: skip
