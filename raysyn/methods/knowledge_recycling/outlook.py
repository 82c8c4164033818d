"""What --dry-run shows of Knowledge Recycling: what there is to train, and how long that would take."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch

from raysyn.attacks.pool import make_pool
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.attack_outlook import attack_stage, recipe_pace
from raysyn.methods.gan_needs import game_needs, taught_need
from raysyn.methods.knowledge_recycling.config import Config, On, split
from raysyn.methods.machines import OnAttacked
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, per_worker, refuse_too_large
from raysyn.methods.outlook import Stage, alone, attacking, floor_seconds, made_up, show, start_up, units
from raysyn.models.biggan import Discriminator, Generator
from raysyn.screen.console import Console
from raysyn.train import gan
from raysyn.train.memory import Need, at_once
from raysyn.train.outlook import Stopwatch, one_thread, seconds

FILTERED = {"agree": 2, "confident": 2}
"""How often images are drawn, where labels drop some, as a rule."""


def check_memory(console: Console, config: Config, prepared: Prepared, machines: OnAttacked) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    train = prepared.dataset.train
    refuse_too_large(console, config, train.shape, partial(needs, train=train), machines)


def needs(config: Config, shape: Shape, machines: OnAttacked, *, train: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the training ones."""
    generator = Generator(config.network, shape, train.classes)
    discriminator = Discriminator(config.network, shape, train.classes)
    batch = per_worker(config.gan.batch_size, machines)
    return [
        taught_need("teacher", config.classifier, shape, train.classes, config.recipe.batch_size),
        *game_needs(
            generator, discriminator, [generator, discriminator], config.network.latent, shape, batch, "generator"
        ),
    ]


def stages(config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """Every stage of a run, from moments' measurements that read no image. Searches are counted with nothing pruned and
    sets of middling size: Hyperband usually halves that."""
    dataset, real = prepared.dataset, split(config, prepared.dataset)
    n, valid, recycling, tuning = len(real.train), len(real.valid), config.recycling, config.tuning
    pace, (gan_s, drawn_s) = recipe_pace(config.classifier, config.recipe, real.train), gan_pace(config, real.train)

    def student(epochs: int, scale: float, every: float, rounds: int = 1) -> float:
        """Of one student, whose images are drawn and labelled anew every few epochs."""
        size = round(n * scale)
        return pace.training(size, epochs, valid) + math.ceil(epochs / every) * rounds * size * (drawn_s + pace.ask_s)

    default = recycling.cardinality_scale, recycling.regeneration_rate
    likely = default
    if tuning.trials:
        likely = sum(tuning.cardinality_scale) / 2, sum(tuning.regeneration_rate) / 2  # type: ignore[assignment]
    generator_s = config.gan.epochs * math.ceil(n / config.gan.batch_size) * gan_s
    tried = student(config.search_epochs, *default)
    found = [
        start_up(machines),
        alone("teacher", pace.training(n, config.recipe.epochs, valid)),
        alone("generator", generator_s) if gan_alone(machines) else Stage("generator", generator_s),
        units("checkpoints", len(config.gan.kept()) * [tried]),
    ]
    if kinds := [labels for labels in config.compare_labels if labels != recycling.labels]:
        filtered = [student(config.search_epochs, *default, FILTERED.get(labels, 1)) for labels in kinds]
        found.append(units("labels", filtered))
    if tuning.trials:
        found.append(units("tuning", tuning.trials * [student(config.search_epochs, *likely)]))
    found.append(alone("student", student(config.recipe.epochs, *likely)))
    released = config.synthetic or round(real.train.units * likely[0])
    found.append(Stage("synthesise", released * (drawn_s + pace.ask_s)))
    asked_s = len(dataset.test) * pace.ask_s
    if config.floor:
        found.append(alone("floor", floor_seconds(real.train, n)))
        found.append(alone("floor_student", pace.training(n, config.recipe.epochs, valid)))
    found.append(units("utility", (3 if config.floor else 2) * [asked_s]))
    members = others = 0
    if config.attack.shadow_models:
        inside = make_pool(real.train, dataset.test, config.attack.images, config.seed).members_N
        members, others = int(inside.sum()), int((~inside).sum())
    sizes = {"members": members, "others": others, "test": len(dataset.test), "targets": 2}
    near = attacking(config.distances, real.train, synthetic=released, test=len(dataset.test))
    return [*found, attack_stage(pace, config.attack, config.recipe, machines.shadows, **sizes), *near]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """The stages as a table, which are answered too: what there is to train, and how long it would take."""
    dataset, real = prepared.dataset, split(config, prepared.dataset)
    found = stages(config, prepared, machines)
    show(
        console, found, machines,
        title=f"Plan for {dataset.name}: {len(real.train):,} training and {len(real.valid):,} validation images, "
        "no differential privacy",
        caption=f"{len(config.gan.kept())} checkpoints, {config.tuning.trials} trials, {config.attack.shadow_models} "
        "shadow models; trials are counted whole, of which Hyperband usually saves half.",
    )  # fmt: skip
    return found


def gan_alone(machines: On) -> bool:
    """Whether one worker trains the generator, see `On.gan_alone`."""
    return best_device().type == "cpu" if machines.gan_alone is None else machines.gan_alone


@one_thread()
def gan_pace(config: Config, like: Images) -> tuple[float, float]:
    """Seconds of one training step of the GAN, and of drawing one image; from fewer images where these are large."""
    batch = min(64, config.gan.batch_size)
    size, clock = max(2, at_once(batch, like.shape)), Stopwatch()
    images = made_up(like, size)
    # Epochs of one step each, from the generator's first step to its second.
    steps = config.gan.discriminator_steps
    few = replace(config.gan, epochs=2 * steps, checkpoint_every=2 * steps, batch_size=size)
    gan.fit(clock, config.network, images, few, 0)
    step_s = (clock.times[-1] - clock.times[steps - 1]) / steps * config.gan.batch_size / size
    generator, _ = gan.new_networks(config.network, images, 0)
    asked = torch.from_numpy(images.labels_N)
    return step_s, seconds(lambda: gan.draw(generator.to(clock.device), asked, 1.0, 0)) / size
