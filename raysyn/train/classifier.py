"""Train one classifier on labelled images and keep its best epoch, judged on images held out from the same source.

Nothing here can see a test set: `fit` takes training images and validation images, and a caller that trains on
synthetic images holds out synthetic ones (`hold_out`). Choosing an epoch on real test data would leak it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from raysyn.compute.heard import tell
from raysyn.data.images import Images
from raysyn.models.classifiers import Classifier, build
from raysyn.train.arrays import as_tensor
from raysyn.train.loop import Ema
from raysyn.train.memory import at_once
from raysyn.train.precision import on_cpu_in_bf16

EVALUATION_BATCH = 500  # of small images (see `at_once`)
FEWEST_RESNET9_STEPS = 16  # per epoch: on a small set a batch of 512 would leave a handful of steps
LEAST_WAY = 0.2
"""Learning rate times steps that cnn, mlp and logreg are given, if MOST_PASSES allow it, for Adam moves a weight by
about its rate at a step. On 100 digits 50 epochs at 3e-4, a way of 0.03, reached 34 %, this 77 and thrice this 80."""
LEAST_STEPS = 300
"""And so many steps at any rate: on 1,000 digits a CNN at 1e-3 reached 92 % after 200, 95 after 300."""
LEAST_RESNET9_STEPS = 100
"""Of resnet9, whose rate falls from its peak to 0 however many there are: on 100 digits 69 % after 36, 90 after 90."""
MOST_PASSES = 20


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """How a classifier is trained; the defaults are those of DPDM and DP-FETA."""

    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 64
    """Images per step of cnn, mlp and logreg."""
    learning_rate: float = 3e-4
    """Adam's learning rate for cnn, mlp and logreg."""
    beta1: float = 0.9
    """Adam's first decay for cnn, mlp and logreg."""
    resnet9_batch_size: int = 512
    """Images per step of resnet9 and resnet9_ffcv; at most a sixteenth of the training images, but at least 32."""
    resnet9_learning_rate: float = 0.1
    """Peak learning rate of both: SGD with momentum 0.9, of resnet9 Nesterov's, falling to 0 along a cosine."""
    resnet9_weight_decay: float = 5e-4
    """Weight decay of both."""
    ema_decay: float = 0.9999
    """Decay per step of the averaged weights, which are what is judged; at step t at most (1 + t) / (10 + t)."""
    validation_share: float = 0.1
    """Share of the training images held out to choose the epoch."""
    width: float = 1.0
    """Multiplies every hidden size."""

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or self.resnet9_batch_size < 2:
            raise ValueError(
                f"epochs is {self.epochs}, batch_size {self.batch_size}, resnet9_batch_size "
                f"{self.resnet9_batch_size}: give at least 1, 1 and 2"
            )
        if not 0 < self.learning_rate < math.inf or not 0 <= self.beta1 < 1:
            raise ValueError(
                f"learning_rate is {self.learning_rate} and beta1 {self.beta1}: give a rate above 0 and a decay from 0 "
                "up to below 1"
            )
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share is {self.validation_share}: give a share between 0 and 1")


@dataclass(frozen=True)
class Trained:
    """A classifier with the averaged weights of the epoch that was best on the held-out images."""

    model: Classifier
    epoch: int
    """Counted from 1."""
    valid_accuracy: float


def hold_out(images: Images, share: float, seed: int) -> tuple[Images, Images]:
    """Split `images` at random into (training, validation), at least one image each; where persons are named, and
    several, all images of one are on one side."""
    held_N = held_out(images, share, seed)
    return images.select(np.flatnonzero(~held_N)), images.select(np.flatnonzero(held_N))


def held_out(images: Images, share: float, seed: int) -> NDArray[np.bool_]:
    """Which images those are, (N,)."""
    if len(images) < 2:
        raise ValueError(f"{len(images)} images cannot train a classifier: give at least 2")
    whose_N = np.arange(len(images)) if images.persons_N is None or images.units < 2 else images.persons_N
    units = whose_N.max() + 1
    order = np.random.default_rng(seed).permutation(units)
    held = min(max(1, round(share * units)), units - 1)
    held_N = np.isin(whose_N, order[:held])
    if held_N.sum() > 1 and (~held_N).sum() == 1:  # where one of two persons has a single image: batches need two
        held_N = ~held_N
    return held_N


