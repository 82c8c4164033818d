"""Games as the rest of this room sees them: a claim, scores, the coins they are about."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from raysyn.attacks import canaries
from raysyn.attacks.canaries import Floats, Mask
from raysyn.audits.residuals import Noise
from raysyn.compute.worker import Worker
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream

Seen = TypeVar("Seen")
Run = Callable[[Mask, bytes, Callable[[int], None]], Seen]
"""run(which canaries are in, secret, told(how many steps are done)) -> what was seen."""

Answer = Callable[[bool, Stream], Floats]
"""answer(is it there, stream) -> the noisy answers of all steps, (T, D), in units of their sensitivity."""
Exact = Callable[[bool], Floats]
"""exact(is it there) -> what they would be without noise if it took part, (D,)."""
Game = tuple[Answer, Exact]


@dataclass(frozen=True)
class Played:
    """What was seen of a number of games."""

    scores_M: Floats
    coins_M: Mask
    thresholds: Floats
    """Fixed before the scores were seen."""
    noise: Noise | None = None
    """Of the same answers, where there was nothing else."""
    instead: str = ""
    """What was played in place of what was asked for, where this machine cannot do that."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One configuration of a mechanism, and a game against it."""

    name: str
    cost: Cost
    """What is claimed of one game."""
    play: Callable[[int, int], Played]
    """play(games, seed)."""
    games: float = 1.0
    """How many are played, in parts of what the user asks for: some cost more, and show more."""
    tight: bool = True
    """Whether the attack is the best there is, so that it must reach what was accounted."""


def secret_of(name: str, seed: int, run: int) -> bytes:
    """32 bytes for one run of a game: of a seed, as nothing here is released and every finding can be had again."""
    return hashlib.sha256(f"raysyn audit {name} {seed} {run}".encode()).digest()


def coins_of(secret: bytes, count: int) -> Mask:
    """Which of a run's canaries are in: coins of the run's secret, which share no bits with its noise and samples."""
    return canaries.toss(Stream(secret, "canaries").uniform(0, "coins", count))


def seen_of(
    name: str, seed: int, runs: int, many: int, steps: int, tell: Callable[[int, int], None], run: Run[Seen]
) -> Iterator[tuple[Mask, Seen]]:
    """So many runs of so many steps, of `many` canaries: which are in, and what was seen. tell(steps done, of how many)
    of all of them."""
    for number in range(runs):
        secret = secret_of(name, seed, number)
        there_M = coins_of(secret, many)
        yield there_M, run(there_M, secret, partial(_in_all, tell, number * steps, runs * steps))


def _in_all(tell: Callable[[int, int], None], before: int, of: int, done: int) -> None:
    tell(before + done, of)


class Watching:
    """A partner of the optimizer that looks at what it is given, and learns nothing."""

    def join(self, worker: Worker) -> None:
        """Nothing of it lies on a device."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """It begins anew with each game."""

    def released(self) -> dict[str, Tensor]:
        return {}
