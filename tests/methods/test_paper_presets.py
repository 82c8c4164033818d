"""Every `paper-*` preset against the tables of its paper, copied here: how many images it is made for, sampling rate,
steps of discriminator and generator apart, noise, epsilon."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest
from opacus.accountants import RDPAccountant

from raysyn.methods import catalogue
from raysyn.methods.dp_feta import config as dp_feta
from raysyn.methods.dp_feta.presets import PRESETS as DP_FETA
from raysyn.methods.dp_imgsyn.presets import PRESETS as DP_IMGSYN
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_kernel.presets import PRESETS as DP_KERNEL
from raysyn.methods.knowledge_recycling.presets import PRESETS as RECYCLING
from raysyn.methods.misfits import other_size
from raysyn.methods.p3gm import config as p3gm
from raysyn.methods.p3gm.presets import PRESETS as P3GM
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.pigan.presets import PRESETS as PIGAN
from raysyn.methods.privimage import config as privimage
from raysyn.methods.privimage.gan_config import GANPretrainConfig
from raysyn.methods.privimage.presets import PRESETS as PRIVIMAGE
from raysyn.privacy.ledger import Plan
from raysyn.privacy.queries import embedding, perceptual, votes
from raysyn.train.samplers import SamplerConfig

PRESETS = {one.name: dict(one.presets()) for one in catalogue.METHODS}
"""By method."""
CLASSES = {"mnist": 10, "fashion_mnist": 10, "cifar10": 10, "celeba": 2, "camelyon": 2, "celeba32": 1, "celeba64": 1}
ORDERS = [1.2, 1.4, 1.6, 1.8, 2.5, 3.5, *range(2, 12), *(round(12 * 1.15**k) for k in range(56))]


def papers(presets: dict[str, Any]) -> list[str]:
    return [name for name in presets if name.startswith("paper-")]


def parts(name: str) -> tuple[str, float]:
    """The data set and the epsilon that a preset's name speaks of."""
    words = name.split("-")
    return words[1], next(float(word[3:]) for word in words if word.startswith("eps"))


AGAIN = {"paper-mnist-eps1", "paper-cifar10-eps10", "paper-celeba64-gan-eps5"}
"""Presets whose epsilon is asked of Opacus too, which takes seconds."""


def spent(name: str, planned: Plan) -> float:
    if name not in AGAIN:
        return planned.epsilon()
    accountant = RDPAccountant()
    accountant.history = [
        (float(one.noise_multiplier or 0), one.sampling_rate, one.steps) for one in planned.stages.values()
    ]
    return float(accountant.get_epsilon(planned.delta, alphas=ORDERS))


# DP-FETA, tables VII and VIII: images (by table VIII's steps and table V's noise: table I has 55,000 and 162,770, which
# are the training images without those held out), batch of the query, its noise, batch of DP-SGD, its steps, and its
# noise by table V (with as many central images as table II's rows have).
FETA: dict[str, tuple[int, int, float, int, float, float]] = {
    "mnist": (60_000, 6_000, 5, 4096, 2.2e3, 13.2),
    "fashion_mnist": (60_000, 6_000, 5, 4096, 2.2e3, 13.2),
    "celeba": (182_637, 12_000, 10, 2048, 13.4e3, 6.8),
    "camelyon": (302_436, 12_000, 10, 2048, 1.5e3, 1.91),
}
NO_QUERY = {"mnist": 12.8, "fashion_mnist": 12.8, "celeba": 5.9, "camelyon": 1.85}
"""Table V without central images."""
TEN = {"mnist": 1.855, "fashion_mnist": 1.855, "celeba": 0.998, "camelyon": 0.612}
"""DP-FETA at epsilon 10, of which table V has nothing: MNIST by its repository is 1.84, the others are raysyn's own."""
FOR_FID = {
    # DP-FETA's own repository: churn, S_min and guidance of EDM's 1,000 steps up to S_max 50.
    ("mnist", 1): (100, 0.05, 0.0), ("mnist", 10): (50, 0.05, 0.25), ("fashion_mnist", 1): (50, 0.025, 1.0),
    ("fashion_mnist", 10): (25, 0.2, 0.25), ("celeba", 1): (50, 0.005, 0.0), ("celeba", 10): (50, 0.005, 0.0),
    ("camelyon", 10): (50, 0.005, 0.0),
}  # fmt: skip
"""Camelyon at epsilon 1 has one sampler for both."""
OFF = {"camelyon": 2.0}
"""Twice the published steps: those that give table V's noise (README, where it departs)."""


