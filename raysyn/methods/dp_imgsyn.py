"""DP-ImgSyn: a teacher trained with DP-SGD and noisy statistics of its layers align public images; these and the
teacher's soft labels are released, and look nothing like the private ones.

Reads downwards in the paper's order: price the teacher and its layer statistics, train it and ask for them (3.1), align
public images to them (3.2), soft labels and release (3.3), students and what they know (4).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.attacks.shadows import digest
from raysyn.data import DataConfig, Dataset, Images, load
from raysyn.methods import dp_imgsyn_experiments as experiments
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn_experiments import ExperimentConfig
from raysyn.methods.dp_imgsyn_plane import draw_plane
from raysyn.methods.dp_imgsyn_report import (
    Compared,
    compared,
    in_figures,
    look_alike,
    losses_over_steps,
    plane_section,
    story,
)
from raysyn.methods.dp_imgsyn_units import (
    YARDSTICK,
    Layers,
    Synthesis,
    align_some,
    joined,
    learn,
    measure_distances,
    sum_shard,
)
from raysyn.metrics.dissimilarity import DissimilarityConfig
from raysyn.models import students
from raysyn.models.students import NAMES, student
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy import cost, layer_statistics, sgd
from raysyn.privacy.cost import Budget
from raysyn.privacy.layer_statistics import StatisticsConfig
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.sgd import SGDConfig
from raysyn.public import Public, PublicConfig, load_beside
from raysyn.report import Report, Section, certificate, dp_section, write_release, write_report
from raysyn.train.alignment import AlignmentConfig, Statistics
from raysyn.train.distillation import DistillationConfig
from raysyn.train.naming import Naming

METHOD = "dp_imgsyn"
SUMMARY = "DP-ImgSyn: a DP teacher and its noisy layer statistics align public images; soft labels are released."
SHARD = 1000
"""Private images per unit of the statistics."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that changes the release. Defaults are the paper's for MNIST at epsilon 10 (table 5, A.1.2)."""

    data: DataConfig = field(default_factory=DataConfig)
    public: PublicConfig = field(default_factory=PublicConfig)
    budget: Budget = field(default_factory=Budget)
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    training: SGDConfig = field(
        default_factory=lambda: SGDConfig(
            batch_size=128, epochs=14, noise_multiplicity=1, optimizer="sgd", learning_rate=0.01, beta1=0.0, ema=0.0
        )
    )
    """DP-SGD of the teacher."""
    statistics: StatisticsConfig = field(default_factory=StatisticsConfig)
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)
    synthetic: int | None = None
    """Images to release; by default as many as there are private ones, or public ones if these are fewer."""
    students: tuple[students.Name, ...] = ("resnet18",)
    """Students trained on the release and tested on real images, for the report alone."""
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    dissimilarity: DissimilarityConfig = field(default_factory=DissimilarityConfig)
    experiment: ExperimentConfig = field(default_factory=ExperimentConfig)
    tuned_on: str | None = None
    """Data set whose non-private results shaped these settings; the report lists it as an uncharged choice."""
    seed: int = 0
    """Seed of all that is public: first weights, batches, noise to begin with. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        if self.synthetic is not None and self.synthetic < 10:
            raise ValueError(f"synthetic is {self.synthetic}: give at least 10, or leave it out")
        unknown = sorted(set(self.students) - set(NAMES))
        if unknown or len(set(self.students)) != len(self.students):
            raise ValueError(f"students is {self.students}: name each of {', '.join(NAMES)} at most once")
        if experiments.asked(self) and not self.students:
            raise ValueError("students is empty, but experiments are judged by the first of them: name one")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")


JUDGED_BY = ("students", "distillation", "dissimilarity", "experiment")
"""Settings that change nothing that is released."""


@dataclass(frozen=True)
class Given:
    """What a run is given beside its setting: the public images, None where it begins with noise, and those of its
    experiments by their places."""

    setting: PrivateSetting
    public: Public | None
    publics: dict[int, Public]


def prepare(config: Config) -> tuple[Dataset, Public | None, dict[int, Public], Plan]:
    """Private images, public ones, those of the experiments, and the plan; ValueError in one sentence where any of them
    cannot be."""
    dataset, public = load(config.data), None
    private = dataset.train
    new_teacher(config, private)
    for name in config.students:
        student(name, private.shape, private.classes, config.distillation.width)
    planned = plan(config, len(private))
    for epsilon in config.experiment.epsilons:
        plan(at_epsilon(config, epsilon), len(private))
    blurs = [("alignment.kernel_size", config.alignment.kernel_size if config.alignment.start == "low-pass" else 1)]
    for field_name, size in [*blurs, *(("experiment.kernel_sizes", one) for one in config.experiment.kernel_sizes)]:
        if size // 2 >= min(private.shape[:2]):
            raise ValueError(f"{field_name} is {size}, too large for images of {private.shape[:2]}: lower it")
    # Last, because it may take hours the first time.
    if config.alignment.start == "public":
        public = load_beside(config.data, private, config.public)
    publics = experiments.load_publics(config, private)
    for one in (public, *publics.values()):
        if one is not None and (config.synthetic or 0) > len(one.train):
            raise ValueError(
                f"synthetic is {config.synthetic}, but there are {len(one.train)} public images of {one.name}: lower it"
            )
    return dataset, public, publics, planned


def plan(config: Config, n: int) -> Plan:
    """Price every touch of the `n` private images before the first one.

    The statistics are fixed by the config; the noise multiplier of DP-SGD is what the budget leaves.
    """
    delta, accountant = config.budget.delta_for(n), config.budget.accountant
    asked = config.statistics.cost(n)
    training = cost.calibrate(config.budget.epsilon, delta, accountant, [asked], config.training.cost(n))
    stages = {"teacher": training, "statistics": asked}
    return Plan(stages=stages, delta=delta, accountant=accountant, epsilon_budget=config.budget.epsilon)


def new_teacher(config: Config, private: Images) -> Teacher:
    """The teacher with its first weights, which `config.seed` decides."""
    torch.manual_seed(config.seed)
    return Teacher(config.teacher, private.shape, private.classes)


def run(given: Given) -> Report:
    """Make the release, the certificate and the report; a finished stage is stored and never repeated."""
    setting, public = given.setting, given.public
    config, private, folder, console = setting.config, setting.dataset.train, setting.folder, setting.console

    # A teacher under DP-SGD, and what its layers see of the private images, with noise (3.1).
    teacher, engine = train_teacher(setting)
    wanted = ask(setting, teacher, yardstick_of(config, private, public))
    console.stage("statistics", f"{len(wanted)} layers, ε {setting.ledger.epsilon():.4g} spent in all")

    # From here on every released byte is post-processing of what the ledger was paid for.
    # Public images are aligned (3.2, algorithm 1), and the teacher labels them (3.3).
    released, soft, told = align(setting, teacher, wanted, public)
    privacy = dp_section(setting.plan, setting.ledger, uncharged(config))
    promise = certificate(
        privacy, method=METHOD, name=setting.dataset.name, n=len(private), shape=private.shape,
        class_names=private.class_names,
    )  # fmt: skip
    write_release(folder, released, promise, name=f"synthetic {setting.dataset.name}", soft_labels=soft)

    # Measured on real images: for the report, which stays inside.
    useful = teach(setting, teacher, released, soft)
    alike = compare(setting, released, public)
    tables = experiment(given, teacher, wanted, useful["teacher"]["accuracy"])
    metrics = {"utility": useful, "fidelity": {"distance_to_nearest_private_image": alike}, **in_figures(tables)}
    parts = [losses_over_steps(told, config.alignment), look_alike(alike), *compared(tables)]
    if config.experiment.plane:
        parts.append(in_the_plane(setting))
    report = setting.report(METHOD, privacy=privacy, metrics=metrics, engine=engine)
    write_report(folder, report, synthetic=released, done=story(setting, public), sections=parts)
    console.say(f"Release (may leave): {folder.release}\nReport (stays inside): {folder.report_html}")
    return report


def train_teacher(setting: PrivateSetting) -> tuple[Teacher, Any]:
    """The teacher after DP-SGD, and the engine's choice."""
    config, private, price = setting.config, setting.dataset.train, setting.plan.stages["teacher"]
    teacher = new_teacher(config, private)

    def trained() -> dict[str, Any]:
        release = sgd.train(
            setting.compute, teacher, Naming(), private, config.training, price, setting.folder.secret,
            setting.machines.sgd, name="teacher", epsilon_at=partial(setting.plan.epsilon_after, "teacher"),
        )  # fmt: skip
        return setting.ledger.pay("teacher", release)

    stored = setting.folder.stage("teacher", trained)
    teacher.load_state_dict(stored["ema"])
    setting.console.stage("teacher", f"{price.steps:,} steps of DP-SGD, ε {setting.ledger.epsilon():.4g} spent so far")
    return teacher.cpu().eval().requires_grad_(False), stored["engine"]


