"""DP-ImgSyn: a teacher trained with DP-SGD and noisy statistics of its layers align public images; these and the
teacher's soft labels are released, which need not look like the private ones.

Reads downwards in the paper's order: price the teacher and its layer statistics, train it and ask for them (3.1), align
public images to them (3.2), soft labels and release (3.3), students and what they know (4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from raysyn.data.images import Images, load
from raysyn.data.public import Public, load_beside
from raysyn.methods import canary_attack
from raysyn.methods.common import PrivateSetting
from raysyn.methods.distances import attack_by_distances
from raysyn.methods.dp_imgsyn import experiments
from raysyn.methods.dp_imgsyn.config import JUDGED_BY, NAME, Config, new_teacher, plan
from raysyn.methods.dp_imgsyn.experiments import Compared
from raysyn.methods.dp_imgsyn.judging import compare, teach
from raysyn.methods.dp_imgsyn.knowing import knows, unmeasured
from raysyn.methods.dp_imgsyn.outlook import check_memory, show_outlook
from raysyn.methods.dp_imgsyn.plane import draw_plane
from raysyn.methods.dp_imgsyn.report import (
    about_teacher,
    asked_of_layers,
    compared,
    in_figures,
    look_alike,
    losses_over_steps,
    plane_section,
    story,
    uncharged,
)  # fmt: skip
from raysyn.methods.dp_imgsyn.units import (
    Publics,
    Synthesis,
    align_some,
    joined,
    mechanisms,
    sum_shard,
    synthesis_of,
    teacher_accuracy,
    tried,
)  # fmt: skip
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import few_steps, refuse_one_class
from raysyn.methods.releasing import release
from raysyn.methods.soft_config import MOST_SHARED
from raysyn.methods.synthesis import evaluate, judging
from raysyn.methods.weighing import surprise
from raysyn.metrics.checks import check_measures
from raysyn.models.students import student
from raysyn.models.teacher import Teacher
from raysyn.privacy import engines, sgd, units
from raysyn.privacy.ledger import Plan, Release
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import layer_statistics
from raysyn.privacy.queries.layer_statistics import Layers
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, Section, write_report
from raysyn.train.alignment import LOSSES, AlignmentConfig, Statistics, enough_steps, why_so_many
from raysyn.train.naming import Naming

SHARD = 1000
"""Private images per unit of the statistics."""
YARDSTICK = 200
"""Images, no private ones, that say how large each layer's inputs are."""


def prepare(config: Config) -> Prepared:
    """Private images, public ones, those of the experiments, and the plan; ValueError in one sentence where any of them
    cannot be."""
    dataset, public = load(config.data), None
    private = dataset.train
    refuse_one_class(private)
    engines.refuse_unsupported(new_teacher(config, private))
    for name in config.students:
        student(name, private.shape, private.classes, config.distillation.width)
    sets = config.public.sets() if config.reads_public else ()
    rehearse(NAME, dataset, soft_labels=True, told=config, uncharged=uncharged(config), sets=sets)
    planned = units.planned(private, partial(plan, config))
    for epsilon in config.experiment.epsilons:
        units.planned(private, partial(plan, config, epsilon=epsilon))
    blurs = [("alignment.kernel_size", config.alignment.kernel_size if config.alignment.start == "low-pass" else 1)]
    for field_name, size in [*blurs, *(("experiment.kernel_sizes", one) for one in config.experiment.kernel_sizes)]:
        if size // 2 >= min(private.shape[:2]):
            raise ValueError(f"{field_name} is {size}, too large for images of {private.shape[:2]}: lower it")
    # Last, because it may take hours the first time.
    if config.reads_public:
        public = load_beside(config.data, private, config.public, MOST_SHARED)
    publics = experiments.load_publics(config, private, public)
    for one in (public, *publics.values()):
        if one is not None and (config.synthetic or 0) > len(one.train):
            raise ValueError(
                f"synthetic is {config.synthetic}, but there are {len(one.train)} public images of {one.name}: lower it"
            )
    released = len(synthesis_of(config, private).chosen(public, private.units, config.synthetic))
    check_measures(config.eval, private.classes, synthetic=released, train=len(private))
    # Other public images are another run, and so is another rule for the steps: what is stored has its own number.
    facts = {} if public is None else {"public": public.train.fingerprint()}
    facts |= {"alignment.stop": "noise"} if config.alignment.iterations is None else {}
    doubts = few_steps(planned, "teacher", private.units, "training")
    return Prepared(dataset=dataset, plan=planned, more=Publics(public, publics), facts=facts, doubts=doubts)


