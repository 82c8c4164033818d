"""How a classifier of public images sees an image: its last features along the directions that tell public classes
apart, of norm 1 (linear discriminant analysis, of public images alone)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from raysyn.models.classifiers import Classifier
from raysyn.models.perceptual import unit


class Discriminant(nn.Module):
    """(images (N, C, H, W) in [0, 1]) to features (N, F), of norm 1 and no longer. It learns nothing, and sees each
    image alone."""

    centre: Tensor
    directions: Tensor

    def __init__(self, network: Classifier, centre_D: Tensor, directions_DF: Tensor) -> None:
        super().__init__()
        # However it lay in memory before, as just trained or read from a file: kernels that round alike.
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.register_buffer("centre", centre_D.double())
        self.register_buffer("directions", directions_DF.double())

    def forward(self, images_NCHW: Tensor) -> Tensor:
        rows_ND = pooled(self.network, images_NCHW)
        return unit((rows_ND - self.centre) @ self.directions)

    def both(self, images_NCHW: Tensor, *, precise: bool = True) -> list[Tensor]:
        """The only question's features, float64 whether `precise` or not: as `perceptual.perceived` asks for them."""
        return [self(images_NCHW)]


def seen(network: Classifier, images_NCHW: Tensor) -> Tensor:
    """What goes into the classifier's last layer, (N, D), as it is."""
    found: Tensor = network.eval().features((images_NCHW * 2 - 1).contiguous(memory_format=torch.channels_last))
    return found


def pooled(network: Classifier, images_NCHW: Tensor) -> Tensor:
    """The same in float64, finite: what is not would slip through the scaling."""
    return seen(network, images_NCHW).double().nan_to_num(0.0, 0.0, 0.0)
