"""P3GM: a variational autoencoder that learns in phases, most of it before DP-SGD begins (Takagi et al., ICDE 2021).

Reads downwards in the paper's order: all touches are priced; phase one fixes the encoder's mean, by noisy principal
directions, and the prior, by noisy expectation-maximisation; phase two trains the rest by DP-SGD; images are drawn.
"""

from __future__ import annotations

from functools import partial

from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.class_shares import counted
from raysyn.methods.common import PrivateSetting
from raysyn.methods.ends import finish, look, uncharged
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import few_steps, unjudged
from raysyn.methods.moments import class_means
from raysyn.methods.p3gm.config import FINETUNE, NAME, Config, check_size, new_network, plan, task_of
from raysyn.methods.p3gm.model import (
    NETWORK,
    WARMUP,
    drawing,
    knows,
    losses,
    mechanisms,
    of_network,
    phase_one,
    phase_two,
    shown,
)
from raysyn.methods.p3gm.outlook import check_memory, show_outlook
from raysyn.methods.synthesis import judging, synthesise
from raysyn.privacy import engines, units
from raysyn.privacy.queries.mixture import MIXTURE
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.report.report import Report


def prepare(config: Config) -> Prepared:
    """All that can be wrong with the input, and the price of every touch."""
    dataset = look(NAME, config)
    private = dataset.train
    check_size(config, private)
    engines.refuse_unsupported(new_network(config, private.shape, private.classes))
    planned = units.planned(private, partial(plan, config))
    doubts = [*unjudged(config.eval, private.classes), *few_steps(planned, FINETUNE, private.units, FINETUNE)]
    return Prepared(dataset=dataset, plan=planned, doubts=doubts)


def run(setting: PrivateSetting) -> Report:
    """Make the synthetic images, the certificate and the report; a finished stage is stored and never repeated."""
    config, private = setting.config, setting.dataset.train
    warm = [WARMUP] * (config.warmup.iterations > 0)
    drawn = [*counted(config), "synthesise", *judging(config.eval), *audited(setting)]
    setting.console.begin([MEANS, SPREAD, MIXTURE, *warm, FINETUNE, *drawn])

    # Phase one: the encoder's mean (DP-PCA) and the prior (DP-EM), by noisy sums.
    gaussians, fixed = phase_one(setting)

    # Phase two: the encoder's variance and the decoder, by DP-SGD with what is left of the budget.
    network, engine = phase_two(setting, gaussians, fixed)

    # From here on every released byte is post-processing of what the ledger was paid for.
    synthetic = synthesise(setting, of_network(network, private))
    return finish(
        setting, NAME, synthetic, central=class_means(gaussians, private), done=story(setting), engine=engine,
        weighed=partial(losses, network, task_of(config, private.shape, private.classes)),
    )  # fmt: skip


def story(setting: PrivateSetting) -> list[str]:
    """One plain sentence per stage, for the report."""
    config, plan = setting.config, setting.plan
    network = config.network
    told = [
        "Asked for the noisy mean of each class, and how images differ from them: "
        f"{network.latent} principal directions.",
        f"Asked {config.mixture.iterations} times for the noisy sums of expectation-maximisation: a mixture of "
        f"{network.components} Gaussians.",
    ]
    if config.warmup.iterations:
        told.append(f"Taught an autoencoder for {config.warmup.iterations:,} steps by draws from these means.")
    return [
        *told,
        f"Trained it by {plan.stages[FINETUNE].steps:,} steps of DP-SGD, its projection and its prior fixed.",
    ]


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run, uncharged=uncharged,
    drawing=drawing, audited=True, network=NETWORK, knows=knows, shown=shown, mechanisms=mechanisms,
)  # fmt: skip
