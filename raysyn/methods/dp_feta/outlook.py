"""What --dry-run adds to DP-FETA's plan: how long each stage would take here, and what a run holds in memory."""

from __future__ import annotations

from functools import partial

from torch import nn

from raysyn.data.images import Images
from raysyn.methods import outlook as shared
from raysyn.methods.dp_feta.config import Config, new_denoiser
from raysyn.methods.dp_feta.experiments import PARTS, asked
from raysyn.methods.dp_feta.model import task_of
from raysyn.methods.experiment_outlook import experiments as compared
from raysyn.methods.experiment_outlook import judged_seconds
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, denoiser_needs, per_worker, refuse_too_large
from raysyn.models import denoiser
from raysyn.screen.console import Console
from raysyn.train.memory import Need


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    plain, warmup = {}, config.warmup
    if config.central.count or any(config.experiment.counts):
        plain["warmup"] = per_worker(warmup.batch_size, machines), warmup.copies

    def new() -> nn.Module:
        return denoiser.new_denoiser(config.network, shape[2], shape[:2], private.classes)

    return [
        *denoiser_needs(new, shape, plain, config.finetune, machines),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def stages(config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """Every stage of a run, from moments' measurements that read no image."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    found = [shared.start_up(machines)]
    task = task_of(config, private)

    def new() -> nn.Module:
        return new_denoiser(config, private)

    if "central" in plan.stages:
        found.append(shared.alone("central", shared.central_seconds(config.central, private)))
        found.append(
            shared.Stage("warmup", shared.learning_seconds(new(), task, private, config.warmup, config.augment))
        )
    found.append(shared.Stage("finetune", shared.private_seconds(new(), task, private, config.finetune, machines.sgd)))
    drawn = shared.drawing_seconds(new(), config.sampler, private, config.synthetic)
    again = shared.again_seconds(new(), config.sampler_fid, private, config.synthetic)
    found.append(shared.Stage("synthesise", drawn + again))
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    return found + experiments(config, private, found, test=len(prepared.dataset.test))


def experiments(config: Config, private: Images, found: list[shared.Stage], *, test: int) -> list[shared.Stage]:
    """Of the runs that are compared, from the stages of the run itself, which differ from theirs in little."""
    groups = asked(config)
    if not groups:
        return []
    spent = {stage.name: stage.seconds for stage in found}
    asking = shared.central_seconds(config.central, private) / max(1, config.central.rounds(private.classes))
    warmth = spent.get("warmup")
    if warmth is None:
        network = new_denoiser(config, private)
        warmth = shared.learning_seconds(network, task_of(config, private), private, config.warmup, config.augment)

    def begun(one: Config) -> float:
        return asking * one.central.rounds(private.classes) + warmth if one.central.count else 0.0

    drawn = shared.drawing_seconds(new_denoiser(config, private), config.sampler, private, 1)
    judged = judged_seconds(config.eval, private, synthetic=config.synthetic, test=test)
    return compared(
        config, groups, PARTS.reads, begun=begun, trained=lambda _: spent["finetune"],
        drawn=lambda _: spent["synthesise"], point=config.experiment.along_images * drawn, judged=judged,
    )  # fmt: skip


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, which are answered too."""
    private, found = prepared.dataset.train, stages(config, prepared, machines)
    size = sum(parameter.numel() for parameter in new_denoiser(config, private).parameters())
    shared.show(console, found, machines, title=f"Outlook: {size:,} parameters")
    return found
