"""Naming the class of an image, as a task that `privacy.sgd` trains and `train.outlook` times."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from raysyn.train.classifier import as_float


class Naming:
    """Cross-entropy of a classifier (`train.loop.Task`); every copy of an image is the image itself."""

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        """(images in [-1, 1], labels) with leading dimensions (B, copies)."""
        images = as_float(images_BHWC)
        if images.ndim == 5:  # each copy is of an image of its own
            return images, labels_B
        return images[:, None].expand(-1, copies, -1, -1, -1), labels_B[:, None].expand(-1, copies)

    def loss(self, model: nn.Module, *inputs_M: Tensor) -> Tensor:
        """(M,) losses."""
        images, labels = inputs_M
        return F.cross_entropy(model(images), labels, reduction="none")
