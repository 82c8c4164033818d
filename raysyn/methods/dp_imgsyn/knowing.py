"""What DP-ImgSyn's teacher knows of images, for attacks on the method; and a run that measures nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from raysyn.attacks import lira
from raysyn.compute.worker import best_device
from raysyn.data.images import Images
from raysyn.methods.dp_imgsyn.config import Config, new_teacher
from raysyn.train.recipe import predict


def knows(config: Config, like: Images, answer: Callable[[str], Any], images: Images) -> Tensor | None:
    """How sure the teacher is of each image's class; None of one class."""
    if like.classes < 2:
        return None
    teacher = new_teacher(config, like)
    teacher.load_state_dict(answer("teacher")["ema"])
    with torch.inference_mode():
        logits = predict(teacher.to(best_device()), images.images_NHWC)
    return torch.from_numpy(lira.confidence(logits.numpy(), images.labels_N))[:, None]


def unmeasured(config: Config) -> dict[str, Any]:
    """See `Method.unmeasured`."""
    return {"students": (), "real_students": False, "dissimilarity": replace(config.dissimilarity, images=0)}
