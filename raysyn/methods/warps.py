"""Genes of candidates, and how they bend a picture.

A candidate is a row of numbers: which face or public image it is made of, then numbers that are standard normal among
candidates as they are first drawn: turn, size, width, slant, two shifts, two that the source gives a meaning, and how
it is bent at BENT x BENT places, across and down.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from raysyn.methods.candidates_config import SourceConfig

BENT = 4
OWN = slice(7, 9)
"""Genes that the source gives a meaning."""
GENES = 9 + 2 * BENT * BENT


def drawn(parents_N: Tensor, generator: torch.Generator) -> Tensor:
    """Genes of candidates made of these, float32 (N, GENES)."""
    return torch.cat((parents_N[:, None].float(), torch.randn(len(parents_N), GENES - 1, generator=generator)), 1)


def varied(genes_NG: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Descendants: at strength 0 the same, at 1 drawn anew, in between correlated, and distributed as at first if their
    parents were. Which face or public image they are made of stays."""
    fresh_NG = torch.randn(genes_NG.shape, generator=generator)
    found_NG = math.sqrt(1 - strength**2) * genes_NG + strength * fresh_NG
    found_NG[:, 0] = genes_NG[:, 0]
    return found_NG


def places(genes_NG: Tensor, config: SourceConfig, height: int, width: int) -> Tensor:
    """Where in the picture each pixel is taken from, (N, H, W, 2): x and y from -1 to 1."""
    turn, size, wide, shear, right, down = (genes_NG[:, at] for at in range(1, 7))
    rows, columns = ((torch.arange(count) + 0.5) / count * 2 - 1 for count in (height, width))
    at_HW2 = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
    bend_NB = genes_NG[:, 9:].reshape(-1, 2, BENT, BENT) * config.bend
    bent = F.interpolate(bend_NB, size=(height, width), mode="bicubic", align_corners=True).movedim(1, -1)
    shift_N2 = torch.stack((right, down), -1) * config.shift
    x, y = (at_HW2 + bent - shift_N2[:, None, None]).unbind(-1)
    angle = (turn * math.radians(config.turn))[:, None, None]
    across, along = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    across = across + (shear * config.shear)[:, None, None] * along
    scale = torch.exp(-size * config.size)[:, None, None]
    stretch = torch.exp(wide * config.size / 2)[:, None, None]
    return torch.stack((across * scale * stretch, along * scale / stretch), -1)
