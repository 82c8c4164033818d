"""The mechanisms of a run of the user's own, each with the very parameters of its plan, as cases to play."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from raysyn.audits import function_games, mixture_games, own_sgd, query_games
from raysyn.audits.function_games import Rounds
from raysyn.audits.own_sgd import Own
from raysyn.audits.played import Case, Game
from raysyn.audits.who import ALBUM, Who
from raysyn.data.images import Images
from raysyn.privacy.cost import ADD_REMOVE_PERSON, Cost
from raysyn.privacy.mechanisms import (
    Asked,
    Embedded,
    Functions,
    Histogram,
    LayersSeen,
    Learned,
    Mechanism,
    Mixed,
    Perceived,
    Question,
)
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.moments import MomentsConfig
from raysyn.privacy.queries.votes import VotesConfig

LOOPED, ASKED = 0.25, 0.25
"""Games of DP-SGD image by image, and of the questions, in parts of what the user asks for: there, each takes long."""
PRICED_STEPS, PRICED_GAMES = 6, 8
"""Of which the time is measured."""
MOST_RANKS = 3
AS_MUCH = 0.999
"""Part of its sensitivity that the canary of a question must add for the attack to be the best there is."""
ROUNDING = 1e-9
Tell = Callable[[str, int, int], None]
"""tell(row, how much is done, of how much)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """What is known of a run without its private images."""

    plan: Mapping[str, Cost]
    asked: Mapping[str, Mechanism]
    """By stage."""
    like: Images
    """No image, of the shape and classes that the run's have."""
    units: int
    """Images, or persons where these are named."""
    ranks: int
    """Workers that trained."""

    def learned(self) -> dict[str, Learned]:
        """Stages of DP-SGD."""
        found = {stage: self.asked.get(stage) for stage in self.plan}
        return {stage: one for stage, one in found.items() if isinstance(one, Learned)}

    def unknown(self) -> list[str]:
        """Stages that nobody can play."""
        return [stage for stage in self.plan if stage not in self.asked]


def cases(run: Run, games: int, steps: int | None, tell: Tell) -> list[Case]:
    """One for each stage of the plan; `steps` of DP-SGD, or rounds of functions, at most are played, and priced."""
    return [_case(run, stage, games, steps, tell) for stage in run.plan if stage in run.asked]


def _case(run: Run, stage: str, games: int, steps: int | None, tell: Tell) -> Case:
    mechanism, price = run.asked[stage], run.plan[stage]
    if isinstance(mechanism, Learned):
        return _learned(run, stage, mechanism, games, steps, tell)
    if isinstance(mechanism, Functions):
        return function_games.case(mechanism, price, f"{stage}: {price.mechanism}", games, steps, tell)
    return _question(run, stage, mechanism, tell)


def _learned(run: Run, stage: str, learned: Learned, games: int, steps: int | None, tell: Tell) -> Case:
    part, ranks = 1.0, min(run.ranks, MOST_RANKS)
    if learned.choice is not None and learned.choice.engine == "loop":
        part = LOOPED
    own = Own.of(learned, run.plan[stage], round(games * part), steps, ranks)
    played, every = own.cost.steps, run.plan[stage].steps
    share = "" if played == every else f", {played:,} of {every:,} steps"
    instead = f" ({own.instead})" if own.instead else ""
    name = f"{stage}: DP-SGD, {own.speed.engine}, K {own.config.noise_multiplicity}{share}{instead}"
    return Case(name=name, cost=own.cost, play=partial(own_sgd.play, own, name, partial(tell, name)), games=part)


def _question(run: Run, stage: str, mechanism: Asked | None, tell: Tell) -> Case:
    price = run.plan[stage]
    album = ALBUM if price.adjacency == ADD_REMOVE_PERSON else 1
    who = Who("persons" if album > 1 else "images", (0,) * album, run.like.shape, run.like.classes)
    game = _game(stage, mechanism, price, who, run.units)
    name, (_, exact) = f"{stage}: {price.mechanism}", game
    # Of a sum of several samples, no single one is seen.
    whole = not isinstance(mechanism, LayersSeen) or price.sampling_rate == 1 or price.steps == 1
    adds = float(np.linalg.norm(exact(True) - exact(False)))
    if isinstance(mechanism, Question) and not 0 < adds <= 1 + ROUNDING:
        raise ValueError(
            f"{stage}: a white image adds {adds:.6g} to the answer of its Question, which is to be above 0 and 1 at "
            "most: it is asked in units of its sensitivity, and must depend on the images"
        )
    play = partial(query_games.play, price, game, name, partial(tell, name))
    return Case(name=name, cost=price, play=play, games=ASKED, tight=whole and adds >= AS_MUCH)


