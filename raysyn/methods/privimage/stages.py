"""PrivImage before the fine-tuning: what public classes the sensitive images resemble, pre-training on these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.flat_pixels import joined, view
from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.experiment_units import Begun
from raysyn.methods.privimage.config import Config, Kind
from raysyn.methods.privimage.models import (
    GAN,
    Diffusion,
    Model,
    has_images,
    new_gan,
    others,
    task_of,
    tuned_denoiser,
)
from raysyn.methods.public_classifier import train_query
from raysyn.methods.synthesis import pack, unpack
from raysyn.privacy import units
from raysyn.privacy.mechanisms import Histogram, Learned, Mechanism
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central as central_query
from raysyn.privacy.queries import semantic as semantic_query
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.trial import Choice
from raysyn.train import semantic
from raysyn.train.private_gan import PrivateGame

MODELS: dict[Kind, Callable[[Setting, int], Model]] = {"diffusion": Diffusion, "gan": GAN}
SHARD = 2000
"""Sensitive images per unit of inference."""


@dataclass(frozen=True)
class Selection:
    """What the semantic query brought."""

    chosen: np.ndarray
    """The selected public classes, int64 (rows, classes each)."""
    network: nn.Module
    """The classifier of public classes that was asked."""
    history: Sequence[Mapping[str, float]] = ()
    """Loss of the classifier of public classes, and its accuracy on public images held out, by epoch; none where it was
    given."""


def before(config: Config) -> list[str]:
    """The stages of `begin`."""
    selects = config.pretraining == "selected"
    asked = {
        "query": selects and config.query.checkpoint is None, "semantic": selects,
        "central": config.private and config.central.count > 0, "pretrain": config.reads_public,
        "warmup": config.warms_up(),
    }  # fmt: skip
    return [name for name, is_so in asked.items() if is_so]


def begin(setting: Setting) -> Begun:
    """All there is before the fine-tuning; `more` is the selection, if there is one."""
    public: Public | None = setting.more
    config, private = setting.config, setting.dataset.train
    if config.pretraining == "none":
        public = None
    model = MODELS[config.generator](setting, others(config, public))

    # What public classes the sensitive images resemble (3.2, 3.3); which ones is not secret any more.
    chosen, selected, facts = None, None, dict[str, float]()
    if public is not None and config.pretraining == "selected":
        network, history = train_query(setting, public)
        noisy = setting.folder.stage("semantic", partial(ask, setting, public, network))
        chosen = semantic_query.select_classes(noisy.numpy(), config.semantic.selected, has_images(public))
        setting.console.stage("semantic", told(chosen, private, public))
        selected = Selection(chosen, network, history)
        if history:
            facts["query's accuracy, %"] = 100 * max(one["accuracy"] for one in history)
    central = central_images(setting)

    # Pre-training (3.4), at no cost: public images, and what was paid for.
    if public is not None:
        images = curriculum(private, public, chosen)
        facts["public images"] = float(len(images))
        if central is not None and not config.warms_up():
            images = joined(images, central)
        # One histogram of all sensitive classes says nothing about any of them. Where there is one class, labels that
        # public images have for themselves leave its row untaught: it begins as "no class", which all of them teach.
        tells = private.classes > 1 if chosen is None else config.semantic.conditional
        model.pretrain(images, conditional=tells)
    if central is not None and config.warms_up():
        model.warm_up(central)
    return Begun(model, central, selected, facts)


def told(chosen: np.ndarray, private: Images, public: Public) -> str:
    """The console's sentence about the selection."""
    share = np.isin(public.train.labels_N, chosen).mean()
    first = ", ".join(public.train.class_names[one] for one in chosen[0])
    whom = private.class_names[0] if len(chosen) > 1 else "all"
    return f"{100 * share:.1f} % of the public images selected (for {whom}: {first})"


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
    price, stream = units.priced(config.semantic.cost(), private), Stream(setting.folder.secret, "semantic")
    answer = semantic_query.semantic_histogram(exact, config.semantic, price, stream)
    return torch.from_numpy(setting.ledger.pay("semantic", answer))


def count_shard(shard: tuple[int, int], shared: tuple[nn.Module, Images, SemanticConfig, int]) -> Tensor:
    """One unit of inference: the exact counts of some sensitive images, which stay inside."""
    (start, end), (network, private, config, semantics) = shard, shared
    # Of all images: a shard may hold some of a person's.
    part, weights_N = private.select(slice(start, end)), units.weights(private)[start:end]
    top_NK = semantic.top_classes(network, part.images_NHWC, config.k, best_device())
    rows_N = part.labels_N if config.conditional else np.zeros(len(part), np.int64)
    rows = config.rows(part.classes)
    return torch.from_numpy(semantic_query.semantic_counts(top_NK, rows_N, rows, semantics, weights_N))


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


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    tuned = answer("finetune")
    found: dict[str, Mechanism] = {"central": config.central, COUNTS: None}
    if config.pretraining == "selected":
        found["semantic"] = Histogram(config.semantic, answer("semantic").shape[1])
    if config.generator == "gan":
        generator, discriminator = new_gan(config, like)
        generator.load_state_dict(tuned["partner"])
        discriminator.load_state_dict(tuned["model"])
        game = PrivateGame(generator, config.gan.play(config.finetune.batch_size), config.seed)
        learned = Learned(discriminator, game, config.finetune, Choice(**tuned["engine"]))
    else:
        network, rows = tuned_denoiser(config, like, tuned)
        learned = Learned(network, task_of(config, rows), config.finetune, Choice(**tuned["engine"]))
    return found | {"finetune": learned}


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
