"""PIGAN's experiments: which GANs they compare, and the unit of work that trains one of them and attacks it.

Every (GAN, split into members and others) is one durable unit of a fan-out; experiments that ask for the same one share
it, and asking for more later trains only what is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from scipy.special import expit
from torch import Tensor

from raysyn.attacks.gan_attacks import monte_carlo, total_variation, white_box
from raysyn.attacks.shadows import digest
from raysyn.compute import Alone, Worker, best_device
from raysyn.data import Dataset, Images
from raysyn.metrics import utility
from raysyn.metrics.fidelity import fidelity
from raysyn.models.dcgan import DCGANConfig, Discriminator, Generator
from raysyn.privacy import cost, sgd
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.sgd import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.train import conditional_gans as gans
from raysyn.train.conditional_gans import AdversarialConfig, Kind, Networks, PenaltyConfig
from raysyn.train.private_gan import PrivateGame

if TYPE_CHECKING:
    from raysyn.methods.pigan import Config

Model = Literal["gan", "pigan", "privgan", "dpgan"]
NAMES = {"gan": "GAN", "pigan": "PIGAN", "privgan": "PrivGAN", "dpgan": "DPGAN"}


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig:
    """What to compare beside the released GAN; every GAN is trained and attacked anew for each split."""

    lambdas: tuple[float, ...] = ()
    """Weights of PIGAN's penalty to compare, beside the GAN without (figure 1)."""
    parts: tuple[int, ...] = ()
    """Numbers of parts N of PIGAN to compare, at --penalty.weight (table 2)."""
    compare: bool = False
    """Compare GAN, PIGAN, PrivGAN and DPGAN (figure 2), and pick those of equal white-box accuracy (table 1)."""
    privgan_lambdas: tuple[float, ...] = (0.01, 1.0)
    """PrivGAN's weights in that comparison and in those of training efficiency."""
    privgan_delay_epochs: int = 100
    """PrivGAN's delay there, instead of --penalty.delay-epochs (A.2)."""
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
        for name in ("lambdas", "privgan_lambdas"):
            if any(weight < 0 for weight in getattr(self, name)):
                raise ValueError(f"experiment.{name} is {getattr(self, name)}: give weights of at least 0")
        if any(parts < 2 for parts in self.parts):
            raise ValueError(f"experiment.parts is {self.parts}: give at least 2 parts each")
        if any(not epsilon > 0 for epsilon in self.epsilons):
            raise ValueError(f"experiment.epsilons is {self.epsilons}: give budgets above 0")
        for name, least in {"splits": 1, "privgan_delay_epochs": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"experiment.{name} is {getattr(self, name)}: give at least {least}")
        if self.fewer_images is not None and not 0 < self.fewer_images < 1:
            raise ValueError(f"experiment.fewer_images is {self.fewer_images}: give a share between 0 and 1")
        if self.fewer_epochs is not None and self.fewer_epochs < 1:
            raise ValueError(f"experiment.fewer_epochs is {self.fewer_epochs}: give at least 1")


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
        return f"{NAMES[self.model]}, λ {self.penalty.weight:g}{parts}"

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
    """The variants of each experiment that is asked for, by its name."""
    base, experiment = replace(released(config), model="pigan"), config.experiment
    plain = replace(base, model="gan")

    def pigan(**differences: Any) -> Variant:
        return replace(base, penalty=replace(config.penalty, **differences))

    def privgan(weight: float) -> Variant:
        delay = experiment.privgan_delay_epochs
        return replace(base, model="privgan", penalty=replace(config.penalty, weight=weight, delay_epochs=delay))

    found: dict[str, list[Variant]] = {}
    sweep = [pigan(weight=weight) for weight in experiment.lambdas]
    if sweep:
        found["lambdas"] = [plain, *sweep]
    if experiment.parts:
        found["parts"] = [pigan(parts=parts) for parts in experiment.parts]
    if experiment.compare:
        private = [
            replace(base, model="dpgan", budget=replace(config.budget, epsilon=epsilon))
            for epsilon in experiment.epsilons
        ]
        found["compare"] = [
            plain, *(sweep or [base]), *(privgan(weight) for weight in experiment.privgan_lambdas), *private
        ]  # fmt: skip
    if experiment.fewer_epochs is not None:
        less = experiment.fewer_epochs
        short = replace(
            base,
            gan=replace(config.gan, epochs=config.gan.epochs - less),
            penalty=replace(config.penalty, delay_epochs=max(0, config.penalty.delay_epochs - less)),
        )
        found["fewer_epochs"] = [short, *(privgan(weight) for weight in experiment.privgan_lambdas)]
    if experiment.fewer_images is not None:
        few = replace(base, share=experiment.fewer_images)
        found["fewer_images"] = [few, *(privgan(weight) for weight in experiment.privgan_lambdas)]
    return found


