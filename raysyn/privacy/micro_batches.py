"""The sum of clipped gradients over the images of one step, micro-batch by micro-batch; noise is not known here.

Where persons are named, these are what is counted: indices are those of persons, and each copy is of one of their
images (`units.Albums`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raysyn.compute.worker import Worker
from raysyn.data.images import Images
from raysyn.privacy import engines
from raysyn.privacy.poisson import Stream
from raysyn.privacy.sgd_config import SGDConfig
from raysyn.privacy.trial import FUSED, Choice
from raysyn.privacy.units import Albums
from raysyn.train.loop import Task


class MicroBatches:
    """One rank's way to a step's sum: where its images lie, what they are asked, and by which engine."""

    def __init__(
        self, worker: Worker, model: nn.Module, task: Task, private: Images, config: SGDConfig, choice: Choice,
        stream: Stream,
    ) -> None:  # fmt: skip
        """`model` lies on the worker's device, laid out as `choice` says.

        `choice` is then what it came to: a step that cannot be compiled is computed by `bookkeeping`, with a warning.
        """
        self.model, self.task, self.config, self.choice, self.stream = model, task, config, choice, stream
        self.device, self.loss = worker.device, float("nan")
        self._private, self._held, self._albums = private, _held(private, worker.device), Albums.of(private)
        self._size = sum(p.numel() for p in engines.trained(model))
        self._program: Callable[[Sequence[Tensor]], Any] | None = None
        if choice.engine == FUSED:
            worker.doing("compiling the training step, once: this takes minutes")
            example = made_up(task, private, config.noise_multiplicity, choice.micro_batch, worker.device)
            self._program = self._compiled(example)

    def _compiled(self, example_BK: Sequence[Tensor]) -> Callable[[Sequence[Tensor]], Any] | None:
        from raysyn.privacy.fused import Program  # slow to import, and needs the compiler that comes with CUDA

        bf16, clip = self.choice.precision == "bf16", self.config.max_grad_norm
        try:
            return Program(self.model, self.task.loss, example_BK, clip, bf16=bf16)
        except Exception as error:  # whatever a compiler makes of somebody's network; training is possible without
            reason = str(error).strip().split("\n")[0]
            warnings.warn(f"the training step cannot be compiled, so it runs uncompiled: {reason}", stacklevel=2)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # of what the attempt held
        self.choice = replace(self.choice, engine="bookkeeping")
        return None

    def clipped_sum(self, step: int, mine: NDArray[np.int64]) -> Tensor:
        """Float32 (P,): of the images with these indices; `loss` is then their mean loss, or the last one known."""
        sum_P = torch.zeros(self._size, device=self.device)
        # Read once, at the end: a GPU works through the micro-batches while more of them are queued.
        losses, complete = torch.zeros((), dtype=torch.float64, device=self.device), []
        chunks = [mine[at : at + self.choice.micro_batch] for at in range(0, len(mine), self.choice.micro_batch)]
        for chunk in chunks:
            if self._program is None:
                answer: Any = self._by_hand(step, chunk)
            else:
                answer = self._program(self._draw(step, chunk))
                complete.append(answer.plain_B.clone())
            sum_P += answer.sum_P
            losses += answer.loss * len(chunk)
        told = torch.stack(complete).cpu().numpy() if complete else np.empty((0, 0), bool)
        for chunk, plain_B in zip(chunks, told, strict=False):
            if not plain_B.all():
                sum_P += self._in_parts(step, chunk, plain_B)
        if len(mine):
            self.loss = losses.item() / len(mine)
        return sum_P

    def _in_parts(self, step: int, chunk: NDArray[np.int64], plain_B: NDArray[np.bool_]) -> Tensor:
        """Of a micro-batch in which not every image is plain: these alone, by hand; the others by the program as ever.

        Asked by hand as well, the others would add what another order of arithmetic rounds otherwise, and one image
        would have moved them all.
        """
        sum_P, odd = torch.zeros(self._size, device=self.device), chunk[:0]
        assert self._program is not None
        while len(chunk):
            fine_B = plain_B[: len(chunk)].copy()
            fine_B[0] &= plain_B[len(chunk) :].all()  # what fills up repeats the first image
            odd, chunk = np.concatenate([odd, chunk[~fine_B]]), chunk[fine_B]
            if not len(chunk):
                break
            answer = self._program(self._draw(step, chunk))
            plain_B = answer.plain_B.cpu().numpy()
            if plain_B.all():
                sum_P += answer.sum_P
                break
        for image in odd:
            sum_P += self._by_hand(step, np.array([image]), alone=True).sum_P
        return sum_P

    def _by_hand(self, step: int, chunk: NDArray[np.int64], alone: bool = False) -> engines.Clipped:
        inputs = self._draw(step, chunk)
        return self.choice.clipped_sum(self.model, self.task.loss, inputs, self.config.max_grad_norm, alone)

    def _draw(self, step: int, chunk: NDArray[np.int64]) -> tuple[Tensor, ...]:
        copies, rows = self.config.noise_multiplicity, chunk
        if self._albums is not None:
            rows = self._albums.draw(self.stream, step, chunk, copies)
        if self._held is None:
            arrays = self._private.images_NHWC[rows], self._private.labels_N[rows]
            images, labels = (torch.from_numpy(array).to(self.device) for array in arrays)
        else:
            there = torch.from_numpy(rows).to(self.device, non_blocking=True)
            images, labels = (held[there] for held in self._held)
        # Seeds follow the image, or the person, and the step, so the cut into micro-batches and ranks changes no draw.
        seeds = [self.stream.seed(step, "draw", int(index)) for index in chunk]
        return self.task.draw(images, labels, seeds, copies)


def _held(private: Images, device: torch.device) -> tuple[Tensor, Tensor] | None:
    """Images and labels on a GPU where they fill no more than a quarter of what is free there."""
    if device.type != "cuda" or private.images_NHWC.nbytes > torch.cuda.mem_get_info(device)[0] // 4:
        return None
    return torch.tensor(private.images_NHWC, device=device), torch.tensor(private.labels_N, device=device)


def made_up(task: Task, like: Images, copies: int, images: int, device: torch.device) -> tuple[Tensor, ...]:
    """Inputs of the right shape for `images` images, without a look at the private ones."""
    random = torch.Generator().manual_seed(0)
    pixels_BHWC = torch.randint(0, 256, (images, *like.shape), generator=random, dtype=torch.uint8)
    labels_B = torch.randint(0, like.classes, (images,), generator=random)
    return task.draw(pixels_BHWC.to(device), labels_B.to(device), range(images), copies)
