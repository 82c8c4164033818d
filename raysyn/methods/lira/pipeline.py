"""LiRA (Carlini et al., S&P 2022) against a classifier of the user's: how well can its training images be told?

The classifier comes as a checkpoint, the images it was trained on as the data set's training images; shadow models
are trained as it was. Nothing is released.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from raysyn.attacks.checks import check_classes, check_views
from raysyn.attacks.membership import fingerprint
from raysyn.attacks.shadows import check_enough
from raysyn.attacks.teaching import Architecture, Learns, Recipe, teach
from raysyn.compute.worker import Worker
from raysyn.data.images import Images, load
from raysyn.methods.attack_report import (
    CHOSEN_AFTER,
    attack_sections,
    headline_sentence,
    side_warnings,
    unit_of,
    with_records,
)
from raysyn.methods.common import Setting
from raysyn.methods.exposed import expose
from raysyn.methods.lira import target as lira_target
from raysyn.methods.lira.config import NAME, Config
from raysyn.methods.lira.outlook import check_memory, show_outlook
from raysyn.methods.lira.own_training import check_training
from raysyn.methods.lira.report import story
from raysyn.methods.method import Method, Prepared
from raysyn.models import checkpoints
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, no_dp_section, write_report
from raysyn.screen.console import Console
from raysyn.train.loop import on_cpu
from raysyn.train.own_recipe import OwnRecipe


def prepare(config: Config) -> Prepared:
    """The data set, what identifies the target and what is doubtful about it; ValueError, in one sentence, for what
    does not fit together."""
    dataset = load(config.data)
    train = dataset.train
    check_classes(config.attack, train.classes, "give images of at least 2 classes")
    rehearse(NAME, dataset)
    found, facts, recipe = list[str](), dict[str, str](), config.taught()
    if config.has_network():
        network, other = _fresh(config, train)
        lira_target.check_network(network, train, config.called(), config.imported())
        found = lira_target.check_fresh(network, other, config.called())
    check_views(config.attack, recipe)
    check_enough(config.attack, train, dataset.test, config.seed, recipe)
    if isinstance(recipe, OwnRecipe):
        recipe, doubts = check_training(recipe, train)
        facts, found = {"recipe_source": recipe.made_by.identity}, found + doubts
    if (imported := config.imported()) is not None:
        facts["network"] = imported.source(train.shape[2], train.classes)
    if config.target.checkpoint is not None:
        facts["weights"] = fingerprint(read_weights(config.target.checkpoint, network))
        found += lira_target.doubts(network, train, config.called())
    # Fixed here, once: what is edited while shadow models train is not theirs.
    return Prepared(dataset=dataset, facts=facts, doubts=found, more=(config.architecture(train), recipe))


def run(setting: Setting) -> Report:
    """Take or train the target, train shadow models, attack."""
    config, train, console, folder = setting.config, setting.dataset.train, setting.console, setting.folder
    console.begin([*(["target"] if config.target.checkpoint is None else []), "attack"])
    target, doubts = _target(setting)
    speed, (architecture, recipe) = setting.machines.shadows, setting.more
    if speed.stack is None and not config.stacks():
        speed = replace(speed, stack=1)
    # How a classifier from elsewhere was trained is the user's to say: one view unless told.
    asked = replace(config.attack, queries=config.attack.queries or 1) if config.is_users() else config.attack
    setting_asked = replace(setting, config=replace(config, attack=asked))
    found = setting_asked.attack({"target": target}, train, architecture, speed, recipe)
    # Results that an earlier version stored have none.
    late, alike = found.get("doubts", []), found["likeness"]["target"]
    unlike = lira_target.unlike(alike, trained_here=config.target.checkpoint is None, recipe=recipe)
    told, accuracy = found["attacks"]["target"], found["tested"]["target"]
    headline = headline_sentence(told, config.attack.shadow_models, accuracy)
    # What was found is the last line, and no other.
    console.stage("attack", f"the target and its controls beside {config.attack.shadow_models} shadow models")
    sides = side_warnings(found["attacks"])
    for sentence in late + unlike + sides:
        warn(console, sentence)
    doubts += late
    privacy = no_dp_section([CHOSEN_AFTER])
    tested = {"target": {"accuracy_real_data": found["tested"]["target"]}}
    metrics = {"tested": tested, "likeness": alike, "warnings": doubts + unlike + sides}
    report = setting.report(NAME, privacy=privacy, metrics=metrics, attacks=with_records(found))
    sections = [lira_target.likeness_section(alike, doubts + unlike)]
    sections += attack_sections(found, "Usefulness and membership inference") + expose(setting, found, train)
    told = story(config, len(train), unit_of(told))
    write_report(folder, report, synthetic=None, done=told, sections=sections, headline=headline)
    setting.end(headline, f"Report (stays inside): {folder.shown(folder.report_html)}")
    return report


def _fresh(config: Config, train: Images) -> list[nn.Module]:
    """Two untrained networks, as target and shadow models begin."""
    return [config.architecture().build(train.shape[2], train.classes) for _ in range(2)]


def _target(setting: Setting) -> tuple[Mapping[str, Tensor] | Learns, list[str]]:
    """The weights that are attacked, read or trained, and what is doubtful about them; where a function of the user's
    trains the target, it is trained as it is asked."""
    config, train, (architecture, recipe) = setting.config, setting.dataset.train, setting.more
    if not config.has_network():
        setting.console.stage("target", f"{recipe.name} trains it on {len(train):,} images")
        return Learns(train, config.seed, partial(lira_target.doubts, name=config.called())), []
    model, other = _fresh(config, train)
    doubts = lira_target.check_fresh(model, other, config.called())
    if config.target.checkpoint is not None:
        weights = read_weights(config.target.checkpoint, model)
    else:
        shared = (architecture, train, recipe, config.seed)
        weights = setting.folder.stage("target", lambda: setting.compute.once(fit_target, *shared, name="target"))
        model.load_state_dict(weights)
        setting.console.stage("target", f"a classifier trained here on {len(train):,} images")
    return weights, doubts + lira_target.doubts(model, train, config.called())


def fit_target(worker: Worker, network: Architecture, train: Images, recipe: Recipe, seed: int) -> dict[str, Any]:
    """Weights of a classifier trained on all of `train`."""
    (model,) = teach(worker, network, recipe, [train], len(train), [seed], [seed])
    return on_cpu(model.state_dict())


def read_weights(path: str, network: nn.Module) -> dict[str, Tensor]:
    """The state dict in the file, as it fits the network, with the normalisation before it; see `checkpoints`."""
    checkpoints.read_weights(path, lira_target.bare(network))
    return network.state_dict()


def warn(console: Console, sentence: str) -> None:
    """A line that stands out among those of the stages."""
    console.say(f"WARNING: {sentence}.")


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run, judged_by=("attack",)
)