def fit(
    images: Images, valid: Images, name: str, config: ClassifierConfig, seed: int, device: torch.device, *,
    earliest: bool = False,
) -> Trained:  # fmt: skip
    """Train the classifier `name` on `images`; return it as it was at its best epoch on `valid`.

    Ties go to the later epoch, or to the `earliest`, which has seen the images least often. On a CPU the same arguments
    and thread count give the same weights.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):  # dropout draws from the global generator: leave it as found
        torch.manual_seed(seed)
        model = build(name, images.shape, images.classes, config.width)
        model = model.to(device).to(memory_format=torch.channels_last)
        judged, ema = copy.deepcopy(model).eval(), Ema(model, config.ema_decay)
        steps = -(-len(images) // images_per_step(name, config, len(images)))
        step = stepper(name, model, config, config.epochs * steps)
        pixels, labels = _tensors(images, device)
        order = torch.Generator().manual_seed(seed)
        best, best_epoch, best_weights = -1.0, 0, ema.weights
        for epoch in range(1, config.epochs + 1):
            # Nearly equal parts rather than a short last one: BatchNorm cannot take a batch of one image.
            for part in torch.tensor_split(torch.randperm(len(images), generator=order).to(device), steps):
                step(as_float(pixels[part]), labels[part])
                ema.update(model)
            ema.copy_to(judged)
            reached = accuracy(judged, valid)
            if reached > best or (reached == best and not earliest):
                best, best_epoch, best_weights = reached, epoch, copy.deepcopy(ema.weights)
            tell(name, epoch, config.epochs)
        judged.load_state_dict(best_weights)
    return Trained(judged, best_epoch, best)


def fit_to_the_end(images: Images, name: str, config: ClassifierConfig, seed: int, device: torch.device) -> Classifier:
    """Train the classifier `name` on all of `images`, half of them mirrored in each epoch; as it is after its last
    step, as PrivImage's authors judge (learning_rate and so on of resnet9)."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        model = build(name, images.shape, images.classes, config.width).to(device)
        model = model.to(memory_format=torch.channels_last)
        steps = -(-len(images) // images_per_step(name, config, len(images)))
        step = stepper(name, model, config, config.epochs * steps)
        pixels, labels = _tensors(images, device)
        order = torch.Generator().manual_seed(seed)
        for _ in range(config.epochs):
            for part in torch.tensor_split(torch.randperm(len(images), generator=order).to(device), steps):
                mirrored = torch.rand(len(part), generator=order).to(device) < 0.5
                x = as_float(pixels[part])
                step(torch.where(mirrored[:, None, None, None], x.flip(3), x), labels[part])
    return model.eval()


def accuracy(model: nn.Module, images: Images) -> float:
    """Share of `images` that `model` (in evaluation mode) labels rightly, in [0, 1]."""
    return share_right(answers(model, images), images)


def share_right(said_N: torch.Tensor, images: Images) -> float:
    """Share of `images` that `answers` named rightly."""
    return int((said_N == torch.tensor(images.labels_N)).sum()) / len(images)


@torch.inference_mode()
def answers(model: nn.Module, images: Images) -> torch.Tensor:
    """The class that `model` (in evaluation mode) finds the most probable for each of `images`, int64 (N,) on the
    CPU."""
    pixels, _ = _tensors(images, next(model.parameters()).device)
    parts = pixels.split(at_once(EVALUATION_BATCH, images.shape))
    return torch.cat([model(as_float(part)).argmax(1) for part in parts]).cpu()


@torch.inference_mode()
def features(model: Classifier, images: Images) -> torch.Tensor:
    """Penultimate features of `images`, float32 (N, width), on the model's device."""
    pixels, _ = _tensors(images, next(model.parameters()).device)
    return torch.cat([model.features(as_float(part)) for part in pixels.split(at_once(EVALUATION_BATCH, images.shape))])


def _tensors(images: Images, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    return as_tensor(images.images_NHWC).to(device), torch.tensor(images.labels_N, device=device)


def as_float(pixels_BHWC: torch.Tensor) -> torch.Tensor:
    """uint8 (..., H, W, C) to float (..., C, H, W) in [-1, 1]; the permuted view is channels-last memory already."""
    return pixels_BHWC.movedim(-1, -3).float().div_(127.5).sub_(1.0)


def images_per_step(name: str, config: ClassifierConfig, count: int) -> int:
    """Of the classifier `name` on `count` images."""
    if not name.startswith("resnet9"):
        return min(config.batch_size, count)
    return min(config.resnet9_batch_size, max(32, count // FEWEST_RESNET9_STEPS), count)


def enough(name: str, config: ClassifierConfig, count: int) -> ClassifierConfig:
    """`config`, of few images (`count` to train on) with more epochs, at most MOST_PASSES times as many, so that a
    classifier of few is not one that was trained for a shorter time: see LEAST_WAY and what follows it."""
    if name == "resnet9_ffcv":  # judges as its authors have it
        return config
    steps = math.ceil(count / images_per_step(name, config, count))
    needed = LEAST_RESNET9_STEPS if name == "resnet9" else max(LEAST_WAY / config.learning_rate, LEAST_STEPS)
    least = math.ceil(needed / steps)
    return replace(config, epochs=max(config.epochs, min(least, MOST_PASSES * config.epochs)))


def stepper(
    name: str, model: nn.Module, config: ClassifierConfig, steps: int
) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """One optimiser step on a batch, as a function of its images and labels."""
    optimizer: torch.optim.Optimizer
    if name.startswith("resnet9"):
        rate, decay = config.resnet9_learning_rate, config.resnet9_weight_decay
        optimizer = torch.optim.SGD(
            model.parameters(), rate, momentum=0.9, nesterov=name == "resnet9", weight_decay=decay, fused=True
        )
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    else:
        optimizer = torch.optim.Adam(model.parameters(), config.learning_rate, (config.beta1, 0.999), fused=True)
        falling = None
    model.train()

    def step(images_NCHW: torch.Tensor, labels_N: torch.Tensor) -> None:
        with on_cpu_in_bf16(model, images_NCHW.device, images_NCHW[0].numel()):
            logits = model(images_NCHW)
        loss = functional.cross_entropy(logits.float(), labels_N)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if falling is not None:
            falling.step()

    return step
