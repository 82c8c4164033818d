"""DP-ImgSyn's experiments: which syntheses they compare, and the units that make and judge them.

Every (synthesis, repeat) is one durable unit of a fan-out: experiments that ask for the same one share it, and asking
for more later does only what is missing. Nothing of these is released.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.compute.doorway import digest
from raysyn.data.images import Images
from raysyn.data.public import Public, load_beside
from raysyn.data.streams import PublicConfig
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn.config import Config
from raysyn.methods.dp_imgsyn.units import Synthesis, align_some, joined
from raysyn.methods.soft_config import MOST_SHARED
from raysyn.methods.soft_students import seed_for, teach_student
from raysyn.models.students import Name
from raysyn.models.teacher import Teacher
from raysyn.train.alignment import LOSSES, AlignmentConfig, Start, Statistics

ABLATION = (LOSSES[:1], LOSSES[:2], LOSSES[:3], LOSSES, LOSSES[1:])
"""Terms of the loss that table 8 keeps, row by row."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One synthesis to compare."""

    epsilon: float
    public: int
    """Place of the public set among `publics`; says nothing where noise is the start."""
    alignment: AlignmentConfig
    student: Name
    title: str = ""

    def key(self) -> tuple[Any, ...]:
        """What its result depends on beside the public set: variants that differ elsewhere are one."""
        kernel = self.alignment.kernel_size if self.alignment.start == "low-pass" else 1
        return self.epsilon, replace(self.alignment, kernel_size=kernel), self.student


def public_sets(config: Config) -> list[PublicConfig]:
    """The run's own, then those of the experiments."""
    return [
        config.public,
        *(PublicConfig.of(one, config.public) for one in config.experiment.public),
    ]


def called(sets: Sequence[PublicConfig]) -> list[str]:
    """A name of each for tables: of a path its last part, unless two would be called the same."""
    short = [" and ".join(Path(path).name for path in one.path) if one.path else " and ".join(one.name) for one in sets]
    if len(set(short)) < len(short):
        return [" and ".join(one.path or one.name) for one in sets]
    return short


def public_places(config: Config) -> list[int]:
    """Places of the public sets that the experiments need."""
    every = {one.public for group in asked(config).values() for one in group if one.alignment.start == "public"}
    return sorted(every)


def load_publics(config: Config, private: Images, own: Public | None) -> dict[int, Public]:
    """The public sets that the experiments need, by their places; the run's `own` is there already, unless it begins
    with noise. ValueError in one sentence for one that cannot be."""
    sets = public_sets(config)

    def loaded(place: int) -> Public:
        return own if own and not place else load_beside(config.data, private, sets[place], MOST_SHARED)

    return {place: loaded(place) for place in public_places(config)}


def asked(config: Config) -> dict[str, list[Variant]]:
    """The variants of each experiment that is asked for, by its name."""
    experiment, with_ = config.experiment, partial(_with, config)
    found: dict[str, list[Variant]] = {}
    if experiment.iterations:
        found["iterations"] = [with_(f"k = {k}", {"iterations": k}) for k in sorted(set(experiment.iterations))]
    return found | _over_publics(config) | _over_losses(replace(config, alignment=with_a_step(config.alignment)))


def with_a_step(own: AlignmentConfig) -> AlignmentConfig:
    """The run's own, or with one step where it takes none: else there was nothing to compare without alignment, nor
    terms of the loss."""
    return replace(own, iterations=1) if own.iterations == 0 else own


def _with(
    config: Config, title: str, changes: Mapping[str, Any], epsilon: float | None = None, place: int = 0,
    student: Name | None = None,
) -> Variant:  # fmt: skip
    """The run's own synthesis with changes of its alignment."""
    return Variant(
        epsilon=config.budget.epsilon if epsilon is None else epsilon, public=place,
        alignment=replace(config.alignment, **changes), student=student or config.students[0], title=title,
    )  # fmt: skip


def _over_publics(config: Config) -> dict[str, list[Variant]]:
    """Over public sets and budgets."""
    experiment, own, with_ = config.experiment, config.alignment, partial(_with, config)
    found: dict[str, list[Variant]] = {}
    names = called(public_sets(config))
    places = [
        (epsilon, place, f"ε {epsilon:g}, {name}")
        for epsilon in dict.fromkeys((config.budget.epsilon, *experiment.epsilons))
        for place, name in enumerate(names)
    ]
    if experiment.public or experiment.epsilons:
        steps = {0, with_a_step(own).iterations, *experiment.iterations}
        found["public"] = [
            with_(f"{title}, k = {k}", {"iterations": k, "start": "public"}, epsilon, place)
            for epsilon, place, title in places
            for k in sorted(steps, key=lambda k: math.inf if k is None else k)  # not known in a dry run
        ]
    if experiment.students:
        found["students"] = [
            with_(f"{title}, {student}", {"start": "public"}, epsilon, place, student)
            for epsilon, place, title in places
            for student in config.students
        ]
    return found


