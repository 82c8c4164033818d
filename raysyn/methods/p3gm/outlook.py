"""What --dry-run adds to the plan of P3GM: how long each stage would take here, and how much memory."""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from raysyn.data.images import Images
from raysyn.data.projection import Projection
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing, by_weights
from raysyn.methods.machines import On
from raysyn.methods.method import Prepared
from raysyn.methods.needs import (
    Shape,
    classifier_needs,
    float_image,
    moments_needs,
    per_worker,
    private_need,
    refuse_too_large,
)
from raysyn.methods.p3gm.config import FINETUNE, Config, layout_of, new_network, size_of, task_of
from raysyn.methods.p3gm.model import DRAWS, POOL, WARMUP, draw_chunk, losses
from raysyn.methods.synthesis import CHUNK
from raysyn.privacy import units
from raysyn.privacy.poisson import Stream
from raysyn.privacy.queries import mixture as query
from raysyn.privacy.queries.mixture import MIXTURE
from raysyn.privacy.queries.moments import MEANS, SPREAD
from raysyn.screen.console import Console
from raysyn.train.memory import Need, gradient_bytes
from raysyn.train.outlook import one_thread, seconds

TRIED = 1_000
"""Made-up images, at most, of which questions are measured."""


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    refuse_too_large(console, config, private.shape, partial(needs, private=private), machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    classes, network, task = private.classes, config.network, task_of(config, shape, private.classes)
    size = size_of(layout_of(config, shape, classes), shape)
    new, batch = partial(new_network, config, shape, classes), per_worker(config.warmup.batch_size, machines)
    # The covariance with its eigenvectors and what LAPACK works in; vectors of a block, latents of all.
    asked = 8 * (6 * size**2 + query.BLOCK * (2 * size + float_image(shape) / 8))
    asked += 8 * 2 * len(private) * network.latent
    drawn = 2 * DRAWS * math.prod(shape) + CHUNK * float_image(shape)
    # One pool beside another of the classes that have too few, and both joined.
    made = CHUNK * POOL * (4 * network.hidden + 40 * size) + CHUNK * float_image(shape)
    return [
        *moments_needs(config.moments, shape, classes),
        Need(MIXTURE, int(asked), f"a covariance of {size:,} x {size:,} numbers"),
        Need(WARMUP, drawn + gradient_bytes(new(), task, shape, batch), f"a batch of {batch:,} of {DRAWS:,} images"),
        private_need(new, task, shape, config.finetune, machines, config.finetune.noise_multiplicity),
        Need("synthesise", made, f"{CHUNK * POOL:,} draws at a time"),
        *classifier_needs(config.eval, shape, classes, max(len(private), config.synthetic)),
    ]


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from measurements that read no image; answered too."""
    private = prepared.dataset.train
    network = new_network(config, private.shape, private.classes)
    task = task_of(config, private.shape, private.classes)
    found = [
        shared.start_up(machines),
        *(shared.alone(stage, shared.moments_seconds(config.moments, stage, private)) for stage in (MEANS, SPREAD)),
        shared.alone(MIXTURE, asking_seconds(config, private)),
    ]
    if config.warmup.iterations:
        learning = shared.learning_seconds(network, task, private, config.warmup)
        found.append(shared.Stage(WARMUP, learning + shared.moments_drawing(config.moments, private, DRAWS)))
    found.append(shared.Stage(FINETUNE, shared.private_seconds(network, task, private, config.finetune, machines.sgd)))
    found += shared.counting(config, private)
    found.append(shared.Stage("synthesise", drawing_seconds(config, private)))
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(config, prepared, config.synthetic, by_weights(partial(losses, network, task), private))
    shared.show(console, found, machines, title="Outlook")
    return found


def asking_seconds(config: Config, like: Images) -> float:
    """Of the mixture: of principal directions, and of all steps for a few made-up images."""
    few, layout = shared.made_up(like, min(len(like), TRIED)), layout_of(config, like.shape, like.classes)
    size, latent = size_of(layout, like.shape), config.network.latent
    flat = Projection(layout=layout, centre_D=np.zeros(size), directions_DL=np.ones((size, latent)), largest=1.0)
    begin = query.first(config.network.components, latent, config.mixture, 0)
    price, stream = units.priced(config.mixture.cost(1.0), few), Stream(bytes(32), "outlook")
    with one_thread():
        whole = seconds(lambda: np.linalg.eigh(np.eye(size)), repeats=1)
        asked = seconds(lambda: query.asked(few, flat, begin, config.mixture, price, stream), repeats=1)
    return whole + asked * len(like) / len(few)


def drawing_seconds(config: Config, like: Images) -> float:
    """Of drawing, by a few."""
    few, network = min(config.synthetic, 100), new_network(config, like.shape, like.classes)
    chunk = (0, np.arange(few) % like.classes)
    spent: float = seconds(lambda: draw_chunk(chunk, (network, like.shape, like.classes)), repeats=1)
    return spent * config.synthetic / few
