"""DP-FETA: noisy central images warm up a diffusion model, DP-SGD fine-tunes it (Li et al., S&P 2025).

Reads downwards in the paper's order: price both touches of the sensitive images (3.3), stage I (3.1),
stage II (3.2), synthesis and evaluation (4). `central.count = 0` leaves stage I out: that is DPDM, the baseline.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import torch

from raysyn.data.images import DataConfig, Dataset, Images, load
from raysyn.methods.common import PrivateSetting, declared
from raysyn.methods.synthesis import check_drawing, draw_chunk, evaluate, pack, synthesise, unpack
from raysyn.metrics.checks import check_measures
from raysyn.metrics.utility import BEST_IS_UNCHARGED, EvalConfig
from raysyn.models.unet import UNet, UNetConfig
from raysyn.privacy import cost, queries, sgd
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Plan
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import CentralConfig
from raysyn.privacy.sgd import SGDConfig
from raysyn.report.rehearsal import rehearse
from raysyn.report.report import Report, certificate, dp_section, write_release, write_report
from raysyn.train import loop
from raysyn.train.augment import AugmentConfig
from raysyn.train.diffusion import DiffusionTask, NoiseConfig
from raysyn.train.loop import LoopConfig
from raysyn.train.samplers import SamplerConfig, network_calls

METHOD = "dp_feta"
SUMMARY = "DP-FETA: noisy central images warm up a diffusion model, DP-SGD fine-tunes it."


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that changes the synthetic images. Defaults are the paper's for MNIST (tables VII and VIII)."""

    data: DataConfig = field(default_factory=DataConfig)
    budget: Budget = field(default_factory=Budget)
    central: CentralConfig = field(default_factory=CentralConfig)
    network: UNetConfig = field(default_factory=UNetConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    warmup: LoopConfig = field(default_factory=LoopConfig)
    finetune: SGDConfig = field(default_factory=SGDConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    synthetic: int = 60_000
    """Synthetic images to make, shared equally among the classes: the true class counts stay private."""
    eval: EvalConfig = field(default_factory=EvalConfig)
    tuned_on: str | None = None
    """Data set whose non-private results shaped these settings; the report lists it as an uncharged choice."""
    chosen_among: str | None = None
    """What this run was chosen among by its results, in words such as "12 runs of a leaderboard"; the certificate lists
    it as an uncharged choice."""
    seed: int = 0
    """Seed of all that is public: first weights, augmentation, sampling. Privacy noise never comes from it."""

    def __post_init__(self) -> None:
        check_drawing(self.synthetic, self.seed, self.eval, self.sampler, self.noise)


def plan(config: Config, n: int, classes: int) -> Plan:
    """Price both touches of the `n` sensitive images before the first one (paper 3.3, steps 1 to 3).

    The central query is fixed by the config; the noise multiplier of DP-SGD is what the budget leaves.
    Raises ValueError where the query alone exceeds the budget.
    """
    delta, accountant = config.budget.delta_for(n), config.budget.accountant
    central = config.central.cost(classes)
    fixed = {} if central is None else {"central": central}
    finetune = cost.calibrate(config.budget.epsilon, delta, accountant, list(fixed.values()), config.finetune.cost(n))
    stages = {**fixed, "finetune": finetune}
    return Plan(stages=stages, delta=delta, accountant=accountant, epsilon_budget=config.budget.epsilon)


def prepare(config: Config) -> tuple[Dataset, Plan]:
    """The data set and the plan for it; ValueError in one sentence where either cannot be."""
    dataset = load(config.data)
    new_denoiser(config, dataset.train)
    private = dataset.train
    check_measures(config.eval, private.classes, synthetic=config.synthetic, train=len(private))
    rehearse(METHOD, dataset, told=config, uncharged=uncharged(config))
    return dataset, plan(config, len(private), private.classes)


def new_denoiser(config: Config, private: Images) -> UNet:
    """The network with its first weights, which `config.seed` decides; ValueError where it cannot take the images."""
    torch.manual_seed(config.seed)
    return UNet(config.network, private.shape[2], private.shape[:2], private.classes)


def run(setting: PrivateSetting) -> Report:
    """Make the synthetic images, the certificate and the report; a finished stage is stored and never repeated."""
    config, dataset, plan = setting.config, setting.dataset, setting.plan
    compute, folder, console = setting.compute, setting.folder, setting.console
    private = dataset.train
    ledger = setting.ledger
    task = DiffusionTask(classes=private.classes, **asdict(config.noise))
    denoiser = new_denoiser(config, private)

    # Stage I (paper 3.1): central images teach the outline for a small part of the budget.
    central = None
    if "central" in plan.stages:
        stream = Stream(folder.secret, "central")
        query = partial(queries.central_images, private, config.central, stream)
        central = unpack(folder.stage("central", lambda: pack(ledger.pay("central", query()))), private)
        console.stage("central", f"{len(central)} noisy central images, ε {ledger.epsilon():.3g} so far")
        warm_up = partial(compute.train, loop.fit, name="warmup")
        # Images of all classes together teach what "no class" looks like, and nothing about a class.
        lesson = task if config.central.conditional else replace(task, label_dropout=1.0)
        warm = folder.stage(
            "warmup",
            lambda: warm_up(denoiser, lesson, central, config.warmup, config.seed, config.augment),
        )
        # The raw weights of the last step go on, as published, not their average.
        denoiser.load_state_dict(warm["model"])
        console.stage("warmup", f"{config.warmup.iterations:,} steps on them, augmented: no further cost")

    # Stage II (paper 3.2): DP-SGD on the sensitive images spends what is left.
    fine_tune = partial(sgd.train, compute, name="finetune", epsilon_at=partial(plan.epsilon_after, "finetune"))
    price = plan.stages["finetune"]
    tuned = folder.stage(
        "finetune",
        lambda: ledger.pay(
            "finetune",
            fine_tune(denoiser, task, private, config.finetune, price, folder.secret, setting.machines.sgd),
        ),
    )
    console.stage("finetune", f"{price.steps:,} steps of DP-SGD, ε {ledger.epsilon():.4g} spent in all")

    # From here on every released byte is post-processing of what the ledger was paid for.
    shape, class_names = private.shape, private.class_names
    denoiser.load_state_dict(tuned["ema"])
    calls = f"{network_calls(config.sampler)} network calls each"
    synthetic = synthesise(setting, draw_chunk, (denoiser.cpu(), config.sampler, shape), class_names, calls)
    privacy = dp_section(plan, ledger, uncharged(config))
    promise = certificate(
        privacy, method=METHOD, name=dataset.name, n=len(private), shape=shape, class_names=class_names
    )
    write_release(folder, synthetic, promise, name=f"synthetic {dataset.name}")

    # Measured on real images: for the report, which stays inside.
    metrics = evaluate(setting, synthetic, config.eval)
    report = setting.report(METHOD, privacy=privacy, metrics=metrics, engine=tuned["engine"])
    write_report(folder, report, synthetic=synthetic, central=central, done=story(config, plan))
    console.say(folder.where("Release (may leave)"))
    return report


def uncharged(config: Config) -> list[str]:
    """What looking at private data may have shaped without being paid for (house rule: charge it or say it)."""
    choices = [BEST_IS_UNCHARGED] if config.eval.classifiers else []
    return [*choices, *declared(config)]


def story(config: Config, plan: Plan) -> list[str]:
    """One plain sentence per stage, for the report."""
    told = []
    if "central" in plan.stages:
        query = plan.stages["central"]
        told += [
            f"Asked for {config.central.count} noisy {config.central.kind} images, {query.steps} per class, each over "
            f"a random {100 * query.sampling_rate:g} % of the images.",
            f"Warmed up the diffusion model on them for {config.warmup.iterations:,} steps, randomly augmented.",
        ]
    private = plan.stages["finetune"]
    return [
        *told,
        f"Fine-tuned it on the sensitive images with {private.steps:,} steps of DP-SGD at noise multiplier "
        f"{private.noise_multiplier:.3g}, expected batch {config.finetune.batch_size:,}, "
        f"noisy copies per image: {config.finetune.noise_multiplicity}.",
        f"Drew {config.synthetic:,} images, equally many per class, with {network_calls(config.sampler)} network "
        "calls each.",
        "Trained classifiers on them and tested these on real images, beside the same classifiers trained on real "
        "images.",
    ]


def _paper(epsilon: float, sampler: SamplerConfig, **differences: Any) -> Config:
    """The paper's own setting: RDP, its query, and the sampler published for this data set's accuracy."""
    budget = Budget(epsilon=epsilon, delta=differences.pop("delta", 1e-5), accountant="rdp")
    central = differences.pop("central", CentralConfig(count_share=0.0))
    return Config(
        budget=budget,
        central=central,
        sampler=sampler,
        tuned_on="the data sets of the paper, by its authors",
        **differences,
    )


def _edm(s_min: float) -> SamplerConfig:
    return SamplerConfig(name="edm", steps=1000, churn=10.0, s_min=s_min, s_max=50.0)


# Batch 12,000 of n images (table VII); published steps of 13.4K are 150 epochs of 182,637 images.
_CELEBA: dict[str, Any] = {
    "delta": 1e-6,
    "data": DataConfig(name=None, size=32),
    "central": CentralConfig(count=500, sampling_rate=0.0657, noise_multiplier=10.0, bins=16, count_share=0.0),
    "network": UNetConfig(attention=(16,)),
    "augment": AugmentConfig(magnitude=(1, 9)),
    "warmup": LoopConfig(iterations=2500),
    "finetune": SGDConfig(batch_size=2048),
}
# 20 epochs give table V's noise multiplier of 1.85; the 1.5K steps of table VIII would give 1.44.
_CAMELYON: dict[str, Any] = {
    **_CELEBA,
    "central": CentralConfig(count=500, sampling_rate=0.04, noise_multiplier=10.0, bins=16, count_share=0.0),
    "network": UNetConfig(multipliers=(1, 2, 2), attention=(16,)),
    "finetune": SGDConfig(batch_size=2048, epochs=20),
}
# Two cores afford 400,000 gradients: a small network that knows positions, noise levels shifted to where classes
# are decided, one copy per image, and large changes of the central images. 60,000 images assumed.
_CPU = Config(
    network=UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(), patch=2, positions=True),
    noise=NoiseConfig(p_mean=0.3),
    augment=AugmentConfig(magnitude=(1, 9)),
    warmup=LoopConfig(iterations=800, learning_rate=2e-3),
    finetune=SGDConfig(batch_size=1024, epochs=6.83, noise_multiplicity=1, learning_rate=2e-3, ema=0.98),
    # Guidance would make the images alike: CNN 87 % with guidance 1, 90 % with 0.25, 91 % without, on 3,000 images.
    sampler=SamplerConfig(steps=16),
    synthetic=10_000,
    eval=EvalConfig(epochs=15, images=10_000, resnet9_width=0.125, feature_epochs=5),
    tuned_on="MNIST",
)

PRESETS: dict[str, Config] = {
    "quick": Config(
        network=UNetConfig(width=16, multipliers=(1, 2), blocks=1, attention=(), positions=True),
        noise=NoiseConfig(p_mean=0.3),
        # 150 images per class: all of them are asked, twice, or the noise would drown the outline.
        central=CentralConfig(count=20, sampling_rate=1.0, downscale=1, smooth=False),
        augment=AugmentConfig(magnitude=(1, 9)),
        warmup=LoopConfig(iterations=250, learning_rate=2e-3),
        finetune=SGDConfig(batch_size=256, epochs=20, noise_multiplicity=1, learning_rate=2e-3, ema=0.97),
        synthetic=2_000,
        eval=EvalConfig(epochs=30, resnet9_width=0.125),
        tuned_on="digits",
    ),
    "cpu-mnist": replace(_CPU, data=DataConfig(name="mnist")),
    "cpu-fashion_mnist": replace(_CPU, data=DataConfig(name="fashion_mnist")),
    "paper-mnist-eps1": _paper(1, _edm(0.1), data=DataConfig(name="mnist")),
    "paper-mnist-eps10": _paper(10, _edm(0.025), data=DataConfig(name="mnist")),
    "paper-fashion_mnist-eps1": _paper(1, _edm(0.025), data=DataConfig(name="fashion_mnist")),
    "paper-fashion_mnist-eps10": _paper(10, _edm(0.1), data=DataConfig(name="fashion_mnist")),
    "paper-celeba-eps1": _paper(1, SamplerConfig(name="ddim", steps=1000), **_CELEBA),
    "paper-celeba-eps10": _paper(10, SamplerConfig(name="ddim", steps=1000), **_CELEBA),
    "paper-camelyon-eps1": _paper(1, SamplerConfig(name="ddim", steps=50), **_CAMELYON),
    "paper-camelyon-eps10": _paper(10, SamplerConfig(name="ddim", steps=50), **_CAMELYON),
}
