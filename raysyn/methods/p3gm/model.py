"""P3GM's stages: principal directions, the mixture, the network, and what is drawn from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.compute.worker import best_device
from raysyn.data.frequencies import to_images
from raysyn.data.images import Images
from raysyn.data.projection import Layout, Projection
from raysyn.methods.asking import ask_in_stages
from raysyn.methods.common import PrivateSetting
from raysyn.methods.moments import read_means
from raysyn.methods.needs import Shape
from raysyn.methods.network import Network
from raysyn.methods.p3gm.config import FINETUNE, Config, layout_of, new_network, task_of
from raysyn.methods.synthesis import Drawing
from raysyn.methods.warm_draws import draws
from raysyn.models.class_gaussians import ClassGaussians
from raysyn.models.phased import Phased
from raysyn.privacy import sgd
from raysyn.privacy.ledger import Plan
from raysyn.privacy.mechanisms import Learned, Mechanism, Mixed
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import mixture as query
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.mixture import MIXTURE
from raysyn.privacy.queries.moments import MEANS, SPREAD, spread_unit
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.trial import Choice
from raysyn.train import loop
from raysyn.train.memory import at_once
from raysyn.train.phased import PhasedTask

WARMUP = "warmup"
DRAWS = 20_000
"""Images from Gaussians that the network learns from first: as many as there are, they cost nothing."""
POOL = 8
"""Draws from the mixture for each image that is made, among which are those of its class."""
FURTHER = 8
"""How many times as many are drawn once more, at most, of classes that have too few of them."""
BATCH = 500
"""Images that are looked at together."""


def directed(config: Config, means_KF: Floats, shares_K: Floats, spread_SS: Floats, layout: Layout) -> Projection:
    """The principal directions of vectors, by their covariance: that within classes, as `spread_SS` says of the lowest
    frequencies, that between classes, of their means, and that with the number of the class. Along each the variance
    becomes 1."""
    (classes, features), weight = means_KF.shape, config.pca.label_weight
    centre_F = np.einsum("k,kf->f", shares_K, means_KF)
    away_KF, size = means_KF - centre_F, features + classes
    found_DD = np.zeros((size, size))
    channels = features // layout.frequencies
    lowest = np.arange(features).reshape(channels, -1)[:, : len(spread_SS) // channels].ravel()
    found_DD[np.ix_(lowest, lowest)] = spread_SS
    found_DD[:features, :features] += np.einsum("k,kf,kg->fg", shares_K, away_KF, away_KF)
    found_DD[:features, features:] = weight * (shares_K[:, None] * away_KF).T
    found_DD[features:, :features] = found_DD[:features, features:].T
    found_DD[features:, features:] = weight**2 * (np.diag(shares_K) - np.outer(shares_K, shares_K))
    values_D, vectors_DD = np.linalg.eigh(found_DD)
    chosen = slice(-1, -config.network.latent - 1, -1)
    # A direction without variance, as of images that are all alike, stays one.
    values_L = np.maximum(values_D[chosen], max(1e-6 * values_D[-1], 1e-12))
    return Projection(
        layout=layout, centre_D=np.append(centre_F, weight * shares_K),
        directions_DL=vectors_DD[:, chosen] / np.sqrt(values_L),
        largest=config.mixture.norm * config.network.latent**0.5,
    )  # fmt: skip


def projected(
    config: Config, plan: Plan, n: int, shape: Shape, means_KF: Floats, spread_1SS: Floats
) -> Projection:  # fmt: skip
    """The same from both answers that were paid for, of `n` images or persons."""
    means = read_means(means_KF, config.moments, plan, n, shape)
    spread_SS = spread_1SS[0] * (spread_unit(config.moments, shape) ** 2 / n)
    layout = layout_of(config, shape, len(means_KF))
    return directed(config, means.means_KF, means.counts_K / means.counts_K.sum(), spread_SS, layout)


def phase_one(setting: PrivateSetting) -> tuple[ClassGaussians, dict[str, Tensor]]:
    """The encoder's mean and the prior (paper IV-A): what both noisy answers say of the images, and the fixed part of
    the network."""
    config, private, plan, folder = setting.config, setting.dataset.train, setting.plan, setting.folder
    gaussians = ask_in_stages(setting, config.moments)
    means_KF, spread_1SS = (folder.stage(stage, _never).numpy() for stage in (MEANS, SPREAD))

    def asked() -> dict[str, Tensor]:
        of = projected(config, plan, private.units, private.shape, means_KF, spread_1SS)
        network, stream = config.network, Stream(folder.secret, MIXTURE)
        begin = query.first(network.components, network.latent, config.mixture, config.seed)
        release = query.asked(private, of, begin, config.mixture, plan.stages[MIXTURE], stream)
        noisy_TMX = setting.ledger.pay(MIXTURE, release)
        found = query.fitted(noisy_TMX[-1], private.units, config.mixture.usual(network.latent))
        fixed = {
            "centre_D": of.centre_D, "directions_DL": of.directions_DL, "largest": np.array(of.largest),
            "weights_M": found.weights_M, "means_ML": found.means_ML * of.largest,
            "variances_ML": found.variances_ML * of.largest**2,
        }  # fmt: skip
        return {name: torch.from_numpy(np.array(value, np.float32)) for name, value in fixed.items()}

    fixed: dict[str, Tensor] = folder.stage(MIXTURE, asked)
    steps, parts = config.mixture.iterations, config.network.components
    told = f"{steps} steps of noisy EM for {parts} Gaussians of {config.network.latent} directions, {setting.spent()}"
    setting.console.stage(MIXTURE, told)
    return gaussians, fixed


def _never() -> Any:
    raise AssertionError("this stage is stored by now")


def phase_two(setting: PrivateSetting, gaussians: ClassGaussians, fixed: Mapping[str, Tensor]) -> tuple[Phased, Any]:
    """The rest of the network (paper IV-B): on draws from what is known by now, then by DP-SGD. And the engine's
    choice."""
    config, private, plan, folder = setting.config, setting.dataset.train, setting.plan, setting.folder
    network, task = new_network(config, private.shape, private.classes), task_of(config, private.shape, private.classes)
    network.fix(fixed)
    if config.warmup.iterations:
        learn = partial(setting.compute.train, loop.fit, name=WARMUP)
        made = partial(draws, gaussians, DRAWS, config.seed, private)
        warm = folder.stage(WARMUP, lambda: learn(network, task, made(), config.warmup, config.seed))
        network.load_state_dict(warm["model"])
        setting.console.stage(WARMUP, f"{config.warmup.iterations:,} steps on draws from Gaussians: no further cost")

    def tuned() -> dict[str, Any]:
        release = sgd.train(
            setting.compute, network, task, private, config.finetune, plan.stages[FINETUNE], folder.secret,
            setting.machines.sgd, name=FINETUNE, epsilon_at=partial(plan.epsilon_after, FINETUNE),
        )  # fmt: skip
        return setting.ledger.pay(FINETUNE, release)

    answer = folder.stage(FINETUNE, tuned)
    network.load_state_dict(answer["ema"])
    setting.console.stage(FINETUNE, f"{plan.stages[FINETUNE].steps:,} steps of DP-SGD, {setting.spent()}")
    return network.cpu(), answer["engine"]


def of_network(network: Phased, like: Images) -> Drawing:
    """How it draws images with the shape and the classes of `like`."""
    told = f"each one of {POOL} draws from the mixture, by its class"
    return Drawing(draw_chunk, (network, like.shape, like.classes), told)


@torch.inference_mode()
def draw_chunk(chunk: tuple[int, np.ndarray], shared: tuple[Phased, Shape, int]) -> Tensor:
    """One unit of synthesis: (seed, labels (N,)) to images, uint8 (N, H, W, C): of draws from the mixture those that
    are decoded with the class that is asked for."""
    (seed, labels_N), (network, shape, classes) = chunk, shared
    generator, wanted_K = torch.Generator().manual_seed(seed), np.bincount(labels_N, minlength=classes)

    def drawn() -> Floats:
        return network.decode(network.sample(POOL * len(labels_N), generator)).double().numpy()

    made_PD = drawn()
    for _ in range(FURTHER):
        short_K = wanted_K > np.bincount(classes_of(made_PD, classes), minlength=classes)
        if not short_K.any():
            break
        more_PD = drawn()
        made_PD = np.concatenate([made_PD, more_PD[short_K[classes_of(more_PD, classes)]]])
    chosen_N = named(made_PD[:, -classes:], labels_N)
    return torch.from_numpy(to_images(made_PD[chosen_N, :-classes], shape))


def classes_of(made_PD: Floats, classes: int) -> np.ndarray:
    """The class that each draw was decoded with, int64 (P,)."""
    return made_PD[:, -classes:].argmax(1)


def named(scores_PK: Floats, labels_N: np.ndarray) -> np.ndarray:
    """For each label one of P draws, of which none is taken twice, int64 (N,), by the numbers of their classes: draws
    whose largest number is that class, in their order; where these are too few, those of the others that are left and
    lack the least. P is at least N."""
    found_N, own_P = np.full(len(labels_N), -1, np.int64), scores_PK.argmax(1)
    places = {label: np.flatnonzero(labels_N == label) for label in np.unique(labels_N).tolist()}
    for label, at in places.items():
        mine = np.flatnonzero(own_P == label)[: len(at)]
        found_N[at[: len(mine)]] = mine
    left_P = np.ones(len(scores_PK), bool)
    left_P[found_N[found_N >= 0]] = False
    for label, at in places.items():
        lacking_P = np.where(left_P, scores_PK.max(axis=1) - scores_PK[:, label], np.inf)
        short = at[found_N[at] < 0]
        found_N[short] = np.argsort(lacking_P, kind="stable")[: len(short)]
        left_P[found_N[short]] = False
    return found_N


def learned(config: Config, like: Images, weights: Mapping[str, Tensor]) -> Phased:
    """The network with these weights."""
    network = new_network(config, like.shape, like.classes)
    network.load_state_dict(weights)
    return network


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the network as DP-SGD left it; see `Method.drawing`."""
    weights = answer(FINETUNE)["ema"]
    return of_network(learned(config, like, weights), like)


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    return {FINETUNE: {"ema": answer(FINETUNE)["ema"]}}


