"""How often the audit of a run's own configuration blames an honest one: by an ideal mechanism in place of the engine,
many times, and by the engine itself, a few times."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy import stats
from test_own_run import honest

from raysyn.attacks import canaries, lower_bounds
from raysyn.audits import findings, own_run, own_sgd
from raysyn.audits.findings import LITTLE, REFUTED, Finding
from raysyn.audits.own_sgd import Own, Seen
from raysyn.audits.played import Case

GAMES, REPEATS = 2048, 200
PLACES = 16
"""Of the network, and of each table, whose noise is looked at: fewer than usual, which is as exact and quicker."""
PROFILES: dict[str, tuple[float, float, int] | None] = {
    "its own plan": None,
    "many steps": (0.02, 0.9, 100),
    "a quarter": (0.25, 1.2, 8),
    "all": (1.0, 1.2, 1),
}
"""Rate, noise and steps."""


def ideal(noise: float = 1.0, rate: float = 1.0) -> Callable[..., Seen]:
    """DP-SGD as it is accounted for, in numpy, in place of `own_sgd.run`: with so many times the noise, or the rate."""

    def run(own: Own, there_M: np.ndarray, secret: bytes, tell: object) -> Seen:
        random, count = np.random.default_rng(list(secret)), own.canaries
        watch = own_sgd.Watch(own, np.arange(1), lambda done: None)
        for _ in range(own.cost.steps):
            adds_M = (random.random(count) < rate * own.cost.sampling_rate) & there_M
            sum_P = noise * own.noise * random.standard_normal(2 * count + PLACES)
            sum_P[:count] += adds_M / np.sqrt(2)
            sum_P[-count:] += adds_M / np.sqrt(2)
            # As the optimizer is given it.
            watch._look(sum_P * (own.learned.config.max_grad_norm / -own.batch))
        return Seen(watch.scores(), np.stack(watch.looked), own.speed.engine)

    return run


def case_of(profile: str, games: int) -> Case:
    run = honest()
    if (other := PROFILES[profile]) is not None:
        rate, noise, steps = other
        price = replace(run.plan["finetune"], sampling_rate=rate, noise_multiplier=noise, steps=steps)
        run = replace(run, plan={"finetune": price})
    return next(one for one in own_run.cases(run, games, None, lambda *_: None) if one.name.startswith("finetune: "))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    """Findings of an ideal mechanism, one of each seed."""
    # Neither depends on a game, nor the last two on a verdict.
    monkeypatch.setattr(canaries, "thresholds", cache(canaries.thresholds))
    monkeypatch.setattr(lower_bounds, "in_one_run", lambda *_: (0.0, 0.0))
    monkeypatch.setattr(lower_bounds, "gaussian_mu", lambda *_: 0.0)
    monkeypatch.setattr(own_sgd, "SOME", PLACES)

    def play(profile: str, repeats: int, confidence: float, games: int = GAMES, **wrong: float) -> list[Finding]:
        monkeypatch.setattr(own_sgd, "run", ideal(**wrong))
        case = case_of(profile, games)
        return [findings.judge(case, case.play(games, seed), confidence) for seed in range(repeats)]

    return play


def blamed(found: list[Finding]) -> int:
    return sum(one.fails for one in found)


def most(repeats: int, chance: float) -> int:
    """How many of so many repeats may be wrong: more come with 5 %, if each is wrong with this chance."""
    return int(stats.binom.ppf(0.95, repeats, chance))


def test_each_test_of_an_honest_run_is_wrong_no_more_often_than_it_may(judged: Callable[..., list[Finding]]) -> None:
    """Of findings of 50 % each test has an eighth, so that more than 33 of 200 come with 5 %. One that is wrong twice
    as often as it may be passes once in 300 times. How often a test is wrong does not hang on how many games it has."""
    found, wrong = judged("its own plan", REPEATS, 0.5, GAMES // 2), Counter[str]()
    for one in found:
        said = {
            "hits": one.excess.value > 0, "area above": one.area_over > 0, "noise": bool(one.noise),
            "area below": one.high < one.claimed,
        }  # fmt: skip
        wrong.update(name for name, is_so in said.items() if is_so)
    assert max(wrong.values()) <= most(REPEATS, 1 / 8), wrong
    # A test that is never wrong, at a level where it may be, would be no test: all but hits, whose bounds are loose.
    assert min(wrong[name] for name in ("area above", "area below", "noise")) > 5, wrong


@pytest.mark.slow
@pytest.mark.parametrize("profile", PROFILES)
def test_honest_configurations_are_blamed_by_chance_alone(profile: str, judged: Callable[..., list[Finding]]) -> None:
    """Findings of 95 % each: the rate at which they blame is below 5 % with 95 % confidence, by Clopper and Pearson."""
    wrong = blamed(judged(profile, 500, 0.95))
    print(f"{profile}: {wrong} of 500")
    assert stats.beta.ppf(0.95, wrong + 1, 500 - wrong) <= 0.05, wrong


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["its own plan", "many steps", "a quarter"])
@pytest.mark.parametrize("wrong", [{"noise": 0.8}, {"rate": 1.5}])
def test_a_wrong_mechanism_is_surely_blamed(
    wrong: dict[str, float], profile: str, judged: Callable[..., list[Finding]]
) -> None:
    """As a row of two, of as many games as by default: with 95 % confidence 9 of 10 times or more."""
    found = sum(one.verdict == REFUTED for one in judged(profile, 60, 0.975, 8192, **wrong))
    print(f"{wrong} {profile}: {found} of 60")
    assert stats.beta.ppf(0.05, found, 61 - found) >= 0.9, found


@pytest.mark.slow
@pytest.mark.parametrize("persons", [False, True])
@pytest.mark.parametrize("rate", [None, 0.25])
def test_the_engine_itself_is_hardly_ever_blamed(rate: float | None, persons: bool) -> None:
    """By findings of 99 % each: of 12, two are blamed once in 160 times. Persons have other coins and noise."""
    run = honest(rate, persons)
    case = next(c for c in own_run.cases(run, GAMES, None, lambda *_: None) if c.name.startswith("finetune: "))
    verdicts = [findings.judge(case, case.play(GAMES, 100 * persons + seed), 0.99).verdict for seed in range(12)]
    assert sum(one in (REFUTED, LITTLE) for one in verdicts) <= 1, verdicts
