"""Settings that were made for another number of images (of persons, where these are named) than there are, told before
anything is spent.

All of it follows from what is public: number and shape of the images, classes, settings.
"""

from __future__ import annotations

import math
from dataclasses import fields, replace
from statistics import NormalDist
from typing import Any

from raysyn.data.images import Images
from raysyn.methods.bearing import bearable_noise
from raysyn.metrics.utility import EvalConfig
from raysyn.privacy import units
from raysyn.privacy.cost import SMALL_BATCH, Budget, Overspent, unit_of
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Embedded
from raysyn.privacy.queries import moments
from raysyn.privacy.queries.central import CentralConfig, mean_query, mode_query
from raysyn.privacy.queries.embedding import EMBEDDING, sensitivity
from raysyn.privacy.queries.moments import MEANS, MomentsConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.queries.votes import VOTES, VotesConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.few_weights import ALL

FEW_STEPS = 100
"""Steps of DP-SGD below which a network has hardly learned: a preset for 60,000 images took 35 on 5,312, and its images
were grey blobs."""
TAUGHT_BEFORE = 25
"""The same of a network that has learned from public images: on 50,000 photographs, PrivImage's paper takes 30 with its
GAN, the preset for two cores 73 with its diffusion model."""
DROWNED = 0.4
"""Noise in a number of a central image, where 1 is all of its range, from which on nothing is seen in it. The same of
`noise_of_embedding`: logistic regression on 2,000 images of a generator (MNIST, 10,000 images, 600 steps, one seed) had
80 % without noise, 82 at 0.12, 73 to 76 at 0.28, and 38 to 57 at 0.75."""
DROWNED_VOTES = 0.5
"""Votes of a candidate, on average and in standard deviations of their noise, below which much of what is chosen is
chance."""
MOSTLY = 0.5
"""Share of the selected public classes from which on a selection is not mostly chance."""
OTHER_SIZE = 0.1
"""By so much the number of images may differ from the one that settings were made for: MNIST with 5,000 of its 60,000
images set apart is as good, CelebA with a tenth set apart has 12 % more noise."""


def other_size(config: Any, n: int, unit: str = "image") -> list[str]:
    """A warning where there are many more or fewer training images, or persons, than the images that a preset was made
    for (`config.made_for`), with the flag that keeps its sampling rate and its steps; ValueError where that is no
    number of images."""
    # A configuration need not have it: those that release no images have none.
    made_for: int | None = getattr(config, "made_for", None)
    if made_for is None:
        return []
    if made_for < 1:
        raise ValueError(f"made_for is {made_for}: give the number of training images, or leave it out")
    if abs(n / made_for - 1) <= OTHER_SIZE:
        return []
    there = f"{n:,}" if unit == "image" else f"{n:,} {unit}s"
    said = f"these settings were made for {made_for:,} training images, and there are {there}"
    found = [one.name for one in fields(config) if isinstance(getattr(config, one.name), SGDConfig)]
    if not found:
        return [said]
    batch = max(1, round(getattr(config, found[0]).batch_size * n / made_for))
    return [
        f"{said}, so that sampling rate, steps and noise are not those of the preset's published figures: give as many "
        f"{unit}s, or keep rate and steps with --{found[0]}.batch-size {batch}"
    ]


def unjudged(config: EvalConfig, classes: int) -> list[str]:
    """A warning where images of one class, which no classifier can judge, are not judged by FID either."""
    if classes > 1 or config.inception_weights is not None:
        return []
    return [
        "with one class there is no classifier, and FID alone says how good the images are, which needs Inception's "
        "weights: give --eval.inception-weights FILE, or download, now or later"
    ]


def few_steps(plan: Plan, stage: str, n: int, group: str, least: int = FEW_STEPS) -> list[str]:
    """A warning where `stage` has fewer than `least` steps, with the flags of its `group` that mend it."""
    price = plan.stages[stage]
    if price.steps >= least:
        return []
    batch, whom = price.sampling_rate * n, unit_of(price.adjacency)
    # Twice as many steps as are few, in round numbers.
    advised = 2 ** math.floor(math.log2(max(1.0, batch * price.steps / (2 * FEW_STEPS))))
    mend = f"--{group}.batch-size {advised}" if advised >= SMALL_BATCH else f"a higher --{group}.epochs"
    return [
        f"{stage} has {price.steps} steps of DP-SGD on {n:,} {whom}s, too few to learn much: a batch of {batch:,.0f} "
        f"is for more {whom}s; give {mend}, or take noisy_means, which trains nothing"
    ]


