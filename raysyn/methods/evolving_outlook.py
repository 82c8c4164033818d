"""How long votes for candidates and draws from the last ones take here, and how much memory."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods import outlook
from raysyn.methods.candidates import AT_ONCE, SMALL, source_of
from raysyn.methods.evolving import SHARD, Evolving, draw_chunk, size_of
from raysyn.methods.needs import Shape
from raysyn.methods.synthesis import CHUNK
from raysyn.methods.warps import drawn
from raysyn.privacy.queries.votes import BLOCK, VOTES, nearest
from raysyn.train.memory import Need, at_once
from raysyn.train.outlook import one_thread, seconds


def needs(config: Evolving, shape: Shape, private: Images, public: Public | None, noise: float) -> list[Need]:
    """What voting and drawing hold, on images of `shape` in place of the private ones."""
    image, (classes, each) = math.prod(shape), size_of(config, private, noise)
    pool = 0 if public is None else min(config.source.pool, len(public.train))
    held = classes * each * image + pool * (image + 4 * SMALL * SMALL * shape[2])
    compared = 4 * BLOCK * (4 * image + BLOCK) + at_once(SHARD, shape) * image
    near = 4 * AT_ONCE * pool
    return [
        Need(VOTES, held + compared + near, f"{classes * each:,} candidates and {pool:,} public images"),
        Need("synthesise", 8 * at_once(AT_ONCE, shape) * 4 * image + CHUNK * image, f"{CHUNK} images at a time"),
    ]


class Pace(NamedTuple):
    """Seconds, measured on made-up images."""

    drawn: float
    """Of one image that is drawn."""
    compared: float
    """Of a private image beside one candidate."""
    candidates: int
    """Candidates of each class, over all rounds."""
    classes: int

    def voting(self, images: int) -> float:
        """Of all rounds, with so many private images."""
        return self.candidates * (self.classes * self.drawn + images * self.compared)

    def looking(self, images: int) -> float:
        """Of the votes of so many images and of as many others, for which candidates are drawn again."""
        return self.candidates * (2 * self.classes * self.drawn + images * self.compared)


def pace(config: Evolving, private: Images, public: Public | None, noise: float) -> Pace:
    """Measured for a moment; no private image is read."""
    source = source_of(config.source, private.class_names, private.shape, public, config.seed)
    painter, (classes, each) = source.painter(), size_of(config, private, noise)
    few = outlook.made_up(private, 128)
    genes = drawn(torch.zeros(32, dtype=torch.int64), torch.Generator().manual_seed(0))
    chunk = 0, np.zeros(32, np.int64)
    shares = torch.ones(classes, 32, dtype=torch.float64)
    population = (painter, genes.expand(classes, *genes.shape), shares, config.source.final)
    with one_thread():
        pair_s = seconds(lambda: nearest(few.images_NHWC, few.images_NHWC, config.votes.blur)) / len(few) ** 2
        draw_chunk(chunk, population)  # faces of a character are made once
        drawn_s = seconds(lambda: draw_chunk(chunk, population)) / 32
    return Pace(drawn_s, pair_s, config.votes.rounds * each, classes)