@pytest.mark.parametrize("name", [name for name in papers(DP_FETA) if "-pro-" not in name])
def test_dp_feta_is_its_tables(name: str) -> None:
    config, (data, epsilon) = DP_FETA[name], parts(name)
    n, asked, query_noise, batch, steps, noise = FETA[data]
    assert config.made_for == n and config.central.count == (50 if n == 60_000 else 500)
    planned = dp_feta.plan(config, n, CLASSES[data])
    central, finetune = planned.stages["central"], planned.stages["finetune"]
    assert central.sampling_rate == pytest.approx(asked / n, rel=0.01) and central.noise_multiplier == query_noise
    assert central.steps == config.central.count / CLASSES[data]
    assert finetune.sampling_rate == batch / n and finetune.steps == pytest.approx(steps * OFF.get(data, 1), rel=0.02)
    if epsilon == 1:
        assert finetune.noise_multiplier == pytest.approx(noise, rel=0.02)
    else:
        assert finetune.noise_multiplier == pytest.approx(TEN[data], rel=0.002)
    second = FOR_FID.get((data, int(epsilon)))
    edm = None if second is None else SamplerConfig(
        name="edm", steps=1000, churn=second[0], s_min=second[1], s_max=50.0, guidance=second[2]
    )  # fmt: skip
    assert config.sampler_fid == edm
    assert spent(name, planned) == pytest.approx(epsilon, rel=0.01) and config.budget.accountant == "rdp"
    assert config.warmup.iterations == (2_000 if n == 60_000 else 2_500) and config.warmup.batch_size == 64
    assert config.warmup.learning_rate == config.finetune.learning_rate == 3e-4 and config.synthetic == 60_000
    # Classes of CelebA are 42 to 58: their means are divided by noisy counts.
    assert config.central.count_share > 0 and config.eval.inception_images >= config.synthetic


# DP-FETA-Pro's own repository: images, noise of central images and of the embedding, steps of its generator, which
# are 5 epochs of batches of 100 (CIFAR-10 at epsilon 10: 500).
PRO: dict[tuple[str, float], tuple[int, float, float, int]] = {
    ("mnist", 1): (60_000, 20.0, 26.6, 3_000), ("mnist", 10): (60_000, 5.0, 7.4, 3_000),
    ("fashion_mnist", 1): (60_000, 20.0, 26.6, 3_000), ("fashion_mnist", 10): (60_000, 5.0, 7.4, 3_000),
    ("cifar10", 1): (50_000, 15.0, 32.6, 2_500), ("cifar10", 10): (50_000, 5.0, 8.2, 500),
}  # fmt: skip


PRO_NOISE = {(60_000, 1): 13.1684, (60_000, 10): 1.8592, (50_000, 1): 14.3889, (50_000, 10): 2.0124}
"""Of DP-SGD, by what the other two leave: raysyn's own, of which nothing is published."""


