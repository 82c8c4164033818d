"""DP-FETA's diffusion model in its stages: warm-up on noisy central images, in DP-FETA-Pro also on images of a
generator, DP-SGD on the private ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysyn.data.images import Images
from raysyn.methods import denoising, evolving
from raysyn.methods.asking import ask_in_stages
from raysyn.methods.candidates import source_of
from raysyn.methods.common import PrivateSetting, Setting
from raysyn.methods.denoising import Denoising
from raysyn.methods.dp_feta.config import MOMENTS, Config, embedding_of, new_denoiser
from raysyn.methods.dp_feta.frequency import FREQUENCY, STAGES, Generated, generated, seed_of
from raysyn.methods.embedded import resemblance, unlike
from raysyn.methods.evolving import evolve
from raysyn.methods.experiment_units import Begun
from raysyn.methods.moments import class_means
from raysyn.methods.network import Network
from raysyn.methods.synthesis import Drawing, pack, unpack
from raysyn.methods.warm_draws import draws, in_chunks
from raysyn.methods.weighing import Weighed
from raysyn.models.warm_start import OF_ALL_CLASSES, lessened
from raysyn.privacy import sgd
from raysyn.privacy.mechanisms import Learned, Mechanism
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import central as central_query
from raysyn.privacy.queries.counts import COUNTS
from raysyn.privacy.queries.embedding import EMBEDDING
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.privacy.queries.noise import Floats
from raysyn.privacy.queries.votes import VOTES
from raysyn.privacy.trial import Choice
from raysyn.screen.words import rounded_up
from raysyn.train import loop
from raysyn.train.diffusion import DiffusionTask
from raysyn.train.few_weights import ALL


def task_of(config: Config, private: Images) -> DiffusionTask:
    """What the denoiser learns from one image."""
    return DiffusionTask(classes=private.classes, **asdict(config.noise))


def before(config: Config) -> list[str]:
    """The stages of `begin`."""
    central = []
    if config.central.count:
        asked = {"gaussian": [MEANS, SPREAD], "evolution": [VOTES]}.get(config.central.kind, ["central"])
        central = [*asked, "warmup"]
    return [*central, *(STAGES if config.frequency.asked else ())]


def begin(setting: Setting) -> Begun:
    """All warm-ups."""
    assert isinstance(setting, PrivateSetting)
    return frequency(setting, spatial(setting))


def spatial(setting: PrivateSetting) -> Begun:
    """Stage I (paper 3.1): central images teach the outline for a small part of the budget; or, which is not in the
    paper, draws from noisy Gaussians, or of characters that the images voted for, do."""
    model = Diffusion(setting)
    if MEANS in setting.plan.stages:
        config, private = setting.config, setting.dataset.train
        fitted = ask_in_stages(setting, MOMENTS)
        model.warm_up(partial(draws, fitted, config.central.draws, config.seed, private))
        return Begun(model, class_means(fitted, private))
    if VOTES in setting.plan.stages:
        return Begun(model, voted_for(setting, model))
    if "central" not in setting.plan.stages:
        return Begun(model)
    config, private, ledger, folder = setting.config, setting.dataset.train, setting.ledger, setting.folder
    stream = Stream(folder.secret, "central")
    query = partial(central_query.central_images, private, config.central, stream)
    central = unpack(folder.stage("central", lambda: pack(ledger.pay("central", query()))), private)
    setting.console.stage("central", f"{len(central)} noisy central images, ε {rounded_up(ledger.epsilon())} so far")
    model.warm_up(lambda: central)
    return Begun(model, central)


def voted_for(setting: PrivateSetting, model: Diffusion) -> Images:
    """Warm up on characters that the private images voted for, as evolution draws them; the best one of each class."""
    config, private = setting.config, setting.dataset.train
    source = source_of(config.source, private.class_names, private.shape, None, config.seed)
    found = setting.folder.stage(VOTES, partial(evolve, setting, source))
    setting.console.stage(VOTES, f"{len(found['noisy'])} rounds of votes for characters, {setting.spent()}")
    for sentence in evolving.by_chance(setting, found["noisy"]):
        setting.console.say(sentence)
    population = found["population"]

    def made() -> Images:
        shared = evolving.drawn_from(config, private, population)
        return in_chunks(variations, shared, config.central.draws, config.seed, private)

    model.warm_up(made)
    return evolving.best_of(config, private, population)


def variations(chunk: tuple[np.random.SeedSequence, np.ndarray], shared: Any) -> Tensor:
    """Of the last candidates: a part of `in_chunks`."""
    seed, labels_N = chunk
    return evolving.draw_chunk((int(seed.generate_state(1)[0]), labels_N), shared)


def frequency(setting: PrivateSetting, begun: Begun) -> Begun:
    """The second warm-up of DP-FETA-Pro: images of a generator that has the private ones' noisy mean embedding teach
    what averages hide; nothing without."""
    if EMBEDDING not in setting.plan.stages:
        return begun
    assert isinstance(begun.model, Diffusion)
    made = generated(setting)
    begun.model.warm_up_again(made)
    return replace(begun, more=made.images)


def answered(config: Config, begun: Begun) -> Weighed | None:
    """How unlike the embedding single images are, for guesses about canaries; None where it was not asked for."""
    assert isinstance(begun.model, Diffusion)
    answer_KF = begun.model.answer_KF
    return None if answer_KF is None else partial(unlike, embedding_of(config), answer_KF)


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the network as DP-SGD left it; see `Method.drawing`."""
    weights = answer("finetune")["ema"]
    denoiser = new_denoiser(config, like)
    denoiser.load_state_dict(weights)
    return denoising.of_denoiser(denoiser, config.sampler, like.shape)


