"""LiRA (Carlini et al., S&P 2022) against a classifier of the user's: how well can its training images be told?

The classifier comes as a checkpoint, the images it was trained on as the data set's training images; shadow models
are trained as it was. Nothing is released.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.attacks.checks import check_classes, check_views
from raysyn.attacks.membership import fingerprint
from raysyn.attacks.pool import make_pool
from raysyn.attacks.shadows import Architecture, AttackConfig, check_enough, time_stacks
from raysyn.compute.doorway import Worker
from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.methods.attack_report import CHOSEN_AFTER, attack_sections, headline_sentence, side_warnings
from raysyn.methods.common import OnAttacked, Setting
from raysyn.methods.gan_needs import taught_need
from raysyn.methods.lira import target as lira_target
from raysyn.methods.needs import Shape, refuse_too_large
from raysyn.models import checkpoints
from raysyn.models.imported import Imported
from raysyn.models.normalised import Normalised
from raysyn.models.resnet import ResNetConfig
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, no_dp_section, write_report
from raysyn.screen.console import Console
from raysyn.train.memory import Need, at_once
from raysyn.train.recipe import RecipeConfig, fit, one_hot

METHOD = "lira"
SUMMARY = "LiRA: train shadow models, then tell a classifier's training images from others."


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """The attacked classifier."""

    checkpoint: str | None = None
    """Its weights: a state dict in a file of torch.save, alone or under a key such as `model_state_dict` (a released
    student.pt is one), or in safetensors; what DataParallel, Opacus or torch.compile put before names is taken off.
    Without it a classifier is trained here, to learn how much one like it would leak."""
    model: str | None = None
    """`module:function` that builds its network, untrained, called with (channels, classes): float images (N, C, H, W)
    in [-1, 1], or as --target.mean and --target.std say, to logits. `mynets:build` is found as mynets.py in the folder
    that the command starts in, or as an installed module. By default the ResNet of --classifier."""
    mean: tuple[float, ...] | None = None
    """Normalisation of its images, of pixel values in [0, 1]: (x - mean) / std, one value per channel or one for all.
    It is put before the classifier and before its shadow models. By default 0.5 and 0.5, which is [-1, 1]."""
    std: tuple[float, ...] | None = None
    """See --target.mean."""

    def __post_init__(self) -> None:
        if (self.mean is None) != (self.std is None):
            there, missing = ("mean", "std") if self.std is None else ("std", "mean")
            raise ValueError(f"target.{there} is given without target.{missing}: give both, or neither")
        for name, values in (("mean", self.mean or ()), ("std", self.std or ())):
            if not all(0 <= value <= 1 for value in values) or (name == "std" and 0 in values):
                raise ValueError(
                    f"target.{name} is {' '.join(f'{value:g}' for value in values)}, but is that of pixel values in "
                    f"[0, 1]: give {'above' if name == 'std' else 'from'} 0 to 1, dividing by 255 what is of [0, 255]"
                )


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

    def imported(self) -> Imported | None:
        return Imported(self.target.model) if self.target.model else None

    def is_users(self) -> bool:
        """Whether the classifier was trained elsewhere; a network of the user's without weights is trained here."""
        return self.target.checkpoint is not None

    def architecture(self, images: Images | None = None) -> Architecture:
        """Of target and shadow models; for answers that are stored, told from another network by that for `images`."""
        network = (imported := self.imported()) or self.classifier
        if imported is not None and images is not None:
            network = imported.identified(images.shape[2], images.classes)
        if self.target.mean is None or self.target.std is None:
            return network
        # Shadow models too: they learn as the target did, from what it saw.
        return Normalised(network, self.target.mean, self.target.std)

    def called(self) -> str:
        """What errors and warnings call the target."""
        return f"target.model {self.target.model}" if self.target.model else "the classifier"


def prepare(config: Config, warn: Callable[[str], None] = lambda sentence: None) -> tuple[Dataset, dict[str, Any]]:
    """The data set, and what identifies the target; ValueError, in one sentence, for what does not fit together.

    `warn` is told what is doubtful about the target.
    """
    dataset = load(config.data)
    train = dataset.train
    check_classes(config.attack, train.classes, "give images of at least 2 classes")
    rehearse(METHOD, dataset)
    network, other = _fresh(config, train)
    lira_target.check_network(network, train, config.called(), config.imported())
    found = lira_target.check_fresh(network, other, config.called())
    check_views(config.attack, config.recipe)
    check_enough(config.attack, train, dataset.test, config.seed)
    facts = {"network": imported.source(train.shape[2], train.classes)} if (imported := config.imported()) else {}
    if config.target.checkpoint is not None:
        facts["weights"] = fingerprint(read_weights(config.target.checkpoint, network))
        found += lira_target.doubts(network, train, config.called())
    for sentence in found:
        warn(sentence)
    return dataset, facts


