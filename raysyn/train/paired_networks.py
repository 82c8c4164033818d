"""The networks of GAN, PIGAN and PrivGAN: pairs of generators and discriminators, and the classifier between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from raysyn.data.images import Images
from raysyn.models.dcgan import DCGANConfig, Discriminator, Generator, PartClassifier
from raysyn.train.memory import at_once

Kind = Literal["gan", "pigan", "privgan"]
"""gan: one pair. pigan: one pair that is given the part c, penalised by Q. privgan: a pair for each part, penalised by
Q."""


class Networks(nn.Module):
    """All networks of one kind of GAN, with their first weights from the global random state."""

    def __init__(self, kind: Kind, config: DCGANConfig, shape: tuple[int, int, int], classes: int, parts: int) -> None:
        super().__init__()
        self.kind, self.latent, self.classes, self.parts, self.shape = kind, config.latent, classes, parts, shape
        self.pairs, codes = parts if kind == "privgan" else 1, parts if kind == "pigan" else 0
        self.generators = nn.ModuleList(Generator(config, shape, classes, codes) for _ in range(self.pairs))
        self.discriminators = nn.ModuleList(Discriminator(config, shape, classes, codes) for _ in range(self.pairs))
        self.classifier = PartClassifier(config, shape, parts) if kind != "gan" else nn.Identity()

    def logits(self, images_NCHW: Tensor, labels_N: Tensor) -> Tensor:
        """(N, K): how real each image looks to each discriminator, or under each code, as an attacker may ask."""
        if self.kind == "pigan":
            codes = (torch.full_like(labels_N, code) for code in range(self.parts))
            return torch.stack([self.discriminators[0](images_NCHW, labels_N, code) for code in codes], 1)
        return torch.stack([one(images_NCHW, labels_N) for one in self.discriminators], 1)

    def made(self, z_NL: Tensor, labels_N: Tensor, codes_N: Tensor) -> Tensor:
        """One image per code: the code is the generator's input, or says which generator."""
        if self.pairs == 1:
            return self.generators[0](z_NL, labels_N, codes_N)
        order = codes_N.argsort(stable=True)
        counts = codes_N.bincount(minlength=self.pairs).tolist()
        shares = zip(self.generators, z_NL[order].split(counts), labels_N[order].split(counts), strict=True)
        return torch.cat([one(z, labels) for one, z, labels in shares if len(z)])[order.argsort()]


def new_networks(
    kind: Kind, config: DCGANConfig, shape: tuple[int, int, int], classes: int, parts: int, seed: int
) -> Networks:
    """Networks whose first weights follow from `seed`; ValueError where they cannot take images of `shape`."""
    torch.manual_seed(seed)
    return Networks(kind, config, shape, classes, parts)


def draw(
    networks: Networks, labels_N: Tensor, seed: int, parts: Sequence[int] | None = None, batch_size: int = 500
) -> np.ndarray:
    """One image per label, each of a part drawn at random from `parts` (all): uint8 (N, H, W, C)."""
    device = next(networks.parameters()).device
    rng = np.random.default_rng(seed)
    noise = torch.from_numpy(rng.standard_normal((len(labels_N), networks.latent), np.float32))
    codes = torch.from_numpy(rng.choice(range(networks.parts) if parts is None else parts, len(labels_N)))
    pixels, batch_size = [], at_once(batch_size, networks.shape)
    with torch.inference_mode():
        parts_of_all = (values.split(batch_size) for values in (noise, labels_N, codes))
        for z, labels, code in zip(*parts_of_all, strict=True):
            made = networks.eval().made(z.to(device), labels.to(device), code.to(device))
            pixels.append(((made + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu())
    return torch.cat(pixels).numpy()


def discriminator_logits(networks: Networks, images: Images, batch_size: int = 500) -> np.ndarray:
    """`Networks.logits` of real images: float64 (N, K)."""
    device, found = next(networks.parameters()).device, []
    batch_size = at_once(batch_size, images.shape)
    with torch.inference_mode():
        for at in range(0, len(images), batch_size):
            some = images.select(slice(at, at + batch_size))
            # torch.tensor copies: arrays that came through Ray are read-only, and a view of them would warn.
            pixels = torch.tensor(some.images_NHWC, device=device).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append(networks.eval().logits(pixels, torch.tensor(some.labels_N, device=device)).double().cpu())
    return torch.cat(found).numpy()