def ask(setting: PrivateSetting, teacher: Teacher, yardstick: Tensor) -> Statistics:
    """Noisy means and variances of what goes into each normalisation layer (3.1)."""
    config, private = setting.config, setting.dataset.train
    layers, stream = Layers.of(teacher, yardstick), Stream(setting.folder.secret, "statistics")

    def asked() -> list[list[Tensor]]:
        times_N = layer_statistics.takes_part(config.statistics, stream, len(private))
        shards = [(start, min(start + SHARD, len(private))) for start in range(0, len(private), SHARD)]
        shared = (teacher, private, times_N, layers.scales, config.statistics.clip_norm)
        exact = setting.compute.map(
            sum_shard, shards, name="statistics", shared=shared, sizes=[end - start for start, end in shards]
        )
        release = layer_statistics.layer_statistics(
            [one.numpy() for one in exact], layers.channels, layers.scales, config.statistics, stream, len(private)
        )
        return [list(pair) for pair in setting.ledger.pay("statistics", release)]

    return [(mean, variance) for mean, variance in setting.folder.stage("statistics", asked)]


def align(
    setting: PrivateSetting, teacher: Teacher, wanted: Statistics, public: Public | None
) -> tuple[Images, np.ndarray, np.ndarray]:
    """Released images under their most probable label, soft labels float32 (N, K), and the mean losses of each step."""
    config, private = setting.config, setting.dataset.train
    synthesis = synthesis_of(config, private)
    units = synthesis.units(synthesis.chosen(public, len(private), config.synthetic))
    shared = (teacher, [list(pair) for pair in wanted], public, synthesis)

    def aligned() -> dict[str, Tensor]:
        return joined(
            setting.compute.map(align_some, units, name="align", shared=shared, sizes=[len(some) for _, some in units])
        )

    stored = setting.folder.stage("align", aligned)
    soft = stored["soft"].numpy()
    setting.console.stage("align", f"{len(soft):,} images, {config.alignment.iterations} steps each")
    images = Images(stored["images"].numpy(), soft.argmax(1).astype(np.int64), private.class_names)
    return images, soft, stored["losses"].mean(0).numpy()