def run(setting: PrivateSetting) -> Report:
    """Make the release, the certificate and the report; a finished stage is stored and never repeated."""
    public: Public | None = setting.more.own
    config, private, folder, console = setting.config, setting.dataset.train, setting.folder, setting.console

    console.begin([*stages_of(config), *canary_attack.stages(setting)])

    # A teacher under DP-SGD, and what its layers see of the private images, with noise (3.1).
    teacher, engine = train_teacher(setting, setting.plan, setting.ledger.pay)
    layers = Layers.of(teacher, yardstick(config, private, public))
    wanted = ask(setting, teacher, layers, setting.plan, setting.ledger.pay)
    noise = layers.noise_to_signal(config.statistics, setting.plan.stages["statistics"], private.units)
    console.stage("statistics", f"{len(wanted)} layers; noise at most {max(noise):.2g} times what images show")

    # From here on every released byte is post-processing of what the ledger was paid for.
    # Public images are aligned (3.2, algorithm 1), and the teacher labels them (3.3).
    explained = layers.noise_alone(config.statistics, setting.plan.stages["statistics"], private.units, wanted)
    config = replace(config, alignment=with_steps(setting, teacher, wanted, public, explained))
    setting = replace(setting, config=config)
    synthesis = synthesis_of(config, private)
    chosen = synthesis.chosen(public, private.units, config.synthetic)
    released, soft, told = align(setting, teacher, wanted, public, synthesis, chosen)
    changed = bool(config.alignment.iterations) or config.alignment.start != "public"
    images = [] if public is None else [public.described("changed" if changed else "unchanged")]
    privacy = release(setting, NAME, released, uncharged(config), soft_labels=soft, public_images=images)

    # Measured on real images: for the report, which stays inside.
    students, own, floor = teach(setting, teacher, released, soft)
    judged = evaluate(setting, released, config.eval, students, floor)
    attacks = attack_by_distances(setting, released, config.eval.distances)
    alike = compare(setting, released, public, chosen)
    teachers, tables = experiment(setting, teacher, wanted, own)
    metrics = {
        **judged, "teacher": {"accuracy": own},
        "distance_to_nearest_private_image": {space: alike[space] for space in ("pixels", "features") if alike},
        **in_figures(teachers, tables),
    }  # fmt: skip
    parts = [
        about_teacher(config, own), asked_of_layers(config, layers, noise), *losses_over_steps(told, config.alignment),
        *look_alike(alike), *compared(teachers, tables), *([in_the_plane(setting)] if config.experiment.plane else []),
    ]  # fmt: skip
    audit = canary_attack.attack(setting, released, privacy, partial(surprise, teacher))
    attacks, parts = canary_attack.with_audit(attacks, audit), [*canary_attack.sections_of(audit), *parts]
    report = setting.report(NAME, privacy=privacy, metrics=metrics, attacks=attacks, engine=engine)
    verdict = write_report(folder, report, synthetic=released, done=story(setting, public), sections=parts)
    setting.end(verdict, folder.where(f"Release ({canary_attack.may_leave(audit, True)})"))
    canary_attack.check(audit)
    return report


def stages_of(config: Config) -> list[str]:
    """What the console counts, in this order; further teachers of experiments are not."""
    asked = {
        "teacher": True, "statistics": True, "steps": config.alignment.iterations is None, "align": True,
        **dict.fromkeys(judging(config.eval, config.students), True),
        "dissimilarity": config.dissimilarity.images > 0, "experiments": config.experiment.trains(),
        "plane": config.experiment.plane,
    }  # fmt: skip
    return [name for name, is_so in asked.items() if is_so]


Pay = Callable[[str, Release[Any]], Any]
"""pay(stage, release): the answer, once it has been paid for."""


def train_teacher(setting: PrivateSetting, priced: Plan, pay: Pay, before: str = "") -> tuple[Teacher, Any]:
    """The teacher after DP-SGD, and the engine's choice; what stands `before` its name tells the stages and the noise
    of an experiment's teachers from those of the released one."""
    config, private, price = setting.config, setting.dataset.train, priced.stages["teacher"]
    teacher, name = new_teacher(config, private), f"{before}teacher"

    def trained() -> dict[str, Any]:
        release = sgd.train(
            setting.compute, teacher, Naming(), private, config.training, price, setting.folder.secret,
            setting.machines.sgd, name=name, epsilon_at=partial(priced.epsilon_after, "teacher"),
        )  # fmt: skip
        return pay("teacher", release)

    stored = setting.folder.stage(name, trained)
    teacher.load_state_dict(stored["ema"])
    setting.console.stage(name, f"{price.steps:,} steps of DP-SGD at noise multiplier {price.noise_multiplier:.3g}")
    return teacher.cpu().eval().requires_grad_(False), stored["engine"]


