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
from raysyn.compute import best_device
from raysyn.data import DataConfig, Dataset, Images, load
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_imgsyn_report import look_alike, losses_over_steps, story
from raysyn.metrics.dissimilarity import DissimilarityConfig, dissimilarity
from raysyn.models import students
from raysyn.models.students import NAMES, student
from raysyn.models.teacher import Teacher, TeacherConfig
from raysyn.privacy import cost, layer_statistics, sgd
from raysyn.privacy.cost import Budget
from raysyn.privacy.layer_statistics import StatisticsConfig
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.sgd import SGDConfig
from raysyn.public import Public, PublicConfig, load_public, refuse_private
from raysyn.report import Report, certificate, dp_section, write_release, write_report
from raysyn.train import alignment
from raysyn.train.alignment import AlignmentConfig, Statistics
from raysyn.train.classifier import accuracy, as_float
from raysyn.train.diffusion import to_images
from raysyn.train.distillation import DistillationConfig, distill
from raysyn.train.naming import Naming
from raysyn.train.norm_inputs import norm_inputs

METHOD = "dp_imgsyn"
SUMMARY = "DP-ImgSyn: a DP teacher and its noisy layer statistics align public images; soft labels are released."
SHARD = 1000
"""Private images per unit of the statistics."""
BATCHES = 5
"""Batches per unit of the alignment."""


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
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")


JUDGED_BY = ("students", "distillation", "dissimilarity")
"""Settings that change nothing that is released."""


@dataclass(frozen=True)
class Given:
    """What a run is given beside its setting: the public images, None where it begins with noise."""

    setting: PrivateSetting
    public: Public | None


def prepare(config: Config) -> tuple[Dataset, Public | None, Plan]:
    """Private and public images, and the plan; ValueError in one sentence where any of them cannot be."""
    dataset, public = load(config.data), None
    private = dataset.train
    new_teacher(config, private)
    for name in config.students:
        student(name, private.shape, private.classes, config.distillation.width)
    planned = plan(config, len(private))
    if config.alignment.start == "public":
        refuse_private(config.data, config.public)
        public = load_public(config.public, private.shape)
        if (config.synthetic or 0) > len(public.train):
            raise ValueError(
                f"synthetic is {config.synthetic}, but there are {len(public.train)} public images: lower it"
            )
    return dataset, public, planned


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
    wanted = ask(setting, teacher, public)
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
    metrics = {"utility": useful, "fidelity": {"distance_to_nearest_private_image": alike}}
    report = setting.report(METHOD, privacy=privacy, metrics=metrics, engine=engine)
    write_report(
        folder, report, synthetic=released, done=story(setting, public),
        sections=[losses_over_steps(told, config.alignment), look_alike(alike)],
    )  # fmt: skip
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
    return teacher.eval().requires_grad_(False), stored["engine"]


def ask(setting: PrivateSetting, teacher: Teacher, public: Public | None) -> Statistics:
    """Noisy means and variances of what goes into each normalisation layer (3.1)."""
    config, private = setting.config, setting.dataset.train
    begun = begin(config, public, private.shape, np.arange(200 if public is None else min(200, len(public.train))), 0)
    scales = layer_statistics.scales(layer_statistics.moments(teacher.cpu(), begun))
    with norm_inputs(teacher) as seen, torch.no_grad():
        teacher(begun[:1])
    layers = [h.shape[1] for h in seen]
    stream = Stream(setting.folder.secret, "statistics")

    def asked() -> list[list[Tensor]]:
        times_N = layer_statistics.takes_part(config.statistics, stream, len(private))
        shards = [(start, min(start + SHARD, len(private))) for start in range(0, len(private), SHARD)]
        shared = (teacher, private, times_N, scales, config.statistics.clip_norm)
        exact = setting.compute.map(
            sum_shard, shards, name="statistics", shared=shared, sizes=[end - start for start, end in shards]
        )
        sums = [one.numpy() for one in exact]
        release = layer_statistics.layer_statistics(sums, layers, scales, config.statistics, stream, len(private))
        return [list(pair) for pair in setting.ledger.pay("statistics", release)]

    return [(mean, variance) for mean, variance in setting.folder.stage("statistics", asked)]


def sum_shard(shard: tuple[int, int], shared: tuple[Teacher, Images, np.ndarray, list[float], float]) -> Tensor:
    """One unit of the statistics: exact sums over some private images, which stay inside."""
    (start, end), (teacher, private, times_N, scales, clip_norm) = shard, shared
    device, total = best_device(), torch.zeros(())
    teacher = teacher.to(device)
    for at in range(start, end, 250):
        part = slice(at, min(at + 250, end))
        pixels = as_float(torch.tensor(private.images_NHWC[part], device=device))
        u = layer_statistics.clipped(layer_statistics.moments(teacher, pixels), scales, clip_norm)
        total = total + (u * torch.tensor(times_N[part], device=device)[:, None]).sum(0).cpu()
    return total


