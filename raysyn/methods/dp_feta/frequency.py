"""DP-FETA-Pro's second warm-up: a noisy mean embedding of the private images, and what a generator that learned to have
it draws ("From Easy to Hard++", 2026)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from raysyn.data.images import Images
from raysyn.methods.common import PrivateSetting
from raysyn.methods.dp_feta.config import embedding_of
from raysyn.methods.embedded import ask, class_embeddings
from raysyn.methods.matching import GENERATOR, learned, of_generator
from raysyn.methods.synthesis import drawn
from raysyn.privacy.queries.embedding import EMBEDDING
from raysyn.privacy.queries.noise import Floats

GENERATED, FREQUENCY = "generated", "frequency"
"""The stages that draw from the generator, and that learn from its images."""
STAGES = (EMBEDDING, GENERATOR, GENERATED, FREQUENCY)


class Generated(NamedTuple):
    """What was paid for, and what was made of it."""

    answer_KF: Floats
    images: Images


def generated(setting: PrivateSetting) -> Generated:
    """Ask for the embedding, teach the generator, and draw, each as a stage of the run; only the first is paid for."""
    config, private = setting.config.frequency, setting.dataset.train
    answer_KF, features = ask(setting, embedding_of(setting.config))
    means_KF = class_embeddings(answer_KF, config.embedding, setting.plan, private.units)
    drawing = of_generator(learned(setting, config, means_KF, features))
    labels_N = np.arange(config.draws, dtype=np.int64) % private.classes
    drawn_by = (setting.compute, setting.folder, setting.console, drawing, labels_N)
    images = drawn(*drawn_by, seed_of(setting.config.seed), private.class_names, GENERATED)
    return Generated(answer_KF, images)


def seed_of(seed: int) -> int:
    """Of what is drawn from the generator, and of learning from it: unlike those of the release and of the other
    warm-up."""
    return int(np.random.SeedSequence([seed, 43]).generate_state(1)[0])
