"""How a classifier of public images sees an image: the maps of all its layers, and their squares, of norm 1 (DP-MEPF,
Harder et al., 2022)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from raysyn.models.classifiers import Classifier

SHORT = 1 - 2.0**-20
"""What rounding could add to a norm is taken off it before."""
LEAST = 1e-12
"""Norm of maps that are as good as nothing, which stay so."""


class Perceptual(nn.Module):
    """(images (N, C, H, W) in [0, 1]) to features (N, F), or beside these their squares (N, 2 F): see `both`. It learns
    nothing, and sees each image alone."""

    def __init__(self, network: Classifier, squares: bool) -> None:
        super().__init__()
        # However it lay in memory before, as just trained or read from a file: kernels that round alike.
        self.network = network.requires_grad_(False).to(memory_format=torch.channels_last)
        self.squares = squares

    def forward(self, images_NCHW: Tensor) -> Tensor:
        return torch.cat(self.both(images_NCHW), 1)

    def both(self, images_NCHW: Tensor, *, precise: bool = False) -> list[Tensor]:
        """Features of norm 1, and if asked for their squares of norm 1, each (N, F); no longer, and 0 where no layer
        sees anything. `precise`: float64."""
        seen = self.seen(images_NCHW)
        if precise:
            # What is not finite would slip through the scaling.
            seen = seen.double().nan_to_num(0.0, 0.0, 0.0)
        return [unit(seen), unit(seen.square())] if self.squares else [unit(seen)]

    def seen(self, images_NCHW: Tensor) -> Tensor:
        """The maps of all layers side by side, (N, F): what comes out of its rectifiers, residual blocks and stages."""
        maps: list[Tensor] = []

        def keep(module: nn.Module, inputs: Any, output: Tensor) -> None:
            maps.append(output.flatten(1))

        hooks = [layer.register_forward_hook(keep) for layer in self.layers()]
        try:
            self.network.eval()((images_NCHW * 2 - 1).contiguous(memory_format=torch.channels_last))
        finally:
            for hook in hooks:
                hook.remove()
        return torch.cat(maps, 1)

    def layers(self) -> list[nn.Module]:
        """Those whose maps are taken."""
        return [one for one in self.network.features.children() if isinstance(one, nn.ReLU) or [*one.children()]]

    def count(self, shape: tuple[int, int, int]) -> int:
        """Features of images of `shape` (H, W, C)."""
        blank = torch.zeros(1, shape[2], *shape[:2], device=next(self.network.parameters()).device)
        with torch.no_grad():
            return self.seen(blank).shape[1]


def unit(rows_NF: Tensor) -> Tensor:
    """Scaled to norm 1; none is longer."""
    return rows_NF * (SHORT / torch.linalg.vector_norm(rows_NF, dim=1, keepdim=True).clamp(min=LEAST))
