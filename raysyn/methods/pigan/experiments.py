"""PIGAN's experiments: which GANs they compare, and the unit of work that trains one of them and attacks it.

Every (GAN, split into members and others) is one durable unit of a fan-out, and so is its judgement; experiments that
ask for the same one share it, and asking for more later does only what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.attacks.gan_attacks import MonteCarloConfig, monte_carlo, total_variation, white_box
from raysyn.attacks.whose import Whose
from raysyn.compute.doorway import digest
from raysyn.compute.worker import Alone, best_device
from raysyn.data.images import Images
from raysyn.methods.class_shares import turns
from raysyn.methods.distances import present
from raysyn.methods.network import Network
from raysyn.methods.pigan.config import Config
from raysyn.methods.pigan.variants import Variant, released, seed_of, share_of, split
from raysyn.methods.synthesis import Drawing, chunks_of
from raysyn.methods.weighing import Weighed, doubts
from raysyn.metrics import utility
from raysyn.metrics.fidelity import fidelity
from raysyn.models.dcgan import DCGANConfig, Discriminator, Generator
from raysyn.privacy import sgd
from raysyn.privacy.mechanisms import Learned, Mechanism
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.trial import Choice
from raysyn.train import conditional_gans as gans
from raysyn.train import paired_networks
from raysyn.train.paired_networks import Networks
from raysyn.train.private_gan import PlayConfig, PrivateGame


def private_networks(
    network: DCGANConfig, variant: Variant, members: Images, seed: int
) -> tuple[Discriminator, PrivateGame]:
    """The discriminator that DP-SGD trains, and the generator that plays with it."""
    fresh = paired_networks.new_networks("gan", network, members.shape, members.classes, 2, seed)
    generator, discriminator = fresh.generators[0], fresh.discriminators[0]
    assert isinstance(generator, Generator) and isinstance(discriminator, Discriminator)
    gan = variant.gan
    play = PlayConfig(
        batch_size=gan.batch_size, learning_rate=gan.learning_rate, beta1=gan.beta1,
        label_smoothing=gan.label_smoothing,
    )  # fmt: skip
    return discriminator, PrivateGame(generator, play, seed)


def weights_of(trained: dict[str, Any]) -> dict[str, Tensor]:
    """What DP-SGD released, as the weights of `Networks`."""
    parts = {"generators.0.": trained["partner"], "discriminators.0.": trained["model"]}
    return {prefix + name: value for prefix, weights in parts.items() for name, value in weights.items()}


def loaded(
    network: DCGANConfig, variant: Variant, like: Images, weights: Mapping[str, Any], device: torch.device
) -> Networks:
    """Trained networks, ready to be asked."""
    networks = paired_networks.new_networks(variant.kind, network, like.shape, like.classes, variant.penalty.parts, 0)
    networks.load_state_dict({name: one for name, one in weights.items() if name != ENGINE})
    return networks.to(device).eval()


GENERATORS = "generators."
"""Before the names of their weights."""
ENGINE = "engine"
"""Beside the weights of what is released: how DP-SGD computed gradients."""
Unit = tuple[Variant, int]
"""A GAN, and the split that it is trained and attacked on."""


def training_key(unit: Unit) -> str:
    """Under which a unit's weights are found again: what they depend on beside what a run folder is known by."""
    variant, index = unit
    return f"{variant.model}-{digest(variant.key(), index)}"


JUDGEMENT = "with images by code and draws of chance"
"""What a judgement holds: one that holds less is not taken for it."""


def judging_key(config: Config, unit: Unit) -> str:
    """Under which its judgement is."""
    scored = " and scores of splits" if config.eval.inception_weights is not None else ""
    return f"{training_key(unit)}-{digest(config.monte_carlo, config.eval, JUDGEMENT + scored)}"


def split_of(shared: Mapping[str, Any], index: int) -> tuple[Images, Images]:
    """Members and others of a split. Canaries take part in the first alone, which the released GAN has too; further
    ones are of the images as they are."""
    return split(shared["config"], shared["loaded" if index else "dataset"], index)


def train_unit(unit: Unit, shared: Mapping[str, Any]) -> dict[str, Tensor]:
    """One unit: the weights of one GAN, trained on one split."""
    (variant, index), config = unit, shared["config"]
    seed = seed_of(config, index)
    members = share_of(split_of(shared, index)[0], variant.share, seed)  # of all, then who is there
    if variant.model != "dpgan":
        own = present(members)
        return gans.fit(Alone(), variant.kind, config.network, own, variant.gan, variant.penalty, seed)["weights"]
    discriminator, game = private_networks(config.network, variant, members, seed)
    # Streams of noise must never be shared: not by two budgets, not by two splits.
    stage = f"experiment {variant.key()!r} {index}"
    answer = sgd.fit(
        Alone(), discriminator, game, members, variant.sgd(), variant.cost(members), shared["secret"],
        shared["speed"], stage, partner=game,
    )  # fmt: skip
    return weights_of(answer.value)


