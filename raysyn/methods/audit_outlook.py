"""What --dry-run tells of the time that the audit of a run by its own canaries takes; of `canary_attack`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from raysyn.data.images import Images
from raysyn.methods import canaries
from raysyn.methods.canary_attack import EPOCHS, OF_ONE, OUT, STAGE, TAUGHT
from raysyn.methods.method import Prepared
from raysyn.methods.outlook import FEW, Stage, alone, each_seconds, made_up
from raysyn.methods.weighing import Weighed
from raysyn.metrics.pace import classifier_seconds
from raysyn.metrics.utility import EvalConfig
from raysyn.train.near import flat, nearest
from raysyn.train.outlook import one_thread, seconds

Asking = Callable[[int], float]
"""asking(count): seconds in which weights say something of so many images."""


def by_weights(weighed: Weighed, like: Images) -> Asking:
    """That of `weighed`, with weights that know nothing, on a few made-up images."""

    some = made_up(like, FEW)
    return lambda count: count * each_seconds(lambda few: weighed(some.select(range(few))), FEW)


def auditing(config: Any, prepared: Prepared, released: int, asking: Asking | None = None) -> list[Stage]:
    """The stage in which canaries are guessed about, where the run has any: by so many `released` images, through
    pixels and the features of a CNN that learns from them, and by weights."""
    private, test = prepared.dataset.train, prepared.dataset.test
    count = canaries.asked(config, True, "the method", prepared.plan, private)
    if not count:
        return []
    each = 1 if private.persons_N is None else min(OF_ONE, len(private) / private.units)
    own, out = round(count * each), min(OUT, len(test))
    few = made_up(private, FEW)
    with one_thread():
        pair_s = seconds(lambda: nearest(few, few, flat)) / FEW**2
    spent = own * (released + out) / private.classes * pair_s
    if private.classes > 1 and released > 1:
        learnt, looked = min(released, TAUGHT), own + out + released
        spent += spent + classifier_seconds(
            "cnn", EvalConfig(), private.shape, private.classes, learnt, EPOCHS, looked
        )  # fmt: skip
    if asking is not None:
        spent += asking(own + out)
    return [alone(STAGE, spent)]
