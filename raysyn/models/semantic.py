"""The semantic query function's network: which public class an image shows (PrivImage 3.2, C.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional

from raysyn.models.classifiers import Classifier
from raysyn.models.resnet import ResNetConfig, resnet


@dataclass(frozen=True, kw_only=True)
class SemanticNetConfig:
    """Size of the classifier of public classes."""

    name: Literal["resnet50", "resnet14"] = "resnet50"
    """The paper's ResNet-50, or a ResNet-14 for smaller machines."""
    width: int = 64
    """Channels of the first stage, for resnet50 inside its bottlenecks; 64 is the paper's."""
    side: int | None = 32
    """Larger images are averaged down to this many pixels a side, in training and when asked; 32 is PrivImage's. None
    leaves all as they are."""

    def __post_init__(self) -> None:
        if self.name not in ("resnet50", "resnet14") or self.width < 1:
            raise ValueError(
                f"query.network.name is {self.name!r} and its width {self.width}: give resnet50 or resnet14, and at "
                "least 1"
            )
        if self.side is not None and self.side < 8:
            raise ValueError(f"query.network.side is {self.side}: give at least 8 pixels")

    def build(self, channels: int, classes: int) -> Classifier:
        """For float images (N, channels, H, W) in [-1, 1], H and W at least 8."""
        if self.name == "resnet14":
            return self._small(resnet(ResNetConfig(width=self.width), channels, classes))
        # Imported where it is used, not above: torchvision costs more than all of raysyn, and most need none of it.
        from torchvision.models import resnet50

        network = resnet50(width_per_group=self.width)
        # ImageNet's own first layers would shrink 32 pixels to 8: as for CIFAR, one convolution and no pooling.
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        layers = [layer for name, layer in network.named_children() if name not in ("maxpool", "fc")]
        return self._small(Classifier(nn.Sequential(*layers, nn.Flatten()), network.fc.in_features, classes))

    def _small(self, network: Classifier) -> Classifier:
        if self.side is not None:
            # A hook of the module rather than a layer: weights keep the names that given checkpoints have. Of the
            # features, which are also asked for without the head.
            network.features.register_forward_pre_hook(AveragedDown(self.side))
        return network


class AveragedDown:
    """Images larger than `side` pixels are averaged down before the first layer."""

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, module: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        """(images (N, C, H, W),) as they go on."""
        (images,) = inputs
        height, width = (min(self.side, pixels) for pixels in images.shape[2:])
        if (height, width) == images.shape[2:]:
            return inputs
        return (functional.adaptive_avg_pool2d(images, (height, width)),)
