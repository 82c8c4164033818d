"""PIGAN's experiments: which GANs they compare, and the unit of work that trains one of them and attacks it.

Every (GAN, split into members and others) is one durable unit of a fan-out, and so is its judgement; experiments that
ask for the same one share it, and asking for more later does only what is missing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from raysyn.attacks.gan_attacks import monte_carlo, total_variation, white_box
from raysyn.compute import Alone, best_device, digest
from raysyn.data import Dataset, Images
from raysyn.metrics import utility
from raysyn.metrics.fidelity import fidelity
from raysyn.models.dcgan import DCGANConfig, Discriminator, Generator
from raysyn.privacy import cost, sgd
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.sgd import SGDConfig
from raysyn.train import conditional_gans as gans
from raysyn.train.conditional_gans import AdversarialConfig, Kind, Networks, PenaltyConfig
from raysyn.train.private_gan import PlayConfig, PrivateGame

if TYPE_CHECKING:
    from raysyn.methods.pigan import Config

Model = Literal["gan", "pigan", "privgan", "dpgan"]
NAMES = {"gan": "GAN", "pigan": "PIGAN", "privgan": "PrivGAN", "dpgan": "DPGAN"}


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """What to compare beside the released GAN; every GAN is trained and attacked anew for each split."""

    lambdas: tuple[float, ...] = ()
    """Weights of PIGAN's penalty to compare, beside the GAN without (figure 1); also for training efficiency."""
    parts: tuple[int, ...] = ()
    """Numbers of parts N of PIGAN to compare, at --penalty.weight (table 2)."""
    compare: bool = False
    """Compare GAN, PIGAN, PrivGAN and DPGAN (figure 2), and pick those of equal white-box accuracy (table 1)."""
    equal_lambda: float | None = None
    """PIGAN's weight whose white-box accuracy the others are to equal in table 1; by default --penalty.weight."""
    privgan_lambdas: tuple[float, ...] = (0.01, 1.0)
    """PrivGAN's weights in that comparison, and for training efficiency."""
    epsilons: tuple[float, ...] = (10.0,)
    """DPGAN's budgets in that comparison."""
    fewer_epochs: int | None = None
    """Training efficiency 1: PIGAN with so many epochs less, of which its delay loses as many, beside PrivGAN with all
    (the paper: 100; table 3 a)."""
    fewer_images: float | None = None
    """Training efficiency 2: PIGAN on this share of the members beside PrivGAN on all (the paper: 0.75; table 3 b)."""
    splits: int = 1
    """Splits into members and others to repeat every experiment over (the paper: 10)."""

    def __post_init__(self) -> None:
        weights = {"lambdas": self.lambdas, "privgan_lambdas": self.privgan_lambdas}
        weights |= {"equal_lambda": () if self.equal_lambda is None else (self.equal_lambda,)}
        for name, values in weights.items():
            if not all(0 <= weight < math.inf for weight in values):
                raise ValueError(f"experiment.{name} is {getattr(self, name)}: give finite weights of at least 0")
        if any(parts < 2 for parts in self.parts):
            raise ValueError(f"experiment.parts is {self.parts}: give at least 2 parts each")
        if any(not epsilon > 0 for epsilon in self.epsilons):
            raise ValueError(f"experiment.epsilons is {self.epsilons}: give budgets above 0")
        if self.splits < 1:
            raise ValueError(f"experiment.splits is {self.splits}: give at least 1")
        if self.fewer_images is not None and not 0 < self.fewer_images < 1:
            raise ValueError(f"experiment.fewer_images is {self.fewer_images}: give a share between 0 and 1")
        if self.fewer_epochs is not None and self.fewer_epochs < 1:
            raise ValueError(f"experiment.fewer_epochs is {self.fewer_epochs}: give at least 1")
        efficiency = self.fewer_epochs is not None or self.fewer_images is not None
        for name, needed in {"privgan_lambdas": self.compare or efficiency, "epsilons": self.compare}.items():
            if needed and not getattr(self, name):
                raise ValueError(f"experiment.{name} is empty: give at least one, or ask for no comparison")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One GAN to train."""

    model: Model
    gan: AdversarialConfig
    penalty: PenaltyConfig
    budget: Budget
    max_grad_norm: float
    share: float = 1.0
    """Of the members it learns from."""
    less: str = ""
    """What its title says of how much less it is trained."""

    @property
    def kind(self) -> Kind:
        return "gan" if self.model == "dpgan" else self.model

    @property
    def title(self) -> str:
        if self.model == "gan":
            return "GAN"
        if self.model == "dpgan":
            return f"DPGAN, ε {self.budget.epsilon:g}"
        parts = f", N {self.penalty.parts}" if self.penalty.parts != 2 else ""
        return f"{NAMES[self.model]}, λ {self.penalty.weight:g}{parts}{self.less}"

    def key(self) -> tuple[Any, ...]:
        """What its training depends on: two variants that differ elsewhere are one."""
        read: list[Any] = [self.model, self.gan, self.share]
        if self.model == "dpgan":
            read += [self.budget, self.max_grad_norm]
        elif self.model != "gan":
            read += [self.penalty]
        return tuple(read)

    def sgd(self) -> SGDConfig:
        """DP-SGD of the discriminator."""
        return SGDConfig(
            batch_size=self.gan.batch_size, epochs=self.gan.epochs, noise_multiplicity=1,
            max_grad_norm=self.max_grad_norm, learning_rate=self.gan.learning_rate, beta1=self.gan.beta1, ema=0.0,
        )  # fmt: skip

    def cost(self, n: int) -> Cost:
        """What DP-SGD on `n` members costs; ValueError where the budget cannot be met."""
        budget = self.budget
        return cost.calibrate(budget.epsilon, budget.delta_for(n), budget.accountant, [], self.sgd().cost(n))


def released(config: Config) -> Variant:
    """The GAN whose images leave."""
    return Variant(
        model=config.model, gan=config.gan, penalty=config.penalty, budget=config.budget,
        max_grad_norm=config.max_grad_norm,
    )  # fmt: skip


def asked(config: Config) -> dict[str, list[Variant]]:
    """The variants of each experiment that is asked for, by its name; each once."""
    experiment, base = config.experiment, replace(released(config), model="pigan")
    plain = replace(base, model="gan")

    def weighted(one: Variant, weights: Sequence[float], model: Model = "pigan") -> list[Variant]:
        return [replace(one, model=model, penalty=replace(one.penalty, weight=weight)) for weight in weights]

    sweep, privgans = weighted(base, experiment.lambdas), weighted(base, experiment.privgan_lambdas, "privgan")
    found: dict[str, list[Variant]] = {}
    if sweep:
        found["lambdas"] = [plain, *sweep]
    if experiment.parts:
        found["parts"] = [replace(base, penalty=replace(config.penalty, parts=parts)) for parts in experiment.parts]
    if experiment.compare:
        budgets = [replace(config.budget, epsilon=epsilon) for epsilon in experiment.epsilons]
        dpgans = [replace(base, model="dpgan", budget=budget) for budget in budgets]
        found["compare"] = [plain, *sweep, equal(config), *privgans, *dpgans]
    tried = experiment.lambdas or (config.penalty.weight,)
    if experiment.fewer_epochs is not None:
        epochs, delay = (value - experiment.fewer_epochs for value in (config.gan.epochs, config.penalty.delay_epochs))
        penalty = replace(config.penalty, delay_epochs=max(0, delay))
        short = replace(base, gan=replace(config.gan, epochs=epochs), penalty=penalty, less=f", {epochs} epochs")
        found["fewer_epochs"] = [*weighted(short, tried), *privgans]
    if experiment.fewer_images is not None:
        share = experiment.fewer_images
        few = replace(base, share=share, less=f", {100 * share:g} % of the members")
        found["fewer_images"] = [*weighted(few, tried), *privgans]
    return {name: list({one.key(): one for one in group}.values()) for name, group in found.items()}


def equal(config: Config) -> Variant:
    """The PIGAN whose white-box accuracy the others are to equal in table 1."""
    base, weight = replace(released(config), model="pigan"), config.experiment.equal_lambda
    return base if weight is None else replace(base, penalty=replace(config.penalty, weight=weight))


def first_split(config: Config, raw: Dataset) -> Dataset:
    """The members of split 0 as training images and the others as test images."""
    if config.member_share is None:
        return raw
    members, others = _members_and_others(config, raw, 0)
    return Dataset(raw.name, members, others, None, raw.fingerprint(), raw.naming)


def split(config: Config, dataset: Dataset, index: int) -> tuple[Images, Images]:
    """Members and others of the split `index` of what `first_split` answered."""
    return _members_and_others(config, dataset, index) if index else (dataset.train, dataset.test)


def _members_and_others(config: Config, dataset: Dataset, index: int) -> tuple[Images, Images]:
    assert config.member_share is not None, "the source's own split is the only one"
    pool = Images(
        np.concatenate((dataset.train.images_NHWC, dataset.test.images_NHWC)),
        np.concatenate((dataset.train.labels_N, dataset.test.labels_N)),
        dataset.train.class_names,
    )
    order = np.random.default_rng([config.seed, 20, index]).permutation(len(pool))
    count = round(config.member_share * len(pool))
    return pool.select(np.sort(order[:count])), pool.select(np.sort(order[count:]))


def share_of(images: Images, share: float, seed: int) -> Images:
    """A random share of the images."""
    if share == 1:
        return images
    count = max(1, round(share * len(images)))
    return images.select(np.sort(np.random.default_rng([seed, 21]).permutation(len(images))[:count]))


def seed_of(config: Config, index: int) -> int:
    """The seed of everything in the split `index`."""
    return int(np.random.SeedSequence([config.seed, index]).generate_state(1)[0])


def private_networks(
    network: DCGANConfig, variant: Variant, members: Images, seed: int
) -> tuple[Discriminator, PrivateGame]:
    """The discriminator that DP-SGD trains, and the generator that plays with it."""
    fresh = gans.new_networks("gan", network, members.shape, members.classes, 2, seed)
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
    network: DCGANConfig, variant: Variant, like: Images, weights: Mapping[str, Tensor], device: torch.device
) -> Networks:
    """Trained networks, ready to be asked."""
    networks = gans.new_networks(variant.kind, network, like.shape, like.classes, variant.penalty.parts, 0)
    networks.load_state_dict(weights)
    return networks.to(device).eval()


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
    return f"{training_key(unit)}-{digest(config.monte_carlo, config.eval, JUDGEMENT)}"


def train_unit(unit: Unit, shared: Mapping[str, Any]) -> dict[str, Tensor]:
    """One unit: the weights of one GAN, trained on one split."""
    (variant, index), config = unit, shared["config"]
    seed = seed_of(config, index)
    members = share_of(split(config, shared["dataset"], index)[0], variant.share, seed)
    if variant.model != "dpgan":
        return gans.fit(Alone(), variant.kind, config.network, members, variant.gan, variant.penalty, seed)["weights"]
    discriminator, game = private_networks(config.network, variant, members, seed)
    # Streams of noise must never be shared: not by two budgets, not by two splits.
    stage = f"experiment {variant.key()!r} {index}"
    answer = sgd.fit(
        Alone(), discriminator, game, members, variant.sgd(), variant.cost(len(members)), shared["secret"],
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
    members, others = split(config, shared["dataset"], index)
    seed = seed_of(config, index)
    networks = loaded(config.network, variant, members, weights, best_device())
    # As many others per member, whatever the share of members: chance is the same for all GANs.
    own, outside = share_of(members, variant.share, seed), share_of(others, variant.share, seed)
    on_members, on_others = (gans.discriminator_logits(networks, side) for side in (own, outside))
    fakes = drawn(networks, config.monte_carlo.fakes, members.classes, [seed, 30])
    synthetic = as_images(networks, config.synthetic, members.class_names, [seed, 31])
    trained_on = utility.subset(synthetic, config.eval.images, seed)
    useful = {"synthetic": trained_on, "test": others, "config": config.eval, "seed": seed}
    return {
        "white_box": white_box(on_members, on_others, seed),
        "total_variation": total_variation(expit(on_members), expit(on_others), seed),
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
    return gans.draw(networks, torch.arange(count) % classes, seed, None if code is None else [code])


def as_images(networks: Networks, count: int, class_names: tuple[str, ...], key: Sequence[int]) -> Images:
    """The same with labels."""
    labels_N = np.arange(count, dtype=np.int64) % len(class_names)
    return Images(drawn(networks, count, len(class_names), key), labels_N, class_names)
