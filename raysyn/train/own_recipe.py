"""A training of the user's: a function that is given images and hands back what answers about them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from raysyn.data.images import Images
from raysyn.models.imported import Imported
from raysyn.models.plain import plain
from raysyn.train.arrays import as_tensor
from raysyn.train.classifier import as_float
from raysyn.train.views import View, views

TRIED_ON = 16
"""Made-up images that a training is tried on before any work."""
TAKES = ("images", "labels", "classes", "seed", "device")


@dataclass(frozen=True, kw_only=True)
class OwnRecipe:
    """`function(images, labels, classes, seed, device)` trains a classifier, however it likes, and returns it.

    Images are float32 (N, C, H, W) in [-1, 1], or normalised as a Normalised network sees them, labels int64 (N,), both
    on `device`. It returns a torch.nn.Module, or a function, from such images to logits (N, classes).
    """

    made_by: Imported
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    flip: bool = False
    shift: int = 0
    """What it does to images in training, which says which views of them may be asked about."""

    @staticmethod
    def named(function: str, **settings: Any) -> OwnRecipe:
        return OwnRecipe(made_by=Imported(function, flag="recipe.function", takes=TAKES), **settings)

    def fixed(self) -> OwnRecipe:
        """The same, which no process trains by other code than this one."""
        return replace(self, made_by=self.made_by.fixed())

    @property
    def name(self) -> str:
        """What errors call it."""
        return f"recipe.function {self.made_by.function}"

    @property
    def epochs(self) -> int:
        """Of the whole training, as time is told."""
        return 1

    def views(self) -> dict[str, View]:
        """As `RecipeConfig.views`."""
        return views(self.flip, self.shift, False)

    def usual_views(self) -> int:
        return (9 if self.shift else 1) * (2 if self.flip else 1)

    def identity(self) -> object:
        """What its answers depend on, beside images and seed: its code is part of it."""
        code = self.made_by.identity or self.made_by.code()
        return "own", self.made_by.function, code, self.mean, self.std, self.flip, self.shift

    def trained(self, images: Images, seed: int, device: torch.device) -> Answering:
        """What the function makes of `images`; ValueError, in one sentence, where it is nothing that answers."""
        seen = _Seen(self, images.shape[2]).to(device)
        pixels = seen(as_float(as_tensor(images.images_NHWC).to(device)))
        labels = torch.tensor(images.labels_N, device=device)
        shown = f"images {tuple(pixels.shape)}, labels {tuple(labels.shape)}, {images.classes}, {seed}, {device}"
        # What draws from torch's own random numbers follows from the seed too, and nobody else's draws change.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            answer = self.made_by.called(pixels, labels, images.classes, seed, device, shown=shown)
        if not callable(answer):
            raise ValueError(
                f"{self.name} returned something of type {type(answer).__name__}: return a torch.nn.Module, or a "
                "function from images to logits"
            )
        return Answering(answer, seen, images.classes, self).to(device).eval()


class _Seen(nn.Module):
    """Images in [-1, 1] as they are shown, in plain memory."""

    mean: Tensor
    std: Tensor

    def __init__(self, recipe: OwnRecipe, channels: int) -> None:
        super().__init__()
        for field, values in {"mean": recipe.mean, "std": recipe.std}.items():
            if len(values) not in (1, channels):
                raise ValueError(
                    f"target.{field} has {len(values)} values, but the images have {channels} channels: give one for "
                    "each, or one for all"
                )
            self.register_buffer(field, torch.tensor(values)[:, None, None])

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return plain(((images_NCHW + 1) / 2 - self.mean) / self.std)


class Answering(nn.Module):
    """What a training of the user's returned, as a network for float images in [-1, 1]."""

    def __init__(self, answer: Any, seen: nn.Module, classes: int, recipe: OwnRecipe) -> None:
        super().__init__()
        self.answer, self.seen, self.classes, self.recipe = answer, seen, classes, recipe
        # Says where it lies, also where the answer is a function.
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, images_NCHW: Tensor) -> Tensor:
        said, shown = f"{self.recipe.name}: what it returned", self.seen(images_NCHW)
        try:
            with torch.no_grad():
                logits = self.answer(shown)
        except Exception as error:  # whatever it may raise
            raise ValueError(
                f"{said} cannot take images {tuple(shown.shape)}: {self.recipe.made_by.told(error)}"
            ) from error
        if not isinstance(logits, Tensor) or tuple(logits.shape) != (len(images_NCHW), self.classes):
            told = tuple(logits.shape) if isinstance(logits, Tensor) else f"something of type {type(logits).__name__}"
            raise ValueError(
                f"{said} answers {len(images_NCHW)} images with {told}: return logits ({len(images_NCHW)}, "
                f"{self.classes})"
            )
        if not bool(torch.isfinite(logits).all()):
            raise ValueError(f"{said} answers with what is no finite number: lower its learning rate")
        return logits