def synthesis_of(config: Config, private: Images) -> Synthesis:
    """How the released images are made."""
    return Synthesis(config.alignment, private.shape, private.classes, config.seed)


def yardstick_of(config: Config, private: Images, public: Public | None) -> Tensor:
    """Some images, none of them private, that say how large each layer's inputs are."""
    synthesis = synthesis_of(config, private)
    return synthesis.begin(public, synthesis.chosen(public, len(private), YARDSTICK))


def teach(setting: PrivateSetting, teacher: Teacher, released: Images, soft: np.ndarray) -> dict[str, Any]:
    """Accuracy on the real test images of the teacher and of each student of the release."""
    config = setting.config
    shared = (released, soft, setting.dataset.test, teacher, config.distillation, config.seed)
    units: list[str] = ["teacher", *config.students]
    keys = [f"{who}-{digest(config.distillation)}" for who in units]

    def learned() -> dict[str, Any]:
        return dict(
            zip(units, setting.compute.map(learn, units, name="students", shared=shared, keys=keys), strict=True)
        )

    reached = setting.folder.stage(f"students-{digest(config.students, config.distillation)}", learned)
    words = ", ".join(f"{who} {100 * found['accuracy']:.1f} %" for who, found in reached.items())
    setting.console.stage("students", f"accuracy on real test images: {words}")
    return {who: {**found, "accuracy_real_data": None} for who, found in reached.items()}