def _over_losses(config: Config) -> dict[str, list[Variant]]:
    """Over terms of the loss, their weights, and what alignment begins with."""
    experiment, own, with_ = config.experiment, config.alignment, partial(_with, config)
    found: dict[str, list[Variant]] = {}
    starts: tuple[Start, ...] = ("public", "gaussian")
    if experiment.losses:
        found["losses"] = [
            with_(f"{start}: {' + '.join(kept)}", {"start": start} | dict.fromkeys(set(LOSSES) - set(kept), 0.0))
            for start in starts
            for kept in ABLATION
        ]
    if experiment.factors:
        found["weights"] = [
            with_(f"{start}: {name} times {factor:g}", {"start": start, name: factor * getattr(own, name)})
            for start in starts
            for name in LOSSES
            for factor in experiment.factors
        ]
    if experiment.starts or experiment.kernel_sizes:
        kinds: list[tuple[str, dict[str, Any]]] = [(start, {"start": start}) for start in starts]
        kinds += [
            (f"low-pass, {size} pixels", {"start": "low-pass", "kernel_size": size}) for size in experiment.kernel_sizes
        ]
        found["starts"] = [
            with_(f"{title}, k = {k}", {"iterations": k} | changes)
            for title, changes in kinds
            for k in dict.fromkeys((0, own.iterations))
        ]
    return found


Unit = tuple[Variant, int]
"""A synthesis, and which repeat of it."""
Compared = tuple[Variant, Sequence[Mapping[str, Any]]]
"""A synthesis, and what each of its repeats came to."""


def compare(
    setting: PrivateSetting, teachers: Mapping[float, tuple[Teacher, Statistics]], publics: Mapping[int, Public]
) -> dict[str, list[Compared]]:
    """Every synthesis and its student: {experiment: [(variant, one result per repeat), ...]}."""
    config, groups = setting.config, asked(setting.config)
    prints = {place: public.train.fingerprint() for place, public in publics.items()}
    # As many everywhere, or tables would compare numbers of images too.
    most = min([setting.dataset.train.units, *(len(public.train) for public in publics.values())])
    count = config.synthetic or most
    repeats = range(config.experiment.repeats)
    units = {
        unit_key(config, (variant, repeat), prints, count): (variant, repeat)
        for group in groups.values() for variant in group for repeat in repeats
    }  # fmt: skip
    shared = {
        "config": config, "test": setting.dataset.test, "count": count, "publics": publics,
        "teachers": {epsilon: (one, [list(pair) for pair in asked]) for epsilon, (one, asked) in teachers.items()},
    }  # fmt: skip
    results = setting.folder.stage(
        f"experiments-{digest(list(units))}",
        lambda: dict(zip(units, setting.compute.map(
            synthesis_unit, list(units.values()), name="experiments", shared=shared, keys=list(units)
        ), strict=True)),
    )  # fmt: skip
    setting.console.stage("experiments", f"{len(units)} syntheses, each with a student")
    return {
        name: [(one, [results[unit_key(config, (one, repeat), prints, count)] for repeat in repeats]) for one in group]
        for name, group in groups.items()
    }


def unit_key(config: Config, unit: Unit, prints: Mapping[int, str], count: int) -> str:
    """Under which a unit's result is found again: what it depends on beside what a run folder is known by."""
    variant, repeat = unit
    public = prints[variant.public] if variant.alignment.start == "public" else None
    return digest(variant.key(), public, repeat, count, config.distillation)


def synthesis_unit(unit: Unit, shared: Mapping[str, Any]) -> dict[str, Any]:
    """One unit: a synthesis and its student, {"accuracy", "width", "images", "losses": (steps + 1, 5)}."""
    (variant, repeat), config, test = unit, shared["config"], shared["test"]
    teacher, wanted = shared["teachers"][variant.epsilon]
    public = shared["publics"][variant.public] if variant.alignment.start == "public" else None
    # The run's own seed first.
    seed = seed_for(config.seed, 12, repeat) if repeat else config.seed
    synthesis = Synthesis(variant.alignment, test.shape, test.classes, seed)
    chosen = synthesis.chosen(public, len(test), shared["count"])
    made = joined([align_some(one, (teacher, wanted, public, synthesis)) for one in synthesis.units(chosen)])
    soft = made["soft"].numpy()
    images = Images(made["images"].numpy(), soft.argmax(1).astype(np.int64), test.class_names)
    found = teach_student(variant.student, (images, soft, test, config.distillation, seed))
    return {**found, "images": len(images), "losses": made["losses"].mean(0)}
