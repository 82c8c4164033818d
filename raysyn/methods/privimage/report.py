"""What PrivImage's console and report say: the selection, the picture of figure 4, the story of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from raysyn.data.images import Images
from raysyn.data.public import Public, in_both
from raysyn.methods.class_shares import mix_of
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.privimage.config import Config
from raysyn.methods.privimage.models import new_denoiser, others
from raysyn.metrics.embedding import tsne
from raysyn.metrics.semantics import read_vectors, semantic_similarity
from raysyn.metrics.utility import unit_name
from raysyn.privacy.cost import unit_of
from raysyn.report.figures import Line, chart, clouds
from raysyn.report.pictures import first_of_class, mosaic, png_uri
from raysyn.report.report import Section
from raysyn.train.few_weights import ALL, how_many
from raysyn.train.samplers import network_calls

THUMBNAILS, SHOWN_ROWS = 10, 20
"""Public images shown for a sensitive class, and sensitive classes for which some are, at most."""
SDS = "semantic_distribution_similarity"
PANELS = {"synthetic": "synthetic", "real, of the test set": "real"}
KINDS = {"diffusion": "diffusion model", "gan": "GAN"}
TUNED = {"diffusion": "it", "gan": "its discriminator, and the generator from that,"}


def spent(setting: Setting) -> str:
    """The console's sentence about fine-tuning."""
    steps = setting.config.finetune.cost(setting.dataset.train.units).steps
    if not isinstance(setting, PrivateSetting):
        return f"{steps:,} plain steps, without privacy"
    return f"{steps:,} steps of DP-SGD, {setting.spent()}"


def selection(chosen: np.ndarray, private: Images, public: Public) -> Section:
    """Which public classes were selected for which sensitive one."""
    names, train = public.train.class_names, public.train
    whom: Sequence[str] = private.class_names if len(chosen) > 1 else ("all",)
    rows = [
        (who, ", ".join(names[one] for one in classes), f"{np.isin(train.labels_N, classes).sum():,}")
        for who, classes in zip(whom, chosen, strict=True)
    ]
    share = np.isin(train.labels_N, chosen).mean()
    more = f" Of the first {SHOWN_ROWS} sensitive classes images are shown." if len(chosen) > SHOWN_ROWS else ""
    return Section(
        title="Public classes selected",
        text=f"{chosen.size} of {train.classes} classes, {100 * share:.1f} % of {len(train):,} public images, fullest "
        "first. This is what the semantic query was paid for. Below, the first images of each of these classes, which "
        f"are public; what they were picked for is not: they stay inside, as all of this page.{more}",
        strips=[_thumbnails(who, classes, train) for who, classes in zip(whom, chosen[:SHOWN_ROWS], strict=False)],
        rows=[("sensitive class", "public classes", "images"), *rows],
        words=(0, 1),
    )