def first_split(config: Config, raw: Dataset) -> Dataset:
    """The members of split 0 as training images and the others as test images."""
    return raw if config.member_share is None else Dataset(raw.name, *_members_and_others(config, raw, 0), None)


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


def learnt_from(variant: Variant, members: Images, seed: int) -> Images:
    """The members that a variant learns from."""
    if variant.share == 1:
        return members
    count = max(1, round(variant.share * len(members)))
    return members.select(np.sort(np.random.default_rng([seed, 21]).permutation(len(members))[:count]))


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
    return discriminator, PrivateGame(generator, variant.gan, seed)


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


def unit_key(config: Config, unit: Unit) -> str:
    """Under which a unit's result is found again: all that it depends on beside what a run folder is known by."""
    variant, index = unit
    return f"{variant.model}-{digest(variant.key(), index, config.monte_carlo, config.eval)}"


def run_unit(unit: Unit, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Train one GAN on one split, and judge it."""
    (variant, index), config = unit, shared["config"]
    members, others = split(config, shared["dataset"], index)
    seed = seed_of(config, index)
    own = learnt_from(variant, members, seed)
    weights = shared["known"].get(unit_key(config, unit))
    if weights is None:
        weights = train(Alone(), config.network, variant, own, seed, shared["secret"], shared["speed"], index)
    return judge(config, variant, weights, own, others, seed)


def train(
    worker: Worker, network: DCGANConfig, variant: Variant, members: Images, seed: int, secret: bytes,
    speed: SGDSpeed, index: int,
) -> dict[str, Tensor]:  # fmt: skip
    """The weights of one variant, trained by one worker."""
    if variant.model != "dpgan":
        return gans.fit(worker, variant.kind, network, members, variant.gan, variant.penalty, seed)["weights"]
    discriminator, game = private_networks(network, variant, members, seed)
    # Streams of noise must never be shared: not by two budgets, not by two splits.
    stage = f"experiment {variant.key()!r} {index}"
    price = variant.cost(len(members))
    answer = sgd.fit(worker, discriminator, game, members, variant.sgd(), price, secret, speed, stage, partner=game)
    return weights_of(answer.value)


def judge(
    config: Config, variant: Variant, weights: Mapping[str, Tensor], members: Images, others: Images, seed: int
) -> dict[str, Any]:
    """All attacks on one GAN and all scores of its images, as plain values.

    Returns {white_box, total_variation, monte_carlo, accuracy, fidelity, samples: uint8 (classes * 8, H, W, C)}.
    """
    networks = loaded(config.network, variant, members, weights, best_device())
    inside, outside = (gans.discriminator_logits(networks, side) for side in (members, others))
    fakes = drawn(networks, config.monte_carlo.fakes, members.classes, [seed, 30])
    synthetic = as_images(networks, config.synthetic, members.class_names, [seed, 31])
    shared = {"synthetic": synthetic, "test": others, "config": config.eval, "seed": seed}
    accuracy = {name: utility.judge((name, "synthetic"), shared)["accuracy"] for name in config.eval.classifiers}
    return {
        "white_box": white_box(inside, outside, seed),
        "total_variation": total_variation(expit(inside), expit(outside), seed),
        "monte_carlo": monte_carlo(members, others, fakes, config.monte_carlo, seed),
        "accuracy": accuracy,
        "fidelity": fidelity(None, synthetic, members, config.eval, seed, intra=True),
        "samples": torch.from_numpy(drawn(networks, 8 * members.classes, members.classes, [seed, 32])),
    }


def drawn(networks: Networks, count: int, classes: int, key: Sequence[int]) -> np.ndarray:
    """`count` generated images, classes in turn: uint8 (N, H, W, C)."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return gans.draw(networks, torch.arange(count) % classes, seed)


def as_images(networks: Networks, count: int, class_names: tuple[str, ...], key: Sequence[int]) -> Images:
    labels_N = np.arange(count, dtype=np.int64) % len(class_names)
    return Images(drawn(networks, count, len(class_names), key), labels_N, class_names)