@pytest.mark.parametrize("name", [name for name in papers(DP_FETA) if "-pro-" in name])
def test_dp_feta_pro_is_what_is_published_of_it(name: str) -> None:
    config, (data, epsilon) = DP_FETA[name], parts(name)
    n, spatial, frequency, steps = PRO[data, epsilon]
    planned = dp_feta.plan(config, n, CLASSES[data])
    assert config.made_for == n and list(planned.stages) == ["central", "embedding", "finetune"]
    assert [planned.noise(stage) for stage in ("central", "embedding")] == [spatial, frequency]
    central, asked, finetune = planned.stages.values()
    assert (central.sampling_rate * n, central.steps) == (6_000, 5) and (asked.sampling_rate, asked.steps) == (1.0, 1)
    assert finetune.sampling_rate == 4096 / n and finetune.steps == round(150 * n / 4096)
    assert config.finetune.max_grad_norm == 0.001 and config.finetune.noise_multiplicity == 32
    assert spent(name, planned) == pytest.approx(epsilon, rel=0.01) and config.budget.accountant == "rdp"
    assert finetune.noise_multiplier == pytest.approx(PRO_NOISE[n, epsilon], rel=1e-4)
    second = config.frequency
    pixels = {"cifar10": 3_072}.get(data, 784)
    assert second.features.count == 10_000
    assert second.features.length_scales[0] ** 2 * pixels == pytest.approx(105, rel=0.01), "variance of the kernel"
    # One constant beside the features would make a sensitivity of more than 1, which the published noise is beside.
    assert second.embedding.count_share == 0.0
    assert (second.training.iterations, second.training.learning_rate, second.training.decay) == (steps, 0.01, 0.9)
    assert (second.draws, second.warmup.batch_size) == (60_000, 256)
    assert second.warmup.iterations == 10 * (60_000 // 256), "10 epochs whose last part of a step is dropped"
    assert (config.warmup.iterations, config.warmup.batch_size) == (1_000, 50)


ROWS = {
    "P-DPDM": ("{}-p_dpdm", None), "PrivImage": ("{}-privimage", None),
    "P-DPDMo": ("{}-p_dpdm-mode", "mode"), "P-DPDMe": ("{}-p_dpdm-mean", "mean"),
    "PrivImageo": ("{}-privimage-mode", "mode"), "PrivImagee": ("{}-privimage-mean", "mean"),
}  # fmt: skip
"""Rows of DP-FETA's table III by the presets of privimage; those of DP-FETA itself are presets of dp_feta, and PE
fine-tunes nothing."""


@pytest.mark.parametrize("data", FETA)
@pytest.mark.parametrize("row", ROWS)
def test_a_row_of_table_iii_is_read_by_the_name_of_its_preset(row: str, data: str) -> None:
    preset, kind = ROWS[row]
    config, feta = PRIVIMAGE[preset.format(f"paper-{data}-eps1")], DP_FETA[f"paper-{data}-eps1"]
    n, *_, noise = FETA[data]
    planned = privimage.plan(config, n, CLASSES[data])
    assert config.made_for == n and planned.epsilon_budget == config.budget.epsilon == 1.0
    assert planned.stages["finetune"].noise_multiplier == pytest.approx(noise if kind else NO_QUERY[data], rel=0.02)
    assert planned.stages["finetune"].steps == dp_feta.plan(feta, n, CLASSES[data]).stages["finetune"].steps
    assert ("semantic" in planned.stages) == row.startswith("PrivImage") and ("central" in planned.stages) == bool(kind)
    assert not kind or config.central == replace(feta.central, kind=kind)
    # P-DPDM mixes central images with the public ones; PrivImage learns from them after these.
    assert config.warms_up() == (row in ("PrivImageo", "PrivImagee"))
    assert config.pretrain.learning_rate == 1e-4 and config.synthetic == 60_000
    assert (config.network, config.sampler, config.eval) == (feta.network, feta.sampler, feta.eval)
    assert config.sampler_fid == feta.sampler_fid


def test_no_preset_of_table_iii_is_left_over() -> None:
    named = {preset.format(f"paper-{data}-eps1") for preset, _ in ROWS.values() for data in FETA}
    assert named == {name for name in papers(PRIVIMAGE) if "p_dpdm" in name or "privimage" in name}


# PrivImage, tables 5 and 6: images, batch and steps of +D; steps of the generator of +G before and on the sensitive
# images, the update ratio on both. The last figure of CelebA64 is CelebA32's, which a ratio of 2 does not give: 50
# epochs, as in the authors' code, are 309.
DIFFUSION = {
    "cifar10": (50_000, 16_384, 128e3, 152),
    "celeba32": (202_599, 16_384, 42e3, 618),
    "celeba64": (202_599, 8_192, 42e3, 1236),
}
GAN = {"cifar10": (20e3, 5, 30, 5), "celeba32": (4e3, 5, 124, 5), "celeba64": (4e3, 5, 309, 2)}
SGD_NOISE = {
    ("cifar10", 16_384): (16.5184, 4.0062, 2.3091), ("celeba32", 16_384): (9.2176, 2.2721, 1.3841),
    ("celeba64", 16_384): (9.2176, 2.2721, 1.3841), ("celeba64", 8_192): (6.5423, 1.6824, 1.0846),
}  # fmt: skip
"""By data set and batch, at epsilon 1, 5 and 10; nothing is published of it. With the query Opacus' accountant gives
1.0, 5.0 and 10.06 for CIFAR-10 and 1.0, 5.0 and 10.0 for CelebA, at the paper's deltas."""
OWN = [name for name in papers(PRIVIMAGE) if "p_dpdm" not in name and "privimage" not in name]


@pytest.mark.parametrize("name", OWN)
def test_privimage_is_its_tables(name: str) -> None:
    config, (data, epsilon) = PRIVIMAGE[name], parts(name)
    n, batch, pretrained, steps = DIFFUSION[data]
    assert config.made_for == n and (config.data.labels, config.semantic.conditional) == (data == "cifar10",) * 2
    planned = privimage.plan(config, n, CLASSES[data])
    query, finetune = planned.stages["semantic"], planned.stages["finetune"]
    assert config.semantic.k == (5 if data == "cifar10" else 10) and config.finetune.epochs == 50
    assert query.noise_multiplier == (484.0 if data == "cifar10" else 5300.0)
    assert spent(name, planned) == pytest.approx(epsilon, rel=0.01) and config.budget.accountant == "rdp"
    assert bool(config.eval.classifiers) == (data == "cifar10"), "CelebA is judged by FID alone"
    noises = SGD_NOISE[data, config.finetune.batch_size]
    assert finetune.noise_multiplier == pytest.approx(noises[(1, 5, 10).index(int(epsilon))], rel=1e-4)
    if config.generator == "gan":
        before, ratio_before, after, ratio = GAN[data]
        recipe = config.gan.pretrain.recipe()
        assert recipe.epochs * (recipe.epoch_steps or 0) == config.gan.pretrain.iterations
        assert recipe.discriminator_steps == ratio_before and config.gan.discriminator_steps == ratio
        assert config.gan.pretrain.iterations / ratio_before == before and config.gan.pretrain.batch_size == 64
        assert finetune.steps / ratio == pytest.approx(after, abs=1) and finetune.sampling_rate == 16_384 / n
        rates = config.gan.learning_rate, config.gan.pretrain.learning_rate, config.finetune.learning_rate
        assert rates == (2e-4, 2e-4, 5e-4) and config.gan.pretrain.discriminator_learning_rate is None
        # Of the authors' code.
        assert config.gan.beta1 == config.gan.pretrain.beta1 == config.finetune.beta1 == 0.5
        assert config.finetune.max_grad_norm == 1.0
    else:
        # raysyn rounds, the paper drops the last part of a step.
        assert finetune.steps == pytest.approx(steps, abs=1) and finetune.sampling_rate == batch / n
        assert (config.pretrain.iterations, config.pretrain.batch_size) == (pretrained, 2048)
        assert config.pretrain.learning_rate == 1e-4 and config.finetune.learning_rate == 3e-4
        assert config.sampler == SamplerConfig(name="ddim", steps=50)


def test_defaults_of_privimage_are_those_of_its_cifar10() -> None:
    assert privimage.Config().pretrain == PRIVIMAGE["paper-cifar10-eps10"].pretrain
    assert GANPretrainConfig() == PRIVIMAGE["paper-cifar10-gan-eps10"].gan.pretrain
    assert privimage.Config().finetune == PRIVIMAGE["paper-cifar10-eps10"].finetune
    assert math.isclose(privimage.Config().semantic.noise_multiplier, 484.0)


IMAGES = {
    "mnist": 60_000, "fashion_mnist": 60_000, "cifar10": 50_000, "cifar100": 50_000, "imagenette": 9_469,
    "celeba_hair": 162_770, "celeba_gender": 162_770, "bloodmnist": 11_959, "dermamnist": 7_007,
    "organcmnist": 12_975, "organsmnist": 13_932, "pneumoniamnist": 4_708, "retinamnist": 1_080,
}  # fmt: skip
"""Training images as these sets are published."""
TEACHER = {
    # DP-ImgSyn, table 5: steps of the teacher, which are its epochs times images by batch.
    ("mnist", 1): 1_875, ("mnist", 10): 6_562, ("fashion_mnist", 1): 36_000, ("fashion_mnist", 10): 9_375,
    ("celeba_hair", 1): 22_890, ("celeba_hair", 10): 27_976, ("celeba_gender", 1): 22_890,
    ("celeba_gender", 10): 27_976, ("cifar10", 10): 4_688, ("imagenette", 105): 67_467,
}  # fmt: skip


@pytest.mark.parametrize("name", papers(DP_IMGSYN))
def test_dp_imgsyn_has_the_steps_of_its_table(name: str) -> None:
    """What they cost is tested beside its other tests, because PRV takes seconds for each."""
    config, (data, epsilon) = DP_IMGSYN[name], parts(name)
    assert config.made_for == IMAGES[data] and config.budget.epsilon == epsilon
    rows = {row: steps for (of, row), steps in TEACHER.items() if of == data}
    price = config.training.cost(IMAGES[data])
    # A budget that the table does not have takes the nearest row.
    assert price.steps == pytest.approx(rows[min(rows, key=lambda row: abs(row - epsilon))], abs=1)
    assert price.sampling_rate == config.training.batch_size / IMAGES[data]


KERNELS = {0.2: (8.0, 8.0473), 1: (1.95, 1.9413), 10: (0.60, 0.5955)}
"""DP-Kernel at epsilon: noise multipliers, published and raysyn's."""


@pytest.mark.parametrize("name", papers(DP_KERNEL))
def test_dp_kernel_is_what_is_published_of_it(name: str) -> None:
    config, (data, epsilon) = DP_KERNEL[name], parts(name)
    published, ours = KERNELS[epsilon]
    assert config.made_for == IMAGES[data] == 60_000 and config.budget.accountant == "rdp"
    assert config.network.latent == 10 and config.training.optimizer == "rmsprop" and config.synthetic == 60_000
    assert [32 * one for one in config.kernel.length_scales] == [1, 2, 4, 8, 16], "widths of 32 x 32 pixels"
    if data != "mnist":  # Another set of as many images: its price is the same.
        assert (
            replace(config, data=DP_KERNEL[f"paper-mnist-eps{epsilon:g}"].data)
            == DP_KERNEL[f"paper-mnist-eps{epsilon:g}"]
        )
        return
    planned = dp_kernel.plan(config, 60_000)
    price = planned.stages["functions"]
    assert (price.sampling_rate, price.steps, planned.delta) == (60 / 60_000, 200_002, 1e-5)
    assert price.noise_multiplier == pytest.approx(ours, rel=1e-4) and ours == pytest.approx(published, rel=0.01)
    assert 0.99 * epsilon < planned.epsilon() <= epsilon


@pytest.mark.parametrize("name", papers(P3GM))
def test_p3gm_is_what_is_published_of_it(name: str) -> None:
    """The authors' commands for both sets at epsilon 1: batch 300, 4 epochs, 1,000 hidden units, 20 steps of EM, rate
    0.001, clip 1, and noise of 5, of 100 in each of three answers to a step of EM, and of 1.4. Of epsilon 10 there are
    none."""
    config, (data, epsilon) = P3GM[name], parts(name)
    assert config.made_for == IMAGES[data] == 60_000 and config.budget.accountant == "rdp"
    assert (config.network.latent, config.network.components, config.network.hidden) == (10, 3, 1000)
    assert (config.finetune.learning_rate, config.finetune.max_grad_norm, config.finetune.ema) == (1e-3, 1.0, 0.0)
    assert (config.warmup.iterations, config.warmup.batch_size, config.warmup.learning_rate) == (3000, 100, 1e-3)
    planned = p3gm.plan(config, 60_000)
    price = planned.stages["finetune"]
    assert (price.sampling_rate, price.steps, planned.delta) == (300 / 60_000, 800, 1e-5)
    assert planned.stages["mixture"].steps == 20 and 0.99 * epsilon < planned.epsilon() <= epsilon
    if epsilon == 1:
        directions = sum(planned.noise(stage) ** -2 for stage in ("means", "spread")) ** -0.5
        assert directions == pytest.approx(5, rel=0.05)
        assert planned.noise("mixture") == pytest.approx(100 / math.sqrt(3), rel=0.02)
        assert price.noise_multiplier == pytest.approx(1.4, rel=0.07)


@pytest.mark.parametrize(("name", "members", "epochs"), [("fashion_mnist", 7_000, 300), ("cifar10", 6_000, 500)])
def test_pigan_trains_on_a_tenth_of_all_images(name: str, members: int, epochs: int) -> None:
    """5.1: 10 % of training and test images; 5.1.1: epochs, batch, and DPGAN's delta of 1e-4."""
    config = PIGAN[f"paper-{name}"]
    assert config.made_for == members and round(config.member_share * (IMAGES[name] + 10_000)) == members
    assert other_size(config, members) == []
    private = replace(config, model="dpgan", budget=replace(config.budget, accountant="rdp"))
    price = pigan.plan(private, members).stages["generator"]
    assert price.sampling_rate == 128 / members and price.steps == round(epochs * members / 128)
    assert config.gan.epochs == epochs and pigan.plan(private, members).delta == 1e-4
    assert 9.9 < pigan.plan(private, members).epsilon() <= 10
    # A step of the generator for each of the discriminator, and none beside it (algorithm 1).
    assert not any("discriminator_steps" in one.name for one in fields(config.gan)) and config.gan.batch_size == 128


@pytest.mark.parametrize("name", papers(RECYCLING))
def test_knowledge_recycling_counts_epochs_of_the_discriminator(name: str) -> None:
    """500 epochs with four steps of the discriminator for each of the generator (3.2): passes of the discriminator, as
    in BigGAN's public code."""
    config = RECYCLING[name]
    assert config.made_for == IMAGES[name.removeprefix("paper-")] and config.data.size == 32
    steps = config.gan.epochs * math.ceil(config.made_for / config.gan.batch_size)
    assert (config.gan.epochs, config.gan.discriminator_steps, config.gan.checkpoint_every) == (500, 4, 5)
    assert config.gan.weight_decay == 5e-4 and steps // config.gan.discriminator_steps == pytest.approx(
        500 * config.made_for / config.gan.batch_size / 4, rel=0.03
    )
    assert (config.recipe.epochs, config.recipe.learning_rate, config.search_epochs) == (500, 0.5, 100)
    assert (config.tuning.regeneration_rate, config.tuning.cardinality_scale) == ((1, 10), (1, 10))
    assert config.tuning.standard_deviation == (1.0, 2.5) and config.tuning.trials == 50
    assert config.attack.shadow_models == 256


