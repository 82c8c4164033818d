"""What Knowledge Recycling's images are drawn from and labelled by, which is all that more of them need."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.knowledge_recycling.config import Config
from raysyn.methods.network import Network
from raysyn.methods.synthesis import Drawing
from raysyn.models.biggan import Generator
from raysyn.train import gan
from raysyn.train.recipe import predict

TEACHER, CHOSEN = "teacher", "generator-chosen"
"""Stages: the teacher, and the best checkpoint of the generator with the deviation of noise that tuning found."""


class Recycler(NamedTuple):
    """Who draws and who labels."""

    generator: Generator
    teacher: nn.Module
    deviation: float
    """Of the generator's noise."""


def drawing(config: Config, like: Images, n: int, answer: Callable[[str], Any]) -> Drawing:
    """Images from the chosen generator, with the teacher's probabilities as soft labels. ValueError for a teacher or a
    deviation that is no number."""
    chosen, taught = answer(CHOSEN), answer(TEACHER)["weights"]
    if not 0 < (deviation := chosen["deviation"].item()) < math.inf:
        raise ValueError(f"{CHOSEN} has the deviation {deviation}, which is no number above 0")
    if lost := [name for name, one in taught.items() if not torch.isfinite(one).all()]:
        raise ValueError(f"{TEACHER} has {lost[0]} with values that are no numbers (NaN or endless)")
    with torch.random.fork_rng(devices=[]):
        generator = Generator(config.network, like.shape, like.classes, spectral=False)
        teacher = config.classifier.build(like.shape[2], like.classes)
    generator.load_state_dict(chosen["weights"])
    teacher.load_state_dict(taught)
    shared = Recycler(generator.eval(), teacher.eval(), deviation)
    return Drawing(draw_chunk, shared, "one network call each, labelled by the teacher", label_chunk)


def draw_chunk(chunk: tuple[int, np.ndarray], shared: Recycler) -> Tensor:
    """One unit of synthesis: (seed, labels) to uint8 (N, H, W, C)."""
    seed, labels_N = chunk
    generator = shared.generator.to(best_device())
    return gan.draw(generator, torch.from_numpy(labels_N.copy()), shared.deviation, seed).cpu()


def label_chunk(images_NHWC: np.ndarray, shared: Recycler) -> Tensor:
    """One unit of labelling: the teacher's probabilities (N, K)."""
    return predict(shared.teacher.to(best_device()), images_NHWC).softmax(1)


def parts(config: Config, answer: Callable[[str], Any]) -> dict[str, Any]:
    """What `drawing` reads."""
    chosen = answer(CHOSEN)
    return {
        TEACHER: {"weights": answer(TEACHER)["weights"]},
        CHOSEN: {name: chosen[name] for name in ("weights", "deviation")},
    }


NETWORK = Network(("network", "classifier", "classes", "seed"), parts)
