"""Prototypes: noisy mean features of each private class label public images, which are released with these labels.

Reads downwards: the only question is priced, a classifier of public images is trained, directions are found in which
public classes differ, what it sees of the private images along these is summed with noise, class by class, and these
prototypes (Wahdany et al., 2024) label public images, of which some are released.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raysyn.attacks.membership import fingerprint
from raysyn.data.images import Images, load
from raysyn.data.public import Public, comparison, load_beside
from raysyn.methods import canary_attack, soft_students
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import declared
from raysyn.methods.distances import attack_by_distances
from raysyn.methods.dp_prototypes.config import NAME, Config
from raysyn.methods.dp_prototypes.model import (
    LABELS,
    SPACE,
    blank_space,
    chosen,
    knows,
    log_shares,
    looks,
    prototypes,
    score_shard,
    shards,
    share_right,
    soft_labels,
    space_of,
    standing,
)
from raysyn.methods.dp_prototypes.outlook import check_memory, show_outlook
from raysyn.methods.dp_prototypes.report import about_labels, look_alike, story
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import refuse_one_class, unjudged
from raysyn.methods.perceiving import ask, unlike
from raysyn.methods.public_classifier import GIVEN, QUERY, check_sees, check_shift, given_query, new_query, train_query
from raysyn.methods.releasing import release
from raysyn.methods.soft_config import JUDGED_BY, MOST_SHARED
from raysyn.methods.synthesis import evaluate, judging
from raysyn.metrics.checks import check_measures
from raysyn.metrics.yardsticks import best_uncharged
from raysyn.models.classifiers import Classifier
from raysyn.models.discriminant import Discriminant, seen
from raysyn.models.students import student
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Mechanism, Perceived
from raysyn.privacy.queries import perceptual
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.perceptual import MEANS, sensitivity
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, write_report

DROWNED = 1.0
"""Norm of the noise in the mean features of a class of usual size, from which on it is longer than they can be."""


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, public images, and the price of the only question."""
    given, dataset = config.query.checkpoint, load(config.data)
    private = dataset.train
    refuse_one_class(private)
    for name in config.students:
        student(name, private.shape, private.classes, config.distillation.width)
    check_measures(config.eval, private.classes, synthetic=config.synthetic, train=len(private))
    rehearse(
        NAME, dataset, soft_labels=True, told=config, uncharged=uncharged(config), sets=config.public.sets(),
        networks={"query.checkpoint": given},
    )  # fmt: skip
    planned = units.planned(private, partial(perceptual.plan, config.prototypes.asked(), config.budget))
    # Answers of runs that counted unasked have a column more.
    facts = {"counts": str(config.prototypes.prior)}
    if given is not None:
        network = given_query(config.query, private.shape[2])
        check_sees(config.query, partial(seen, network), private)
        facts["query"] = fingerprint(network.state_dict())
    check_shift(config.query, private.shape)
    # Last, because it may take hours the first time.
    public = load_beside(config.data, private, config.public, MOST_SHARED)
    check_public(config, public)
    facts |= {"public": public.train.fingerprint(), "public_valid": public.valid.fingerprint()}
    doubts = [*unjudged(config.eval, private.classes), *drowned(config, private, planned, public)]
    return Prepared(dataset=dataset, plan=planned, more=public, facts=facts, doubts=doubts)


def check_public(config: Config, public: Public) -> None:
    """ValueError, in one sentence, for public images that are too few, or of one class."""
    if config.synthetic > len(public.train):
        raise ValueError(
            f"synthetic is {config.synthetic}, but there are {len(public.train)} public images of {public.name}: "
            "lower it"
        )
    if len(np.unique(public.train.labels_N)) < 2:
        raise ValueError(
            f"public has images of one class alone ({public.name}), and what tells images apart is learned from public "
            "classes: name labelled images of at least two"
        )
    if config.query.checkpoint is None:
        new_query(config, public)


def drowned(config: Config, private: Images, planned: Plan, public: Public) -> list[str]:
    """A warning where prototypes would be mostly noise; of numbers that are public alone."""
    asked, each = config.prototypes.asked(), private.units / private.classes
    features = min(blank_space(config, private).directions.shape[1], len(np.unique(public.train.labels_N)) - 1)
    noise = planned.noise(MEANS) * sensitivity(asked, MEANS) * math.sqrt(features) / each
    if noise < DROWNED:
        return []
    return [
        f"prototypes would be mostly noise: of norm 1 at most, with noise of norm {noise:.2g} for {each:,.0f} "
        f"{units.word(private)}s of a class; give fewer --prototypes.features or a larger --budget.epsilon"
    ]


