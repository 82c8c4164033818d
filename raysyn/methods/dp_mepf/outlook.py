"""What --dry-run adds to the plan of DP-MEPF: how long each stage would take here, and how much memory."""

from __future__ import annotations

from functools import partial

import torch

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import matching
from raysyn.methods import outlook as shared
from raysyn.methods.audit_outlook import auditing
from raysyn.methods.dp_mepf.config import Config
from raysyn.methods.dp_mepf.model import features_of
from raysyn.methods.machines import On
from raysyn.methods.matching import GENERATOR
from raysyn.methods.method import Prepared
from raysyn.methods.needs import Shape, classifier_needs, naming_need, per_worker, refuse_too_large
from raysyn.methods.perceiving import SHARD, asking_seconds, resembling_seconds
from raysyn.methods.public_classifier import QUERY, new_query, teaching_seconds
from raysyn.methods.synthesis import CHUNK
from raysyn.models.perceptual import Perceptual
from raysyn.privacy.queries.perceptual import MEANS
from raysyn.screen.console import Console
from raysyn.train.memory import Need, at_once, step_bytes
from raysyn.train.perceptual import BATCH


def features_like(config: Config, like: Images) -> Perceptual:
    """Those of a classifier that has learned nothing, of as many numbers."""
    return features_of(config, config.query.network.build(like.shape[2], 1))


def check_memory(console: Console, config: Config, prepared: Prepared, machines: On) -> None:
    """ValueError, in one sentence with a mend that fits, where a stage has no place in this machine's memory."""
    private = prepared.dataset.train
    found = partial(needs, private=private, public=prepared.more)
    refuse_too_large(console, config, private.shape, found, machines)


def needs(config: Config, shape: Shape, machines: On, *, private: Images, public: Public | None) -> list[Need]:
    """What each stage holds, on images of `shape` in place of the private ones."""
    features, batch, asked = features_like(config, private), config.training.batch_size, len(config.moments.stages())
    count = features.count(shape) * asked
    answer, some = 8 * private.classes * count, at_once(BATCH, shape)
    shards = -(-len(private) // SHARD)
    weights, image = matching.weight_bytes(config.network, shape), matching.image_bytes(config.network, shape)
    features.to("meta")

    def loss() -> torch.Tensor:
        return features(torch.empty(batch, shape[2], *shape[:2], device="meta", requires_grad=True))

    seen = step_bytes([features], loss)
    found = [
        Need(MEANS, shards * answer + 3 * 8 * some * count, f"{shards:,} sums of {count:,} numbers for each class"),
        Need(GENERATOR, answer + weights + batch * image + seen, f"a batch of {batch:,} images, as they are seen"),
        Need("synthesise", weights + CHUNK * image, f"{CHUNK} images at a time"),
    ]
    if public is not None:
        size = per_worker(min(config.query.batch_size, len(public.train)), machines)
        found.insert(0, naming_need(QUERY, new_query(config, public), shape, size))
    return found + classifier_needs(config.eval, shape, private.classes, max(len(private), config.synthetic))


def show_outlook(console: Console, config: Config, prepared: Prepared, machines: On) -> list[shared.Stage]:
    """The stages as a table, from measurements that read no image; answered too."""
    private, public = prepared.dataset.train, prepared.more
    features = features_like(config, private)
    count = features.count(private.shape) * len(config.moments.stages())
    found = [shared.start_up(machines)]
    if public is not None:
        found.append(shared.Stage(QUERY, teaching_seconds(config, private, public)))
    found.append(shared.Stage(MEANS, asking_seconds(config.moments, private, features)))
    # The others are of sums that are there by then.
    found += [shared.alone(stage, 0.0) for stage in config.moments.stages()[1:]]
    found += [
        shared.alone(GENERATOR, matching.learning_seconds(config, private, features, count)),
        *shared.counting(config, private),
        shared.Stage("synthesise", matching.drawing_seconds(config.network, private, config.synthetic)),
    ]
    found += shared.judging(config.eval, private, synthetic=config.synthetic, test=len(prepared.dataset.test))
    found += auditing(
        config, prepared, config.synthetic, partial(resembling_seconds, config.moments, private, features)
    )
    shared.show(console, found, machines, title="Outlook")
    return found
