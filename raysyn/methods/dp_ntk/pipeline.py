"""DP-NTK: a noisy mean of how a random network's output would change with its weights, and a generator that learns to
have it (Yang et al., 2023).

Reads downwards in the paper's order: the question is priced, normalised gradients of a public random network are summed
with noise, a generator is trained on that answer alone, images are drawn. All but the features is DP-MERF.
"""

from __future__ import annotations

import math
from functools import partial

from raysyn.data.images import Images
from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of
from raysyn.methods.dp_ntk.config import NAME, Config
from raysyn.methods.embedded import ask, asked_of, class_embeddings, knows, mechanisms, unlike
from raysyn.methods.embedded_outlook import check_memory, show_outlook
from raysyn.methods.ends import finish, look, uncharged
from raysyn.methods.matching import GENERATOR, NETWORK, drawing, learned, of_generator
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import unjudged
from raysyn.methods.synthesis import judging, synthesise
from raysyn.privacy import units
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries import embedding
from raysyn.privacy.queries.embedding import EMBEDDING, sensitivity
from raysyn.report.report import Report
from raysyn.screen.words import of_each

DROWNED = 1.0
"""How far an image could go along nothing but noise, from which on a warning is given: as far as along itself. On
digits (300 steps, one seed) a CNN's 89 % at 0.3 fell to 83 % at 1, and to 40 % at 3."""


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, the price of the question, and whether its answer can tell anything."""
    dataset = look(NAME, config)
    private = dataset.train
    planned = units.planned(private, partial(embedding.plan, budget_of(config)))
    doubts = [*unjudged(config.eval, private.classes), *drowned(config, private, planned)]
    return Prepared(dataset=dataset, plan=planned, doubts=doubts)


def drowned(config: Config, private: Images, planned: Plan) -> list[str]:
    """A warning where the mean features of a class are mostly noise to a generator; of numbers that are public alone.

    What an image can gain by noise alone is bounded by the largest singular value of the noise, as a matrix over what
    enters and leaves the first layer, whose sides' roots add up to about that.
    """
    each, sides = private.units / private.classes, (config.features.widths[0], math.prod(private.shape) + 1)
    noise = planned.noise(EMBEDDING) * sensitivity(config.embedding) / each
    if (most := noise * sum(math.sqrt(side) for side in sides)) < DROWNED:
        return []
    return [
        f"the mean features would be mostly noise: a generated image could gain up to {most:.2g} by noise alone, where "
        f"by what is in {each:,.0f} {units.word(private)}s of a class it gains 1 at most; give a larger "
        "--budget.epsilon, or take noisy_means"
    ]


def run(setting: PrivateSetting) -> Report:
    """Ask, pay, and make everything else of the answer; a finished stage is stored and never repeated."""
    config, private = setting.config, setting.dataset.train
    stages = [EMBEDDING, GENERATOR, *counted(config), "synthesise"]
    setting.console.begin([*stages, *judging(config.eval), *audited(setting)])

    # The only touch of the private images: the sum of their normalised gradients, class by class, with noise.
    asked = asked_of(config)
    answer_KF, features = ask(setting, asked)

    # From here on every released byte is post-processing of what the ledger was paid for.
    means_KF = class_embeddings(answer_KF, config.embedding, setting.plan, private.units)
    synthetic = synthesise(setting, of_generator(learned(setting, config, means_KF, features)))
    what = f"the gradient of a random network, {means_KF.shape[1]:,} numbers"
    done = [
        f"Asked for the noisy mean of {what}, of {of_each(private.classes, 'class')}.",
        f"Trained a generator for {config.training.iterations:,} steps until what it makes had these means.",
    ]
    return finish(setting, NAME, synthetic, weighed=partial(unlike, asked, answer_KF), done=done)


METHOD = Method(
    name=NAME, prepare=prepare, run=run, check_memory=check_memory, outlook=show_outlook, drawing=drawing,
    uncharged=uncharged, network=NETWORK, knows=knows, mechanisms=mechanisms, audited=True,
)  # fmt: skip