def drowned(config: CentralConfig, private: Images, budget: Budget) -> list[str]:
    """A warning where central images would be noise, with flags that mend it and that `budget` bears."""
    if config.count == 0 or config.drawn or (noise := noise_of(config, private)) < DROWNED:
        return []
    asked = config.sampling_rate * private.units / _cells(config, private)
    whose = "of a class" if config.conditional else "of all classes together"
    return [
        f"central images would be mostly noise: each is made of about {asked:,.0f} {units.word(private)}s {whose}, and "
        f"its noise is {100 * noise:.0f} % of the way from black to white; {_mend(config, private, budget)}"
    ]


def drowned_means(plan: Plan, private: Images) -> list[str]:
    """The same of class means that are asked for as `queries.moments` has it by default; empty where none are."""
    if MEANS not in plan.stages:
        return []
    noise = noise_of_means(plan, private)
    if noise < DROWNED:
        return []
    each, whom = private.units / private.classes, unit_of(plan.stages[MEANS].adjacency)
    return [
        f"class means would be mostly noise: each is of about {each:,.0f} {whom}s, and the noise in a pixel is "
        f"{100 * noise:.0f} % of the way from black to white, of which what can be told apart is taken out; raise "
        "--central.share or --budget.epsilon, or give --central.count 0, which leaves them out"
    ]


def drowned_votes(plan: Plan, config: VotesConfig, private: Images, mend: str = "") -> list[str]:
    """A warning where votes for candidates would be mostly noise; `mend` are flags, with a comma, beside usual ones."""
    if VOTES not in plan.stages:
        return []
    noise = plan.noise(VOTES)
    each = config.counted(private.units, private.classes, noise)
    if (votes := private.units / private.classes / each) >= DROWNED_VOTES * noise:
        return []
    return [
        f"votes would be mostly noise: {each} candidates of each class share about "
        f"{private.units / private.classes:,.0f}, {votes:.1f} each, and the noise is {noise:.1f}; give fewer "
        f"--votes.rounds or --votes.candidates, a larger {mend}--budget.epsilon, or take noisy_means"
    ]


def drowned_query(config: SemanticConfig, private: Images, budget: Budget, semantics: int) -> list[str]:
    """The same of the question which of so many public classes the private images resemble, with a noise multiplier
    that is clear and that `budget` bears."""
    if _found(config, private, semantics) >= MOSTLY:
        return []
    each, noise = _votes(config, private)
    said = (
        f"the semantic query would be mostly noise: if the {config.selected} public classes that it selects had all "
        f"votes, that would be {each:,.0f} each, and the noise in each of {semantics:,} is {noise:,.0f}, so that most "
        "of what is selected would be chance"
    )
    try:
        mended = replace(
            config, noise_multiplier=max(0.1, math.floor(10 * bearable_noise(budget, private.units, 1)) / 10)
        )
    except Overspent:
        mended = config  # there is none
    if _found(mended, private, semantics) >= MOSTLY:
        return [f"{said}; give --semantic.noise-multiplier {mended.noise_multiplier:g}, a fifth of the budget"]
    return [f"{said}; none for a fifth of ε {budget.epsilon:g} is clear: give --pretraining all"]


def _votes(config: SemanticConfig, private: Images) -> tuple[float, float]:
    """Votes of a selected public class, if only these had any, and the standard deviation of the noise in each."""
    each = private.units / config.rows(private.classes) * config.k / config.selected
    return each, config.noise_multiplier * math.sqrt(config.k)


def _found(config: SemanticConfig, private: Images, semantics: int) -> float:
    """Share of these that would be selected, at least: those that are above what noise alone lifts into as many."""
    each, noise = _votes(config, private)
    usual = NormalDist()
    chance = min(config.selected / semantics, 1 - 1e-9)
    return usual.cdf(each / noise - usual.inv_cdf(1 - chance))