def begin(config: Config, public: Public | None, shape: tuple[int, int, int], chosen: np.ndarray, seed: int) -> Tensor:
    """Images to align, float32 (N, C, H, W): the chosen public ones in [-1, 1], or noise."""
    if public is None:
        return alignment.noise(config.alignment.start, len(chosen), shape, seed)
    return as_float(torch.from_numpy(public.train.images_NHWC[chosen]))


def align(
    setting: PrivateSetting, teacher: Teacher, wanted: Statistics, public: Public | None
) -> tuple[Images, np.ndarray, np.ndarray]:
    """Released images under their most probable label, soft labels float32 (N, K), and the mean losses of each step."""
    config, private = setting.config, setting.dataset.train
    there = len(private) if public is None else min(len(public.train), len(private))
    # In random order, because the file of a public set may be ordered by class, and a batch should see many.
    rng = np.random.default_rng([config.seed, 7])
    chosen = rng.permutation(len(private) if public is None else len(public.train))[: config.synthetic or there]
    size = config.alignment.batch_size * BATCHES
    units = [(at, chosen[at : at + size]) for at in range(0, len(chosen), size)]
    shared = (teacher.cpu(), [list(pair) for pair in wanted], public, config, private.shape, private.classes)

    def aligned() -> dict[str, Tensor]:
        parts = setting.compute.map(
            align_some, units, name="align", shared=shared, sizes=[len(some) for _, some in units]
        )
        return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}

    stored = setting.folder.stage("align", aligned)
    soft = stored["soft"].numpy()
    setting.console.stage("align", f"{len(soft):,} images in {config.alignment.iterations} steps each")
    images = Images(stored["images"].numpy(), soft.argmax(1).astype(np.int64), private.class_names)
    return images, soft, stored["losses"].mean(0).numpy()


LOSSES = ("feature", "classification", "total_variation", "l2", "total")


def align_some(
    unit: tuple[int, np.ndarray],
    shared: tuple[Teacher, list[list[Tensor]], Public | None, Config, tuple[int, int, int], int],
) -> dict[str, Tensor]:
    """One unit of the alignment: some batches, as they are released, with the teacher's probabilities."""
    (at, chosen), (teacher, stored, public, config, shape, classes) = unit, shared
    device = best_device()
    teacher = teacher.to(device).to(memory_format=torch.channels_last)
    wanted = [(mean.to(device), variance.to(device)) for mean, variance in stored]
    images, labels, told = [], [], []
    for start in range(0, len(chosen), config.alignment.batch_size):
        some = chosen[start : start + config.alignment.batch_size]
        seed = int(np.random.SeedSequence([config.seed, at, start]).generate_state(1)[0])
        x = begin(config, public, shape, some, seed).to(device)
        y = alignment.targets(len(x), classes).to(device)
        x, history = alignment.align(teacher, x, y, wanted, config.alignment)
        # What leaves are whole numbers: the teacher labels those, and not what they were rounded from.
        pixels = to_images(x.float())
        with torch.no_grad():
            labels.append(teacher(as_float(pixels)).float().softmax(1).cpu())
        images.append(pixels.cpu())
        told.append(
            [
                [step[name] / len(x) if name in ("total_variation", "l2") else step[name] for name in LOSSES]
                for step in history
            ]
        )
    return {"images": torch.cat(images), "soft": torch.cat(labels), "losses": torch.tensor(told)}


def teach(setting: PrivateSetting, teacher: Teacher, released: Images, soft: np.ndarray) -> dict[str, Any]:
    """Accuracy on the real test images of the teacher and of each student of the release."""
    config = setting.config
    shared = (released, soft, setting.dataset.test, teacher.cpu(), config.distillation, config.seed)
    units: list[str] = ["teacher", *config.students]
    name = f"students-{digest(config.students, config.distillation)}"

    def learned() -> dict[str, float]:
        found = setting.compute.map(learn, units, name=name, shared=shared)
        return dict(zip(units, found, strict=True))

    reached = setting.folder.stage(name, learned)
    words = ", ".join(f"{who} {100 * accuracy:.1f} %" for who, accuracy in reached.items())
    setting.console.stage("students", f"accuracy on real test images: {words}")
    return {who: {"accuracy": accuracy, "accuracy_real_data": None} for who, accuracy in reached.items()}


def learn(name: str, shared: tuple[Images, np.ndarray, Images, Teacher, DistillationConfig, int]) -> float:
    """One unit: a student trained on the release, or the teacher itself, tested on real images."""
    released, soft, test, teacher, config, seed = shared
    device = best_device()
    if name == "teacher":
        return accuracy(teacher.to(device), test)
    with torch.random.fork_rng():  # dropout and first weights draw from the global generator: leave it as found
        torch.manual_seed(seed)
        network = student(name, released.shape, released.classes, config.width)  # type: ignore[arg-type]
        return accuracy(distill(network, released.images_NHWC, soft, config, seed, device), test)


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
    return found


