"""How long students of a release of public images with soft labels would take here, and the search for their nearest
private images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.outlook import FEW, made_up
from raysyn.metrics.dissimilarity import DissimilarityConfig, flat
from raysyn.metrics.pace import classifier_pace, classifier_seconds
from raysyn.metrics.utility import EvalConfig
from raysyn.models.students import Name, student
from raysyn.train.classifier import accuracy
from raysyn.train.distillation import DistillationConfig, distill
from raysyn.train.memory import at_once
from raysyn.train.outlook import Stopwatch, one_thread, seconds


@one_thread()
def student_seconds(who: Name, config: DistillationConfig, like: Images, images: int, test: int) -> float:
    """Of teaching one student by a few steps of one batch, and of asking about the test images."""
    whole, device = min(config.batch_size, images), best_device()
    few = at_once(min(whole, FEW), like.shape)
    network = student(who, like.shape, like.classes, config.width)
    soft, pixels, clock = np.full((few, like.classes), 1 / like.classes), made_up(like, few), Stopwatch()
    brief = replace(config, epochs=4)
    distill(network, pixels.images_NHWC, soft, brief, 0, device, lambda done, _: clock.progress(done, 4))
    asked_s = seconds(lambda: accuracy(network, pixels)) / few
    steps = config.epochs * math.ceil(images / whole)
    return steps * clock.step_s() * whole / few + test * asked_s


@one_thread()
def dissimilarity_seconds(config: DissimilarityConfig, like: Images, *, released: int, test: int) -> float:
    """Of a CNN on private images, and of looking three times at all of them, in pixels and in its features."""
    n, shape, classes = len(like), like.shape, like.classes
    looked = [min(released, config.images)] * 2 + [min(test, config.images)]
    learned = classifier_seconds("cnn", EvalConfig(), shape, classes, min(n, config.learn_from), config.epochs, 0)
    # Each look is a pass over all private images.
    _, ask_s = classifier_pace("cnn", shape, classes, 1.0, FEW)
    some, few = made_up(like, FEW), 256
    cells = torch.rand(few, math.prod(shape))
    read_s = seconds(lambda: flat(some)) / FEW
    pair_s = seconds(lambda: (cells @ cells.T).min(1)) / few**2
    return learned + len(looked) * n * (ask_s + read_s) + 2 * sum(looked) * n * pair_s
