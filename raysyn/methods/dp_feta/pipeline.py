"""DP-FETA: noisy central images warm up a diffusion model, DP-SGD fine-tunes it (Li et al., S&P 2025).

Reads downwards in the paper's order: price both touches of the sensitive images (3.3), stage I (3.1),
stage II (3.2), synthesis and evaluation (4). `central.count = 0` leaves stage I out: that is DPDM, the baseline.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial

from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_feta.config import NAME, Config, new_denoiser, plan
from raysyn.methods.dp_feta.outlook import check_memory, show_outlook
from raysyn.methods.dp_feta.report import story
from raysyn.methods.ends import finish, look
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import drowned, few_steps, unjudged
from raysyn.methods.own_network import check_denoiser
from raysyn.methods.synthesis import draw_chunk, judging, pack, synthesise, unpack
from raysyn.models.warm_start import OF_ALL_CLASSES, lessened
from raysyn.privacy import sgd
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central as central_query
from raysyn.report.report import Report
from raysyn.train import loop
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.samplers import network_calls


def prepare(config: Config) -> Prepared:
    """The data set and the plan for it; ValueError in one sentence where either cannot be."""
    dataset = look(NAME, config)
    private = dataset.train
    facts = check_denoiser(new_denoiser(config, private), private.shape, task_of(config, private), config.sampler)
    planned = plan(config, len(private), private.classes)
    doubts = [
        *unjudged(config.eval, private.classes),
        *drowned(config.central, private, config.budget),
        *few_steps(planned, "finetune", len(private), "finetune"),
    ]
    return Prepared(dataset=dataset, plan=planned, facts=facts, doubts=doubts)


def task_of(config: Config, private: Images) -> DiffusionTask:
    """What the denoiser learns from one image."""
    return DiffusionTask(classes=private.classes, **asdict(config.noise))


def run(setting: PrivateSetting) -> Report:
    """Make the synthetic images, the certificate and the report; a finished stage is stored and never repeated."""
    config, private, plan, ledger = setting.config, setting.dataset.train, setting.plan, setting.ledger
    compute, folder, console = setting.compute, setting.folder, setting.console
    task = task_of(config, private)
    denoiser = new_denoiser(config, private)
    before = ["central", "warmup"] if "central" in plan.stages else []
    console.begin([*before, "finetune", "synthesise", *judging(config.eval)])

    # Stage I (paper 3.1): central images teach the outline for a small part of the budget.
    central = None
    if "central" in plan.stages:
        stream = Stream(folder.secret, "central")
        query = partial(central_query.central_images, private, config.central, stream)
        central = unpack(folder.stage("central", lambda: pack(ledger.pay("central", query()))), private)
        console.stage("central", f"{len(central)} noisy central images, ε {ledger.epsilon():.3g} so far")
        warm_up = partial(compute.train, loop.fit, name="warmup")
        # Images of all classes together teach what "no class" looks like, and nothing about a class.
        lesson = task if config.central.conditional else replace(task, label_dropout=1.0)
        fresh = {name: value.clone() for name, value in denoiser.state_dict().items()}
        taught = (denoiser, lesson, central, config.warmup, config.seed, config.augment)
        warm = folder.stage("warmup", lambda: warm_up(*taught))
        # The raw weights of the last step go on, as published, not their average.
        share = 1.0 if config.central.conditional or private.classes == 1 else OF_ALL_CLASSES
        denoiser.load_state_dict(lessened(fresh, warm["model"], share))
        console.stage("warmup", f"{config.warmup.iterations:,} steps on them, augmented: no further cost")

    # Stage II (paper 3.2): DP-SGD on the sensitive images spends what is left.
    fine_tune = partial(sgd.train, compute, name="finetune", epsilon_at=partial(plan.epsilon_after, "finetune"))
    price = plan.stages["finetune"]
    tuned = folder.stage(
        "finetune",
        lambda: ledger.pay(
            "finetune",
            fine_tune(denoiser, task, private, config.finetune, price, folder.secret, setting.machines.sgd),
        ),
    )
    console.stage("finetune", f"{price.steps:,} steps of DP-SGD, ε {ledger.epsilon():.4g} spent in all")

    # From here on every released byte is post-processing of what the ledger was paid for.
    denoiser.load_state_dict(tuned["ema"])
    calls = f"{network_calls(config.sampler)} network calls each"
    drawing = (denoiser.cpu(), config.sampler, private.shape)
    synthetic = synthesise(setting, draw_chunk, drawing, private.class_names, calls)
    return finish(setting, NAME, synthetic, done=story(config, plan), central=central, engine=tuned["engine"])


METHOD = Method(name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run)
