"""What --dry-run adds to PrivImage's plan: how long each stage would take here, and how much memory."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

import torch
from torch import nn

from raysyn.compute.doorway import digest
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.audit_outlook import auditing, by_weights
from raysyn.methods.denoising import losses
from raysyn.methods.experiment_outlook import experiments as compared
from raysyn.methods.experiment_outlook import judged_seconds
from raysyn.methods.gan_needs import game_needs
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import (
    Shape,
    classifier_needs,
    denoiser_needs,
    naming_need,
    per_worker,
    private_need,
    refuse_too_large,
)
from raysyn.methods.outlook import (
    Stage,
    again_seconds,
    alone,
    central_seconds,
    counting,
    drawing_seconds,
    each_seconds,
    judging,
    learning_seconds,
    made_up,
    paced,
    private_seconds,
    show,
    start_up,
)
from raysyn.methods.privimage.config import Config
from raysyn.methods.privimage.experiments import PARTS, asked
from raysyn.methods.privimage.models import new_denoiser, new_gan, others, task_of
from raysyn.methods.privimage.stages import before
from raysyn.methods.public_classifier import new_query
from raysyn.methods.snapshots import outlook as snapshots
from raysyn.methods.weighing import Weighed, doubts
from raysyn.metrics.pace import plane_seconds
from raysyn.models import denoiser
from raysyn.models.biggan import Generator
from raysyn.models.private_discriminator import PrivateDiscriminator
from raysyn.privacy.trial import SGDSpeed
from raysyn.screen.console import Console
from raysyn.train import gan
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import few
from raysyn.train.loop import LoopConfig
from raysyn.train.memory import Need, at_once
from raysyn.train.naming import Naming
from raysyn.train.outlook import Stopwatch, measure, one_thread, shortest
from raysyn.train.outlook import seconds as taken
from raysyn.train.private_gan import PrivateGame


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    measured = partial(needs, private=private, public=prepared.more)
    refuse_too_large(console, config, private.shape, measured, machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images, public: Public | None) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the sensitive ones."""
    different = {_alike(one.config): one.config for group in asked(config, public, private).values()
                 for one in group.variants}  # fmt: skip
    found = list[Need]()
    for one in (different | {_alike(config): config}).values():
        pretrained = None if one.pretraining == "none" else public
        found += gan_needs(one, shape, private, pretrained is not None, machines)
        if one.generator == "diffusion":
            found += diffusion_needs(one, shape, private, pretrained, machines)
        if pretrained is not None and one.pretraining == "selected":
            batch = per_worker(min(one.query.batch_size, len(pretrained.train)), machines)
            found.append(naming_need("query", new_query(one, pretrained), shape, batch))
    return found + classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic))


def playing_seconds(config: Config, private: Images, most: int) -> float:
    """Per image of a step of the generator beside DP-SGD, by one of up to `most` images."""
    own, clock = config.gan, Stopwatch()
    generator, discriminator = gan.new_networks(own.network, private, config.seed, own.discriminator)

    def play(few: int) -> float:
        game = PrivateGame(generator, own.play(few), config.seed)
        game.join(clock)
        return taken(lambda: game.step(clock, discriminator.to(clock.device), 0), repeats=1)

    return paced(play, most)


def diffusion_needs(
    config: Config, shape: Shape, private: Images, public: Public | None, machines: On
) -> list[Need]:  # fmt: skip
    """Of PRIVIMAGE+D."""
    rows, tuning, plain = private.classes + others(config, public), config.finetune, dict[str, tuple[int, int]]()
    if public is not None:
        plain["pretrain"] = per_worker(config.pretrain.batch_size, machines), config.pretrain.copies
    if config.warms_up():
        plain["warmup"] = per_worker(config.warmup.batch_size, machines), config.warmup.copies
    if not config.private:
        plain["finetune"] = per_worker(tuning.batch_size, machines), tuning.noise_multiplicity

    def new() -> nn.Module:
        return denoiser.new_denoiser(config.network, shape[2], shape[:2], rows)

    return denoiser_needs(new, shape, plain, tuning if config.private else None, machines)


