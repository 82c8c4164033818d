"""The user's own network under the engine of a run: what one image adds to the sum of clipped gradients.

No game: with the very weights that were released, a sum over made-up images is formed with each of them and without,
also where every gradient is far beyond the clip norm. The difference is all that image's, and may be no longer than the
clip norm; where it is longer, an image is not clipped. It must also be what the image gives where it is alone: else it
moves what others add.
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
from raysyn.train.few_weights import UP

LOUD = 1e4
"""By how much losses are multiplied so that every gradient is clipped."""
ROUNDING, ALONE = 1e-3, 0.1
"""Of a sum's length, and between what an image adds to others and what it gives alone, in parts of the clip norm: in
other company rounding may put a unit of a network, and its whole slope, on the other side of an edge."""
TRIED = 0.9
"""Part of the clip norm that an image must reach where losses are loud, or nothing was clipped."""
PLAIN = Choice(engine="bookkeeping", micro_batch=1, channels_last=False, precision="float32")


@dataclass(frozen=True)
class Moved:
    """What was seen."""

    stage: str
    engine: str
    most: float
    """The most that one image changed, in parts of the clip norm."""
    apart: float = 0.0
    """How far that was, at most, from what the image gives alone."""

    @property
    def fails(self) -> bool:
        """Whether it is more than one may; also where it is no number."""
        return not (self.most <= 1 + ROUNDING and self.apart <= ALONE)

    @property
    def why(self) -> str:
        """Why it fails, in a few words."""
        too_long = not self.most <= 1 + ROUNDING
        return "one image changes the sum by more than it may" if too_long else "one image moves what others add"

    @property
    def untried(self) -> bool:
        """Whether nothing is known, as no gradient was clipped: they are zero, or no numbers, which count as zero."""
        return self.most < TRIED and not self.fails

    @property
    def verdict(self) -> str:
        """In a word."""
        return "REFUTED" if self.fails else "not tried" if self.untried else "holds"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "stage": self.stage, "engine": self.engine, "most": self.most, "apart": self.apart, "fails": self.fails,
            "verdict": self.verdict,
        }  # fmt: skip


def moved(stage: str, learned: Learned, like: Images) -> Moved:
    """By two images of noise, a white and a black one, of the shape and classes of `like`."""
    device = best_device()
    # In float32: other batches round coarser numbers otherwise, which is no image's influence.
    choice = replace((learned.choice or PLAIN).on(device), precision="float32")
    if choice.engine == FUSED:  # where nothing is compiled
        choice = replace(choice, engine="bookkeeping")
    random = torch.Generator().manual_seed(0)
    model = _learning(learned, random).to(device).train()
    choice.lay_out(model)
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
            return choice.clipped_sum(model, loss, [x[kept] for x in inputs], clip).sum_P.double() / clip

    every, found = list(range(len(images))), list[Tensor]()
    for loud in (1.0, LOUD):
        whole = total(loud, every)
        for one in every:
            added = whole - total(loud, [other for other in every if other != one])
            found.append(torch.stack([added.norm(), (added - total(loud, [one])).norm()]))
    most, apart = torch.stack(found).amax(0).tolist()  # no number where there is one that is none
    return Moved(stage, choice.engine, most, apart)


def _learning(learned: Learned, random: torch.Generator) -> nn.Module:
    model = copy.deepcopy(learned.network())
    for name, weights in model.named_parameters():
        if UP in name.split("."):  # zero at first, so that nothing would come through to what is before them
            nn.init.xavier_uniform_(weights, generator=random)
    return model
