"""The audit of a run's own configuration: it lets honest ones pass, and names what is wrong in the engine."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import torch
from blank_runs import METHODS
from mutants import MUTANTS, participants, sgd
from torch import Tensor, nn

from raysyn.audits import findings, own_network, own_run, own_sgd
from raysyn.audits.findings import FINE, LITTLE, REFUTED, Finding
from raysyn.audits.own_run import Run
from raysyn.compute import worker
from raysyn.data.images import Images
from raysyn.methods.dp_feta import pipeline
from raysyn.methods.dp_feta.config import new_denoiser
from raysyn.privacy import engines, units
from raysyn.privacy.cost import ADD_REMOVE_PERSON, LEAST_NOISE, Cost
from raysyn.privacy.mechanisms import Learned, Question
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central, embedding
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import Choice
from raysyn.train.naming import Naming

ENGINE = Choice(engine="bookkeeping", micro_batch=16, channels_last=False, precision="float32")


@cache
def honest(rate: float | None = None, persons: bool = False, ranks: int = 1, name: str = "dp_feta") -> Run:
    """What a small run of dp_feta asks, with the weights that it begins with; of DP-SGD at another rate."""
    config = METHODS[name].config
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


@pytest.mark.parametrize("factor", [0.5, 1.0])
def test_too_little_noise_of_the_embedding_before_a_second_warm_up_is_caught(
    factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = embedding.noisy_sum
    monkeypatch.setattr(
        embedding, "noisy_sum", lambda parts, unit, std, drawn: as_it_is(parts, unit, std * factor, drawn)
    )
    one = found(honest(name="dp_feta_pro"), "embedding", 4096)
    assert (one.verdict == REFUTED) is (factor < 1), one


def learned(run: Run) -> Learned:
    return run.learned()["finetune"]


LIKE = Images(np.zeros((0, 4, 4, 1), np.uint8), np.zeros(0, np.int64), ("a", "b", "c"))


class Tiny(nn.Module):
    """A classifier with all the layers that few weights can be."""

    def __init__(self, apart: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.attention = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.label, self.head = nn.Embedding(1, 4), nn.Linear(4, 3)
        for weights in self.parameters():
            nn.init.normal_(weights)
        self.apart = apart
        """Part that is taken from each answer of what those of the whole batch have in common."""

    def forward(self, x: Tensor) -> Tensor:
        seen = self.attention(self.stem(x).relu()).mean((2, 3))
        answer: Tensor = self.head(seen + self.label(torch.zeros(len(x), dtype=torch.long)))
        return answer - self.apart * answer.mean(0)


def small(layers: str = "all", apart: float = 0.0) -> Learned:
    config = SGDConfig(batch_size=10, epochs=1.0, noise_multiplicity=1, max_grad_norm=0.5, layers=layers)
    return Learned(Tiny(apart), Naming(), config, ENGINE)


def tried(one: Learned) -> own_network.Moved:
    return own_network.moved("finetune", one, LIKE)


def test_a_network_moves_no_further_than_the_clip() -> None:
    run = honest()
    one = own_network.moved("finetune", learned(run), run.like)
    assert (one.verdict, one.engine) == ("holds", "bookkeeping")
    assert own_network.TRIED < one.most <= 1 + own_network.ROUNDING and one.apart < own_network.ROUNDING


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("no clip", marks=pytest.mark.slow),
        "a clip of twice as much",
        "a sum that grows with the number",
        "no number",
    ],
)  # fmt: skip
def test_a_network_that_moves_further_is_named(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    as_it_is = engines.clipped_sum

    def clipped(engine: Any, model: nn.Module, loss: Any, inputs: Any, clip: float, size: int) -> Any:
        whole = as_it_is(engine, model, loss, inputs, clip * (2 if fault == "a clip of twice as much" else 1), size)
        factor: Tensor | float = {
            "no clip": 100.0, "a sum that grows with the number": float(len(inputs[0])), "no number": float("nan"),
        }.get(fault, 1.0)  # fmt: skip
        return whole._replace(sum_P=whole.sum_P * factor)

    monkeypatch.setattr(engines, "clipped_sum", clipped)
    one = tried(small())
    assert one.fails and one.as_dict()["fails"] and one.why == "one image changes the sum by more than it may"


@pytest.mark.parametrize("part", [0.3, 1.0])
def test_images_that_move_what_others_add_are_named(part: float) -> None:
    """Also where none changes the sum by more than it may."""
    one = tried(small(apart=part))
    assert one.fails and one.apart > own_network.ALONE, one
    assert part == 1 or (one.most <= 1 + own_network.ROUNDING and one.why == "one image moves what others add"), one


@pytest.mark.parametrize("weight", [float("nan"), 1e30])
def test_a_network_without_gradients_is_not_tried(weight: float) -> None:
    one = small()
    for weights in one.model.parameters():
        nn.init.constant_(weights, weight)
    seen = tried(one)
    assert (seen.verdict, seen.fails, seen.untried) == ("not tried", False, True)


@pytest.mark.parametrize("layers", ["all", "attention", "embedding", "lora:2"])
def test_what_learned_is_what_is_tried(layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of few weights no others, and all of these: also those before the second half of an update, which begins as
    zero."""
    few, as_it_is, sums = small(layers), engines.clipped_sum, list[tuple[nn.Module, Tensor]]()
    network = few.network()
    size = sum(p.numel() for p in engines.trained(network))
    assert (size == sum(p.numel() for p in few.model.parameters())) is (layers == "all")

    def clipped(engine: Any, model: nn.Module, *args: Any) -> Any:
        answer = as_it_is(engine, model, *args)
        sums.append((model, answer.sum_P))
        return answer

    monkeypatch.setattr(engines, "clipped_sum", clipped)
    assert tried(few).verdict == "holds"
    parts = [p.numel() for p in engines.trained(sums[0][0])]
    assert sum(parts) == size and all(part.any() for part in sums[0][1].split(parts))
    monkeypatch.undo()
    price = replace(few.config.cost(40), noise_multiplier=1.2)
    own = own_sgd.Own.of(few, price, 64, 2, 1)
    seen = own_sgd.run(own, np.ones(own.canaries, bool), bytes(32), lambda done: None)
    alone_TD = seen.noise_TD[:, own.canaries : -own.canaries]
    assert alone_TD.std() == pytest.approx(1, abs=0.5)
    assert len(own_sgd.places_of(network, 0)) == alone_TD.shape[1] <= size


