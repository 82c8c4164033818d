"""The GANs that a run of PIGAN trains: the released one, and those of its experiments, each on its members."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from raysyn.data.by_person import side_by_side
from raysyn.data.images import Dataset, Images
from raysyn.data.mapped import concatenated
from raysyn.methods.declared import budget_of
from raysyn.methods.pigan.config import NAMES, Config, Model
from raysyn.privacy import units
from raysyn.privacy.cost import Budget, Cost
from raysyn.privacy.ledger import Plan
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.train.conditional_gans import AdversarialConfig, PenaltyConfig
from raysyn.train.paired_networks import Kind


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
    clipped: bool = False
    """Whether its title says its clipping norm, by which it differs from others."""

    @property
    def kind(self) -> Kind:
        return "gan" if self.model == "dpgan" else self.model

    @property
    def title(self) -> str:
        if self.model == "gan":
            return "GAN"
        if self.model == "dpgan":
            return f"DPGAN, {self.price}"
        parts = f", N {self.penalty.parts}" if self.penalty.parts != 2 else ""
        return f"{NAMES[self.model]}, λ {self.penalty.weight:g}{parts}{self.less}"

    @property
    def price(self) -> str:
        """What a DPGAN is called by: its budget, and its clipping norm where others have another."""
        return f"ε {self.budget.epsilon:g}" + (f", clip {self.max_grad_norm:g}" if self.clipped else "")

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

    def plan(self, n: int) -> Plan:
        """What its touches of `n` members cost, DP-SGD with as little noise as its budget leaves; ValueError where the
        budget cannot be met."""
        return Plan.within(self.budget, n, "generator", self.sgd().cost(n, "gan"))

    def cost(self, members: Images) -> Cost:
        """What DP-SGD of these members is of that."""
        return units.planned(members, self.plan).stages["generator"]


def released(config: Config) -> Variant:
    """The GAN whose images leave."""
    return Variant(
        model=config.model, gan=config.gan, penalty=config.penalty, budget=budget_of(config),
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
        clips, several = experiment.clips or (config.max_grad_norm,), len(experiment.clips) > 1
        private = replace(base, model="dpgan", clipped=several)
        dpgans = [replace(private, budget=budget, max_grad_norm=clip) for budget in budgets for clip in clips]
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
    return replace(raw, train=members, test=others, val=None, source_fingerprint=raw.fingerprint())


def split(config: Config, dataset: Dataset, index: int) -> tuple[Images, Images]:
    """Members and others of the split `index` of what `first_split` answered."""
    return _members_and_others(config, dataset, index) if index else (dataset.train, dataset.test)


def _members_and_others(config: Config, dataset: Dataset, index: int) -> tuple[Images, Images]:
    assert config.member_share is not None, "the source's own split is the only one"
    train, test = dataset.train, dataset.test
    pool = Images(
        concatenated([train.images_NHWC, test.images_NHWC]), np.concatenate((train.labels_N, test.labels_N)),
        train.class_names, side_by_side((train.persons_N, len(train)), (test.persons_N, len(test))),
    )  # fmt: skip
    order = np.random.default_rng([config.seed, 20, index]).permutation(pool.units)
    count = round(config.member_share * pool.units)
    members, others = (units.images_of(pool, np.sort(some)) for some in (order[:count], order[count:]))
    return pool.select(members), pool.select(others)


def share_of(images: Images, share: float, seed: int) -> Images:
    """A random share of the images, or where persons are named of these, with all their images."""
    if share == 1:
        return images
    count = max(1, round(share * images.units))
    some = np.sort(np.random.default_rng([seed, 21]).permutation(images.units)[:count])
    return images.select(units.images_of(images, some))


def seed_of(config: Config, index: int) -> int:
    """The seed of everything in the split `index`."""
    return int(np.random.SeedSequence([config.seed, index]).generate_state(1)[0])
