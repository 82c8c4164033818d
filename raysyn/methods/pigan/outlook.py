"""What --dry-run shows of PIGAN: the GANs to train, how long that would take, and what DPGANs promise."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from raysyn.attacks.gan_attacks import monte_carlo, share_nearby, total_variation, white_box
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.audit_outlook import auditing, by_weights
from raysyn.methods.gan_needs import game_needs
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, per_worker, refuse_too_large
from raysyn.methods.outlook import Stage, alone, attacking, counting, made_up, show, start_up, units
from raysyn.methods.pigan import experiments, variants
from raysyn.methods.pigan.config import NAMES, Config
from raysyn.methods.pigan.variants import Variant
from raysyn.methods.weighing import Weighed
from raysyn.metrics import pace
from raysyn.metrics.fidelity import inception_weights, left_out
from raysyn.metrics.inception import TRY
from raysyn.privacy import sgd
from raysyn.privacy.trial import SGDSpeed
from raysyn.screen.console import Console, duration
from raysyn.screen.words import rounded_up
from raysyn.train import conditional_gans as gans
from raysyn.train import paired_networks
from raysyn.train.memory import Need, at_once
from raysyn.train.outlook import Stopwatch, now, one_thread, shortest
from raysyn.train.outlook import seconds as spent


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a GAN has no place in this machine's memory."""
    members = prepared.dataset.train
    refuse_too_large(console, config, members.shape, partial(needs, members=members), machines)


def needs(config: Config, shape: Shape, machines: On, *, members: Images) -> list[Need]:
    """What each GAN and each classifier holds, on images of `shape` in place of the members."""
    every = [variants.released(config), *itertools.chain.from_iterable(variants.asked(config).values())]
    found = []
    for kind, parts in dict.fromkeys((one.kind, one.penalty.parts) for one in every):
        networks = paired_networks.new_networks(kind, config.network, shape, members.classes, parts, 0)
        generator, discriminator = networks.generators[0], networks.discriminators[0]
        found += game_needs(
            lambda z, labels, one=generator: one(z, labels, labels),  # type: ignore[misc]
            lambda x, labels, one=discriminator: one(x, labels, labels),  # type: ignore[misc]
            [generator, discriminator], networks.latent, shape, per_worker(config.gan.batch_size, machines),
            NAMES[kind], networks.pairs,
        )  # fmt: skip
    return found + classifier_needs(config.eval, shape, members.classes, max(len(members), config.synthetic))


def stages(config: Config, prepared: Prepared, machines: On) -> tuple[list[Stage], list[dict[str, Any]]]:
    """Every stage of a run, from moments' measurements that read no image, and a row for each GAN."""
    dataset, splits = prepared.dataset, config.experiment.splits
    members = dataset.train
    chosen, asked = variants.released(config), variants.asked(config)
    every = {chosen.key(): (chosen, 1)}
    for one in itertools.chain.from_iterable(asked.values()):
        every[one.key()] = (one, splits)
    timed: dict[Any, tuple[float, float]] = {}
    rows, trained, drawn_s = [], list[float](), dict[Any, float]()
    for one, count in every.values():
        n, kind = counted(one, members), (one.model, one.penalty.parts, one.gan)
        if kind not in timed:
            timed[kind] = step_times(config, one, members, machines.sgd)
            drawn_s[kind] = draw_pace(config, one, members)
        each = seconds(one, n, *timed[kind])
        trained += count * [each]
        row = {"GAN": one.title, "splits": count, "one worker": duration(count * each)}
        rows.append(row | {"noise multiplier": one.plan(n).noise("generator") if one.model == "dpgan" else "-"})
    released = (chosen.model, chosen.penalty.parts, chosen.gan)
    generator_s = seconds(chosen, counted(chosen, members), *timed[released])
    judged_s = judging_seconds(config, prepared, max(drawn_s.values()))
    # The released GAN is not trained again on the split that it was trained on.
    trained.remove(generator_s)
    name = "experiments" if asked else "attacks"
    found = [
        start_up(machines),
        Stage("generator", generator_s),
        *counting(config, members),
        alone("synthesise", config.synthetic * drawn_s[released]),
        units(name, trained + (len(trained) + 1) * [judged_s]),
        units("utility", real_units(config, prepared)),
        *attacking(config.eval.distances, members, synthetic=config.synthetic, test=len(dataset.test)),
        *auditing(config, prepared, config.synthetic, by_weights(unasked(config, members), members)),
    ]
    return found, rows


def unasked(config: Config, members: Images) -> Weighed:
    """What canaries are guessed about by, with its first weights."""
    chosen = variants.released(config)
    fresh = paired_networks.new_networks(
        chosen.kind, config.network, members.shape, members.classes, chosen.penalty.parts, 0
    )
    return experiments.weighed(config, members, fresh.state_dict())


def counted(variant: Variant, members: Images) -> int:
    """Images that it learns from; for DPGAN persons, where these are named."""
    return round(variant.share * (members.units if variant.model == "dpgan" else len(members)))


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[Stage]:
    """The GANs to train, one row each, and the stages, which are answered too."""
    dataset = prepared.dataset
    members = dataset.train
    found, rows = stages(config, prepared, machines)
    caption, promise = "", "" if config.model == "dpgan" else ", no differential privacy"
    if any(row["noise multiplier"] != "-" for row in rows):
        caption = f"δ is {rounded_up(config.budget.delta_for(members.units))}."
    else:
        rows = [{name: value for name, value in row.items() if name != "noise multiplier"} for row in rows]
    console.plan_table(
        rows, title=f"Plan for {dataset.name}: {len(members):,} members and {len(dataset.test):,} others{promise}",
        caption=caption,
    )  # fmt: skip
    show(console, found, machines, title="Outlook: all that is done with them")
    tried = config.eval.inception_weights == TRY
    if tried and (said := left_out(config.eval, inception_weights(config.eval))) is not None:
        console.say(said)
    return found