def compare(setting: PrivateSetting, released: Images, public: Public | None) -> dict[str, Any]:
    """How far released and raw public images are from their nearest private one."""
    config, dataset = setting.config, setting.dataset
    if not config.dissimilarity.images:
        return {}
    raw = None
    if public is not None:
        some = np.sort(np.random.default_rng(config.seed).permutation(len(public.train))[: config.dissimilarity.images])
        raw = public.train.images_NHWC[some]
    shared = (released, raw, dataset.train, dataset.test, config.dissimilarity, config.seed)
    name = f"dissimilarity-{digest(config.dissimilarity)}"
    (found,) = setting.folder.stage(
        name, lambda: setting.compute.map(measure_distances, [None], name=name, shared=shared)
    )
    setting.console.stage("dissimilarity", "how far released images are from private ones")
    return found


def experiment(given: Given, teacher: Teacher, wanted: Statistics, accuracy: float) -> dict[str, list[Compared]]:
    """{experiment: [(variant, one result per repeat), ...]}: further syntheses and their students, none released."""
    setting, config = given.setting, given.setting.config
    asked, private, test = experiments.asked(config), setting.dataset.train, setting.dataset.test
    if not asked:
        return {}
    own = {"weights": teacher.state_dict(), "layers": [list(pair) for pair in wanted], "accuracy": accuracy}
    repeats = range(config.experiment.repeats)
    units = {
        experiments.unit_key(config, unit): unit
        for group in asked.values() for unit in ((variant, repeat) for variant in group for repeat in repeats)
    }  # fmt: skip

    def found() -> dict[str, Any]:
        budgets = list(dict.fromkeys(e for e in config.experiment.epsilons if e != config.budget.epsilon))
        taught = setting.compute.map(
            experiments.teacher_unit, budgets, name="teachers", keys=[repr(epsilon) for epsilon in budgets],
            shared={
                "config": config, "private": private, "test": test, "teacher": new_teacher(config, private),
                "plans": {epsilon: plan(at_epsilon(config, epsilon), len(private)) for epsilon in budgets},
                "secret": setting.folder.secret, "speed": setting.machines.sgd,
                "yardstick": yardstick_of(config, private, given.public),
            },
        )  # fmt: skip
        teachers = {config.budget.epsilon: own, **dict(zip(budgets, taught, strict=True))}
        answers = setting.compute.map(
            experiments.synthesis_unit, list(units.values()), name="experiments", keys=list(units),
            shared={
                "config": config, "test": test, "teacher": teacher, "teachers": teachers, "count": len(private),
                "publics": given.publics,
            },
        )  # fmt: skip
        return {
            "teachers": {f"{epsilon:g}": one["accuracy"] for epsilon, one in teachers.items()},
            "results": dict(zip(units, answers, strict=True)),
        }

    stored = setting.folder.stage(f"experiments-{digest(list(units))}", found)
    setting.console.stage("experiments", f"{len(units)} syntheses, each with a student")
    return {
        name: [
            (variant, [stored["results"][experiments.unit_key(config, (variant, repeat))] for repeat in repeats])
            for variant in group
        ]
        for name, group in asked.items()
    }


def in_the_plane(setting: PrivateSetting) -> Section:
    """Figure 5, of made-up points."""
    name, seed = f"plane-{setting.config.seed}", setting.config.seed
    (points,) = setting.folder.stage(name, lambda: setting.compute.map(draw_plane, [seed], name=name))
    return plane_section(points)


def at_epsilon(config: Config, epsilon: float) -> Config:
    """The same with another budget."""
    return replace(config, budget=replace(config.budget, epsilon=epsilon))


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    choices = []
    if experiments.asked(config):
        choices.append(
            "the experiments train further teachers and students and test them on private images; nothing of these is "
            "released, but a setting chosen by them is a look at these images"
        )
    if config.tuned_on:
        choices.append(f"the preset's settings were tuned while looking at real results on {config.tuned_on}")
    return choices
