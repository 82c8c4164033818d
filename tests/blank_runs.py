"""Tiny runs of every private method, as a job makes them but in this process, in which no private image adds anything.

What each image contributes is set to nothing where it would be summed, so that all that is sold must be noise, and
all else that leaves must be the same whatever the images are. A run ends where its release is written.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from raysyn.attacks.gan_attacks import MonteCarloConfig
from raysyn.audits import function_games
from raysyn.compute.local import Local
from raysyn.data.fourier import FourierConfig
from raysyn.data.images import DataConfig, Dataset, Images
from raysyn.data.rbf import Kernel, KernelConfig
from raysyn.data.streams import PublicConfig
from raysyn.data.tangent import TangentConfig
from raysyn.methods import asking, embedded, releasing
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_feta import config as of_dp_feta
from raysyn.methods.dp_feta import frequency
from raysyn.methods.dp_feta import pipeline as dp_feta
from raysyn.methods.dp_feta.frequency_config import FrequencyConfig
from raysyn.methods.dp_imgsyn import config as of_dp_imgsyn
from raysyn.methods.dp_imgsyn import pipeline as dp_imgsyn
from raysyn.methods.dp_kernel import config as of_dp_kernel
from raysyn.methods.dp_kernel import pipeline as dp_kernel
from raysyn.methods.dp_mepf import config as of_dp_mepf
from raysyn.methods.dp_mepf import pipeline as dp_mepf
from raysyn.methods.dp_merf import config as of_dp_merf
from raysyn.methods.dp_merf import pipeline as dp_merf
from raysyn.methods.dp_ntk import config as of_dp_ntk
from raysyn.methods.dp_ntk import pipeline as dp_ntk
from raysyn.methods.dp_prototypes import config as of_dp_prototypes
from raysyn.methods.dp_prototypes import pipeline as dp_prototypes
from raysyn.methods.evolution import config as of_evolution
from raysyn.methods.evolution import pipeline as evolution
from raysyn.methods.machines import On
from raysyn.methods.noisy_means import config as of_noisy_means
from raysyn.methods.noisy_means import pipeline as noisy_means
from raysyn.methods.p3gm import config as of_p3gm
from raysyn.methods.p3gm import pipeline as p3gm
from raysyn.methods.pigan import config as of_pigan
from raysyn.methods.pigan import pipeline as pigan
from raysyn.methods.privimage import config as of_privimage
from raysyn.methods.privimage import pipeline as privimage
from raysyn.methods.privimage.gan_config import GANModelConfig, GANPretrainConfig
from raysyn.metrics.utility import EvalConfig
from raysyn.models.biggan import BigGANConfig
from raysyn.models.dcgan import DCGANConfig
from raysyn.models.phased import PhasedConfig
from raysyn.models.private_discriminator import PrivateDiscriminatorConfig
from raysyn.models.semantic import SemanticNetConfig
from raysyn.models.teacher import TeacherConfig
from raysyn.models.unet import UNetConfig
from raysyn.models.upsampler import UpsamplerConfig
from raysyn.privacy import sgd, sgd_config
from raysyn.privacy.cost import Budget
from raysyn.privacy.ledger import Ledger
from raysyn.privacy.micro_batches import MicroBatches
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central as central_query
from raysyn.privacy.queries import embedding, functions, layer_statistics, mixture, moments, perceptual
from raysyn.privacy.queries import semantic as semantic_query
from raysyn.privacy.queries import votes as votes_query
from raysyn.privacy.queries.central import CentralConfig
from raysyn.privacy.queries.functions import FUNCTIONS, RoundsConfig
from raysyn.privacy.queries.layer_statistics import StatisticsConfig
from raysyn.privacy.queries.mixture import MixtureConfig
from raysyn.privacy.queries.semantic import SemanticConfig
from raysyn.privacy.queries.votes import VotesConfig
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import SGDSpeed
from raysyn.runs.folder import RunFolder
from raysyn.screen.console import Console
from raysyn.train import private_gan
from raysyn.train.alignment import AlignmentConfig
from raysyn.train.augment import AugmentConfig
from raysyn.train.conditional_gans import AdversarialConfig
from raysyn.train.embedding import MatchConfig
from raysyn.train.loop import LoopConfig
from raysyn.train.pulled import PullConfig, Pulled
from raysyn.train.samplers import SamplerConfig
from raysyn.train.semantic import QueryConfig

SPEED = On(sgd=SGDSpeed(engine="bookkeeping", micro_batch=20, channels_last=True))
BUDGET = Budget(epsilon=8.0, delta=1e-4, accountant="rdp")
TUNING = SGDConfig(batch_size=30, epochs=0.6, noise_multiplicity=1, max_grad_norm=0.5)
KERNEL = KernelConfig()
UNET = UNetConfig(width=8, multipliers=(1,), blocks=1, attention=(), patch=2, positions=True)
SHORT = LoopConfig(iterations=1, batch_size=16)
EVAL = EvalConfig(classifiers=(), feature_epochs=1, precision_recall_images=50, distances=0)


@dataclass(frozen=True)
class Method:
    """One private method, and by hand what one image changes in each answer that it sells, in L2 norm."""

    module: ModuleType
    config: Any
    sensitivities: dict[str, float]
    turn: int | None = None
    """Images in a step of its generator, if it plays with one."""


_PRIVIMAGE = of_privimage.Config(
    data=DataConfig(limit=300),
    public=PublicConfig(limit=400),
    budget=BUDGET,
    query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=4), epochs=1, batch_size=50, flip=False),
    semantic=SemanticConfig(k=2, noise_multiplier=20.0),
    central=CentralConfig(count=40, kind="mode", conditional=False),
    network=UNET,
    pretrain=SHORT,
    warmup=SHORT,
    finetune=TUNING,
    sampler=SamplerConfig(steps=2),
    synthetic=60,
    eval=EVAL,
)
METHODS: dict[str, Method] = {
    # 64 pixels, each half a white one away from grey, and a count.
    "noisy_means": Method(
        noisy_means,
        of_noisy_means.Config(data=DataConfig(limit=300), budget=BUDGET, synthetic=60, eval=replace(EVAL, floor=False)),
        {"means": 4.0 * math.sqrt(1 + 0.1**2), "spread": 1.0},
    ),
    "evolution": Method(
        evolution,
        of_evolution.Config(
            data=DataConfig(limit=300), budget=BUDGET, votes=VotesConfig(rounds=3, candidates=20), synthetic=60,
            eval=EVAL,
        ),
        {"votes": 1.0},
    ),
    # Features of norm 1, and a count.
    "dp_merf": Method(
        dp_merf,
        of_dp_merf.Config(
            data=DataConfig(limit=300), budget=BUDGET, features=FourierConfig(count=100), synthetic=60, eval=EVAL,
            network=UpsamplerConfig(latent=4, hidden=8, channels=4), training=MatchConfig(iterations=3, batch_size=20),
        ),
        {"embedding": math.sqrt(1 + 0.1**2)},
    ),
    "dp_ntk": Method(
        dp_ntk,
        of_dp_ntk.Config(
            data=DataConfig(limit=300), budget=BUDGET, features=TangentConfig(widths=(3,)), synthetic=60, eval=EVAL,
            network=UpsamplerConfig(latent=4, hidden=8, channels=4), training=MatchConfig(iterations=3, batch_size=20),
        ),
        {"embedding": math.sqrt(1 + 0.1**2)},
    ),
    # The same of each question; one of the two counts.
    "dp_mepf": Method(
        dp_mepf,
        of_dp_mepf.Config(
            data=DataConfig(limit=300), public=PublicConfig(limit=300), budget=BUDGET, synthetic=60, eval=EVAL,
            query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=2), epochs=1, batch_size=50, flip=False),
            network=UpsamplerConfig(latent=4, hidden=8, channels=4), training=MatchConfig(iterations=3, batch_size=20),
        ),
        {"means": math.sqrt(1 + 0.1**2), "squares": 1.0},
    ),
    # Functions of norm 1, and a count.
    "dp_kernel": Method(
        dp_kernel,
        of_dp_kernel.Config(
            data=DataConfig(limit=300), budget=BUDGET, rounds=RoundsConfig(count=3, batch_size=60), synthetic=60,
            eval=EVAL, network=UpsamplerConfig(latent=4, hidden=8, channels=4), training=PullConfig(crowd=2),
            kernel=KERNEL,
        ),
        {FUNCTIONS: math.sqrt(1 + 0.1**2)},
    ),
    # Counts, latents and squares of norm 0.5, 1 and 2.
    "p3gm": Method(
        p3gm,
        of_p3gm.Config(
            data=DataConfig(limit=300), budget=BUDGET, mixture=MixtureConfig(iterations=10), warmup=SHORT,
            network=PhasedConfig(hidden=8), finetune=TUNING, synthetic=60, eval=EVAL,
        ),
        {
            "means": 4.0 * math.sqrt(1 + 0.1**2), "spread": 1.0, "mixture": math.sqrt(0.5**2 + 1 + 2**2),
            "finetune": 0.5,
        },
    ),
    "dp_feta": Method(
        dp_feta,
        of_dp_feta.Config(
            data=DataConfig(limit=300), budget=BUDGET, network=UNET, warmup=SHORT, finetune=TUNING, eval=EVAL,
            central=CentralConfig(count=100, clip_norm=3.0, downscale=1), sampler=SamplerConfig(steps=2), synthetic=60,
        ),
        {"central": 3.0 * math.sqrt(1 + 0.1**2), "finetune": 0.5},
    ),
    "dp_feta_gaussian": Method(
        dp_feta,
        of_dp_feta.Config(
            data=DataConfig(limit=300), budget=BUDGET, network=UNET, warmup=SHORT, finetune=TUNING, eval=EVAL,
            central=CentralConfig(kind="gaussian", draws=60), augment=AugmentConfig(operations=0),
            sampler=SamplerConfig(steps=2), synthetic=60,
        ),
        {"means": 4.0 * math.sqrt(1 + 0.1**2), "spread": 1.0, "finetune": 0.5},
    ),
    "dp_feta_evolution": Method(
        dp_feta,
        of_dp_feta.Config(
            data=DataConfig(limit=300), budget=BUDGET, network=UNET, warmup=SHORT, finetune=TUNING, eval=EVAL,
            central=CentralConfig(kind="evolution", draws=60), augment=AugmentConfig(operations=0),
            votes=VotesConfig(rounds=3, candidates=20), sampler=SamplerConfig(steps=2), synthetic=60,
        ),
        {"votes": 1.0, "finetune": 0.5},
    ),
    # Both.
    "dp_feta_pro": Method(
        dp_feta,
        of_dp_feta.Config(
            data=DataConfig(limit=300), budget=BUDGET, network=UNET, warmup=SHORT, finetune=TUNING, eval=EVAL,
            central=CentralConfig(count=100, clip_norm=3.0, downscale=1), sampler=SamplerConfig(steps=2), synthetic=60,
            frequency=FrequencyConfig(
                noise_multiplier=6.0, features=FourierConfig(count=100), draws=60, warmup=SHORT,
                network=UpsamplerConfig(latent=4, hidden=8, channels=4),
                training=MatchConfig(iterations=3, batch_size=20),
            ),
        ),
        {"central": 3.0 * math.sqrt(1 + 0.1**2), "embedding": math.sqrt(1 + 0.1**2), "finetune": 0.5},
    ),
    # 64 pixels, one histogram each.
    "privimage": Method(privimage, _PRIVIMAGE, {"semantic": math.sqrt(2), "central": 8.0, "finetune": 0.5}),
    "privimage_gan": Method(
        privimage,
        replace(
            _PRIVIMAGE, generator="gan", central=CentralConfig(count=0),
            gan=GANModelConfig(
                network=BigGANConfig(channels=2, depth=1, latent=6, embedding=4),
                discriminator=PrivateDiscriminatorConfig(channels=4),
                pretrain=GANPretrainConfig(iterations=2, batch_size=32, discriminator_steps=2),
                discriminator_steps=2,
            ),
        ),
        {"semantic": math.sqrt(2), "finetune": 0.5},
        turn=30,
    ),
    # A ResNet-18 has 20 normalisation layers.
    "dp_imgsyn": Method(
        dp_imgsyn,
        of_dp_imgsyn.Config(
            data=DataConfig(limit=240), public=PublicConfig(limit=300), budget=BUDGET, teacher=TeacherConfig(width=4),
            training=SGDConfig(batch_size=40, epochs=0.5, noise_multiplicity=1, max_grad_norm=0.5),
            statistics=StatisticsConfig(epochs=2.0, batch_size=60, share=0.3, clip_norm=1.5),
            alignment=AlignmentConfig(iterations=1, batch_size=30), synthetic=60, students=(), eval=EVAL,
        ),
        {"teacher": 0.5, "statistics": 1.5 * math.sqrt(20)},
    ),
    # Features of norm 1, and a count.
    "dp_prototypes": Method(
        dp_prototypes,
        of_dp_prototypes.Config(
            data=DataConfig(limit=300), public=PublicConfig(limit=300), budget=BUDGET, synthetic=60, eval=EVAL,
            query=QueryConfig(network=SemanticNetConfig(name="resnet14", width=8), epochs=1, batch_size=50, flip=False),
            students=(),
        ),
        {"means": 1.0},
    ),
    "dpgan": Method(
        pigan,
        of_pigan.Config(
            data=DataConfig(limit=400), model="dpgan", network=DCGANConfig(width=0.125, latent=8), max_grad_norm=0.5,
            gan=AdversarialConfig(epochs=2, batch_size=32, learning_rate=2e-3), budget=replace(BUDGET, epsilon=20.0),
            synthetic=60, eval=replace(EVAL, floor=False),
            monte_carlo=MonteCarloConfig(fakes=60, suspects=20, components=10, repeats=2),
        ),
        {"generator": 0.5},
        turn=32,
    ),
}  # fmt: skip


@dataclass
class BlankRun:
    """What a run sold and drew."""

    out: Path
    n: int = 0
    ledger: list[dict[str, Any]] = field(default_factory=list)
    streams: set[tuple[bytes, str]] = field(default_factory=set)
    """(secret, stage) of all that were made."""
    draws: list[tuple[str, str, int, str, int]] = field(default_factory=list)
    """(stage, kind, step, purpose, index) of all that was drawn."""
    sold: dict[str, list[np.ndarray]] = field(default_factory=dict)
    """By stage, the noisy sums as they are read by what comes next: all of one standard deviation."""
    turns: list[int] = field(default_factory=list)
    """Images of each step of a generator."""
    released: list[Any] = field(default_factory=list)
    """Arguments of `write_release` but the folder."""

    @property
    def secret(self) -> bytes:
        return (self.out / "internal/secret").read_bytes()

    def noise(self, stage: str) -> np.ndarray:
        return np.concatenate([part.ravel() for part in self.sold[stage]])


class _Released(Exception):
    """Ends a run."""


def blank_run(
    method: Method, out: Path, secret: bytes, *, seed: int = 0, change: Callable[[Images], Images] | None = None
) -> BlankRun:
    """One run with this secret and --seed, if asked for on changed images; what it sold, drew and released."""
    config = replace(method.config, seed=seed)
    prepared = method.module.prepare(config)
    dataset, plan = prepared.dataset, prepared.plan
    if change is not None:
        dataset = Dataset(dataset.name, change(dataset.train), change(dataset.test), None)
    run = BlankRun(out, dataset.train.units)
    with pytest.MonkeyPatch.context() as patch, Console(io.StringIO()) as console:
        with patch.context() as opening:
            opening.setattr("raysyn.runs.folder.os.urandom", lambda size: secret[:size])
            folder = RunFolder.open(out, method="blank", preset="tiny", config={}, data_fingerprint="none")
        with folder:
            ledger = Ledger(plan, folder.ledger)
            parts = (config, dataset, Local(folder.internal), folder, console, SPEED, prepared.more)
            _watch_draws(patch, run)
            _blank_queries(patch, run)
            _blank_moments(patch, run)
            _blank_votes(patch, run)
            _blank_embedding(patch, run)
            _blank_features(patch, run)
            _blank_functions(patch, run)
            _blank_mixture(patch, run)
            _blank_sgd(patch, run)
            patch.setattr(releasing, "write_release", lambda _, *rest, **more: _release(run, [*rest, more]))
            with pytest.raises(_Released):
                method.module.run(PrivateSetting(*parts, plan=plan, ledger=ledger))
            run.ledger = ledger.entries()
    return run


def _release(run: BlankRun, what: list[Any]) -> None:
    run.released = what
    raise _Released


def _watch_draws(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    made, key, wishes = Stream.__post_init__, Stream._key, private_gan.wishes

    def noted(self: Stream) -> None:
        made(self)
        run.streams.add((self.secret, self.stage))

    def drawn(self: Stream, kind: str, step: int, purpose: str, index: int = 0) -> bytes:
        run.draws.append((self.stage, kind, step, purpose, index))
        return key(self, kind, step, purpose, index)

    def turn(worker: Any, labels_N: np.ndarray, size: int, *more: Any) -> Any:
        run.turns.append(size)
        return wishes(worker, labels_N, size, *more)

    patch.setattr(Stream, "__post_init__", noted)
    patch.setattr(Stream, "_key", drawn)
    patch.setattr(private_gan, "wishes", turn)


def _blank_queries(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    counts, clipped, select = semantic_query.semantic_counts, layer_statistics.clipped, semantic_query.select_classes
    statistics, align = layer_statistics.layer_statistics, dp_imgsyn.align
    asked: list[tuple[list[float], float]] = []

    def blank(make: Callable[..., central_query.Query]) -> Callable[..., central_query.Query]:
        def made(*args: Any) -> central_query.Query:
            query = make(*args)

            def read(sums: np.ndarray, expected: float) -> np.ndarray:
                run.sold.setdefault("central", []).append(sums)
                return query.read(sums, expected)

            return replace(query, total=lambda *args: 0.0 * query.total(*args), read=read)

        return made

    def selected(noisy: np.ndarray, *more: Any) -> np.ndarray:
        run.sold.setdefault("semantic", []).append(noisy)
        return select(noisy, *more)

    def noted(shards: Any, layers: Any, config: Any, cost: Any, stream: Stream, n: int) -> Any:
        asked.append((layers.scales, cost.sampling_rate * math.sqrt(cost.steps) * run.n))
        return statistics(shards, layers, config, cost, stream, n)

    def aligned(setting: Any, teacher: Any, wanted: Any, *more: Any) -> Any:
        ((scales, size),) = asked
        # The means, which were multiplied by a public scale and divided by what is expected.
        means = [mean.double().numpy() / scale for (mean, _), scale in zip(wanted, scales, strict=True)]
        run.sold.setdefault("statistics", []).extend(mean * size for mean in means)
        return align(setting, teacher, wanted, *more)

    patch.setattr(central_query, "mean_query", blank(central_query.mean_query))
    patch.setattr(central_query, "mode_query", blank(central_query.mode_query))
    patch.setattr(semantic_query, "semantic_counts", lambda *args: 0.0 * counts(*args))
    patch.setattr(layer_statistics, "clipped", lambda *args: 0.0 * clipped(*args))
    patch.setattr(layer_statistics, "layer_statistics", noted)
    patch.setattr(semantic_query, "select_classes", selected)
    patch.setattr(dp_imgsyn, "align", aligned)


def _blank_moments(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    total, read, fit = moments.noisy_sum, asking.read_means, asking.gaussians

    def means(answer: np.ndarray, *more: Any) -> Any:
        run.sold["means"] = [answer]
        return read(answer, *more)

    def fitted(given: Any, answer: np.ndarray, *more: Any) -> Any:
        # A symmetric matrix is as long as its diagonal and, stretched, what is above it.
        size = answer.shape[-1]
        stretch = np.where(np.eye(size, dtype=bool), 1.0, math.sqrt(2.0))
        run.sold["spread"] = [one[np.triu_indices(size)] for one in answer * stretch]
        return fit(given, answer, *more)

    patch.setattr(moments, "noisy_sum", lambda parts, *more: total([0.0 * part for part in parts], *more))
    patch.setattr(asking, "read_means", means)
    patch.setattr(asking, "gaussians", fitted)


def _blank_votes(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    count, votes = votes_query.ballots, votes_query.votes

    def noted(*args: Any) -> Any:
        found = votes(*args)
        run.sold["votes"] = list(found.value)
        return found

    patch.setattr(votes_query, "ballots", lambda *args: 0.0 * count(*args))
    patch.setattr(votes_query, "votes", noted)


def _blank_embedding(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    total, read = embedding.noisy_sum, embedded.class_embeddings

    def means(answer: np.ndarray, *more: Any) -> Any:
        run.sold["embedding"] = [answer]
        return read(answer, *more)

    patch.setattr(embedding, "noisy_sum", lambda parts, *more: total([0.0 * part for part in parts], *more))
    for method in (dp_merf, dp_ntk, frequency):
        patch.setattr(method, "class_embeddings", means)


def _blank_features(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    total, read, point = perceptual.noisy_sum, dp_mepf.class_moments, dp_prototypes.prototypes

    def means(answers: dict[str, np.ndarray], *more: Any) -> Any:
        run.sold |= {stage: [answer] for stage, answer in answers.items()}
        return read(answers, *more)

    def pointed(answers: dict[str, np.ndarray], *more: Any) -> Any:
        run.sold |= {stage: [answer] for stage, answer in answers.items()}
        return point(answers, *more)

    patch.setattr(perceptual, "noisy_sum", lambda parts, *more: total([0.0 * part for part in parts], *more))
    patch.setattr(dp_mepf, "class_moments", means)
    patch.setattr(dp_prototypes, "prototypes", pointed)


def _blank_functions(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    total, learn = functions.sums, Pulled.learn

    def noted(self: Pulled, step: int, answer: Any, shares_K: torch.Tensor) -> None:
        # How large the noise is, by the dense covariance that the audit holds it against, which shares no code with the
        # draw; this, which is linear, says only by which rotation the same normal numbers are seen.
        classes, count, pixels = self.points_KBP.shape
        unit = torch.eye(count * pixels, dtype=torch.float64).view(-1, 1, count, pixels).expand(-1, classes, -1, -1)
        of = Kernel.of(KERNEL, self.generator.shape)
        drawn_KDD = torch.stack([functions.path_gradients(self.points_KBP, of, one).flatten(1) for one in unit], 2)
        white = []
        for at_BP, drawn_DD, one_BP in zip(self.points_KBP, drawn_KDD, answer.gradients_KBP, strict=True):
            root_DD = np.linalg.cholesky(function_games.covariance(at_BP.numpy(), of.lengths))
            left_DD, _, right_DD = np.linalg.svd(np.linalg.solve(root_DD, drawn_DD.numpy()))
            white.append((left_DD @ right_DD).T @ np.linalg.solve(root_DD, one_BP.numpy().ravel()))
        whole = np.concatenate([*white, 0.1 * answer.shares_K.numpy()]) * 60
        run.sold.setdefault(FUNCTIONS, []).append(whole)
        learn(self, step, answer, shares_K)

    patch.setattr(functions, "sums", lambda *args: functions.Answer(*(0.0 * one for one in total(*args))))
    patch.setattr(Pulled, "learn", noted)


def _blank_mixture(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    total, ask = mixture.noisy_sum, mixture.noisy_statistics

    def noted(*args: Any) -> Any:
        found = ask(*args)
        run.sold["mixture"] = list(found.value)
        return found

    patch.setattr(mixture, "noisy_sum", lambda parts, *more: total([0.0 * part for part in parts], *more))
    patch.setattr(mixture, "noisy_statistics", noted)


def _blank_sgd(patch: pytest.MonkeyPatch, run: BlankRun) -> None:
    total, step = MicroBatches.clipped_sum, sgd._Run.step

    def noted(self: Any, taking: np.ndarray) -> float:
        def remember(optimizer: torch.optim.Optimizer, *_: Any) -> None:
            gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
            # What the model learns from, times the expected batch.
            whole = torch.cat(gradients).double().numpy() * self.cost.sampling_rate * run.n
            run.sold.setdefault(self.stream.stage, []).append(whole)

        hook = self.optimizer.register_step_pre_hook(remember)
        loss = step(self, taking)
        hook.remove()
        return loss

    patch.setattr(MicroBatches, "clipped_sum", lambda self, *asked: 0.0 * total(self, *asked))
    patch.setattr(sgd._Run, "step", noted)
    # Nothing is continued here.
    patch.setattr(sgd_config, "MARKS", 1)