def measure_distances(
    _: None, shared: tuple[Images, np.ndarray | None, Images, Images, DissimilarityConfig, int]
) -> dict[str, Any]:
    """`dissimilarity` as the one unit of a fan-out."""
    return dissimilarity(*shared)


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    if config.tuned_on:
        return [f"the preset's settings were tuned while looking at real results on {config.tuned_on}"]
    return []


def _paper(
    data: DataConfig, epsilon: float, epochs: float, batch_size: int, learning_rate: float, clip: float,
    statistics: tuple[float, int], iterations: int, **differences: Any,
) -> Config:  # fmt: skip
    """A row of table 5, and its iterations from table 2. The paper's sigma would, with statistics charged as they must
    be, exceed its epsilon or leave some of it: the noise multiplier is what the budget leaves."""
    large = data.size is not None
    base = Config(
        data=data, public=PublicConfig(name=()), budget=Budget(epsilon=epsilon, delta=1e-5),
        training=SGDConfig(
            batch_size=batch_size, epochs=epochs, noise_multiplicity=1, optimizer="sgd", learning_rate=learning_rate,
            max_grad_norm=clip, beta1=0.0, ema=0.0,
        ),
        statistics=StatisticsConfig(
            epochs=statistics[0], batch_size=statistics[1], noise_multiplier=max(2.0, 20 / epsilon)
        ),
        alignment=AlignmentConfig(iterations=iterations, batch_size=60 if large else 80),
        students=NAMES,
        distillation=DistillationConfig(temperature=10.0 if large else 100.0),
        tuned_on="the data sets of the paper, by its authors",
    )  # fmt: skip
    return replace(base, **differences)


_MNIST, _FASHION, _CIFAR = (DataConfig(name=name) for name in ("mnist", "fashion_mnist", "cifar10"))
_CELEBA, _IMAGENETTE = DataConfig(name=None, size=64), DataConfig(name=None, size=224)
_CPU = Config(
    teacher=TeacherConfig(width=16),
    training=SGDConfig(batch_size=512, epochs=6, noise_multiplicity=1, learning_rate=1e-3, ema=0.95),
    students=("resnet18",),
    synthetic=10_000,
    distillation=DistillationConfig(epochs=20, width=0.25),
    dissimilarity=DissimilarityConfig(images=1_000, private=10_000, epochs=5),
)

PRESETS: dict[str, Config] = {
    "quick": Config(
        teacher=TeacherConfig(width=8),
        training=SGDConfig(batch_size=256, epochs=30, noise_multiplicity=1, learning_rate=2e-3, ema=0.95),
        distillation=DistillationConfig(epochs=40, batch_size=64, width=0.125),
        dissimilarity=DissimilarityConfig(images=500, epochs=10),
        tuned_on="digits",
    ),
    "cpu-mnist": replace(_CPU, data=_MNIST, public=PublicConfig(name=("kmnist",)), tuned_on="MNIST"),
    "cpu-fashion_mnist": replace(_CPU, data=_FASHION, public=PublicConfig(name=("mnist",)), tuned_on="Fashion-MNIST"),
    "paper-mnist-eps1": _paper(_MNIST, 1, 4, 128, 0.01, 1.0, (2, 64), 10),
    "paper-mnist-eps10": _paper(_MNIST, 10, 14, 128, 0.01, 1.0, (2, 64), 10),
    "paper-fashion_mnist-eps1": _paper(_FASHION, 1, 30, 50, 0.01, 1.2, (2, 64), 10),
    "paper-fashion_mnist-eps10": _paper(_FASHION, 10, 20, 128, 0.01, 1.2, (2, 64), 10),
    "paper-celeba_hair-eps1": _paper(_CELEBA, 1, 18, 128, 0.001, 1.0, (5, 128), 1),
    "paper-celeba_hair-eps10": _paper(_CELEBA, 10, 22, 128, 0.001, 1.0, (3, 128), 1),
    "paper-celeba_gender-eps1": _paper(_CELEBA, 1, 18, 128, 0.001, 1.0, (4, 128), 1),
    "paper-celeba_gender-eps10": _paper(_CELEBA, 10, 22, 128, 0.001, 1.0, (4, 128), 1),
    "paper-cifar10-eps10": _paper(_CIFAR, 10, 12, 128, 0.001, 1.0, (5, 128), 20),
    "paper-imagenette-eps105": _paper(_IMAGENETTE, 105, 57, 8, 0.001, 1.0, (3, 8), 20),
}
