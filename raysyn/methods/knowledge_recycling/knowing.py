"""What Knowledge Recycling's weights know of images, for attacks on the method; and a run that measures nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from raysyn.attacks import lira
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.knowledge_recycling.config import Config
from raysyn.methods.knowledge_recycling.drawing import TEACHER
from raysyn.train.recipe import predict


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor:
    """How sure the teacher and the student are of each image's class."""
    found = []
    for stage in (TEACHER, "student"):
        network = config.classifier.build(like.shape[2], like.classes)
        network.load_state_dict(answer(stage)["weights"])
        with torch.inference_mode():
            logits = predict(network.to(best_device()), images.images_NHWC)
        found.append(torch.from_numpy(lira.confidence(logits.numpy(), images.labels_N)))
    return torch.stack(found, 1)


def shown(config: Config) -> slice:
    """See `Method.shown`: the student, which every release holds, and the teacher where its labels can be made anew."""
    return slice(2) if config.release.network else slice(1, 2)


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`."""
    return {"compare_labels": (), "floor": False, "distances": 0, "attack": replace(config.attack, shadow_models=0)}
