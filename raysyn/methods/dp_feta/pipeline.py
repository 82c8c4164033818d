"""DP-FETA: noisy central images warm up a diffusion model, DP-SGD fine-tunes it (Li et al., S&P 2025).

Reads downwards in the paper's order: price all touches of the sensitive images (3.3), stage I (3.1),
stage II (3.2), synthesis and evaluation (4). `central.count = 0` leaves stage I out: that is DPDM, the baseline.
`central.kind = gaussian` has in place of it what noisy_means does, for a share of the budget, `evolution` what
evolution does with characters; that is raysyn's own.
`frequency.noise_multiplier` adds a second warm-up between both stages: that is DP-FETA-Pro.
"""

from __future__ import annotations

from functools import partial

from raysyn.methods.canary_attack import stages as audited
from raysyn.methods.candidates import characters_of
from raysyn.methods.class_shares import counted
from raysyn.methods.common import PrivateSetting
from raysyn.methods.declared import budget_of
from raysyn.methods.denoising import draw_again
from raysyn.methods.dp_feta.config import (
    JUDGED_BY,
    NAME,
    Config,
    check_draws,
    embedding_of,
    name_of,
    new_denoiser,
    plan,
)
from raysyn.methods.dp_feta.experiments import PARTS, asked
from raysyn.methods.dp_feta.model import (
    NETWORK,
    answered,
    before,
    drawing,
    frequency,
    knows,
    mechanisms,
    shown,
    spatial,
    task_of,
)
from raysyn.methods.dp_feta.outlook import check_memory, show_outlook
from raysyn.methods.dp_feta.report import story
from raysyn.methods.ends import finish, look, uncharged
from raysyn.methods.experiment_report import beside
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import (
    drowned,
    drowned_embedding,
    drowned_means,
    drowned_votes,
    few_steps,
    unjudged,
    wide_clip,
)
from raysyn.methods.own_network import check_denoiser, refuse_lessened
from raysyn.methods.snapshots import STAGE as SNAPSHOTS
from raysyn.methods.snapshots import over_training
from raysyn.methods.sweep import check
from raysyn.methods.synthesis import judging
from raysyn.privacy import units
from raysyn.report.report import Report


def prepare(config: Config) -> Prepared:
    """The data set and the plan for it; ValueError in one sentence where either cannot be."""
    dataset = look(name_of(config), config)
    private = dataset.train
    if config.central.count and not config.central.conditional and not config.frequency.asked:
        refuse_lessened(config.finetune.layers, private.classes)
    if config.central.evolution or "evolution" in config.experiment.kinds:
        characters_of(private.class_names, "another --central.kind")
    facts = check_denoiser(
        new_denoiser(config, private), private.shape, task_of(config, private), config.sampler, config.finetune.layers
    )
    check_draws(config, private.classes)
    planned = units.planned(private, lambda n: plan(config, n, private.classes))
    check(asked(config), private, plan)
    doubts = [
        *unjudged(config.eval, private.classes),
        *drowned(config.central, private, budget_of(config)),
        *drowned_means(planned, private),
        *drowned_votes(planned, config.votes, private, "--central.share or "),
        *drowned_embedding(planned, embedding_of(config), private, budget_of(config)),
        *few_steps(planned, "finetune", private.units, "finetune"),
        *wide_clip(config.finetune),
    ]
    return Prepared(dataset=dataset, plan=planned, facts=facts, doubts=doubts)


def run(setting: PrivateSetting) -> Report:
    """Make the synthetic images, the certificate and the report; a finished stage is stored and never repeated."""
    config, plan, console = setting.config, setting.plan, setting.console
    groups = asked(config)
    compared = ["experiments"] if groups else []
    judged = [*judging(config.eval), *compared, *audited(setting)]
    drawn = ["synthesise", *([SNAPSHOTS] if config.snapshots else [])]
    console.begin([*before(config), "finetune", *counted(config), *drawn, *judged])

    # Stage I (paper 3.1), the spatial warm-up: central images teach the outline for a small part of the budget.
    begun = spatial(setting)

    # Of DP-FETA-Pro, the frequency warm-up: images of a generator that has a noisy mean embedding, for another part.
    begun = frequency(setting, begun)

    # Stage II (paper 3.2): DP-SGD on the sensitive images spends what is left.
    tuned = begun.model.fine_tune()
    console.stage("finetune", f"{plan.stages['finetune'].steps:,} steps of DP-SGD, {setting.spent()}")

    # From here on every released byte is post-processing of what the ledger was paid for.
    synthetic = begun.model.draw()
    again = draw_again(config, begun.model)
    return finish(
        setting, name_of(config), synthetic, done=story(config, plan, setting.dataset.train), central=begun.central,
        generated=begun.more, drawn_again=again, sections=partial(over_training, setting, begun.model, tuned),
        beside=beside(setting, PARTS, groups, synthetic, begun), engine=tuned["engine"], weighed=begun.model.weighed(),
        answered=answered(config, begun),
    )  # fmt: skip


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    uncharged=uncharged, drawing=drawing, audited=True,
    judged_by=JUDGED_BY, network=NETWORK, knows=knows, shown=shown, mechanisms=mechanisms,
)  # fmt: skip
