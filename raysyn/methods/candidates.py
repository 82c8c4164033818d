"""Where candidates come from: characters that are drawn, or public images."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from raysyn.data import letters
from raysyn.data.public import Public
from raysyn.methods.candidates_config import SourceConfig
from raysyn.methods.warps import OWN, drawn, places, varied
from raysyn.train.memory import at_once

AT_ONCE = 256
"""Images that are drawn together."""
FINE = 24
"""Pixels a side that characters are drawn with at least, before they are made smaller: strokes of small images would be
lost between their pixels."""
SMALL = 8
"""Pixels a side in which public images are compared with one another."""
Shape = tuple[int, int, int]


class Painter(Protocol):
    """Makes images of genes; can travel."""

    def __call__(self, genes_NG: Tensor, labels_N: Tensor) -> Tensor:
        """uint8 (N, H, W, C)."""


class Letters(NamedTuple):
    """A painter of characters, one for each class."""

    characters: str
    config: SourceConfig
    shape: Shape

    def __call__(self, genes_NG: Tensor, labels_N: Tensor) -> Tensor:
        found = torch.empty((len(genes_NG), *self.shape), dtype=torch.uint8)
        for label in labels_N.unique().tolist():
            mine = torch.nonzero(labels_N == label).flatten()
            for part in mine.split(at_once(AT_ONCE, self.shape)):
                found[part] = self._painted(genes_NG[part], self.characters[label])
        return found

    def _painted(self, genes_NG: Tensor, character: str) -> Tensor:
        config, (height, width, channels) = self.config, self.shape
        fine = math.ceil(FINE / min(height, width))
        fields, faces_N = torch.from_numpy(letters.fields(character)), genes_NG[:, 0].long()
        # From the image's half sides to those of a field.
        unit = config.height * letters.FRAME
        at_NHW2 = places(genes_NG, config, fine * height, fine * width) / unit
        far_NHW = unit * F.grid_sample(fields[faces_N, None], at_NHW2, padding_mode="border", align_corners=False)[:, 0]
        pen, soft = genes_NG[:, OWN].unbind(1)
        line = config.pen * torch.exp(0.35 * pen)
        outline = 0.25 * config.pen * pen
        edge = torch.where(torch.from_numpy(letters.pens(character))[faces_N], line, outline)[:, None, None]
        # An edge is half a pixel wide, or a little more or less.
        ink_NHW = torch.sigmoid((edge - far_NHW) * fine * max(height, width) * torch.exp(-0.3 * soft)[:, None, None])
        ink_NHW = F.avg_pool2d(ink_NHW, fine)
        if config.ground == "light":
            ink_NHW = 1 - ink_NHW
        return (255 * ink_NHW).round().to(torch.uint8)[..., None].expand(-1, -1, -1, channels)


class Warped(NamedTuple):
    """A painter of changed pictures."""

    pictures_PHWC: np.ndarray
    config: SourceConfig

    def __call__(self, genes_NG: Tensor, labels_N: Tensor) -> Tensor:
        config, (height, width, _) = self.config, self.pictures_PHWC.shape[1:]
        found = []
        for part_NG in genes_NG.split(at_once(AT_ONCE, (height, width))):
            pixels = torch.from_numpy(self.pictures_PHWC[part_NG[:, 0].long().numpy()]).movedim(-1, 1).float() / 255
            at = places(part_NG, config, height, width)
            moved = F.grid_sample(pixels, at, padding_mode="reflection", align_corners=False).movedim(1, -1)
            contrast, light = (config.light * part_NG[:, OWN]).unbind(1)
            middle = moved.mean((1, 2, 3), keepdim=True)
            moved = (moved - middle) * torch.exp(2 * contrast)[:, None, None, None] + middle
            moved = moved + light[:, None, None, None]
            found.append((255 * moved.clamp(0, 1)).round().to(torch.uint8))
        return torch.cat(found)


class Source(Protocol):
    """Candidates, and their descendants."""

    def begin(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        """Genes of the first candidates of a class, (count, GENES)."""

    def vary(self, genes_NG: Tensor, label: int, strength: float, generator: torch.Generator) -> Tensor:
        """Genes of one descendant of each."""

    def painter(self) -> Painter:
        """What draws them."""

    def kept(self, genes_NG: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The same genes, and all else that drawing them needs once this source is gone."""


