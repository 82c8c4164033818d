"""PrivImage: a private query picks the public images to pre-train on, DP-SGD fine-tunes (Li et al., USENIX Sec. 2024).

Reads downwards in the paper's order: price every touch of the sensitive images (theorems E.1 to E.3), what public
classes they resemble (3.2, 3.3), pre-training on these, fine-tuning (3.4), synthesis and evaluation (4). `generator`
chooses between PRIVIMAGE+D and +G. The baselines are settings of it: `pretraining` all is PDP-Diffusion or DPGAN-p,
none is DPDM or DPGAN, `private` False with selected is NonPrivD or NonPrivG.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.attacks.membership import fingerprint
from raysyn.compute.worker import best_device
from raysyn.data.flat_pixels import joined, view
from raysyn.data.images import Images, load
from raysyn.data.public import Public, comparison, load_beside
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.declared import declared
from raysyn.methods.method import Method, Prepared
from raysyn.methods.misfits import FEW_STEPS, TAUGHT_BEFORE, drowned, few_steps, unjudged
from raysyn.methods.privimage.config import NAME, Config, Kind, name_of, plan
from raysyn.methods.privimage.models import (
    GAN,
    Diffusion,
    Model,
    check_diffusion,
    has_images,
    new_gan,
    new_query,
    others,
)
from raysyn.methods.privimage.outlook import check_memory, show_outlook
from raysyn.methods.privimage.report import in_figures, in_one_plane, selection, similarity, spent, story, told
from raysyn.methods.releasing import release
from raysyn.methods.synthesis import evaluate, judging, pack, unpack
from raysyn.metrics.checks import check_measures
from raysyn.metrics.semantics import read_vectors
from raysyn.metrics.yardsticks import BEST_IS_UNCHARGED
from raysyn.privacy import engines
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central as central_query
from raysyn.privacy.queries import semantic as semantic_query
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, write_report
from raysyn.train import semantic

MODELS: dict[Kind, Callable[[Setting, int], Model]] = {"diffusion": Diffusion, "gan": GAN}
SHARD = 2000
"""Sensitive images per unit of inference."""
MOST_SHARED = 0.01
"""Share of the sensitive images that may be public ones too: a few are where both were gathered from the web."""
GIVEN = "query.checkpoint: the classifier of public classes was given, and counts as made without the private images"


def prepare(config: Config) -> Prepared:
    """Sensitive and public images, and the plan of a private run; ValueError in one sentence where any cannot be."""
    dataset = load(config.data)
    private, public = dataset.train, None
    planned = plan(config, len(private), private.classes) if config.private else None
    told = check_network(config, private)
    check_measures(config.eval, private.classes, synthetic=config.synthetic, train=len(private))
    sets = config.public.sets() if config.pretraining != "none" else ()
    networks = {"query.checkpoint": config.query.checkpoint} if config.pretraining == "selected" else {}
    rehearse(name_of(config), dataset, told=config, uncharged=uncharged(config), sets=sets, networks=networks)
    if config.word_vectors is not None:
        read_vectors(config.word_vectors, private.class_names)
    # Last, because it may take hours the first time.
    if config.pretraining != "none":
        public = load_beside(config.data, private, config.public, MOST_SHARED)
        if config.word_vectors is not None:
            similarity(config, private, public, None)
        if config.pretraining == "selected":
            config.semantic.check(private.classes, int(has_images(public).sum()))
            new_query(config, public)
        if config.generator == "diffusion" and others(config, public):
            check_diffusion(config, private, private.classes + others(config, public))
    doubts = [*unjudged(config.eval, private.classes), *(misfits(config, private, planned) if planned else [])]
    return Prepared(dataset=dataset, plan=planned, more=public, facts=facts(config, public) | told, doubts=doubts)


def misfits(config: Config, private: Images, planned: Plan) -> list[str]:
    """What in the settings is for another number of images."""
    few = FEW_STEPS if config.pretraining == "none" else TAUGHT_BEFORE
    told = few_steps(planned, "finetune", len(private), "finetune", few)
    return [*drowned(config.central, private, config.budget), *told]


def check_network(config: Config, private: Images) -> dict[str, str]:
    """What tells a generator of the user's from an edited one; ValueError, in one sentence, where the networks cannot
    take the images, or DP-SGD not them."""
    if config.generator == "diffusion":
        return check_diffusion(config, private, private.classes)
    if config.network.factory is not None:
        raise ValueError(
            f"network.factory is {config.network.factory}, but generator is gan, which has networks of its own: leave "
            "one of them out"
        )
    _, discriminator = new_gan(config, private)
    engines.refuse_unsupported(discriminator)
    check_turns(config, len(private))
    return {}


def check_turns(config: Config, n: int) -> None:
    """ValueError where the generator would never have its turn."""
    steps, turn = config.finetune.cost(n).steps, config.gan.discriminator_steps
    if steps < turn:
        raise ValueError(
            f"finetune has {steps} steps, but the generator learns after every {turn} (gan.discriminator_steps): raise "
            "finetune.epochs, or lower one of gan.discriminator_steps and finetune.batch_size"
        )


def facts(config: Config, public: Public | None) -> dict[str, str]:
    """What identifies a run beside its configuration and the sensitive images."""
    if public is None:
        return {}
    told = {"public": public.train.fingerprint(), "public_valid": public.valid.fingerprint()}
    if config.pretraining == "selected" and config.query.checkpoint is not None:
        told["query"] = fingerprint(new_query(config, public).state_dict())
    return told


def run(setting: Setting) -> Report:
    """Make the synthetic images, the certificate and the report; a finished stage is stored and never repeated."""
    public: Public | None = setting.more
    config, private, folder, console = setting.config, setting.dataset.train, setting.folder, setting.console
    model: Model = MODELS[config.generator](setting, others(config, public))
    console.begin(stages_of(config, private.classes))

    # What public classes the sensitive images resemble (3.2, 3.3); which ones is not secret any more.
    chosen = None
    if public is not None and config.pretraining == "selected":
        network = train_query(setting, public)
        noisy = folder.stage("semantic", partial(ask, setting, public, network))
        chosen = semantic_query.select_classes(noisy.numpy(), config.semantic.selected, has_images(public))
        console.stage("semantic", told(chosen, private, public))
    central = central_images(setting)

    # Pre-training (3.4), at no cost: public images, and what was paid for.
    if public is not None:
        images = curriculum(private, public, chosen)
        if central is not None and not config.warms_up():
            images = joined(images, central)
        # One histogram of all sensitive classes says nothing about any of them.
        model.pretrain(images, conditional=chosen is None or config.semantic.conditional)
    if central is not None and config.warms_up():
        model.warm_up(central)

    # Fine-tuning on the sensitive images (3.4, algorithm 1) spends what is left.
    tuned = model.fine_tune()
    console.stage("finetune", spent(setting))

    # From here on every released byte is post-processing of what the ledger was paid for.
    synthetic = model.draw()
    name = name_of(config)
    privacy = release(setting, name, synthetic, uncharged(config), **made_from(config, public))

    # Measured on real images: for the report, which stays inside.
    metrics = evaluate(setting, synthetic, config.eval)
    metrics["fidelity"] |= similarity(config, private, public, chosen)
    if chosen is not None and public is not None:
        metrics["selection"] = in_figures(chosen, private, public)
    parts = [] if chosen is None or public is None else [selection(chosen, private, public)]
    # A CNN of one class learns nothing to see images by.
    parts += [in_one_plane(setting, synthetic)] if private.classes > 1 else []
    report = setting.report(name, privacy=privacy, metrics=metrics, engine=tuned.get("engine"))
    verdict = write_report(
        folder, report, synthetic=synthetic, central=central, done=story(setting, public), sections=parts,
    )  # fmt: skip
    may = "may leave" if config.private else "no promise"
    setting.end(verdict, folder.where(f"Release ({may})"))
    return report


def stages_of(config: Config, classes: int) -> list[str]:
    """What the console counts, in this order."""
    selects = config.pretraining == "selected"
    asked = {
        "query": selects and config.query.checkpoint is None, "semantic": selects,
        "central": config.private and config.central.count > 0, "pretrain": config.pretraining != "none",
        "warmup": config.warms_up(), "finetune": True, "synthesise": True,
    }  # fmt: skip
    return [
        *(name for name, is_so in asked.items() if is_so),
        *judging(config.eval),
        *(["plane"] if classes > 1 else []),
    ]


def made_from(config: Config, public: Public | None) -> dict[str, Any]:
    """What was public, as the certificate names it: images, and a classifier of them that was given."""
    if public is None:
        return {}
    given, networks = config.query.checkpoint, []
    if config.pretraining == "selected" and given is not None:
        print_of = fingerprint(new_query(config, public).state_dict())
        networks.append({"name": Path(given).name, "sha256": print_of})
    return {"public_images": [public.described()], "public_networks": networks}


def train_query(setting: Setting, public: Public) -> nn.Module:
    """The semantic query function: trained on public images, unless it was given."""
    config: Config = setting.config
    network = new_query(config, public)
    if config.query.checkpoint is None:
        fit = partial(setting.compute.train, semantic.fit, network, public.train, public.valid, config.query)
        trained = setting.folder.stage("query", lambda: fit(config.seed, name="query"))
        network.load_state_dict(trained["weights"])
        setting.console.stage(
            "query", f"{100 * trained['accuracy']:.1f} % of {len(public.valid):,} public images recognised"
        )
    return network


def ask(setting: Setting, public: Public, network: nn.Module) -> Tensor:
    """The semantic histogram, noisy in a private run: float64 (rows, public classes)."""
    config, private = setting.config, setting.dataset.train
    shards = [(start, min(start + SHARD, len(private))) for start in range(0, len(private), SHARD)]
    shared = (network.cpu(), private, config.semantic, public.train.classes)
    counted = setting.compute.map(
        count_shard, shards, name="semantic", shared=shared, sizes=[end - start for start, end in shards]
    )
    exact = [shard.numpy() for shard in counted]
    if not isinstance(setting, PrivateSetting):
        return torch.from_numpy(np.sum(exact, axis=0))
    answer = semantic_query.semantic_histogram(exact, config.semantic, Stream(setting.folder.secret, "semantic"))
    return torch.from_numpy(setting.ledger.pay("semantic", answer))


def count_shard(shard: tuple[int, int], shared: tuple[nn.Module, Images, SemanticConfig, int]) -> Tensor:
    """One unit of inference: the exact counts of some sensitive images, which stay inside."""
    (start, end), (network, private, config, semantics) = shard, shared
    part = private.select(slice(start, end))
    top_NK = semantic.top_classes(network, part.images_NHWC, config.k, best_device())
    rows_N = part.labels_N if config.conditional else np.zeros(len(part), np.int64)
    return torch.from_numpy(semantic_query.semantic_counts(top_NK, rows_N, config.rows(part.classes), semantics))


def central_images(setting: Setting) -> Images | None:
    """DP-FETA's noisy central images, if any are asked for."""
    if not isinstance(setting, PrivateSetting) or "central" not in setting.plan.stages:
        return None
    private = setting.dataset.train
    query = partial(
        central_query.central_images, private, setting.config.central, Stream(setting.folder.secret, "central")
    )
    stored = setting.folder.stage("central", lambda: pack(setting.ledger.pay("central", query())))
    setting.console.stage("central", f"{len(stored['labels'])} noisy central images")
    return unpack(stored, private)


def curriculum(private: Images, public: Public, chosen: np.ndarray | None) -> Images:
    """What is pre-trained on: selected public images under the labels of the sensitive classes whose rows chose them;
    or all of them under labels of their own, after those."""
    train = public.train
    if chosen is None:
        names = (*private.class_names, *(f"public {name}" for name in train.class_names))
        return view(train, np.arange(len(train)), private.classes + train.labels_N, names)
    row_of = np.full(train.classes, -1)
    for row, classes in enumerate(chosen):
        row_of[classes] = row
    mine = np.flatnonzero(row_of[train.labels_N] >= 0)
    return view(train, mine, row_of[train.labels_N[mine]], private.class_names)


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for."""
    choices = [BEST_IS_UNCHARGED] if config.eval.classifiers else []
    if config.pretraining != "none":
        choices.append(comparison(MOST_SHARED))
    if config.pretraining == "selected" and config.query.checkpoint is not None:
        choices.append(GIVEN)
    return [*choices, *declared(config)]


METHOD = Method(
    name=NAME, prepare=prepare, check_memory=check_memory, outlook=show_outlook, run=run,
    judged_by=("eval", "word_vectors"),
)  # fmt: skip