def gan_needs(config: Config, shape: Shape, private: Images, pretrains: bool, machines: On) -> list[Need]:
    """Of PRIVIMAGE+G."""
    if config.generator != "gan":
        return []
    own, tuning = config.gan, config.finetune
    latent = own.network.latent

    def new() -> tuple[Generator, PrivateDiscriminator]:
        classes = private.classes
        return Generator(own.network, shape, classes), PrivateDiscriminator(own.discriminator, shape, classes)

    batches = {"pretrain": own.pretrain.batch_size} if pretrains else {}
    found = []
    for stage, batch in {**batches, "finetune": tuning.batch_size}.items():
        generator, discriminator = new()
        found += game_needs(
            generator, discriminator, [generator, discriminator], latent, shape, per_worker(batch, machines), stage
        )
    if config.private:
        generator, discriminator = new()
        task = PrivateGame(generator, own.play(1), config.seed)
        found.append(private_need(lambda: discriminator, task, shape, tuning, machines, 2))
    return found


def stages(config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """Every stage of a run, from moments' measurements that read no image."""
    private, public = prepared.dataset.train, prepared.more
    counts = {"synthetic": config.synthetic, "test": len(prepared.dataset.test)}
    found = [start_up(machines), *making(config, private, public, machines)]
    found += judging(config.eval, private, **counts)
    found.append(alone("plane", plane_seconds(config.eval, private.shape, private.classes, **counts)))
    found += experiments(config, private, public, found, machines, test=counts["test"])
    return found + auditing(config, prepared, config.synthetic, by_weights(weighed(config, private, public), private))


def weighed(config: Config, private: Images, public: Public | None) -> Weighed:
    """What canaries are guessed about by, with its first weights."""
    if config.generator == "gan":
        generator, discriminator = new_gan(config, private)
        return partial(doubts, discriminator, float(generator.black))
    rows = private.classes + others(config, public)
    return partial(losses, new_denoiser(config, private, rows), task_of(config, rows), config.seed)


def making(config: Config, private: Images, public: Public | None, machines: On) -> list[Stage]:
    """Of the images alone."""
    public = None if config.pretraining == "none" else public
    found = list[Stage]()
    if public is not None and config.pretraining == "selected":
        found += query_stages(config, private, public)
    if config.central.count and config.private:
        found.append(alone("central", central_seconds(config.central, private)))
    if config.generator == "gan":
        found += [Stage(*spent) for spent in gan_seconds(config, private, public, machines.sgd).items()]
    else:
        found += diffusion_stages(config, private, public, machines)
    *others, synthesis = found
    drawn = snapshots(config, private.classes, synthesis.seconds) if config.shows_training() else []
    return [*others, *counting(config, private), synthesis, *drawn]


def experiments(
    config: Config, private: Images, public: Public | None, found: list[Stage], machines: On, *, test: int
) -> list[Stage]:
    """Of the runs that are compared: those of another network, or other stages, are measured too."""
    if not (groups := asked(config, public, private)):
        return []
    measured = {_alike(config): {stage.name: stage.seconds for stage in found}}

    def spent(one: Config) -> dict[str, float]:
        if _alike(one) not in measured:
            measured[_alike(one)] = {stage.name: stage.seconds for stage in making(one, private, public, machines)}
        return measured[_alike(one)]

    def begun(one: Config) -> float:
        shared = PARTS.reads.shared(one, config)
        return sum(spent(one).get(stage, 0.0) for stage in before(one) if stage not in shared)

    def drawn(one: Config) -> float:
        return spent(one)["synthesise"]

    return compared(
        config, groups, PARTS.reads, begun=begun, trained=lambda one: spent(one)["finetune"], drawn=drawn,
        point=drawn(config) * config.experiment.along_images / config.synthetic,
        judged=judged_seconds(config.eval, private, synthetic=config.synthetic, test=test),
    )  # fmt: skip


def _alike(config: Config) -> str:
    """Runs of one such name take the same time."""
    return digest(config.network, config.query, config.pretraining, config.private, config.finetune.layers)


def query_stages(config: Config, private: Images, public: Public) -> list[Stage]:
    """Training the classifier of public classes, and asking it about the sensitive images."""
    pace = measure(new_query(config, public), Naming(), private.shape)
    found = [Stage("semantic", len(private) * pace.call_s)]
    if config.query.checkpoint is None:
        once = len(public.train) * pace.gradient_s + len(public.valid) * pace.call_s
        found.insert(0, Stage("query", config.query.epochs * once))
    return found


def diffusion_stages(config: Config, private: Images, public: Public | None, machines: On) -> list[Stage]:
    """Of PRIVIMAGE+D."""
    rows, tuning = private.classes + others(config, public), config.finetune
    task, found = DiffusionTask(classes=rows, **asdict(config.noise)), list[Stage]()
    if public is not None:
        learned = learning_seconds(new_denoiser(config, private, rows), task, private, config.pretrain)
        found.append(Stage("pretrain", learned))
    if config.warms_up():
        network = new_denoiser(config, private, rows)
        found.append(Stage("warmup", learning_seconds(network, task, private, config.warmup, config.augment)))
    network = new_denoiser(config, private, rows)
    if config.private:
        tuned = private_seconds(network, task, private, tuning, machines.sgd)
    else:
        plain = LoopConfig(
            iterations=tuning.cost(private.units).steps, batch_size=tuning.batch_size, copies=tuning.noise_multiplicity
        )
        tuned = learning_seconds(few(network, tuning.layers), task, private, plain)
    drawn = drawing_seconds(network, config.sampler, private, config.synthetic)
    drawn += again_seconds(network, config.sampler_fid, private, config.synthetic)
    return [*found, Stage("finetune", tuned), Stage("synthesise", drawn)]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """The stages as a table, which are answered too."""
    private, public = prepared.dataset.train, prepared.more
    found = stages(config, prepared, machines)
    generator: nn.Module
    if config.generator == "gan":
        generator, _ = new_gan(config, private)
    else:
        generator = new_denoiser(config, private, private.classes + others(config, public))
    size = sum(parameter.numel() for parameter in generator.parameters())
    show(console, found, machines, title=f"Outlook: {size:,} parameters of the {config.generator} generator")
    return found


@one_thread()
def gan_seconds(config: Config, private: Images, public: Public | None, speed: SGDSpeed) -> dict[str, float]:
    """Of pre-training, fine-tuning and drawing, from a few steps on noise."""
    own, tuning, seconds = config.gan, config.finetune, dict[str, float]()

    def step(few: int, turns: int) -> float:
        """Of the discriminator, with one of the generator after so many."""
        brief, clock = replace(own.pretrain.recipe(), epochs=4, epoch_steps=1, discriminator_steps=turns), Stopwatch()
        images = made_up(private, few)
        gan.fit(clock, own.network, images, replace(brief, batch_size=few), config.seed, own.discriminator)
        return shortest(clock.times)

    def learning(ratio: int, few: int) -> float:
        alone = step(few, turns=5)  # of which there are four
        return alone + max(0.0, step(few, turns=1) - alone) / ratio

    if public is not None:
        some = at_once(own.pretrain.batch_size, private.shape)
        each_s = paced(partial(learning, own.pretrain.discriminator_steps), some)
        seconds["pretrain"] = own.pretrain.iterations * each_s * own.pretrain.batch_size
    batch = at_once(min(tuning.batch_size, 256), private.shape)
    images = made_up(private, batch)
    if config.private:
        generator, discriminator = gan.new_networks(own.network, images, config.seed, own.discriminator)
        game = PrivateGame(generator, own.play(batch), config.seed)
        taught = private_seconds(discriminator, game, private, tuning, speed)
        turns = tuning.cost(private.units).steps // own.discriminator_steps
        seconds["finetune"] = taught + turns * tuning.batch_size * playing_seconds(config, private, batch)
    else:
        each_s = paced(partial(learning, own.discriminator_steps), batch)
        seconds["finetune"] = tuning.cost(private.units).steps * each_s * tuning.batch_size
    generator, _ = gan.new_networks(own.network, images, config.seed, own.discriminator)
    labels = torch.from_numpy(images.labels_N)
    drawn = each_seconds(lambda few: gan.draw(generator.to(best_device()), labels[:few], 1.0, config.seed), batch)
    return seconds | {"synthesise": config.synthetic * drawn}