def test_of_many_canaries_no_more_than_the_scores_and_some_places_are_kept() -> None:
    """Of each step; and each of them is where it was put."""
    one = small()
    own = own_sgd.Own.of(one, replace(one.config.cost(10), noise_multiplier=0.05, steps=3), 6000, None, 1)
    there = np.arange(own.canaries) % 3 > 0
    seen = own_sgd.run(own, there, bytes(32), lambda done: None)
    network = len(own_sgd.places_of(one.network(), 0))
    assert (own.canaries, seen.scores_M.shape, seen.noise_TD.shape) == (3000, (3000,), (3, 2 * own_sgd.SOME + network))
    assert seen.scores_M[there].min() > 0 > seen.scores_M[~there].max()
    assert seen.noise_TD[:, seen.alone(there)].std() == pytest.approx(1, abs=0.05)
    assert (np.abs(seen.noise_TD[:, ~seen.alone(there)] * own.noise * 2**0.5 - 1) < 0.5).all()


@pytest.mark.parametrize("steps", [1, 100, own_sgd.STEPS, own_sgd.STEPS + 1, 36_000, 1_000_000])
def test_of_many_steps_some_are_kept_with_the_next_from_first_to_last(steps: int) -> None:
    one = small()
    own = own_sgd.Own.of(one, replace(one.config.cost(10), noise_multiplier=1.0, steps=steps), 64, None, 1)
    watch = own_sgd.Watch(own, np.arange(2 * own.canaries), lambda done: None)
    kept = np.array([step for step in range(steps) if watch.looks_at(step)])
    assert kept.size == steps if steps <= own_sgd.STEPS else own_sgd.STEPS / 2 < kept.size <= own_sgd.STEPS * 1.02
    apart = np.diff(kept)
    assert kept[0] == 0 and (apart == 1).sum() >= 0.98 * (len(kept) - 1)
    assert steps - kept[-1] <= apart.max(initial=1), "none that is last is left out"


