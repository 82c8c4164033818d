"""DP-MEPF: noisy moments of what a public classifier sees in the private images, and a generator that learns to have
them (Harder et al., 2022).

Reads downwards in the paper's order: both questions are priced, a classifier of public images is trained, what its
layers see of the private images is summed with noise, a generator is trained on these answers alone, images are drawn.
No iterate of the generator is chosen: the last one is drawn from, or the average of its weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from raysyn.attacks.membership import fingerprint
from raysyn.data.images import Images
from raysyn.data.public import Public, comparison, in_both, load_beside
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of, declared
from raysyn.methods.dp_mepf.config import NAME, Config
from raysyn.methods.dp_mepf.model import class_moments, features_of, knows
from raysyn.methods.dp_mepf.outlook import check_memory, features_like, show_outlook
from raysyn.methods.ends import finish, look
from raysyn.methods.matching import GENERATOR, NETWORK, drawing, learned, of_generator
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import unjudged
from raysyn.methods.perceiving import ask, unlike
from raysyn.methods.public_classifier import (
    GIVEN,
    MOST_SHARED,
    QUERY,
    check_sees,
    check_shift,
    given_query,
    new_query,
    train_query,
)
from raysyn.methods.sweep import looked_at
from raysyn.methods.synthesis import judging, synthesise
from raysyn.metrics.yardsticks import best_uncharged
from raysyn.models.classifiers import Classifier
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Mechanism, Perceived
from raysyn.privacy.queries import perceptual
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.perceptual import MEANS, SQUARES, sensitivity
from raysyn.report.report import Report
from raysyn.screen.words import of_each
from raysyn.train.perceptual import perceived

DROWNED = 1.0
"""Norm of the noise in the mean features of a class of usual size, from which on it is longer than they can be."""
NAMES = {MEANS: "mean features", SQUARES: "mean squares of features"}


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, public images unless a classifier of them is given, and the price of both
    questions."""
    given, public = config.query.checkpoint, None
    sets = config.public.sets() if config.reads_public else ()
    dataset = look(NAME, config, uncharged, sets, {"query.checkpoint": given})
    private = dataset.train
    planned = units.planned(private, partial(perceptual.plan, config.moments, budget_of(config)))
    if given is not None:
        network = given_query(config.query, private.shape[2])
        check_sees(config.query, features_of(config, network).seen, private)
        facts = {"query": fingerprint(network.state_dict())}
    else:
        check_shift(config.query, private.shape)
        # Last, because it may take hours the first time.
        public = load_beside(config.data, private, config.public, MOST_SHARED)
        new_query(config, public)
        facts = {"public": public.train.fingerprint(), "public_valid": public.valid.fingerprint()}
    doubts = [*unjudged(config.eval, private.classes), *drowned(config, private, planned), *blurred(config, private)]
    return Prepared(dataset=dataset, plan=planned, more=public, facts=facts, doubts=doubts)


def drowned(config: Config, private: Images, planned: Plan) -> list[str]:
    """A warning where features would be mostly noise; of numbers that are public alone."""
    features, each = features_like(config, private).count(private.shape), private.units / private.classes
    asked, told = config.moments, list[str]()
    for stage in asked.stages():
        noise = planned.noise(stage) * sensitivity(asked, stage) * math.sqrt(features) / each
        if noise >= DROWNED:
            share = " another --moments.squares-share," if len(asked.stages()) > 1 else ""
            told.append(
                f"{NAMES[stage]} would be mostly noise: of norm 1 at most, with noise of norm {noise:.2g} for "
                f"{each:,.0f} {units.word(private)}s of a class; give a smaller --query.network.width,{share} a larger "
                "--budget.epsilon, or take noisy_means"
            )
    return told


def blurred(config: Config, like: Images) -> list[str]:
    """A warning where the classifier does not see images as large as they are."""
    side, larger = config.query.network.side, max(like.shape[:2])
    if side is None or larger <= side:
        return []
    return [
        f"query.network.side is {side}: images of {larger} pixels a side are averaged down before the classifier sees "
        "them, so that the generator learns nothing of their detail; leave it out"
    ]


def run(setting: PrivateSetting) -> Report:
    """Ask, pay, and make everything else of the answers; a finished stage is stored and never repeated."""
    public: Public | None = setting.more
    config, private, asked = setting.config, setting.dataset.train, setting.config.moments.stages()
    taught = [QUERY] if public is not None else []
    judged = [*judging(config.eval), *audited(setting)]
    setting.console.begin([*taught, *asked, GENERATOR, *counted(config), "synthesise", *judged])

    # A classifier of public images, which has seen no private one.
    features = features_of(config, encoder(setting, public))

    # The only touch of the private images: sums of what it sees in them, class by class, with noise.
    answers = ask(setting, features, config.moments)

    # From here on every released byte is post-processing of what the ledger was paid for.
    means_KF = class_moments(answers, config, setting.plan, private.units)
    generator = learned(setting, config, means_KF, features)
    synthetic = synthesise(setting, of_generator(generator))
    return finish(
        setting, NAME, synthetic, done=story(setting, means_KF.shape[1] // len(asked)), uncharged=uncharged(config),
        public=made_from(config, public, features.network),
        weighed=partial(unlike, config.moments, features.cpu(), answers),
    )  # fmt: skip


def encoder(setting: PrivateSetting, public: Public | None) -> Classifier:
    """The classifier whose layers see the images: trained on public ones, or given."""
    if public is None:
        return given_query(setting.config.query, setting.dataset.train.shape[2])
    network, _ = train_query(setting, public)
    return network


def story(setting: PrivateSetting, features: int) -> list[str]:
    """One plain sentence per stage, for the report."""
    config, public, private = setting.config, setting.more, setting.dataset.train
    what = " and of their squares" if len(config.moments.stages()) > 1 else ""
    who = "a classifier that was given" if public is None else f"a classifier of {len(public.train):,} public images"
    return [
        f"Asked for the noisy mean of {features:,} features{what}, as {who} sees them, of "
        f"{of_each(private.classes, 'class')}.",
        *(in_both(public) if public is not None else []),
        f"Trained a generator for {config.training.iterations:,} steps to have these means.",
    ]


def made_from(config: Config, public: Public | None, network: Classifier) -> Mapping[str, Any]:
    """What was public, as the certificate names it: images, or the classifier that was given, as it was used."""
    if public is not None:
        return {"public_images": [public.described()]}
    assert config.query.checkpoint is not None
    print_of = fingerprint(network.state_dict())
    return {"public_networks": [{"name": Path(config.query.checkpoint).name, "sha256": print_of}]}


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    choices = best_uncharged(config.eval.classifiers)
    choices.append(comparison(MOST_SHARED) if config.query.checkpoint is None else GIVEN)
    return [*choices, *looked_at(config), *declared(config)]


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`. The network has its first weights: features are no longer than 1 by any."""
    look = partial(perceived, features_like(config, like), device=torch.device("cpu"))
    asked = Perceived(config.moments, look)
    return {**dict.fromkeys(config.moments.stages(), asked), COUNTS: None}


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, drawing=drawing, audited=True, network=NETWORK, knows=knows, mechanisms=mechanisms,
)  # fmt: skip
