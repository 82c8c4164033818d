"""Knowledge Recycling: the best generator checkpoint, soft labels and tuned generation teach a student whose training
data leaks less (Lomurno and Matteucci 2024).

Reads downwards in the paper's order: teacher (3.1), generator (3.2), checkpoint optimisation (3.4), tuning (3.5),
membership inference attack (3.6). There is no differential privacy here: the certificate says so in its first line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.attacks.checks import check_classes, check_views
from raysyn.attacks.shadows import AttackConfig, check_enough
from raysyn.compute.doorway import Between, Outcome, Search, Space, best_device
from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.methods.attack_report import CHOSEN_AFTER, side_warnings
from raysyn.methods.common import OnAttacked, Setting, declared
from raysyn.methods.knowledge_recycling import report as shown
from raysyn.models.biggan import BigGANConfig
from raysyn.models.resnet import ResNetConfig
from raysyn.report.rehearsal import rehearse
from raysyn.report.release import certificate, state_bytes, write_release
from raysyn.report.report import Report, no_dp_section, percent, write_report
from raysyn.train import gan
from raysyn.train.classifier import hold_out
from raysyn.train.gan import GANConfig, checkpoint_name
from raysyn.train.recipe import RecipeConfig
from raysyn.train.students import (
    Labels,
    Lesson,
    Real,
    RecyclingConfig,
    fit_student,
    fit_teacher,
    recycle,
    try_student,
)

METHOD = "knowledge_recycling"
SUMMARY = "Knowledge Recycling: GAN checkpoints chosen by student accuracy, soft labels, tuned generation, LiRA."
CHUNK = 5000


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    """The search for generation parameters (3.5): TPE with Hyperband pruning."""

    trials: int = 50
    """Students to train; 0 keeps the default parameters."""
    regeneration_rate: tuple[int, int] = (1, 10)
    """Range searched, ends included."""
    cardinality_scale: tuple[int, int] = (1, 10)
    """Range searched, ends included."""
    standard_deviation: tuple[float, float] = (1.0, 2.5)
    """Range searched."""
    first_verdict: int = 4
    """Epochs before a trial may be pruned."""

    def __post_init__(self) -> None:
        if self.trials < 0 or self.first_verdict < 1:
            raise ValueError(
                f"tuning.trials is {self.trials} and tuning.first_verdict {self.first_verdict}: give at least 0 and 1"
            )
        for name, (low, high) in self.ranges().items():
            if not 0 < low <= high:
                raise ValueError(f"tuning.{name} is {low} to {high}: give two rising numbers above 0")

    def ranges(self) -> dict[str, tuple[float, float]]:
        names = ("regeneration_rate", "cardinality_scale", "standard_deviation")
        return {name: getattr(self, name) for name in names}

    def space(self) -> dict[str, Between]:
        ranges = self.ranges()
        return {name: Between(*ranges[name], whole=name != "standard_deviation") for name in ranges}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that changes the result. Defaults are the paper's where it says."""

    data: DataConfig = field(default_factory=DataConfig)
    valid_share: float = 0.1
    """Training images held out for validation where the data has no validation images of its own."""
    classifier: ResNetConfig = field(default_factory=ResNetConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    """Training of teacher, final student and shadow models."""
    search_epochs: int = 100
    """Epochs of the students that judge checkpoints and generation parameters."""
    network: BigGANConfig = field(default_factory=BigGANConfig)
    gan: GANConfig = field(default_factory=GANConfig)
    recycling: RecyclingConfig = field(default_factory=RecyclingConfig)
    compare_labels: tuple[Labels, ...] = ("soft", "hard", "agree", "confident")
    """Kinds of labels to compare on the best checkpoint; none skips the comparison."""
    tuning: TuningConfig = field(default_factory=TuningConfig)
    attack: AttackConfig = field(default_factory=AttackConfig)
    synthetic: int | None = None
    """Images to release; by default as many as the tuned student learns from at a time."""
    tuned_on: str | None = None
    """Data set whose results shaped these settings; the report lists it as an uncharged choice."""
    chosen_among: str | None = None
    """What this run was chosen among by its results, in words such as "12 runs of a leaderboard"; the certificate lists
    it as an uncharged choice."""
    seed: int = 0
    """Seed of everything: weights, order, augmentation, generation, shadow designs."""

    def __post_init__(self) -> None:
        if not 0 < self.valid_share < 1:
            raise ValueError(f"valid_share is {self.valid_share}: give a share between 0 and 1")
        if self.search_epochs < 1:
            raise ValueError(f"search_epochs is {self.search_epochs}: give at least 1")
        if self.synthetic is not None and self.synthetic < 1:
            raise ValueError(f"synthetic is {self.synthetic}: give at least 1, or leave it out")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")


@dataclass(frozen=True, kw_only=True)
class On(OnAttacked):
    """Where a run happens and how fast. Nothing here changes the result beyond rounding, but for the tuning: what it
    tries next depends on which trials have ended."""

    gan_alone: bool | None = None
    """Train the GAN on one worker, with the CPUs of all, instead of on all workers. By default where there are no GPUs:
    the workers exchange the statistics of every normalisation, which takes small networks longer than it saves."""


def prepare(config: Config) -> Dataset:
    """The data set; ValueError in one sentence where the networks cannot take it."""
    dataset = load(config.data)
    gan.new_networks(config.network, dataset.train, config.seed)
    real = split(config, dataset)
    replace(dataset, train=real.train).check_classes(f"valid_share={config.valid_share}", "change it")
    check_classes(config.attack, real.train.classes, "--attack.shadow-models 0 leaves the attack out")
    check_views(config.attack, config.recipe)
    check_enough(config.attack, real.train, dataset.test, config.seed)
    rehearse(METHOD, dataset, soft_labels=True, told=config, uncharged=uncharged(config))
    return dataset


def split(config: Config, dataset: Dataset) -> Real:
    """Training and validation images: the source's own, or a part of its training images held out."""
    if dataset.val is not None:
        return Real(dataset.train, dataset.val)
    return Real(*hold_out(dataset.train, config.valid_share, config.seed))


def run(setting: Setting) -> Report:
    """Teach, choose, tune, attack; a finished stage is stored and never repeated."""
    config, dataset, compute = setting.config, setting.dataset, setting.compute
    folder, console = setting.folder, setting.console
    lesson = Lesson(
        real=split(config, dataset), classifier=config.classifier, network=config.network, recipe=config.recipe,
        recycling=config.recycling, seed=config.seed,
    )  # fmt: skip
    train = lesson.real.train

    # Preliminary step (paper 3.1, 3.2): teacher and generator learn from the same real images.
    teacher = folder.stage("teacher", lambda: compute.once(fit_teacher, lesson, name="teacher"))
    console.stage("teacher", f"accuracy on validation images {percent(teacher['valid_accuracy'])}")
    alone = setting.machines.gan_alone
    fit_gan = partial(
        compute.train, gan.fit, name="generator", alone=compute.device == "cpu" if alone is None else alone
    )
    generator = folder.stage("generator", lambda: fit_gan(config.network, train, config.gan, config.seed))
    console.stage("generator", shown.training(config, generator))

    # Checkpoint optimisation (3.4): a brief student for each checkpoint, soft labels from the teacher.
    lesson = replace(lesson, teacher=teacher["weights"])
    brief = replace(lesson, recipe=replace(config.recipe, epochs=config.search_epochs))
    by_checkpoint = search_stage(setting, "checkpoints", {"checkpoint": generator["kept"]}, brief)
    best = by_checkpoint[0]
    checkpoint = best["params"]["checkpoint"]
    console.stage("checkpoints", f"best CAS {percent(best['score'])}, after epoch {checkpoint} of the generator")
    by_labels: list[dict[str, Any]] = []
    if config.compare_labels:
        by_labels = label_stage(setting, best, brief)
        reached = ", ".join(f"{one['params']['labels']} {percent(one['score'])}" for one in by_labels)
        console.stage("labels", f"CAS by kind of label: {reached}")

    # Tuning (3.5): parameters of generation, then the student that stays.
    chosen, trials = tune(setting, best, brief)
    params = {"checkpoint": checkpoint, **chosen["params"]}
    student = folder.stage("student", lambda: compute.once(fit_student, params, lesson, name="student"))
    console.stage("student", f"accuracy on validation images {percent(student['valid_accuracy'])}")

    # Released are the student and a set drawn as its own were, labelled by the teacher whatever it learned from.
    synthetic, soft = release_set(setting, params, lesson)
    console.stage("synthesise", f"{len(synthetic):,} images with soft labels")
    privacy = no_dp_section(uncharged(config))
    promise = certificate(
        privacy, method=METHOD, name=dataset.name, n=len(dataset.train), shape=train.shape,
        class_names=train.class_names,
    )  # fmt: skip
    weights = {"student.pt": state_bytes(student["weights"], asdict(config.classifier), train)}
    write_release(folder, synthetic, promise, name=f"synthetic {dataset.name}", soft_labels=soft, more=weights)

    # Membership inference attack (3.6), and the only look at the test images.
    judged = evaluate(setting, lesson, {"teacher": teacher["weights"], "student": student["weights"]})
    results = {
        "teacher": teacher["valid_accuracy"], "teacher_by_epoch": teacher["valid_by_epoch"],
        "student": student["valid_accuracy"], "checkpoints": by_checkpoint,
        "generator": generator, "default": best, "labels": by_labels, "tuning": trials, "chosen": chosen,
        "real": len(train), "synthetic": len(synthetic), **judged,
    }  # fmt: skip
    report = setting.report(METHOD, privacy=privacy, metrics=shown.metrics(results), attacks=judged["attacks"])
    story, sections = shown.story(config, results), shown.sections(results)
    write_report(folder, report, synthetic=synthetic, done=story, sections=sections)
    console.say(folder.where("Release"))
    return report


def search_stage(
    setting: Setting, name: str, space: Space, lesson: Lesson, search: Search | None = None
) -> list[dict[str, Any]]:
    """Outcomes of a search over students, best first, as a stored stage; by default every combination is tried."""
    search = search or Search(metric="accuracy", reports=lesson.recipe.epochs)

    def find() -> list[dict[str, Any]]:
        return [asdict(one) for one in setting.compute.search(try_student, space, search, name=name, shared=lesson)]

    return setting.folder.stage(name, find)


def label_stage(setting: Setting, best: dict[str, Any], lesson: Lesson) -> list[dict[str, Any]]:
    """A student of the best checkpoint for each kind of labels, best first; the kind that is taught anyway is known."""
    taught, asked = lesson.recycling.labels, setting.config.compare_labels
    checkpoint = best["params"]["checkpoint"]
    space = {"labels": [labels for labels in asked if labels != taught], "checkpoint": [checkpoint]}
    found = search_stage(setting, "labels", space, lesson) if space["labels"] else []
    known = [best | {"params": {"labels": taught, "checkpoint": checkpoint}}] if taught in asked else []
    return sorted([*known, *found], key=lambda one: -one["score"])


def tune(setting: Setting, best: dict[str, Any], lesson: Lesson) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The best generation parameters, and all trials. The default's CAS is told to the search, if it lies in its range,
    and not measured again."""
    tuning, checkpoint, epochs = setting.config.tuning, best["params"]["checkpoint"], lesson.recipe.epochs
    defaults = {name: getattr(lesson.recycling, name) for name in tuning.ranges()}
    searched = all(low <= defaults[name] <= high for name, (low, high) in tuning.ranges().items())
    default = asdict(Outcome(defaults, best["score"], epochs, False))
    if not tuning.trials:
        return default, []
    search = Search(
        metric="accuracy", reports=epochs, trials=tuning.trials, first_verdict=min(tuning.first_verdict, epochs),
        seed=setting.config.seed, known=(({**defaults, "checkpoint": checkpoint}, best["score"]),) if searched else (),
    )  # fmt: skip
    trials = search_stage(setting, "tuning", {**tuning.space(), "checkpoint": [checkpoint]}, lesson, search)
    trials = [trial | {"params": {name: trial["params"][name] for name in defaults}} for trial in trials]
    chosen = max([default, *(trial for trial in trials if not trial["pruned"])], key=lambda trial: trial["score"])
    gain = 100 * (chosen["score"] - best["score"])
    setting.console.stage("tuning", f"best CAS {percent(chosen['score'])}, {gain:+.1f} points over the defaults")
    return chosen, trials


def release_set(setting: Setting, params: Mapping[str, Any], lesson: Lesson) -> tuple[Images, np.ndarray]:
    """The images to release and the teacher's probabilities (N, K), in chunks fanned out over the workers."""
    compute, train = setting.compute, lesson.real.train
    recycling = replace(lesson.varied(params), labels="soft")
    size = setting.config.synthetic or len(train) * recycling.cardinality_scale
    chunks = [(index, min(CHUNK, size - start)) for index, start in enumerate(range(0, size, CHUNK))]

    def make() -> dict[str, Tensor]:
        shared = (replace(lesson, recycling=recycling), compute.kept(checkpoint_name(params["checkpoint"])))
        parts = compute.map(release_chunk, chunks, name="synthesise", shared=shared)
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    stored = setting.folder.stage("synthesise", make)
    soft = stored["targets"].numpy()
    return Images(stored["images"].numpy(), soft.argmax(1).astype(np.int64), train.class_names), soft


def release_chunk(chunk: tuple[int, int], shared: tuple[Lesson, dict[str, Tensor]]) -> dict[str, Tensor]:
    """One unit of the release: images and soft labels."""
    (index, size), (lesson, weights), device = chunk, shared, best_device()
    generator, teacher = lesson.load_generator(weights, device), lesson.load_teacher(device)
    key = [lesson.seed, 6, index]
    made = recycle(generator, teacher, lesson.real.train.labels_N, size, lesson.recycling, key)
    return {"images": made.images_NHWC, "targets": made.targets_NK}


def evaluate(setting: Setting, lesson: Lesson, models: Mapping[str, dict[str, Tensor]]) -> dict[str, Any]:
    """Accuracy on the real test images, LiRA on teacher and student, and the trade-off of the two."""
    config = setting.config
    found = setting.attack(models, lesson.real.train, config.classifier, setting.machines.shadows)
    if found["attacks"]:
        reached = ", ".join(f"{target} {found['attacks'][target]['auc']:.3f}" for target in models)
        setting.console.stage("attack", f"LiRA with {config.attack.shadow_models} shadow models, AUC: {reached}")
        for sentence in side_warnings(found["attacks"]):
            setting.console.say(f"WARNING: {sentence}.")
    return found


def uncharged(config: Config) -> list[str]:
    """What was chosen by looking at private images; there is no budget that it could be charged to."""
    choices = ["the generator's checkpoint is the one whose student is best on real validation images"]
    if config.tuning.trials:
        choices.append("the generation parameters are those whose student is best on real validation images")
    if config.attack.shadow_models:
        choices.append(CHOSEN_AFTER)
    return [*choices, *declared(config)]


def _paper(name: str) -> Config:
    return Config(data=DataConfig(name=name, size=32), tuned_on="the paper's data sets, by its authors")


_PAPER = (
    *("cifar10", "cifar100", "fashion_mnist", "bloodmnist", "dermamnist", "organcmnist", "organsmnist"),
    *("pneumoniamnist", "retinamnist"),
)

# Two cores: narrow networks, small images, few epochs; the pipeline and its updates are the paper's. The high rates and
# the discriminator's head start are what keeps a GAN this small and this briefly trained from repeating itself.
_CPU = Config(
    classifier=ResNetConfig(width=8),
    recipe=RecipeConfig(epochs=40, batch_size=64, learning_rate=0.2),
    search_epochs=15,
    network=BigGANConfig(channels=16, depth=2, latent=64, embedding=64),
    gan=GANConfig(
        epochs=200, batch_size=64, learning_rate=2e-3, discriminator_learning_rate=3e-3, ema=0.99, checkpoint_every=40
    ),
    tuning=TuningConfig(trials=12, cardinality_scale=(1, 4)),
    attack=AttackConfig(shadow_models=16, design="half"),
)

PRESETS: dict[str, Config] = {
    "quick": replace(
        _CPU,
        recipe=replace(_CPU.recipe, epochs=16),
        search_epochs=6,
        network=BigGANConfig(channels=16, depth=1, latent=32, embedding=32),
        gan=replace(_CPU.gan, epochs=75, checkpoint_every=25, learning_rate=4e-3, discriminator_learning_rate=4e-3),
        tuning=TuningConfig(trials=4, cardinality_scale=(1, 2), first_verdict=2),
        attack=AttackConfig(shadow_models=8, design="half"),
        tuned_on="digits",
    ),
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist", limit=2500, size=16), valid_share=0.2, tuned_on="mnist"),
    "cpu-pneumoniamnist": replace(_CPU, data=DataConfig(name="pneumoniamnist", limit=2500, size=16), tuned_on="mnist"),
    **{f"paper-{name}": _paper(name) for name in _PAPER},
}
