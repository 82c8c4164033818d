"""What P3GM's network learns (Takagi et al., ICDE 2021): the evidence lower bound, with the encoder's mean and the
prior fixed; `privacy.sgd` and `train.loop` train it alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from raysyn.data.projection import Layout
from raysyn.models.phased import Phased
from raysyn.train.diffusion import normals


@dataclass(frozen=True)
class PhasedTask:
    """(`train.loop.Task`)"""

    layout: Layout
    latent: int

    def draw(self, images_BHWC: Tensor, labels_B: Tensor, seeds: Sequence[int], copies: int) -> tuple[Tensor, ...]:
        """(vectors, noise of the latents) with leading dimensions (B, copies); noise of an example is of its seed
        alone."""
        vectors = self.vectors(images_BHWC, labels_B)
        if vectors.ndim == 2:  # else each copy is of an image of its own
            vectors = vectors[:, None].expand(-1, copies, -1)
        noise = normals(seeds, copies * self.latent, vectors.device).view(len(vectors), copies, self.latent)
        return vectors, noise

    def vectors(self, images_BHWC: Tensor, labels_B: Tensor) -> Tensor:
        """Float32 (..., D) of images uint8 (..., H, W, C), each of itself alone."""
        pixels, named = images_BHWC.flatten(0, -4), labels_B.flatten()
        found_ND = torch.from_numpy(self.layout.vectors(pixels.cpu().numpy(), named.cpu().numpy())).float()
        return found_ND.view(*labels_B.shape, -1).to(images_BHWC.device)

    def loss(self, model: nn.Module, *inputs_M: Tensor) -> Tensor:
        """(M,): squared error of what is decoded, and the divergence from the prior."""
        vectors_MD, noise_ML = inputs_M
        network = cast(Phased, model)
        means_ML, log_ML = network.mean(vectors_MD), network.log_variance(vectors_MD)
        made_MD = network.decode(means_ML + (log_ML / 2).exp() * noise_ML)
        return (made_MD - vectors_MD).square().sum(1) + network.divergence(means_ML, log_ML)