def _thumbnails(who: str, chosen: np.ndarray, public: Images) -> tuple[str, str]:
    """What a strip says, and its picture: as many of each public class, side by side."""
    classes = chosen[:THUMBNAILS]
    each = max(1, THUMBNAILS // len(classes))
    images = np.concatenate([first_of_class(public, label, each) for label in classes])
    told = ", ".join(f"{public.class_names[label]} (class {label})" for label in classes)
    left_out = f" and {len(chosen) - len(classes)} more" if len(chosen) > len(classes) else ""
    scale = max(1, round(48 / images.shape[1]))
    return f"{who}: {told}{left_out}", png_uri(mosaic(images, len(images), scale, 2))


def query_accuracy(history: Sequence[Mapping[str, float]]) -> Section:
    """Figure 9: how well the classifier of public classes knows them."""
    epochs = [one["epoch"] for one in history]
    best = max(history, key=lambda one: (one["accuracy"], one["epoch"]))
    return Section(
        title="The semantic query function (figure 9 of the paper)",
        text="Accuracy of the classifier of public classes on public images held out, after each pass over the others; "
        f"that of epoch {best['epoch']:g}, {100 * best['accuracy']:.1f} %, was asked about the sensitive images.",
        picture=chart(
            {"public images held out": Line(epochs, [100 * one["accuracy"] for one in history], "o-")},
            x="epoch", y="accuracy, %",
        ),
        alt="accuracy on public images held out, by epoch",
    )  # fmt: skip


def in_figures(chosen: np.ndarray, private: Images, public: Public) -> dict[str, Any]:
    """The selection, for report.json: its share of the public images, and the classes by name."""
    names = public.train.class_names
    whom: Sequence[str] = private.class_names if len(chosen) > 1 else ("all",)
    return {
        "share": float(np.isin(public.train.labels_N, chosen).mean()),
        "classes": {who: [names[one] for one in classes] for who, classes in zip(whom, chosen, strict=True)},
    }


def similarity(config: Config, private: Images, public: Public | None, chosen: np.ndarray | None) -> dict[str, Any]:
    """Semantic distribution similarity (equation 5) of the sensitive images and what was pre-trained on, and of the
    whole public set beside it: {name: {value, reason, ...}}. ValueError where the file of word vectors is none."""
    if public is None or config.word_vectors is None:
        reason = "no public images" if public is None else "no file of word vectors; name one with --word-vectors"
        return {SDS: {"value": None, "reason": reason}}
    # Of several sets, class names begin with the set's.
    names, train = [name.rpartition(": ")[2] for name in public.train.class_names], public.train
    vectors = read_vectors(config.word_vectors, (*names, *private.class_names))
    mine = np.bincount(private.labels_N, minlength=private.classes)
    theirs = np.bincount(train.labels_N, minlength=train.classes)
    used = theirs if chosen is None else np.where(np.isin(np.arange(len(theirs)), chosen), theirs, 0)
    weights = {SDS: used, f"{SDS}_whole_public_set": theirs}
    return {
        name: semantic_similarity(names, weight, private.class_names, mine, vectors)
        for name, weight in weights.items()
    }  # fmt: skip


def in_one_plane(setting: Setting, synthetic: Images) -> Section:
    """Figure 4: what a CNN trained on the synthetic images sees in them and in real ones."""
    shared = {
        "synthetic": synthetic, "real": setting.dataset.test, "config": setting.config.eval, "seed": setting.config.seed
    }  # fmt: skip
    name = unit_name("utility", setting.config.eval).replace("utility", "plane")
    (points,) = setting.folder.stage(name, lambda: setting.compute.map(draw_plane, [None], name=name, shared=shared))
    setting.console.stage("plane", "what a CNN sees in synthetic and real images, as a picture")
    panels = {side: (points[key], points[f"{key}_labels"]) for side, key in PANELS.items()}
    return Section(
        title="Synthetic and real images in one plane (figure 4 of the paper)",
        text="t-SNE of the features of a CNN trained on the synthetic images: classes that lie apart here are told "
        "apart, and real images should fall on the synthetic ones of their class.",
        picture=clouds(panels, synthetic.class_names),
        alt="two clouds of points, synthetic and real images, coloured by class",
    )


def draw_plane(_: None, shared: dict[str, Any]) -> dict[str, Any]:
    """`tsne` as the one unit of a fan-out."""
    return tsne(shared)


def story(setting: Setting, public: Public | None) -> list[str]:
    """One plain sentence per stage, for the report."""
    config, done = setting.config, [] if public is None else in_both(public)
    if public is not None and config.pretraining == "selected":
        k = config.semantic.k
        noise = f", with noise of {config.semantic.noise_multiplier:g} times its sensitivity" if config.private else ""
        done += [
            f"Trained a classifier on {len(public.train):,} public images of {public.train.classes} classes."
            if config.query.checkpoint is None
            else "Took the given classifier of public classes.",
            f"Counted the {k} most probable public classes of every sensitive image{noise}.",
            f"Selected the {config.semantic.selected} fullest for each row of that histogram.",
        ]
    if config.central.count:
        done.append(f"Asked for {config.central.count} noisy {config.central.kind} images.")
    if public is not None:
        which = "the selected" if config.pretraining == "selected" else "all"
        length = f"{config.pretrain.iterations:,} steps"
        if config.generator == "gan":
            length = f"{config.gan.pretrain.iterations:,} steps of the discriminator"
        done.append(f"Pre-trained the {KINDS[config.generator]} on {which} public images for {length}.")
    few = ""
    if (layers := config.finetune.layers) != ALL:
        network = new_denoiser(config, setting.dataset.train, setting.dataset.train.classes + others(config, public))
        few = f" ({layers}: {how_many(network, layers)} weights learn)"
    if isinstance(setting, PrivateSetting):
        price = setting.plan.stages["finetune"]
        done.append(
            f"Fine-tuned {TUNED[config.generator]}{few} on the sensitive images with {price.steps:,} steps of DP-SGD "
            f"at noise multiplier {price.noise_multiplier:.3g}, expected batch {config.finetune.batch_size:,}, noisy "
            f"copies per {unit_of(price.adjacency)}: {config.finetune.noise_multiplicity}."
        )
    else:
        done.append(f"Fine-tuned it{few} on the sensitive images without any privacy.")
    calls = 1 if config.generator == "gan" else network_calls(config.sampler)
    done.append(f"Drew {config.synthetic:,} images, {mix_of(config)}; network calls for each: {calls}.")
    return done