def real_units(config: Config, prepared: Prepared) -> list[float]:
    """Of the classifiers that learn from the members, for comparison."""
    members, test = prepared.dataset.train, len(prepared.dataset.test)
    return [
        pace.judge_seconds(name, config.eval, members.shape, members.classes, len(members), test)
        for name in config.eval.classifiers
    ]


def judging_seconds(config: Config, prepared: Prepared, drawn_s: float) -> float:
    """Of `experiments.judge_unit`: all attacks on one GAN, and all scores of its images."""
    members, others = prepared.dataset.train, len(prepared.dataset.test)
    shape, classes, judged = members.shape, members.classes, config.eval
    useful = sum(
        pace.judge_seconds(name, judged, shape, classes, config.synthetic, others) for name in judged.classifiers
    )
    sides = {"synthetic": config.synthetic, "real": min(others, config.synthetic)}
    faithful = sum(pace.fidelity_units(judged, shape, classes, **sides))
    # The discriminator is about as large as the generator.
    asked = (len(members) + others + config.monte_carlo.fakes + config.synthetic + 24 * classes) * drawn_s
    return useful + faithful + asked + attacking_seconds(config, members, others)


@one_thread()
def attacking_seconds(config: Config, like: Images, others: int) -> float:
    """Of the attacks' own arithmetic, on made-up images and scores."""
    told, few = config.monte_carlo, 500
    # As few as can be attacked like this.
    n = max(math.ceil(told.components / told.fit_share), math.ceil((told.suspects + 1) / (1 - told.fit_share)))
    images, scores = made_up(like, n), np.random.default_rng(0).random((few, 1))
    started = now()
    monte_carlo(images, images, images.images_NHWC[np.arange(few) % n], told, 0)
    total_variation(scores, scores, 0)
    white_box(scores, scores, 0)
    fixed = now() - started
    near, fakes = torch.rand(2 * told.suspects, told.components).double(), torch.rand(few, told.components).double()
    each = told.repeats * spent(lambda: share_nearby(near, fakes)) / few
    # Permutations of all scores.
    many = spent(lambda: total_variation(scores, scores, 0), repeats=1) * (len(like) + others) / (2 * few)
    return fixed + max(0, told.fakes - few) * each + many


@one_thread()
def draw_pace(config: Config, variant: Variant, like: Images) -> float:
    """Seconds of drawing one image."""
    few = at_once(64, like.shape)
    networks = paired_networks.new_networks(
        variant.kind, config.network, like.shape, like.classes, variant.penalty.parts, 0
    )
    labels = torch.arange(few) % like.classes
    return spent(lambda: paired_networks.draw(networks.to(best_device()), labels, 0)) / few


def seconds(variant: Variant, n: int, pretraining_s: float, step_s: float) -> float:
    """Of training on `n` images, given the times of one step."""
    if variant.model == "dpgan":
        return variant.sgd().cost(n).steps * step_s
    steps, penalty = math.ceil(n / variant.gan.batch_size), variant.penalty
    before = penalty.pretrain_epochs * steps * pretraining_s if variant.kind != "gan" and penalty.weight else 0.0
    # PrivGAN's pairs go through their own part only, all in the step that was measured.
    own = math.ceil(n / penalty.parts) if variant.kind == "privgan" else n
    return before + variant.gan.epochs * math.ceil(own / variant.gan.batch_size) * step_s


@one_thread()
def step_times(config: Config, variant: Variant, like: Images, speed: SGDSpeed) -> tuple[float, float]:
    """Seconds of one step of pre-training and of one of training all networks, on noise; from fewer images where these
    are large."""
    size, clock = max(2, at_once(variant.gan.batch_size, like.shape)), Stopwatch()
    share = variant.gan.batch_size / size
    noise = np.random.default_rng(0).integers(0, 256, (size, *like.shape), dtype=np.uint8)
    images = Images(noise, np.arange(size) % like.classes, like.class_names)
    # One batch of images: epochs of one step each.
    short = replace(variant, gan=replace(variant.gan, epochs=3, batch_size=size))
    if variant.model == "dpgan":
        discriminator, game = experiments.private_networks(config.network, short, images, 0)
        price = replace(short.sgd().cost(size), noise_multiplier=1.0)
        sgd.fit(clock, discriminator, game, images, short.sgd(), price, bytes(32), speed, partner=game)
        return 0.0, share * shortest(clock.times)
    penalty = replace(
        config.penalty, pretrain_epochs=3, delay_epochs=0, privgan_delay_epochs=0,
        weight=1.0, parts=min(variant.penalty.parts, size),
    )  # fmt: skip
    gans.fit(clock, variant.kind, config.network, images, short.gan, penalty, 0)
    before = 0.0 if variant.kind == "gan" else share * shortest(clock.times[:3])
    return before, share * shortest(clock.times[-3:])
