"""The user's own network under the engine of a run: what one image adds to the sum of clipped gradients.

No game: with the very weights that were released, a sum over made-up images is formed with each of them and without,
also where every gradient is far beyond the clip norm. The difference is all that image's, and may be no longer than the
clip norm; where it is longer, an image is not clipped, or moves what others add.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.compute.worker import best_device, full_float32
from raysyn.data.images import Images
from raysyn.privacy.mechanisms import Learned
from raysyn.privacy.trial import FUSED, Choice

LOUD = 1e4
"""By how much losses are multiplied so that every gradient is clipped."""
ROUNDING = 1e-3
"""Of two sums, in parts of the clip norm."""
PLAIN = Choice(engine="bookkeeping", micro_batch=1, channels_last=False, precision="float32")


@dataclass(frozen=True)
class Moved:
    """What was seen."""

    stage: str
    engine: str
    most: float
    """The most that one image changed, in parts of the clip norm."""

    @property
    def fails(self) -> bool:
        """Whether it is more than one may; also where it is no number."""
        return not self.most <= 1 + ROUNDING

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"stage": self.stage, "engine": self.engine, "most": self.most, "fails": self.fails}


def moved(stage: str, learned: Learned, like: Images) -> Moved:
    """By two images of noise, a white and a black one, of the shape and classes of `like`."""
    device = best_device()
    # In float32: other batches round coarser numbers otherwise, which is no image's influence.
    choice = replace((learned.choice or PLAIN).on(device), precision="float32")
    if choice.engine == FUSED:  # where nothing is compiled
        choice = replace(choice, engine="bookkeeping")
    model = copy.deepcopy(learned.model).to(device).train()
    choice.lay_out(model)
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, *like.shape), generator=random, dtype=torch.uint8)
    images[2], images[3] = 255, 0
    labels = torch.arange(len(images)) % like.classes
    join = getattr(learned.task, "generator", None)  # of a game: made images come from the images' device
    if isinstance(join, nn.Module):
        join.to(device)
    copies, clip = learned.config.noise_multiplicity, learned.config.max_grad_norm
    inputs = learned.task.draw(images.to(device), labels.to(device), range(len(images)), copies)

    def total(loud: float, kept: list[int]) -> Tensor:
        def loss(network: nn.Module, *inputs_M: Any) -> Tensor:
            return loud * learned.task.loss(network, *inputs_M)

        with full_float32(device):
            return choice.clipped_sum(model, loss, [x[kept] for x in inputs], clip).sum_P

    every, most = list(range(len(images))), 0.0
    for loud in (1.0, LOUD):
        whole = total(loud, every)
        for one in every:
            without = total(loud, [other for other in every if other != one])
            change = float(torch.linalg.vector_norm((whole - without).double())) / clip
            most = max(most, change) if change == change else change
            if most != most:
                return Moved(stage, choice.engine, most)
    return Moved(stage, choice.engine, most)