def run(setting: Setting) -> Report:
    """Take or train the target, train shadow models, attack."""
    config, train, console, folder = setting.config, setting.dataset.train, setting.console, setting.folder
    model, other = _fresh(config, train)
    doubts = lira_target.check_fresh(model, other, config.called())
    weights = _target(setting, model)
    doubts += lira_target.doubts(model, train, config.called())
    speed = setting.machines.shadows
    if config.target.model and speed.stack is None:
        # A network that nobody has seen may not be mapped over: torch.func refuses some layers.
        speed = replace(speed, stack=1)
    # How a classifier from elsewhere was trained is the user's to say: one view unless told.
    asked = replace(config.attack, queries=config.attack.queries or 1) if config.is_users() else config.attack
    setting_asked = replace(setting, config=replace(config, attack=asked))
    found = setting_asked.attack({"target": weights}, train, config.architecture(train), speed)
    alike = found["likeness"]["target"]
    unlike = lira_target.unlike(alike, trained_here=config.target.checkpoint is None)
    told, accuracy = found["attacks"]["target"], found["tested"]["target"]
    headline = headline_sentence(told, config.attack.shadow_models, accuracy)
    console.stage("attack", headline)
    sides = side_warnings(found["attacks"])
    for sentence in unlike + sides:
        warn(console, sentence)
    privacy = no_dp_section([CHOSEN_AFTER])
    tested = {"target": {"accuracy_real_data": found["tested"]["target"]}}
    metrics = {"tested": tested, "likeness": alike, "warnings": doubts + unlike + sides}
    report = setting.report(METHOD, privacy=privacy, metrics=metrics, attacks=found["attacks"])
    sections = [lira_target.likeness_section(alike, doubts + unlike)]
    sections += attack_sections(found, "Usefulness and membership inference")
    write_report(folder, report, synthetic=None, done=story(config, len(train)), sections=sections, headline=headline)
    console.say(f"Report (stays inside): {folder.shown(folder.report_html)}")
    return report


def _fresh(config: Config, train: Images) -> list[nn.Module]:
    """Two untrained networks, as target and shadow models begin."""
    return [config.architecture().build(train.shape[2], train.classes) for _ in range(2)]


def _target(setting: Setting, model: nn.Module) -> dict[str, Tensor]:
    """The weights that are attacked, read or trained; `model` takes them on."""
    config, train = setting.config, setting.dataset.train
    if config.target.checkpoint is not None:
        return read_weights(config.target.checkpoint, model)
    shared = (config.architecture(), train, config.recipe, config.seed)
    weights = setting.folder.stage("target", lambda: setting.compute.once(fit_target, *shared, name="target"))
    model.load_state_dict(weights)
    setting.console.stage("target", f"a classifier trained here on {len(train):,} images")
    return weights


def check_memory(console: Console, config: Config, dataset: Dataset, machines: OnAttacked) -> None:
    """ValueError, in one sentence with a mend that fits, where a classifier has no place in this machine's memory."""
    train, batch = dataset.train, config.recipe.batch_size
    if config.target.model is None:

        def needs(one: Config, shape: Shape, _: OnAttacked) -> list[Need]:
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
    left_out = sum(sum(side.values()) for side in pool.left_out.values())
    images = {"shadow models": config.attack.shadow_models * len(pool.images) / 2}
    images["control models"] = int(pool.members_N.sum())
    if config.target.checkpoint is None:
        images = {"target": len(dataset.train), **images}
    column = "hours of one worker with one CPU or GPU"
    steps = {stage: config.recipe.epochs * count / config.recipe.batch_size for stage, count in images.items()}
    console.plan_table(
        [{"stage": stage, column: round(count * step_s / 3600, 3)} for stage, count in steps.items()],
        title=f"Plan for {dataset.name}: {int(pool.members_N.sum()):,} members and {int((~pool.members_N).sum()):,} "
        "non-members",
        caption=f"{config.attack.shadow_models} shadow models, one at a time; from a few measured steps. "
        f"{left_out:,} images are left out: both sides get one mix of classes, and no image lies on both.",
    )


def fit_target(worker: Worker, network: Architecture, train: Images, recipe: RecipeConfig, seed: int) -> dict[str, Any]:
    """Weights of a classifier trained on all of `train`."""
    torch.manual_seed(seed)
    model = network.build(train.shape[2], train.classes)
    examples = one_hot(train.images_NHWC, train.labels_N, train.classes)
    (weights,) = fit(worker, [model], lambda epoch, m: examples, len(train), recipe, [seed])
    return weights


def read_weights(path: str, network: nn.Module) -> dict[str, Tensor]:
    """The state dict in the file, as it fits the network, with the normalisation before it; see `checkpoints`."""
    checkpoints.read_weights(path, lira_target.bare(network))
    return network.state_dict()


def warn(console: Console, sentence: str) -> None:
    """A line that stands out among those of the stages."""
    console.say(f"WARNING: {sentence}.")


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
        "Did the same to two control models, each trained alike on half of the members, and the members it never saw: "
        "what the attack reads where nothing is remembered.",
    ]


PRESETS: dict[str, Config] = {
    "quick": Config(
        classifier=ResNetConfig(width=8),
        recipe=RecipeConfig(epochs=20, batch_size=64, learning_rate=0.2, trivial_augment=False, mixup=0.0),
        attack=AttackConfig(shadow_models=8, design="half"),
    ),
    "knowledge-recycling": Config(attack=AttackConfig(shadow_models=256)),
}
