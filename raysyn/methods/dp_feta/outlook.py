"""What --dry-run adds to DP-FETA's plan: how long each stage would take here, and what a run holds in memory."""

from __future__ import annotations

from functools import partial

from raysyn.data.images import Images
from raysyn.methods.dp_feta.config import Config
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, denoiser_needs, per_worker, refuse_too_large
from raysyn.models.unet import UNet
from raysyn.screen.console import Console
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.memory import Need
from raysyn.train.outlook import measure
from raysyn.train.samplers import network_calls


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    plain, warmup = {}, config.warmup
    if config.central.count:
        plain["warmup"] = per_worker(warmup.batch_size, machines), warmup.copies

    def new() -> UNet:
        return UNet(config.network, shape[2], shape[:2], private.classes)

    return [
        *denoiser_needs(new, shape, plain, config.finetune, machines),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """Hours of each stage, from a moment's measurement that reads no image."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    denoiser = UNet(config.network, private.shape[2], private.shape[:2], private.classes)
    pace = measure(denoiser, DiffusionTask(classes=private.classes), private.shape)
    gradients = {
        "warmup": config.warmup.iterations * config.warmup.batch_size if "central" in plan.stages else 0,
        "finetune": plan.stages["finetune"].steps
        * min(config.finetune.batch_size, len(private))
        * config.finetune.noise_multiplicity,
    }
    hours = {stage: count * pace.gradient_s / 3600 for stage, count in gradients.items()}
    hours["synthesise"] = config.synthetic * network_calls(config.sampler) * pace.call_s / 3600
    console.plan_table(
        [
            {"stage": stage, "hours of one worker with one CPU or GPU": round(value, 3)}
            for stage, value in hours.items()
        ],
        title=f"Outlook: {sum(p.numel() for p in denoiser.parameters()):,} parameters",
        caption="measured on made-up images. Classifiers and start-up come on top.",
    )