NETWORK = Network(("network", "moments", "classes", "synthetic", "seed"), parts)


def projection_of(config: Config, like: Images, fixed: Mapping[str, Tensor]) -> Projection:
    """The encoder's mean, of what is fixed in the network."""
    return Projection(
        layout=layout_of(config, like.shape, like.classes), centre_D=fixed["centre_D"].double().numpy(),
        directions_DL=fixed["directions_DL"].double().numpy(), largest=float(fixed["largest"]),
    )  # fmt: skip


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    tuned, fixed = answer(FINETUNE), answer(MIXTURE)
    of = projection_of(config, like, fixed)
    seen = query.Mixture(
        fixed["weights_M"].double().numpy(), fixed["means_ML"].double().numpy() / of.largest,
        fixed["variances_ML"].double().numpy() / of.largest**2,
    )  # fmt: skip
    network, task = learned(config, like, tuned["ema"]), task_of(config, like.shape, like.classes)
    asked: dict[str, Mechanism] = {MEANS: config.moments, SPREAD: config.moments, MIXTURE: Mixed(of, seen)}
    return {**asked, FINETUNE: Learned(network, task, config.finetune, Choice(**tuned["engine"])), COUNTS: None}


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How well the network restores each image from its projection, (N, 1)."""
    network = learned(config, like, answer(FINETUNE)["ema"])
    return -losses(network, task_of(config, like.shape, like.classes), images)


def shown(config: Config) -> slice:
    """See `Method.shown`: all of it is the network's, which leaves as a whole."""
    return slice(1) if config.release.network else slice(0)


@torch.inference_mode()
def losses(network: Phased, task: PhasedTask, images: Images) -> Tensor:
    """Squared error of each image with its class, decoded from the encoder's mean, (N, 1)."""
    device, size, found = best_device(), at_once(BATCH, images.shape), list[Tensor]()
    network.to(device).eval()
    for at in range(0, len(images), size):
        pixels = torch.tensor(images.images_NHWC[at : at + size], device=device)
        vectors_ND = task.vectors(pixels, torch.tensor(images.labels_N[at : at + size], device=device))
        found.append((network.decode(network.mean(vectors_ND)) - vectors_ND).square().sum(1).cpu())
    return torch.cat(found)[:, None]