def ask(
    setting: PrivateSetting, teacher: Teacher, layers: Layers, priced: Plan, pay: Pay, before: str = ""
) -> Statistics:
    """Noisy means and variances of what goes into each normalisation layer (3.1)."""
    config, private, price = setting.config, setting.dataset.train, priced.stages["statistics"]
    name = f"{before}statistics"
    stream = Stream(setting.folder.secret, name)

    def asked() -> list[list[Tensor]]:
        times_N = layer_statistics.takes_part(price, stream, private)
        shards = [(start, min(start + SHARD, len(private))) for start in range(0, len(private), SHARD)]
        shared = (teacher, private, times_N, layers.scales, config.statistics.clip_norm)
        exact = setting.compute.map(
            sum_shard, shards, name=name, shared=shared, sizes=[end - start for start, end in shards]
        )
        release = layer_statistics.layer_statistics(
            [one.numpy() for one in exact], layers, config.statistics, price, stream, private.units
        )
        return [list(pair) for pair in pay("statistics", release)]

    return [(mean, variance) for mean, variance in setting.folder.stage(name, asked)]


def with_steps(
    setting: PrivateSetting, teacher: Teacher, wanted: Statistics, public: Public | None, noise: float
) -> AlignmentConfig:
    """The alignment with its number of steps: where none is given, chosen on a few batches, and no more than down to
    the `noise` of what is wanted."""
    own = setting.config.alignment
    if own.iterations is not None:
        return own
    private = setting.dataset.train
    synthesis = synthesis_of(setting.config, private)
    found = setting.folder.stage(
        "steps", lambda: tried(setting.compute, teacher, wanted, public, synthesis, len(private), noise)
    )
    losses, distances = (found["losses"][..., term].mean(0).tolist() for term in (-1, LOSSES.index("feature")))
    steps = enough_steps(losses, distances, noise)
    setting.console.stage("steps", f"k = {steps}, {why_so_many(steps, distances[steps], noise)}")
    return replace(own, iterations=steps)


def align(
    setting: PrivateSetting, teacher: Teacher, wanted: Statistics, public: Public | None, synthesis: Synthesis,
    chosen: np.ndarray,
) -> tuple[Images, np.ndarray, np.ndarray]:  # fmt: skip
    """Released images under their most probable label, soft labels float32 (N, K), and the mean losses of each step."""
    units = synthesis.units(chosen)
    shared = (teacher, [list(pair) for pair in wanted], public, synthesis)

    def aligned() -> dict[str, Tensor]:
        return joined(
            setting.compute.map(align_some, units, name="align", shared=shared, sizes=[len(some) for _, some in units])
        )

    stored = setting.folder.stage("align", aligned)
    soft = stored["soft"].numpy()
    setting.console.stage("align", f"{len(soft):,} images, {synthesis.alignment.iterations} steps each")
    hard, names = soft.argmax(1).astype(np.int64), setting.dataset.train.class_names
    return Images(stored["images"].numpy(), hard, names), soft, stored["losses"].mean(0).numpy()


def yardstick(config: Config, private: Images, public: Public | None) -> Tensor:
    """Some images, none of them private, that say how large each layer's inputs are."""
    synthesis = synthesis_of(config, private)
    return synthesis.begin(public, synthesis.chosen(public, len(private), YARDSTICK))


def experiment(
    setting: PrivateSetting, teacher: Teacher, wanted: Statistics, accuracy: float
) -> tuple[dict[float, float], dict[str, list[Compared]]]:
    """Accuracy of the teacher at each budget, and {experiment: [(variant, one result per repeat), ...]}: further
    teachers, syntheses and students, none released."""
    config, private, given = setting.config, setting.dataset.train, setting.more
    if not experiments.asked(config):
        return {}, {}
    reached, teachers = {config.budget.epsilon: accuracy}, {config.budget.epsilon: (teacher, wanted)}
    for epsilon in dict.fromkeys(config.experiment.epsilons):
        if epsilon in teachers:
            continue
        # Paid for by nothing, because nothing of it is released: for the report, which stays inside.
        priced, pay = units.planned(private, partial(plan, config, epsilon=epsilon)), lambda _, release: release.value
        before = f"experiments-{epsilon!r}-"
        other, _ = train_teacher(setting, priced, pay, before)
        layers = Layers.of(other, yardstick(config, private, given.own))
        teachers[epsilon] = other, ask(setting, other, layers, priced, pay, before)
        (reached[epsilon],) = setting.compute.map(
            teacher_accuracy, [None], name=f"{before}teacher-accuracy", shared=(other, setting.dataset.test)
        )
    return reached, experiments.compare(setting, teachers, given.of_experiments)


def in_the_plane(setting: PrivateSetting) -> Section:
    """Figure 5, of made-up points."""
    name, seed = f"plane-{setting.config.seed}", setting.config.seed
    (points,) = setting.folder.stage(name, lambda: setting.compute.map(draw_plane, [seed], name=name))
    setting.console.stage("plane", "what alignment does to points, as a picture")
    return plane_section(points)


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run, judged_by=JUDGED_BY,
    uncharged=uncharged, knows=knows, unmeasured=unmeasured, audited=True, mechanisms=mechanisms)  # fmt: skip