def test_only_the_noise_of_those_steps_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each answer has numbers that say which it is."""
    monkeypatch.setattr(own_sgd, "STEPS", 100)
    one = small()
    own = own_sgd.Own.of(one, replace(one.config.cost(10), noise_multiplier=1.0, steps=300), 64, None, 1)
    watch = own_sgd.Watch(own, np.arange(2 * own.canaries), lambda done: None)
    for step in range(300):
        watch._look(np.full(2 * own.canaries, float(step)))
    first_T = np.stack(watch.looked)[:, 0]
    np.testing.assert_allclose(first_T / first_T[1], [step for step in range(300) if step // 64 % 3 == 0])


RATES = [192 / 1_280_000, 64 / 60_000, 4096 / 60_000, 1 / 100.5, 0.37, 0.9993, 1.0, 1e-5]
RATES += np.exp(np.random.default_rng(0).uniform(np.log(1e-5), 0, 50)).tolist()


@pytest.mark.parametrize("games", [64, 1024, 8192])
def test_a_run_is_played_at_its_own_rate_with_its_own_noise(games: int) -> None:
    run = honest()
    for rate in RATES:
        price = replace(run.plan["finetune"], sampling_rate=rate)
        own = own_sgd.Own.of(learned(run), price, games, None, 1)
        assert own.cost.sampling_rate == pytest.approx(rate, rel=own_sgd.NEAR) == own.batch / own.canaries
        assert (own.noise, own.cost.steps) == (price.noise_multiplier, price.steps)
        assert own.runs(games) * own.canaries >= 2 * games / 3 and own.canaries < 2 * max(games / 2, 1000, 1 / rate)
        assert own_sgd.Own.of(learned(run), price, games, 2, 1).cost.steps == min(2, price.steps)


@pytest.mark.parametrize(
    ("ran", "here"),
    [
        (ENGINE, ""),
        (replace(ENGINE, engine="loop", micro_batch=1, channels_last=True), ""),
        (replace(ENGINE, engine="fused"), "run: fused, float32; here bookkeeping, float32"),
        (replace(ENGINE, precision="bf16"), "run: bookkeeping, bf16; here bookkeeping, float32"),
        (replace(ENGINE, engine="fused", precision="bf16"), "run: fused, bf16; here bookkeeping, float32"),
        (None, "run: not known; here bookkeeping, float32"),
    ],
)
def test_a_row_says_where_gradients_are_computed_in_another_way(
    ran: Choice | None, here: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = honest(0.25)
    monkeypatch.setattr(own_sgd, "best_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(worker, "has_bf16", lambda device: False)
    asked = {**run.asked, "finetune": replace(learned(run), choice=ran)}
    (row,) = own_run.cases(replace(run, asked=asked, plan={"finetune": run.plan["finetune"]}), 1024, None, print)
    engine = "loop" if ran and ran.engine == "loop" else "bookkeeping"
    assert row.name == f"finetune: DP-SGD, {engine}, K 1{f' ({here})' if here else ''}"
    told = [f"how gradients of finetune were computed ({here})"] if here else []
    assert own_run.of_other_engines([row]) == told
    assert own_run.runs_of(row, round(1024 * row.games)) == f"2 x {128 if engine == 'loop' else 512} games"


def test_places_of_a_network_lie_in_it() -> None:
    network = learned(honest()).model
    places, size = own_sgd.places_of(network, 100), sum(p.numel() for p in engines.trained(network))
    assert len(np.unique(places)) == len(places) and places.min() == 100 and places.max() == 100 + size - 1


@pytest.mark.usefixtures("letters")
@pytest.mark.parametrize("name", ["noisy_means", "evolution", "dp_merf", "dp_ntk", "dp_mepf", "dp_prototypes"])
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


def sums(private: Images, cost: Cost, stream: Stream) -> Floats:
    """A question of somebody's own: grey levels, in units of what a white image adds."""
    exact = np.tensordot(units.weights(private), private.images_NHWC / 255, 1) / math.prod(private.shape) ** 0.5
    return exact + cost.noise_multiplier * stream.normal(0, "sums", exact.size).reshape(exact.shape)


def quieter(private: Images, cost: Cost, stream: Stream) -> Floats:
    return sums(private, replace(cost, noise_multiplier=max(0.8 * cost.noise_multiplier, LEAST_NOISE)), stream)


@pytest.mark.parametrize(("ask", "verdict"), [(sums, FINE), (quieter, REFUTED)])
@pytest.mark.parametrize("persons", [False, True])
def test_a_question_of_a_method_outside_is_played(
    ask: Callable[[Images, Cost, Stream], Floats], verdict: str, persons: bool
) -> None:
    assert found(of_own(Question(ask), persons), "sums", 4096).verdict == verdict


def test_what_cannot_be_played_is_refused_by_its_stage() -> None:
    with pytest.raises(ValueError, match=r"^Method\.mechanisms says int of sums, which cannot be played: give"):
        own_run.cases(of_own(cast(Question, 3)), 64, None, lambda *_: None)


@pytest.mark.parametrize("times", [0.0, 1.2])
def test_a_question_that_adds_more_than_its_sensitivity_or_nothing_is_refused(times: float) -> None:
    asked = Question(lambda private, cost, stream: times * sums(private, cost, stream))
    with pytest.raises(ValueError, match=rf"^sums: a white image adds {times:g} to the answer of its Question"):
        own_run.cases(of_own(asked), 64, None, lambda *_: None)


def of_own(asked: Question, persons: bool = False) -> Run:
    cost = Cost(mechanism="noisy sum", noise_multiplier=1.2, sampling_rate=1.0, steps=1)
    cost = replace(cost, adjacency=ADD_REMOVE_PERSON) if persons else cost
    like = Images(np.zeros((0, 8, 8, 1), np.uint8), np.zeros(0, np.int64), ("a", "b"))
    return Run(plan={"sums": cost}, asked={"sums": asked}, like=like, units=100, ranks=1)
