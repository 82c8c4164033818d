"""LiRA (Carlini et al., S&P 2022) against a classifier of the user's: how well can its training images be told?

The classifier comes as a checkpoint, the images it was trained on as the data set's training images; shadow models
are trained as it was. Nothing is released.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.attacks.checks import check_classes
from raysyn.attacks.membership import fingerprint
from raysyn.attacks.shadows import Architecture, AttackConfig, check_enough, make_pool, time_stacks
from raysyn.compute import Worker
from raysyn.console import Console
from raysyn.data import DataConfig, Dataset, Images, load
from raysyn.methods.attack_report import attack_sections
from raysyn.methods.common import OnAttacked, Setting
from raysyn.methods.gan_needs import taught_need
from raysyn.methods.needs import Shape, refuse_too_large
from raysyn.models.imported import Imported
from raysyn.models.resnet import ResNetConfig
from raysyn.rehearsal import rehearse
from raysyn.report import Report, no_dp_section, write_report
from raysyn.train.memory import Need, at_once
from raysyn.train.recipe import RecipeConfig, fit, one_hot

METHOD = "lira"
SUMMARY = "LiRA: train shadow models, then tell a classifier's training images from others."


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """The attacked classifier."""

    checkpoint: str | None = None
    """Its weights: a file that torch.save wrote of a state dict, alone or under the key `weights` (a released
    student.pt is one). Without it a classifier is trained here, to learn how much one like it would leak."""
    model: str | None = None
    """`module:function` that builds its network, called with (channels, classes), for float images (N, C, H, W) in
    [-1, 1]; normalise inside it if it was trained otherwise. By default the ResNet of --classifier."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that changes the result. Shadow models learn by `recipe`: make it the target's."""

    data: DataConfig = field(default_factory=DataConfig)
    """Training images: those that the classifier was trained on. Test images: the non-members."""
    target: TargetConfig = field(default_factory=TargetConfig)
    classifier: ResNetConfig = field(default_factory=ResNetConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    attack: AttackConfig = field(default_factory=lambda: AttackConfig(shadow_models=64, design="half"))
    seed: int = 0
    """Seed of shadow models and designs."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}: give a whole number from 0 to {2**32 - 1}")
        if not self.attack.shadow_models:
            raise ValueError("attack.shadow_models is 0: give at least 2")

    def architecture(self) -> Architecture:
        return Imported(self.target.model) if self.target.model else self.classifier


def prepare(config: Config) -> tuple[Dataset, dict[str, Any]]:
    """The data set, and what identifies the target; ValueError, in one sentence, for what does not fit together."""
    dataset = load(config.data)
    train = dataset.train
    check_classes(config.attack, train.classes, "give images of at least 2 classes")
    rehearse(METHOD, dataset)
    network = config.architecture().build(train.shape[2], train.classes)
    try:
        with torch.inference_mode():
            shape = tuple(network.eval()(torch.zeros(2, train.shape[2], *train.shape[:2])).shape)
    except Exception as error:  # whatever a network that raysyn does not know may raise
        raise ValueError(f"target.model cannot take images of {train.shape}: {_line(error)}") from error
    if shape != (2, train.classes):
        raise ValueError(f"target.model answers 2 images with {shape}: return logits (2, {train.classes})")
    check_enough(config.attack, train, dataset.test, config.seed)
    facts = {"network": Imported(config.target.model).source()} if config.target.model else {}
    if config.target.checkpoint is not None:
        facts["weights"] = fingerprint(read_weights(config.target.checkpoint, network))
    return dataset, facts


def run(setting: Setting) -> Report:
    """Take or train the target, train shadow models, attack."""
    config, train, console, folder = setting.config, setting.dataset.train, setting.console, setting.folder
    network = config.architecture()
    if config.target.checkpoint is None:
        shared = (network, train, config.recipe, config.seed)
        weights = folder.stage("target", lambda: setting.compute.once(fit_target, *shared, name="target"))
        console.stage("target", f"a classifier trained here on {len(train):,} images")
    else:
        weights = read_weights(config.target.checkpoint, network.build(train.shape[2], train.classes))
    speed = setting.machines.shadows
    if config.target.model and speed.stack is None:
        # A network that nobody has seen may not be mapped over: torch.func refuses some layers.
        speed = replace(speed, stack=1)
    found = setting.attack({"target": weights}, train, network, speed)
    told = found["attacks"]["target"]
    area = told["variants"][told["best"]]["auc"]
    headline = (
        f"LiRA with {config.attack.shadow_models} shadow models ranks a training image above another one with "
        f"probability {area['value']:.3f} ({area['low']:.3f} to {area['high']:.3f}), chance being 0.5; the "
        f"classifier's accuracy on real test images is {100 * found['tested']['target']:.1f} %."
    )
    console.stage("attack", headline)
    privacy = no_dp_section(["the attack's variant is the most effective one on these very images, which flatters it"])
    tested = {"target": {"accuracy_real_data": found["tested"]["target"]}}
    report = setting.report(METHOD, privacy=privacy, metrics={"tested": tested}, attacks=found["attacks"])
    sections = attack_sections(found, "Usefulness and membership inference")
    write_report(folder, report, synthetic=None, done=story(config, len(train)), sections=sections, headline=headline)
    console.say(f"Report (stays inside): {folder.shown(folder.report_html)}")
    return report


def check_memory(console: Console, config: Config, dataset: Dataset, machines: OnAttacked) -> None:
    """ValueError, in one sentence with a mend that fits, where a classifier has no place in this machine's memory."""
    train, batch = dataset.train, config.recipe.batch_size
    if config.target.model is None:

        def needs(one: Config, shape: Shape) -> list[Need]:
            return [taught_need("a shadow model", one.architecture(), shape, train.classes, batch)]

        refuse_too_large(console, config, train.shape, needs, machines)


def show_outlook(console: Console, config: Config, dataset: Dataset) -> None:
    """What --dry-run shows: what there is to train, and how long it would take one worker of this machine."""
    pool = make_pool(dataset.train, dataset.test, config.attack.images, config.seed)
    batch = config.recipe.batch_size
    few = max(2, at_once(batch, dataset.train.shape))
    brief = replace(config.recipe, batch_size=few)
    step_s = (
        time_stacks([1], (pool.images, config.attack, config.architecture(), brief, config.seed))["1"] * batch / few
    )
    images = {"shadow models": config.attack.shadow_models * len(pool.images) / 2}
    if config.target.checkpoint is None:
        images = {"target": len(dataset.train), **images}
    column = "hours of one worker with one CPU or GPU"
    steps = {stage: config.recipe.epochs * count / config.recipe.batch_size for stage, count in images.items()}
    console.plan_table(
        [{"stage": stage, column: round(count * step_s / 3600, 3)} for stage, count in steps.items()],
        title=f"Plan for {dataset.name}: {int(pool.members_N.sum()):,} members and {int((~pool.members_N).sum()):,} "
        "non-members",
        caption=f"{config.attack.shadow_models} shadow models, one at a time; from a few measured steps.",
    )


def fit_target(worker: Worker, network: Architecture, train: Images, recipe: RecipeConfig, seed: int) -> dict[str, Any]:
    """Weights of a classifier trained on all of `train`."""
    torch.manual_seed(seed)
    model = network.build(train.shape[2], train.classes)
    examples = one_hot(train.images_NHWC, train.labels_N, train.classes)
    (weights,) = fit(worker, [model], lambda epoch, m: examples, len(train), recipe, [seed])
    return weights


def read_weights(path: str, network: nn.Module) -> dict[str, Tensor]:
    """The state dict in the file, as it fits the network; ValueError, in one sentence, where it does not."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(
            f"target.checkpoint {path} does not exist: name the file of the classifier's weights"
        ) from None
    except Exception as error:  # torch raises whatever the unpickler meets
        raise ValueError(
            f"target.checkpoint {path} is no file of tensors that torch.load(..., weights_only=True) reads: save the "
            "classifier's state_dict() with torch.save"
        ) from error
    for key in ("weights", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    try:
        network.load_state_dict(content)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(
            f"target.checkpoint {path} does not fit the network ({_line(error)}): give --target.model, or --classifier "
            "as it was trained"
        ) from error
    return network.state_dict()


def story(config: Config, members: int) -> list[str]:
    """One plain sentence per stage."""
    first = f"Read the attacked classifier from {config.target.checkpoint}."
    if config.target.checkpoint is None:
        first = f"Trained the attacked classifier on the {members:,} training images."
    return [
        first,
        f"Trained {config.attack.shadow_models} shadow models for {config.recipe.epochs} epochs, each on half of a "
        "pool of training and test images.",
        "Compared the classifier's confidence in each image with that of shadow models that were, and were not, "
        "trained on it.",
    ]


def _line(error: Exception) -> str:
    """The last line of an error, which is where torch says what is wrong."""
    return str(error).strip().splitlines()[-1].strip()


PRESETS: dict[str, Config] = {
    "quick": Config(
        classifier=ResNetConfig(width=8),
        recipe=RecipeConfig(epochs=20, batch_size=64, learning_rate=0.2, trivial_augment=False, mixup=0.0),
        attack=AttackConfig(shadow_models=8, design="half"),
    ),
    "knowledge-recycling": Config(attack=AttackConfig(shadow_models=256)),
}