def judge_unit(item: tuple[Unit, Mapping[str, Tensor]], shared: Mapping[str, Any]) -> dict[str, Any]:
    """One unit: all attacks on one GAN and all scores of its images, as plain values.

    Returns {white_box, total_variation, monte_carlo, accuracy: {classifier: share}, fidelity, samples: uint8
    (classes * 8, H, W, C), by_code: the same under each code of a PIGAN, of one noise, (codes, classes * 8, H, W, C)}.
    """
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from scipy.special import expit

    ((variant, index), weights), config = item, shared["config"]
    members, others = split_of(shared, index)
    seed = seed_of(config, index)
    networks = loaded(config.network, variant, members, weights, best_device())
    # As many others per member, whatever the share of members: chance is the same for all GANs.
    own, outside = present(share_of(members, variant.share, seed)), share_of(others, variant.share, seed)
    on_members, on_others = (paired_networks.discriminator_logits(networks, side) for side in (own, outside))
    mine, theirs = Whose.of(own), Whose.of(outside)
    fakes = drawn(networks, config.monte_carlo.fakes, members.classes, [seed, 30])
    labels_N = turns(config.synthetic, members.classes, shared["shares"])
    synthetic = as_images(networks, labels_N, members.class_names, config.seed if index == 0 else seed)
    trained_on = utility.subset(synthetic, config.eval.images, seed)
    useful = {"synthetic": trained_on, "test": others, "config": config.eval, "seed": seed}
    return {
        "white_box": white_box(mine.mean(on_members), theirs.mean(on_others), seed),
        "total_variation": total_variation(mine.mean(expit(on_members)), theirs.mean(expit(on_others)), seed),
        "monte_carlo": monte_carlo(own, outside, fakes, config.monte_carlo, seed),
        "accuracy": {
            name: utility.judge((name, "synthetic"), useful)["accuracy"] for name in config.eval.classifiers
        },
        # Compared with images that no GAN saw (5.1): likeness to the members would reward a copy.
        "fidelity": fidelity(
            None, synthetic, utility.subset(others, config.synthetic, seed), config.eval, seed, intra=True,
            reference="real images that the GAN did not learn from", loaded=shared["inception"],
        ),
        "samples": torch.from_numpy(drawn(networks, 8 * members.classes, members.classes, [seed, 32])),
        "by_code": torch.stack([
            torch.from_numpy(drawn(networks, 8 * members.classes, members.classes, [seed, 33], code))
            for code in range(networks.parts)
        ]) if variant.kind == "pigan" else None,
    }  # fmt: skip


def drawn(networks: Networks, count: int, classes: int, key: Sequence[int], code: int | None = None) -> np.ndarray:
    """`count` generated images, classes in turn, under random codes or the one given: uint8 (N, H, W, C)."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return paired_networks.draw(networks, torch.arange(count) % classes, seed, None if code is None else [code])


def as_images(networks: Networks, labels_N: np.ndarray, class_names: tuple[str, ...], seed: int) -> Images:
    """Of the labels that are released, and with the configuration's seed these very images."""
    parts = [draw_chunk(chunk, networks) for chunk in chunks_of(labels_N, seed)]
    return Images(torch.cat(parts).numpy(), labels_N, class_names)


def draw_chunk(chunk: tuple[int, np.ndarray], networks: Networks) -> Tensor:
    """One unit of synthesis: (seed, labels) to uint8 (N, H, W, C), each under a random code."""
    seed, labels_N = chunk
    labels = torch.from_numpy(labels_N.copy())
    return torch.from_numpy(paired_networks.draw(networks.to(best_device()), labels, seed))


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the generators of the released GAN."""
    variant, weights = released(config), _generators(answer("generator"))
    networks = paired_networks.new_networks(
        variant.kind, config.network, like.shape, like.classes, variant.penalty.parts, 0
    )
    networks.generators.load_state_dict(weights)
    return Drawing(draw_chunk, networks.eval(), "one network call each")


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    variant, weights = released(config), answer("generator")
    discriminator, game = private_networks(config.network, variant, like, config.seed)
    for network, prefix in ((game.generator, "generators.0."), (discriminator, "discriminators.0.")):
        own = {name.removeprefix(prefix): one for name, one in weights.items() if name.startswith(prefix)}
        network.load_state_dict(own)
    choice = Choice(**weights[ENGINE]) if ENGINE in weights else None  # which runs did not always keep
    return {"generator": Learned(discriminator, game, variant.sgd(), choice), COUNTS: None}


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads; no discriminator, which knows its members best."""
    return {"generator": {f"{GENERATORS}{name}": value for name, value in _generators(answer("generator")).items()}}


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How real each image looks to each discriminator, or under each code."""
    networks = loaded(config.network, released(config), like, answer("generator"), best_device())
    return torch.from_numpy(paired_networks.discriminator_logits(networks, images))


def weighed(config: Config, like: Images, weights: Mapping[str, Tensor]) -> Weighed:
    """By what canaries of a DPGAN are guessed about: its discriminator, which was paid for and never leaves."""
    networks = loaded(config.network, released(config), like, weights, torch.device("cpu"))
    return partial(doubts, networks.discriminators[0], Generator.black)


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`: members are the training images, as they are."""
    return {"member_share": None, "monte_carlo": MonteCarloConfig(fakes=1, suspects=1, components=1, repeats=1)}


def _generators(weights: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name.removeprefix(GENERATORS): one for name, one in weights.items() if name.startswith(GENERATORS)}


NETWORK = Network(("model", "network", "penalty", "classes", "synthetic", "seed"), parts)