EMBEDDED = {
    "dp_merf": {1: {"embedding": 4.04539}, 10: {"embedding": 0.529608}},
    "dp_ntk": {1: {"embedding": 4.04539}, 10: {"embedding": 0.529608}},
    "dp_mepf": {1: {"means": 5.72105, "squares": 5.72103}, 10: {"means": 0.748979, "squares": 0.748951}},
    "evolution": {1: {"votes": 8.89367}, 10: {"votes": 1.12582}},
}
"""Of one-shot answers and votes at epsilon: noise multipliers, which Opacus' RDP prices at epsilon too."""


@pytest.mark.parametrize(
    ("method", "name"), [(method, name) for method in EMBEDDED for name in papers(PRESETS[method])]
)
def test_answers_of_all_images_cost_what_their_paper_presets_say(method: str, name: str) -> None:
    """Asked once of all images at delta 1e-5; votes four times, as Sim-PE's rounds, at that of its benchmark."""
    config, (data, epsilon) = PRESETS[method][name], parts(name)
    n = config.made_for
    assert n == IMAGES[data] and (config.budget.epsilon, config.budget.accountant) == (epsilon, "rdp")
    assert other_size(config, n) == [] and other_size(config, 3_000)
    planned = {
        "dp_merf": lambda: embedding.plan(config.budget, n), "dp_ntk": lambda: embedding.plan(config.budget, n),
        "dp_mepf": lambda: perceptual.plan(config.moments, config.budget, n),
        "evolution": lambda: votes.plan(config.votes, config.budget, n),
    }[method]()  # fmt: skip
    steps, delta = (4, 1 / (n * math.log(n))) if method == "evolution" else (1, 1e-5)
    assert planned.delta == pytest.approx(delta)
    assert {stage: planned.noise(stage) for stage in planned.stages} == {
        stage: pytest.approx(noise, rel=1e-4) for stage, noise in EMBEDDED[method][epsilon].items()
    }
    assert {(price.sampling_rate, price.steps) for price in planned.stages.values()} == {(1.0, steps)}
    assert 0.999 * epsilon < planned.epsilon() <= epsilon


def test_every_paper_preset_says_for_how_many_images_it_is() -> None:
    every = {(method, name): presets[name] for method, presets in PRESETS.items() for name in papers(presets)}
    assert len(every) == 114 and [key for key, config in every.items() if not config.made_for] == []
