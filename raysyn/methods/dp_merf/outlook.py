"""What --dry-run adds to the plan of DP-MERF: how long each stage would take here, and how much memory."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from raysyn.data.fourier import Waves
from raysyn.data.images import Images
from raysyn.methods import matching
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.dp_merf.config import Config
from raysyn.methods.machines import On
from raysyn.methods.matching import GENERATOR
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, refuse_too_large
from raysyn.methods.synthesis import CHUNK
from raysyn.privacy.cost import Cost
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries.embedding import BLOCK, EMBEDDING, embedding_sums
from raysyn.screen.console import Console
from raysyn.train.embedding import Fourier
from raysyn.train.memory import Need
from raysyn.train.outlook import seconds


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    pixels, count = math.prod(shape), config.features.count
    waves, answer = 4 * pixels * count, 8 * private.classes * count
    image = 4 * 2 * count + matching.image_bytes(config.network, shape)
    weights = matching.weight_bytes(config.network, shape)
    batch = config.training.batch_size
    return [
        Need(EMBEDDING, 2 * waves + 3 * answer + BLOCK * 16 * count, f"{count:,} waves of {pixels:,} pixels"),
        Need(GENERATOR, waves + 2 * answer + weights + batch * image, f"a batch of {batch:,} images"),
        Need("synthesise", weights + CHUNK * image, f"{CHUNK} images at a time"),
        *classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from measurements that read no image; answered too."""
    private = prepared.dataset.train
    features = Fourier(_some_waves(config, private).radians())
    found = [
        shared.start_up(machines),
        shared.alone(EMBEDDING, asking_seconds(config, private)),
        shared.alone(GENERATOR, matching.learning_seconds(config, private, features, config.features.count)),
        *shared.counting(config, private),
        shared.Stage("synthesise", matching.drawing_seconds(config, private)),
    ]
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(config, prepared, config.synthetic, partial(resembling_seconds, config, private))
    shared.show(console, found, machines, title="Outlook")
    return found


def _some_waves(config: Config, like: Images) -> Waves:
    """As many as there will be, and none of them."""
    return Waves(np.zeros((math.prod(like.shape), config.features.count // 2)))


def asking_seconds(config: Config, like: Images) -> float:
    """Of the question, on a few made-up images. Its noise is thrown away with them."""
    few, stream = shared.made_up(like, min(len(like), BLOCK)), Stream(bytes(32), "outlook")
    price = Cost(mechanism="", noise_multiplier=1.0, sampling_rate=1.0, steps=1)
    waves = _some_waves(config, like)
    spent = seconds(lambda: embedding_sums(few, waves, config.embedding, price, stream), repeats=1)
    return spent * len(like) / len(few)


def resembling_seconds(config: Config, like: Images, count: int) -> float:
    """Of saying how like the answer `count` images are, which is most of what was asked of them before."""
    return asking_seconds(config, like) * count / len(like)