def mechanisms(config: Config, like: Images, answer: Callable[[str], Any]) -> dict[str, Mechanism]:
    """See `Method.mechanisms`."""
    tuned, denoiser = answer("finetune"), new_denoiser(config, like)
    denoiser.load_state_dict(tuned["ema"])
    learned = Learned(denoiser, task_of(config, like), config.finetune, Choice(**tuned["engine"]))
    asked: dict[str, Mechanism] = {"central": config.central, EMBEDDING: embedding_of(config)}
    return {**asked, MEANS: MOMENTS, SPREAD: MOMENTS, VOTES: config.votes, COUNTS: None, "finetune": learned}


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How well its network denoises each image, how many noisy votes it would have added to, round by round, and how
    much it is like the embedding, where these were asked for."""
    denoiser = new_denoiser(config, like)
    denoiser.load_state_dict(answer("finetune")["ema"])
    found = [denoising.known(denoiser, task_of(config, like), images)]
    if config.central.evolution:
        found.append(-evolving.unvoted(*evolving.asked(config, like, answer(VOTES)), images))
    if config.frequency.asked:
        found.append(resemblance(embedding_of(config), answer(EMBEDDING).numpy(), images))
    return torch.cat([one.to(found[0].dtype) for one in found], 1)


def shown(config: Config) -> slice:
    """See `Method.shown`: of all that the network alone."""
    return slice(denoising.LEVELS) if config.release.network else slice(0)


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    return {"finetune": {"ema": answer("finetune")["ema"]}}


NETWORK = Network(("network", "noise", "sampler", "classes", "synthetic", "seed"), parts)


class Diffusion(Denoising):
    """The denoiser of one run."""

    setting: PrivateSetting
    answer_KF: Floats | None = None
    """The embedding that was asked for, if it was."""

    def __init__(self, setting: PrivateSetting) -> None:
        self.setting, self.config, self.private = setting, setting.config, setting.dataset.train
        self.denoiser, self.task = new_denoiser(self.config, self.private), task_of(self.config, self.private)

    def warm_up(self, images: Callable[[], Images]) -> None:
        """Learn from noisy central images, or from draws, which are made if they are needed."""
        config = self.config
        warm_up = partial(self.setting.compute.train, loop.fit, name="warmup")
        # Images of all classes together teach what "no class" looks like, and nothing about a class.
        lesson = self.task if config.central.conditional else replace(self.task, label_dropout=1.0)
        fresh = {name: value.clone() for name, value in self.denoiser.state_dict().items()}
        how = (config.warmup, config.seed, config.changes())
        warm = self.setting.folder.stage("warmup", lambda: warm_up(self.denoiser, lesson, images(), *how))
        # The raw weights of the last step go on, as published, not their average.
        share = 1.0 if config.central.conditional or self.private.classes == 1 else OF_ALL_CLASSES
        self.denoiser.load_state_dict(lessened(fresh, warm["model"], share))
        self.taught = config.warmup.iterations > 0
        changed = ", augmented" if config.changes().operations else ""
        of = {"gaussian": "draws from Gaussians of them", "evolution": "variations of those with most votes"}
        what = f"{config.central.draws:,} {of[config.central.kind]}" if config.central.drawn else "them"
        told = f"{config.warmup.iterations:,} steps on {what}{changed}: no further cost"
        self.setting.console.stage("warmup", told)

    def warm_up_again(self, made: Generated) -> None:
        """Go on learning, from a generator's images as they are."""
        how = self.config.frequency.warmup
        warm_up = partial(self.setting.compute.train, loop.fit, name=FREQUENCY)
        asked = (self.task, made.images, how, seed_of(self.config.seed), None, ALL, "frequency.warmup")
        warm = self.setting.folder.stage(FREQUENCY, lambda: warm_up(self.denoiser, *asked))
        self.denoiser.load_state_dict(warm["model"])
        self.taught, self.answer_KF = True, made.answer_KF
        self.setting.console.stage(FREQUENCY, f"{how.iterations:,} steps on them: no further cost")

    def fine_tune(self) -> dict[str, Any]:
        """Stage II (paper 3.2): DP-SGD on the sensitive images spends what is left."""
        setting, plan = self.setting, self.setting.plan
        epsilon_at = partial(plan.epsilon_after, "finetune")
        fine_tune = partial(
            sgd.train, setting.compute, name="finetune", epsilon_at=epsilon_at, seed=self.config.seed,
            snapshots=self.moments(),
        )  # fmt: skip
        told = (plan.stages["finetune"], setting.folder.secret, setting.machines.sgd)
        tuned = setting.folder.stage(
            "finetune",
            lambda: setting.ledger.pay(
                "finetune", fine_tune(self.denoiser, self.task, self.private, self.config.finetune, *told)
            ),
        )
        self.denoiser.load_state_dict(tuned["ema"])
        return tuned
