"""Students of a release: ResNet-18, VGG11, MobileNetV2 and ShuffleNetV2, for small images too (DP-ImgSyn 4.6).

They learn from what has been released, so that batch normalisation and dropout are allowed. VGG11 is torchvision's with
batch normalisation.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from raysyn.models.teacher import LARGE_SIDE, Teacher, TeacherConfig

Name = Literal["resnet18", "vgg11", "mobilenet_v2", "shufflenet_v2"]
NAMES: tuple[Name, ...] = ("resnet18", "vgg11", "mobilenet_v2", "shufflenet_v2")
VGG11 = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M", 512, 512, "M")
SHUFFLENET = (24, 116, 232, 464, 1024)
# (expansion, channels, blocks, stride) of MobileNetV2; for small images the first strides are 1, as is usual.
MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
MOBILENET_SMALL = tuple((e, c, n, 1 if c == 24 else s) for e, c, n, s in MOBILENET)


def student(name: Name, shape: tuple[int, int, int], classes: int, width: float = 1.0) -> nn.Module:
    """A freshly initialised network for float images (N, C, H, W) of `shape` (H, W, C) in [-1, 1], sides at least 8.

    `width` multiplies all channels. Below 96 pixels a side the first layers keep the resolution, and VGG11 leaves out
    the poolings that nothing would be left for. Raises ValueError for an unknown name.
    """
    if name == "resnet18":
        return Teacher(TeacherConfig(width=_wide(64, width)), shape, classes, norm=nn.BatchNorm2d)
    if name == "vgg11":
        return _vgg(shape, classes, width)
    if name == "mobilenet_v2":
        return _mobilenet(shape, classes, width)
    if name == "shufflenet_v2":
        return _shufflenet(shape, classes, width)
    raise ValueError(f"students is {name!r}: choose from {', '.join(NAMES)}")


def _vgg(shape: tuple[int, int, int], classes: int, width: float) -> nn.Module:
    # Imported where it is used, not above: torchvision costs more than all of raysyn, and most need none of it.
    from torchvision.models.vgg import make_layers

    side, plan = min(shape[:2]), list[int | str]()
    for entry in VGG11:
        if isinstance(entry, int):
            plan.append(_wide(entry, width))
        elif side >= 4:
            plan.append(entry)
            side //= 2
    features = make_layers(plan, batch_norm=True)
    _first(features, shape[2])
    # Its own three dense layers are for 7 x 7 maps of large images; one is usual for small ones.
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(_wide(512, width), classes))


def _mobilenet(shape: tuple[int, int, int], classes: int, width: float) -> nn.Module:
    from torchvision.models import MobileNetV2

    small = min(shape[:2]) < LARGE_SIDE
    setting = [list(row) for row in (MOBILENET_SMALL if small else MOBILENET)]
    network = MobileNetV2(classes, width_mult=width, inverted_residual_setting=setting)
    _first(network, shape[2], stride=1 if small else None)
    return network


def _shufflenet(shape: tuple[int, int, int], classes: int, width: float) -> nn.Module:
    from torchvision.models import ShuffleNetV2

    network = ShuffleNetV2([4, 8, 4], [2 * _wide(c // 2, width) for c in SHUFFLENET], classes)
    small = min(shape[:2]) < LARGE_SIDE
    _first(network, shape[2], stride=1 if small else None)
    if small:
        network.maxpool = nn.Identity()
    return network


def _wide(channels: int, width: float) -> int:
    return max(4, round(channels * width))


def _first(network: nn.Module, channels: int, stride: int | None = None) -> None:
    """Give the first convolution other input channels, and another stride."""
    name, old = next((name, one) for name, one in network.named_modules() if isinstance(one, nn.Conv2d))
    new = nn.Conv2d(
        channels, old.out_channels, 3, stride or old.stride[0], padding=1, bias=old.bias is not None
    )  # fmt: skip
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    network.set_submodule(name, new)
