"""The semantic query function's network: which public class an image shows (PrivImage 3.2, C.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import nn

from raysyn.models.classifiers import Classifier
from raysyn.models.resnet import ResNetConfig, resnet


@dataclass(frozen=True, kw_only=True)
class SemanticNetConfig:
    """Size of the classifier of public classes."""

    name: Literal["resnet50", "resnet14"] = "resnet50"
    """The paper's ResNet-50, or a ResNet-14 for smaller machines."""
    width: int = 64
    """Channels of the first stage, for resnet50 inside its bottlenecks; 64 is the paper's."""

    def __post_init__(self) -> None:
        if self.name not in ("resnet50", "resnet14") or self.width < 1:
            raise ValueError(
                f"query.network.name is {self.name!r} and its width {self.width}: give resnet50 or resnet14, and at "
                "least 1"
            )

    def build(self, channels: int, classes: int) -> Classifier:
        """For float images (N, channels, H, W) in [-1, 1], H and W at least 8."""
        if self.name == "resnet14":
            return resnet(ResNetConfig(width=self.width), channels, classes)
        # Imported where it is used, not above: torchvision costs more than all of raysyn, and most need none of it.
        from torchvision.models import resnet50

        network = resnet50(width_per_group=self.width)
        # ImageNet's own first layers would shrink 32 pixels to 8: as for CIFAR, one convolution and no pooling.
        network.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
        layers = [layer for name, layer in network.named_children() if name not in ("maxpool", "fc")]
        return Classifier(nn.Sequential(*layers, nn.Flatten()), network.fc.in_features, classes)