def _game(stage: str, mechanism: Asked | None, price: Cost, who: Who, n: int) -> Game:
    if isinstance(mechanism, CentralConfig):
        return query_games.central_game(mechanism, price, who)
    if isinstance(mechanism, MomentsConfig):
        spread = stage == moments.SPREAD
        own = spread and moments.per_class(mechanism, price, n, who.images.classes, who.shape)
        return query_games.moments_game(stage, mechanism, own, price, who)
    if isinstance(mechanism, Histogram):
        return query_games.histogram_game(mechanism.config, mechanism.semantics, price, who)
    if isinstance(mechanism, LayersSeen):
        return query_games.statistics_game(mechanism.config, mechanism.layers, n, price, who)
    if isinstance(mechanism, VotesConfig):
        return query_games.votes_game(mechanism.blur, price, who)
    if isinstance(mechanism, Embedded):
        return query_games.embedding_game(mechanism, price, who)
    if isinstance(mechanism, Perceived):
        return query_games.features_game(stage, mechanism, price, who)
    if isinstance(mechanism, Mixed):
        return mixture_games.mixture_game(mechanism, price, who)
    if isinstance(mechanism, Question):
        return query_games.question_game(mechanism, price, who)
    if mechanism is None and stage == COUNTS:
        return query_games.counts_game(price, who)
    raise ValueError(
        f"Method.mechanisms says {type(mechanism).__name__} of {stage}, which cannot be played: give one of "
        "raysyn.privacy.mechanisms, such as Question, or leave the stage out"
    )


def _own(case: Case) -> Own | Rounds | None:
    """Of DP-SGD and of rounds of functions, whose steps are played with many canaries at once."""
    assert isinstance(case.play, partial)
    return case.play.args[0] if isinstance(case.play.args[0], Own | Rounds) else None


def takes_steps(cases: Sequence[Case]) -> bool:
    """Whether any of them does."""
    return any(_own(case) is not None for case in cases)


def of_other_engines(cases: Sequence[Case]) -> list[str]:
    """How runs computed gradients, where that is not what is played."""
    found = [(case.name.partition(":")[0], _own(case)) for case in cases]
    return [f"how gradients of {stage} were computed ({own.instead})" for stage, own in found if own and own.instead]


def as_played(run: Run, cases: Sequence[Case]) -> list[dict[str, Any]]:
    """Of each row of many steps its rate and steps, beside those of the run, and the canaries that play at once."""
    found = [(case.name.partition(":")[0], _own(case)) for case in cases]
    return [
        {
            "stage": stage, "sampling_rate": own.cost.sampling_rate, "of_run": run.plan[stage].sampling_rate,
            "steps": own.cost.steps, "steps_of_run": run.plan[stage].steps, "canaries": own.canaries,
        }
        for stage, own in found if own
    ]  # fmt: skip


def runs_of(case: Case, games: int) -> str:
    """How many games are played where so many are asked for."""
    own = _own(case)
    return f"{own.runs(games)} x {own.canaries:,} games" if own else f"{games:,} games"


def pace(case: Case, games: int) -> float:
    """Seconds that so many games of a case take here: a few steps, or games, are played."""
    if (first := _own(case)) is not None:
        took, brief = 0.0, min(PRICED_STEPS, first.cost.steps)
        # The first time pays for what is made once.
        for _ in range(2):
            began = time.perf_counter()
            _briefly(first, brief)
            took = time.perf_counter() - began
        return took / brief * first.runs(games) * first.cost.steps
    began = time.perf_counter()
    case.play(PRICED_GAMES, 0)
    return (time.perf_counter() - began) / PRICED_GAMES * games


def _briefly(own: Own | Rounds, steps: int) -> None:
    """So many steps, of which nothing is kept."""
    nobody, secret = np.zeros(own.canaries, bool), bytes(32)
    if isinstance(own, Own):
        own_sgd.run(replace(own, cost=replace(own.cost, steps=steps)), nobody, secret, lambda done: None)
    else:
        function_games.run(replace(own, price=replace(own.price, steps=steps)), nobody, secret, lambda done: None)
