"""What `raysyn look` says of a run on a source: how it would read it, which method and preset fit, or why it would be
refused."""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import replace
from typing import Any

from raysyn.data.images import DataConfig, facts_and_units
from raysyn.data.reading import Broken, Reading
from raysyn.data.survey import CLEAR, Survey
from raysyn.report import looked

EPSILON = 3.0
"""Of the run that is thought of."""
PRINTED = "--colour rgb"
"""What the fault of an image for print names as its mend."""

Known = tuple[tuple[int, tuple[int, int, int], int], int, str]
"""(number of training images, shape, classes), of how many persons, or else images, and which of the two."""


def facts_of(config: DataConfig) -> Known | str:
    """What a run would know of it at its beginning, or why it would be refused."""
    try:
        return facts_and_units(config)
    except ValueError as error:
        # Who looks need not be told to.
        return str(error).removesuffix(Reading.of(config).looked_at()) if isinstance(error, Broken) else str(error)


def _flags(config: DataConfig, group: str = "data.") -> str:
    """Those that a run would read it with, beside its name or path, with a space before each."""
    flag = ""
    columns = (("image", config.image_column), ("label", config.label_column), ("person", config.person_column))
    for what, name in columns:
        flag += f" --{group}{what}-column {shlex.quote(name)}" if name is not None else ""
    flag += f" --{group}person-pattern {shlex.quote(config.person_pattern)}" if config.person_pattern else ""
    flag += f" --{group}test-share {config.test_share:g}" if config.test_share else ""
    flag += f" --{group}crop {config.crop}" if config.crop is not None else ""
    flag += f" --{group}size {config.size}" if config.size is not None else ""
    flag += f" --{group}fit {config.fit}" if config.fit is not None else ""
    flag += "" if config.labels else f" --{group}no-labels"
    flag += f" --{group}multi-label {config.multi_label}" if config.multi_label else ""
    flag += f" --{group}label-order {shlex.join(config.label_order)}" if config.label_order else ""
    for name, value in Reading.of(config).given():
        words = map(_typed, value if isinstance(value, tuple) else (value,))
        flag += f" --{group}{name.replace('_', '-')} {shlex.join(words)}"
    return flag


def _typed(value: float | str) -> str:
    """As it is typed: a number in no more digits than it takes, and in no fewer."""
    if isinstance(value, str):
        return value
    return short if float(short := f"{value:g}") == value else repr(value)


def fitting(given: str, config: DataConfig, facts: Known | str, found: Survey, assumed: bool) -> list[str]:
    """Which method and preset fit, by the rule of `raysyn auto` and for its usual promise and time; none where a run
    would be refused. `assumed` is whether nobody has said how large the share of test images shall be."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from raysyn.methods.auto import choice, told
    from raysyn.methods.auto.config import Config
    from raysyn.methods.auto.settings import Facts
    from raysyn.methods.machines import On
    from raysyn.methods.outlook import workers

    if isinstance(facts, str):
        return []
    if looked.differing(found, facts[0][1][2], config.size, config.how(), config.skip_broken):
        return ["No method is told: such a run would be refused."]
    (_, shape, classes), units, unit = facts
    delta, few = told.few(units, unit)
    asked = Config(epsilon=EPSILON, delta=delta)
    fixed = f"ε {EPSILON:g} and {asked.minutes:g} minutes"
    fixed += f" (with --data.test-share {config.test_share:g}, which is assumed here)" if assumed else ""
    case = choice.Case(
        facts=Facts(n=units, shape=shape, classes=classes), budget=asked.budget(), minutes=asked.minutes,
        workers=workers(On()) or 1,
    )  # fmt: skip
    try:
        picked = choice.choose(case).picked
    except ValueError as error:
        return [*few, f"With {fixed} no method fits: {error}."]
    flag = "" if delta is None else f" --delta {delta:g}"
    return [
        *few,
        f"Which method fits, for {fixed}: {picked.method}, preset {picked.setting.preset} changed for these images, "
        f"{told.how_long(picked, case)}. Why, and what to expect: raysyn auto "
        f"{shlex.quote(given)}{_flags(config)} --epsilon {EPSILON:g}{flag} --dry-run",
    ]


def again(config: DataConfig, assumed: DataConfig, facts: Known | str, found: Survey) -> list[str]:
    """The flags to look again with, where these settle all that a run of `config` would be refused for; `facts` are of
    what is `assumed` where these are not known of it."""
    fit, faults = config.how(), found.faults
    more: dict[str, Any] = {}
    if config.size is None and looked.how_many_sizes(found, fit) > 1:
        more["size"] = looked.advised_size(found)[0]
        more |= {"fit": "pad"} if fit is None and any(width != height for width, height in found.whole) else {}
    if config.background is None and any(CLEAR in fault for fault in faults):
        more["background"] = "white"
    both = len(looked.kinds(found, over="background" in more)) > 1
    if config.colour == "auto" and (both or any(PRINTED in one for one in faults)):
        more["colour"] = "rgb"
    if (broken := found.broken.total()) > config.skip_broken:
        more["skip_broken"] = broken
    settled = broken + sum(n for fault, n in faults.items() if CLEAR in fault or PRINTED in fault)
    if not more or settled < faults.total():
        return []
    # That nothing is known may be for want of test images, or for the first image.
    maybe = (replace(one, **more) for one in ((config, assumed) if isinstance(facts, str) else (assumed,)))
    then = next((one for one in maybe if not isinstance(facts_of(one), str)), None)
    return [] if then is None else [f"Look again with:{_flags(then, '')}"]


def read_as(config: DataConfig, facts: Known | str, found: Survey) -> str:
    """How a run would read it, with no flag of --data. but its name or path."""
    flag = f"--data.name {config.name}" if config.path is None else f"--data.path {shlex.quote(config.path)}"
    flag += _flags(config)
    if isinstance(facts, str):
        return f"A run with {flag} would be refused: {facts}."
    (n, (height, width, channels), classes), *_ = facts
    # Of a release of raysyn a share is held out.
    left_out = found.broken if config.skip_broken else Counter[str]()
    test = found.classes.get("test", Counter()).total() - left_out["test"]
    tested = test or found.classes["train"].total() - left_out["train"] - n
    what = f"{n:,} training and {tested:,} test images of {width} x {height} pixels, {looked.KINDS[channels]}"
    many = f"{classes:,} class{'es' if classes > 1 else ''}"
    if not (differing := looked.differing(found, channels, config.size, config.how(), config.skip_broken)):
        return f"A run with {flag} reads {what}, {many}."
    return (
        f"A run with {flag} begins to read {what}, {many}, and is refused at the first that {' or '.join(differing)}."
    )
