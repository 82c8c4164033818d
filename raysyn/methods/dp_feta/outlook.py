"""What --dry-run adds to DP-FETA's plan: how long each stage would take here, and what a run holds in memory."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial

from torch import nn

from raysyn.data.images import Images
from raysyn.methods import outlook as shared
from raysyn.methods.dp_feta.config import Config
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, denoiser_needs, per_worker, refuse_too_large
from raysyn.models.denoiser import new_denoiser
from raysyn.screen.console import Console
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.memory import Need


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    plain, warmup = {}, config.warmup
    if config.central.count:
        plain["warmup"] = per_worker(warmup.batch_size, machines), warmup.copies

    def new() -> nn.Module:
        return new_denoiser(config.network, shape[2], shape[:2], private.classes)

    return [
        *denoiser_needs(new, shape, plain, config.finetune, machines),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def stages(config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """Every stage of a run, from moments' measurements that read no image."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    found = [shared.start_up(machines)]
    task = DiffusionTask(classes=private.classes, **asdict(config.noise))

    def new() -> nn.Module:
        return new_denoiser(config.network, private.shape[2], private.shape[:2], private.classes)

    if "central" in plan.stages:
        found.append(shared.alone("central", shared.central_seconds(config.central, private)))
        found.append(
            shared.Stage("warmup", shared.learning_seconds(new(), task, private, config.warmup, config.augment))
        )
    found.append(shared.Stage("finetune", shared.private_seconds(new(), task, private, config.finetune, machines.sgd)))
    found.append(shared.Stage("synthesise", shared.drawing_seconds(new(), config.sampler, private, config.synthetic)))
    return found + shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, which are answered too."""
    private, found = prepared.dataset.train, stages(config, prepared, machines)
    denoiser = new_denoiser(config.network, private.shape[2], private.shape[:2], private.classes)
    size = sum(parameter.numel() for parameter in denoiser.parameters())
    shared.show(console, found, machines, title=f"Outlook: {size:,} parameters")
    return found
