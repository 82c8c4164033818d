"""DP-MERF: a noisy mean embedding of the private images, and a generator that learns to have it (Harder et al., 2021).

Reads downwards in the paper's order: the question is priced, random features are summed with noise, a generator is
trained on that answer alone, images are drawn.
"""

from __future__ import annotations

from functools import partial

from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of
from raysyn.methods.dp_merf.config import NAME, Config
from raysyn.methods.embedded import ask, asked_of, class_embeddings, knows, mechanisms, unlike
from raysyn.methods.embedded_outlook import check_memory, show_outlook
from raysyn.methods.ends import finish, look, uncharged
from raysyn.methods.matching import GENERATOR, NETWORK, drawing, learned, of_generator
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import unjudged
from raysyn.methods.synthesis import judging, synthesise
from raysyn.privacy import units
from raysyn.privacy.queries import embedding
from raysyn.privacy.queries.embedding import EMBEDDING
from raysyn.report.report import Report
from raysyn.screen.words import of_each


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, and the price of the only question."""
    dataset = look(NAME, config)
    planned = units.planned(dataset.train, partial(embedding.plan, budget_of(config)))
    doubts = unjudged(config.eval, dataset.train.classes)
    return Prepared(dataset=dataset, plan=planned, doubts=doubts)


def run(setting: PrivateSetting) -> Report:
    """Ask, pay, and make everything else of the answer; a finished stage is stored and never repeated."""
    config, private = setting.config, setting.dataset.train
    judged = [*judging(config.eval), *audited(setting)]
    setting.console.begin([EMBEDDING, GENERATOR, *counted(config), "synthesise", *judged])

    # The only touch of the private images: the sum of their random features, class by class, with noise.
    asked = asked_of(config)
    answer_KF, features = ask(setting, asked)

    # From here on every released byte is post-processing of what the ledger was paid for.
    means_KF = class_embeddings(answer_KF, config.embedding, setting.plan, private.units)
    generator = learned(setting, config, means_KF, features)
    synthetic = synthesise(setting, of_generator(generator))
    done = [
        f"Asked for the noisy mean of {config.features.count:,} random features of "
        f"{of_each(private.classes, 'class')}.",
        f"Trained a generator for {config.training.iterations:,} steps to have these means.",
    ]
    return finish(setting, NAME, synthetic, done=done, weighed=partial(unlike, asked, answer_KF))


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, drawing=drawing, audited=True, network=NETWORK, knows=knows, mechanisms=mechanisms,
)  # fmt: skip