def run(setting: PrivateSetting) -> Report:
    """Ask, pay, and make everything else of the answer; a finished stage is stored and never repeated."""
    public: Public = setting.more
    config, private, folder = setting.config, setting.dataset.train, setting.folder
    setting.console.begin([*stages_of(config), *canary_attack.stages(setting)])

    # How images are seen: by a classifier of public images, along the directions that tell public classes apart.
    space = space_of(setting, encoder(setting, public), public)

    # The only touch of the private images: the sum of what is seen in them, class by class, with noise.
    answers = ask(setting, space, config.prototypes.asked())

    # From here on every released byte is post-processing of what the ledger was paid for.
    prototypes_KF = prototypes(answers, config)
    shares_K = log_shares(answers, config, setting.plan, private.units)
    scores_NK = score(setting, space, prototypes_KF, public)
    stand = standing(scores_NK)
    soft_NK = soft_labels(scores_NK, config, shares_K, stand)
    taken = chosen(soft_NK, config.synthetic, config.prototypes.choice, config.seed)
    soft = soft_NK[taken]
    # Without a copy of all: they may be many.
    labels = soft.argmax(1).astype(np.int64)
    released = Images(np.array(public.train.images_NHWC[taken]), labels, private.class_names)
    privacy = release(
        setting, NAME, released, uncharged(config), soft_labels=soft, **made_from(config, public, space.network)
    )  # fmt: skip

    # Measured on real images: for the report, which stays inside.
    def known() -> float:
        shared = (space.cpu(), prototypes_KF, config, shares_K, stand, setting.dataset.test)
        (own,) = setting.compute.map(share_right, [None], name="prototypes-accuracy", shared=shared)
        return float(own)

    students, own, floor = soft_students.teach(setting, released, soft, "prototypes", known)
    judged = evaluate(setting, released, config.eval, students, floor)
    attacks = attack_by_distances(setting, released, config.eval.distances)
    alike = soft_students.compare(
        setting, released.select(slice(0, config.dissimilarity.images)), others(config, public)
    )
    weighed = partial(unlike, config.prototypes.asked(), space.cpu(), answers)
    audit = canary_attack.attack(setting, released, privacy, weighed)
    far = {kind: alike[kind] for kind in ("pixels", "features") if alike}
    metrics = {**judged, "prototypes": {"accuracy": own}, "distance_to_nearest_private_image": far}
    report = setting.report(NAME, privacy=privacy, metrics=metrics, attacks=canary_attack.with_audit(attacks, audit))
    sections = [*canary_attack.sections_of(audit), about_labels(config, own, soft_NK, taken), *look_alike(alike)]
    done = story(setting, public, space.directions.shape[1])
    verdict = write_report(folder, report, synthetic=released, done=done, sections=sections)
    setting.end(verdict, folder.where(f"Release ({canary_attack.may_leave(audit, True)})"))
    canary_attack.check(audit)
    return report


def stages_of(config: Config) -> list[str]:
    """What the console counts, in this order."""
    taught = [QUERY] if config.query.checkpoint is None else []
    compared = ["dissimilarity"] if config.dissimilarity.images else []
    return [*taught, SPACE, MEANS, LABELS, *judging(config.eval, config.students), *compared]


def encoder(setting: PrivateSetting, public: Public) -> Classifier:
    """The classifier that sees the images: trained on public ones, or given."""
    if setting.config.query.checkpoint is not None:
        return given_query(setting.config.query, setting.dataset.train.shape[2])
    network, _ = train_query(setting, public)
    return network.cpu()


def score(setting: PrivateSetting, space: Discriminant, prototypes_KF: Floats, public: Public) -> Any:
    """The cosine of every public image to every prototype, float32 (N, K)."""
    shared = (space.cpu(), prototypes_KF, public.train)
    ask_all = partial(setting.compute.map, score_shard, shards(public.train), name=LABELS, shared=shared)
    found = setting.folder.stage(LABELS, lambda: torch.cat(ask_all())).numpy()
    setting.console.stage(LABELS, f"{len(found):,} public images, {setting.config.synthetic:,} of them to be released")
    return found


def others(config: Config, public: Public) -> Images:
    """Public images at random, whatever their labels say, to compare the released ones with."""
    count = min(config.dissimilarity.images, len(public.train))
    some = np.random.default_rng([config.seed, 8]).choice(len(public.train), count, replace=False)
    return Images(np.array(public.train.images_NHWC[some]), np.zeros(count, np.int64), ("public",))


def made_from(config: Config, public: Public, network: Classifier) -> Mapping[str, Any]:
    """What was public, as the certificate names it: the images, and the classifier where it was given."""
    made: dict[str, Any] = {"public_images": [public.described("unchanged")]}
    if config.query.checkpoint is not None:
        print_of = fingerprint(network.state_dict())
        made["public_networks"] = [{"name": Path(config.query.checkpoint).name, "sha256": print_of}]
    return made


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    choices = best_uncharged(config.eval.classifiers, config.students)
    choices.append(comparison(MOST_SHARED))
    if config.query.checkpoint is not None:
        choices.append(GIVEN)
    return [*choices, *declared(config)]


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`."""
    return {"students": (), "real_students": False, "dissimilarity": replace(config.dissimilarity, images=0)}


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`. The network has its first weights: features are no longer than 1 by any."""
    return {MEANS: Perceived(config.prototypes.asked(), looks(config, like))}


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run, uncharged=uncharged,
    judged_by=JUDGED_BY, audited=True, knows=knows, unmeasured=unmeasured, mechanisms=mechanisms,
)  # fmt: skip
