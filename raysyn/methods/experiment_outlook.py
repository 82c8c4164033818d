"""How long experiments that compare whole runs would take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from raysyn.data.images import Images
from raysyn.methods.outlook import Stage, units
from raysyn.methods.sweep import Group, Reads, unlike
from raysyn.metrics import pace
from raysyn.metrics.utility import EvalConfig

Seconds = Callable[[Any], float]
"""seconds(config): of a part of one run."""


def judged_seconds(config: EvalConfig, like: Images, *, synthetic: int, test: int) -> tuple[float, float]:
    """Of judging one run's images, and of measuring their distance to real ones alone."""
    shape, classes, real = like.shape, like.classes, len(like)
    useful = sum(pace.judge_seconds(name, config, shape, classes, synthetic, test) for name in config.classifiers)
    far = sum(pace.fidelity_units(config, shape, classes, synthetic=synthetic, real=real))
    return useful + far, far


def experiments(
    config: Any, groups: Mapping[str, Group], reads: Reads, *, begun: Seconds, trained: Seconds, drawn: Seconds,
    point: float, judged: tuple[float, float],
) -> list[Stage]:  # fmt: skip
    """The stage of all that `experiments.compare` would do, an upper bound where parts of it are done already.

    Args: seconds of what comes before fine-tuning, of that, and of drawing, of a run; of drawing at one point of the
    fine-tuning; `judged_seconds`.
    """
    asked, me = config.experiment, reads.whole(config)
    variants = [one.config for one in unlike([one for group in groups.values() for one in group.variants], reads)]
    todo = [one for one in variants if asked.along or reads.whole(one) != me]
    starts = {reads.begun(one): one for one in variants}
    mine = starts.pop(reads.begun(config), None)
    found = [begun(one) for one in starts.values()]
    for one in todo:
        points = asked.along + 1 if asked.along else 0
        # The run itself is trained once more for these points, and neither drawn nor judged again.
        again = reads.whole(one) == me
        found.append(trained(one) + points * point + (0.0 if again else drawn(one)))
        found.append((0.0 if again else judged[0]) + (judged[1] if points else 0.0))
    if asked.stages:
        found += [drawn(one) + judged[0] for one in (*starts.values(), *([] if mine is None else [mine]))]
    return [units("experiments", found)] if found else []