def drowned_embedding(plan: Plan, asked: Embedded, private: Images, budget: Budget) -> list[str]:
    """The same of a noisy mean embedding that is part of a plan, with a multiplier that is clear and that `budget`
    bears."""
    if EMBEDDING not in plan.stages or (noise := noise_of_embedding(plan.noise(EMBEDDING), asked, private)) < DROWNED:
        return []
    each, whom = private.units / private.classes, units.word(private)
    said = (
        f"the embedding would be mostly noise: the mean of each class is of about {each:,.0f} {whom}s, and its noise "
        f"is {100 * noise:.0f} % of the length of features"
    )
    try:
        bearable = math.ceil(10 * bearable_noise(budget, private.units, 1)) / 10
    except Overspent:
        bearable = math.inf
    if noise_of_embedding(bearable, asked, private) < DROWNED:
        return [f"{said}; give --frequency.noise-multiplier {bearable:g}, a fifth of the budget"]
    return [f"{said}; none for a fifth of ε {budget.epsilon:g} is clear: leave out --frequency.noise-multiplier"]


def noise_of_embedding(noise_multiplier: float, asked: Embedded, private: Images) -> float:
    """Length of the noise in the mean embedding of a class, beside features of length 1, in as many directions as
    images can differ in: a generator cannot follow it in others, so that more features make it no worse."""
    each, features = private.units / private.classes, asked.features.held(private.shape).features
    directions = min(features, math.prod(private.shape))
    return math.sqrt(directions) * noise_multiplier * sensitivity(asked.config) / each


def noise_of_means(plan: Plan, private: Images) -> float:
    """Noise in a pixel of a class mean as it is answered, where 1 is all of its range."""
    config, (height, width, _) = MomentsConfig(), private.shape
    # Of the frequencies that are asked for; pixels share it, as taking an image into them changes no norm.
    part = moments.kept(private.shape, config.frequencies) / (height * width)
    sensitivity = moments.mean_sensitivity(config, private.shape)
    return math.sqrt(part) * plan.noise(MEANS) * sensitivity * private.classes / private.units


def noise_of(config: CentralConfig, private: Images) -> float:
    """Noise in a number of one central image, where 1 is all of its range."""
    query = (mean_query if config.kind == "mean" else mode_query)(config, private.shape)
    asked = config.sampling_rate * private.units / _cells(config, private)
    return config.noise_multiplier * query.sensitivity / asked


def _cells(config: CentralConfig, private: Images) -> int:
    return private.classes if config.conditional else 1


def _mend(config: CentralConfig, private: Images, budget: Budget) -> str:
    """Few rounds of all images, with as little noise as a small part of the budget buys, or none at all."""
    for rounds in (2, 1) if config.rounds(private.classes) > 1 else (1,):
        try:
            noise = math.ceil(100 * bearable_noise(budget, private.units, rounds)) / 100
        except Overspent:
            break
        count = rounds * _cells(config, private)
        asked = replace(config, sampling_rate=1.0, count=count, noise_multiplier=noise)
        if noise_of(asked, private) < DROWNED:
            return f"give --central.sampling-rate 1 --central.count {count} --central.noise-multiplier {noise:g}"
    return f"no clear ones can be had for ε {budget.epsilon:g}: give --central.count 0, which leaves them out"


def wide_clip(config: SGDConfig) -> list[str]:
    """Where few weights learn, whose gradients are shorter than those of all, while the noise is that of the
    clip norm."""
    if config.layers == ALL or config.max_grad_norm < 1:
        return []
    advice = "lower it"
    if config.layers.startswith("lora"):
        advice = "give at most 0.3, and a learning rate 5 to 10 times that of all weights"
    return [
        f"finetune.max_grad_norm is {config.max_grad_norm:g}, but gradients of few weights (finetune.layers "
        f"{config.layers}) are shorter than those of all, so that the noise is larger than it need be: {advice}"
    ]


def refuse_one_class(private: Images) -> None:
    """ValueError where what labels the released images has nothing to tell apart."""
    if private.classes == 1:
        raise ValueError(
            "all training images are of one class, so that nothing is learned from them for the labels that are "
            "released: give labels of several classes, or take another method, such as noisy_means or dp_feta"
        )
