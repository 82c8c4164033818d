"""What --dry-run adds to DP-FETA's plan: how long each stage would take here, and what a run holds in memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from raysyn.data.images import Images
from raysyn.methods import embedded, evolving_outlook, matching
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing, by_weights
from raysyn.methods.denoising import losses
from raysyn.methods.dp_feta.config import MOMENTS, Config, embedding_of, new_denoiser, votes_noise
from raysyn.methods.dp_feta.experiments import PARTS, asked
from raysyn.methods.dp_feta.frequency import FREQUENCY, GENERATED, STAGES
from raysyn.methods.dp_feta.model import task_of
from raysyn.methods.embedded import resembling_seconds
from raysyn.methods.experiment_outlook import experiments as compared
from raysyn.methods.experiment_outlook import judged_seconds
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import (
    Shape,
    classifier_needs,
    denoiser_needs,
    float_image,
    moments_needs,
    per_worker,
    refuse_too_large,
)
from raysyn.methods.snapshots import outlook as snapshots
from raysyn.methods.synthesis import CHUNK
from raysyn.methods.weighing import Weighed
from raysyn.models import denoiser
from raysyn.privacy.queries.central import DRAWN, Kind
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.privacy.queries.votes import VOTES
from raysyn.screen.console import Console
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.memory import Need, gradient_bytes


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    plain, warmup, kinds = {}, config.warmup, {config.central.kind, *config.experiment.kinds}
    if config.central.count or any(config.experiment.counts):
        plain["warmup"] = per_worker(warmup.batch_size, machines), warmup.copies
    questions = list[Need]()
    if config.central.count and kinds & {*DRAWN}:
        # As bytes, in parts and put together.
        size = CHUNK * float_image(shape) + 2 * config.central.draws * math.prod(shape)
        questions = [Need("warmup", size, f"{config.central.draws:,} draws")]
        questions += moments_needs(MOMENTS, shape, private.classes) if "gaussian" in kinds else []
        if "evolution" in kinds:
            voting = evolving_outlook.needs(config, shape, private, None, votes_noise(config, private.units))
            questions += [one for one in voting if one.stage == VOTES]

    def new() -> nn.Module:
        return denoiser.new_denoiser(config.network, shape[2], shape[:2], private.classes)

    return [
        *questions,
        *frequency_needs(config, shape, machines, new, private.classes),
        *denoiser_needs(new, shape, plain, config.finetune, machines),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def frequency_needs(
    config: Config, shape: Shape, machines: On, new: Callable[[], nn.Module], classes: int
) -> list[Need]:  # fmt: skip
    """Of the second warm-up: the question, the generator, its images as bytes, in parts and put together, and those
    again beside a batch that the network learns from."""
    if not config.frequency.asked:
        return []
    second = config.frequency
    batch, drawn = per_worker(second.warmup.batch_size, machines), 2 * second.draws * math.prod(shape)
    drawing = matching.weight_bytes(second.network, shape) + CHUNK * matching.image_bytes(second.network, shape)
    learning = gradient_bytes(new(), DiffusionTask(classes=1), shape, batch, second.warmup.copies)
    return [
        *embedded.needs(embedding_of(config), second, shape, classes),
        Need(GENERATED, drawn + drawing, f"{second.draws:,} images of a generator"),
        Need(FREQUENCY, drawn + learning, f"a batch of {batch:,} of {second.draws:,} images of a generator"),
    ]


def frequency_stages(config: Config, private: Images) -> list[shared.Stage]:
    """Of the second warm-up, from measurements that read no image."""
    if not config.frequency.asked:
        return []
    second = config.frequency
    task = task_of(config, private)
    return [
        *embedded.stages(embedding_of(config), second, private),
        shared.Stage(GENERATED, matching.drawing_seconds(second.network, private, second.draws)),
        shared.Stage(FREQUENCY, shared.learning_seconds(new_denoiser(config, private), task, private, second.warmup)),
    ]


def stages(config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """Every stage of a run, from moments' measurements that read no image."""
    private, plan = prepared.dataset.train, prepared.plan
    assert plan is not None
    found = [shared.start_up(machines)]
    task = task_of(config, private)

    def new() -> nn.Module:
        return new_denoiser(config, private)

    asking = asking_seconds(config, private)
    found += [shared.alone(stage, spent) for stage, spent in asking.items()]
    if asking:
        learning = shared.learning_seconds(new(), task, private, config.warmup, config.changes())
        found.append(shared.Stage("warmup", learning + drawn_before(config, private)))
    found += frequency_stages(config, private)
    found.append(shared.Stage("finetune", shared.private_seconds(new(), task, private, config.finetune, machines.sgd)))
    found += shared.counting(config, private)
    drawn = shared.drawing_seconds(new(), config.sampler, private, config.synthetic)
    again = shared.again_seconds(new(), config.sampler_fid, private, config.synthetic)
    found.append(shared.Stage("synthesise", drawn + again))
    found += snapshots(config, private.classes, drawn)
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += experiments(config, private, found, test=len(prepared.dataset.test))
    weighed = partial(losses, new(), task, config.seed)
    return found + auditing(config, prepared, config.synthetic, looks(config, weighed, private))


def looks(config: Config, weighed: Weighed, private: Images) -> Callable[[int], float]:
    """Seconds of what is said of so many canaries: by the network, and by the embedding where it is asked for."""
    by_network = by_weights(weighed, private)
    if not config.frequency.asked:
        return by_network
    return lambda count: by_network(count) + resembling_seconds(embedding_of(config), private, count)


def asking_seconds(config: Config, private: Images) -> dict[str, float]:
    """{stage: of one question, or of all votes} before the warm-up."""
    if config.central.gaussian:
        return {stage: shared.moments_seconds(MOMENTS, stage, private) for stage in (MEANS, SPREAD)}
    if config.central.evolution:
        return {VOTES: voting_pace(config, private).voting(len(private))}
    return {"central": shared.central_seconds(config.central, private)} if config.central.count else {}


def voting_pace(config: Config, private: Images) -> evolving_outlook.Pace:
    """Of votes for characters, and of drawing these."""
    return evolving_outlook.pace(config, private, None, votes_noise(config, private.units))


def drawn_before(config: Config, private: Images) -> float:
    """Of the draws that the warm-up learns from, if there are any."""
    if config.central.gaussian:
        return shared.moments_drawing(MOMENTS, private, config.central.draws)
    return voting_pace(config, private).drawn * config.central.draws if config.central.evolution else 0.0


def experiments(config: Config, private: Images, found: list[shared.Stage], *, test: int) -> list[shared.Stage]:
    """Of the runs that are compared, from the stages of the run itself, which differ from theirs in little."""
    groups = asked(config)
    if not groups:
        return []
    spent = {stage.name: stage.seconds for stage in found}
    warmth = spent.get("warmup")
    if warmth is None:
        network = new_denoiser(config, private)
        warmth = shared.learning_seconds(network, task_of(config, private), private, config.warmup, config.changes())

    @functools.cache
    def asking(kind: Kind) -> float:
        """Of one round, or of both questions, or of all votes."""
        count = private.classes if config.central.conditional else 1
        once = replace(config, central=replace(config.central, kind=kind, count=count))
        return sum(asking_seconds(once, private).values())

    second = sum(spent.get(name, 0.0) for name in STAGES)

    def begun(one: Config) -> float:
        rounds = 1 if one.central.drawn else one.central.rounds(private.classes)
        first = asking(one.central.kind) * rounds + warmth if one.central.count else 0.0
        return first + second * one.frequency.asked

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