class LetterSource:
    """Each class is a character; a face is exchanged for another one more often, the stronger a variation is."""

    def __init__(self, class_names: tuple[str, ...], config: SourceConfig, shape: Shape) -> None:
        self._painter = Letters(characters_of(class_names), config, shape)

    def begin(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        return drawn(self._faces(label, count, generator), generator)

    def vary(self, genes_NG: Tensor, label: int, strength: float, generator: torch.Generator) -> Tensor:
        found = varied(genes_NG, strength, generator)
        other = torch.rand(len(found), generator=generator) < strength**2 / 2
        found[other, 0] = self._faces(label, int(other.sum()), generator).float()
        return found

    def painter(self) -> Painter:
        return self._painter

    def kept(self, genes_NG: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return genes_NG, {}

    def _faces(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        faces = len(letters.pens(self._painter.characters[label]))
        return torch.randint(faces, (count,), generator=generator)


class PublicSource:
    """Each class begins with any public images; a parent is exchanged for one of those near it, which are fewer the
    weaker a variation is."""

    def __init__(self, public: Public, config: SourceConfig, seed: int) -> None:
        count = min(config.pool, len(public.train))
        rows = np.sort(np.random.default_rng(seed).permutation(len(public.train))[:count])
        self._pictures, self._config = np.asarray(public.train.images_NHWC[rows]), config
        self._small: Tensor | None = None

    def begin(self, label: int, count: int, generator: torch.Generator) -> Tensor:
        return drawn(torch.randint(len(self._pictures), (count,), generator=generator), generator)

    def vary(self, genes_NG: Tensor, label: int, strength: float, generator: torch.Generator) -> Tensor:
        found, near = varied(genes_NG, strength, generator), math.ceil(self._config.neighbours * strength)
        parents_N = genes_NG[:, 0].long()
        if near > 1:
            different, which_N = parents_N.unique(return_inverse=True)
            around = self._near(different, min(near, len(self._pictures)))
            place_N = torch.randint(around.shape[1], (len(found),), generator=generator)
            found[:, 0] = around[which_N, place_N].float()
        return found

    def painter(self) -> Painter:
        return Warped(self._pictures, self._config)

    def kept(self, genes_NG: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        different, which_N = genes_NG[:, 0].long().unique(return_inverse=True)
        genes_NG = genes_NG.clone()
        genes_NG[:, 0] = which_N.float()
        return genes_NG, {"pictures": torch.from_numpy(self._pictures[different.numpy()])}

    def _near(self, parents_P: Tensor, count: int) -> Tensor:
        """Pictures near each, itself the first, (P, count)."""
        if self._small is None:
            parts = np.array_split(self._pictures, -(-len(self._pictures) // 1024))
            self._small = torch.cat([_shrunk(part) for part in parts])
        half = self._small.square().sum(1) / 2
        return torch.cat(
            [
                (self._small[part] @ self._small.T - half).topk(count).indices
                for part in parents_P.split(AT_ONCE)
            ]
        )  # fmt: skip


def _shrunk(pictures_NHWC: np.ndarray) -> Tensor:
    pixels = torch.tensor(pictures_NHWC).movedim(-1, 1).float() / 255 - 0.5
    return F.adaptive_avg_pool2d(pixels, SMALL).flatten(1)


PUBLIC = "--source.kind public, with public images by --public.path"
"""What there is besides characters."""


def characters_of(class_names: tuple[str, ...], else_give: str = PUBLIC) -> str:
    """A character for each class; ValueError where one is no writing."""
    found = [letters.character_of(name) for name in class_names]
    if wrong := [name for name, one in zip(class_names, found, strict=True) if one is None]:
        raise ValueError(
            f"source.kind is letters, but the class {wrong[0]} is no character (a class of writing is called 7, "
            f"seven or A): give {else_give}"
        )
    return "".join(one for one in found if one)


def source_of(
    config: SourceConfig, class_names: tuple[str, ...], shape: Shape, public: Public | None, seed: int
) -> Source:
    """The source that is asked for."""
    if config.kind == "letters":
        return LetterSource(class_names, config, shape)
    assert public is not None
    return PublicSource(public, config, seed)


def painter_of(config: SourceConfig, class_names: tuple[str, ...], shape: Shape, population: Any) -> Painter:
    """What draws a population once its source is gone."""
    if config.kind == "letters":
        return Letters(characters_of(class_names), config, shape)
    return Warped(population["pictures"].numpy(), config)
