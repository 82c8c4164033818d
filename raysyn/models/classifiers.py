"""Classifiers that judge synthetic images: the CNN of the papers, ResNet-9, a small MLP, logistic regression.

BatchNorm and dropout are allowed in this file only. These networks are trained either on synthetic images, which
are post-processing of a private release, or on real images for an evaluation that is never released; none of them
is trained with per-sample clipping.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

Name = Literal["cnn", "resnet9", "mlp", "logreg", "resnet9_ffcv"]
NAMES: tuple[Name, ...] = ("cnn", "resnet9", "mlp", "logreg")
"""Those that judge by default."""
BUILT: tuple[Name, ...] = (*NAMES, "resnet9_ffcv")
"""All that `build` knows."""

SMALLEST_SIDE = 8
UNPADDED_SIDE = 18  # below it, two pools and three unpadded 3x3 convolutions leave no pixel
LARGEST_MAP = 8  # larger maps are averaged down, so that the dense layer stays small for large images


class Classifier(nn.Module):
    """`features` (flat, the penultimate layer) followed by a linear `head`."""

    def __init__(self, features: nn.Module, width: int, classes: int, bias: bool = True) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(width, classes, bias=bias)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Float images in [-1, 1] to logits (N, classes)."""
        return self.head(self.features(images_NCHW))


class Residual(nn.Module):
    """x + block(x)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


class Scale(nn.Module):
    """x * factor: ResNet-9's maxima are so large that a learning rate of 0.1 would overshoot without it."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def build(name: str, shape: tuple[int, int, int], classes: int, width: float = 1.0) -> Classifier:
    """A freshly initialised classifier for images of `shape` (H, W, C), H and W at least 8.

    `width` multiplies every hidden size (logistic regression has none). Raises ValueError for an unknown name,
    a side below 8, or a width that leaves no channel.
    """
    height, breadth, channels = shape
    if min(height, breadth) < SMALLEST_SIDE:
        raise ValueError(f"images of {height}x{breadth} pixels are too small: give at least 8x8, e.g. --data.size 8")
    if width <= 0:
        raise ValueError(f"width is {width}: give a number above 0")
    if name == "cnn":
        return _cnn(height, breadth, channels, classes, width)
    if name == "resnet9":
        return _resnet9(channels, classes, width)
    if name == "resnet9_ffcv":
        return _resnet9_ffcv(height, breadth, channels, classes, width)
    if name == "mlp":
        hidden = _scaled(100, width)
        layers = nn.Sequential(nn.Flatten(), nn.Linear(height * breadth * channels, hidden), nn.ReLU())
        return Classifier(layers, hidden, classes)
    if name == "logreg":
        return Classifier(nn.Flatten(), height * breadth * channels, classes)
    raise ValueError(f"classifier is {name!r}: choose from {', '.join(BUILT)}")


def _scaled(channels: int, width: float) -> int:
    return max(1, round(channels * width))


def _cnn(height: int, breadth: int, channels: int, classes: int, width: float) -> Classifier:
    """Three convolutions (32, 64, 128) and one dense layer, dropout 0.5: the judge of DPDM and DP-FETA.

    At 28x28 layer for layer as in DPDM's downstream evaluation (Dockhorn et al. 2023, appendix); smaller images
    get padded convolutions, larger ones an average pool in front of the dense layer.
    """
    a, b, c, hidden = (_scaled(size, width) for size in (32, 64, 128, 128))
    padding = 0 if min(height, breadth) >= UNPADDED_SIDE else 1

    def side(pixels: int) -> int:
        once = (pixels - 2 + 2 * padding) // 2
        return (once - 2 + 2 * padding) // 2 - 2 + 2 * padding

    sides = side(height), side(breadth)
    map_size = min(sides[0], LARGEST_MAP), min(sides[1], LARGEST_MAP)
    shrink = [] if map_size == sides else [nn.AdaptiveAvgPool2d(map_size)]
    layers = [
        *(nn.Conv2d(channels, a, 3, padding=padding), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(a, b, 3, padding=padding), nn.MaxPool2d(2), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Conv2d(b, c, 3, padding=padding), nn.ReLU(), *shrink, nn.Flatten()),
        *(nn.Linear(c * map_size[0] * map_size[1], hidden), nn.ReLU(), nn.Dropout(0.5)),
    ]
    return Classifier(nn.Sequential(*layers), hidden, classes)


def _resnet9(channels: int, classes: int, width: float) -> Classifier:
    """The nine-layer residual net of fast CIFAR-10 training (Page 2018): 64, 128, 256, 512 channels."""
    a, b, c, d = (_scaled(size, width) for size in (64, 128, 256, 512))
    layers = [
        *_convolution(channels, a),
        *(*_convolution(a, b), nn.MaxPool2d(2)),
        Residual(*_convolution(b, b), *_convolution(b, b)),
        *(*_convolution(b, c), nn.MaxPool2d(2)),
        *(*_convolution(c, d), nn.MaxPool2d(2)),
        Residual(*_convolution(d, d), *_convolution(d, d)),
        *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), Scale(0.125)),
    ]
    return Classifier(nn.Sequential(*layers), d, classes)


def _resnet9_ffcv(height: int, breadth: int, channels: int, classes: int, width: float) -> Classifier:
    """That of FFCV's CIFAR-10 example, which PrivImage judges by: 2,274,880 weights for ten classes of colour images.

    Images whose map is too small for its last, unpadded convolution get a padded one.
    """
    a, b, c = (_scaled(size, width) for size in (64, 128, 256))
    last = 0 if min(-(-side // 2) // 2 for side in (height, breadth)) >= 3 else 1
    layers = [
        *_convolution(channels, a),
        *_convolution(a, b, kernel=5, stride=2, padding=2),
        Residual(*_convolution(b, b), *_convolution(b, b)),
        *(*_convolution(b, c), nn.MaxPool2d(2)),
        Residual(*_convolution(c, c), *_convolution(c, c)),
        *(*_convolution(c, b, padding=last), nn.AdaptiveMaxPool2d(1), nn.Flatten(), Scale(0.2)),
    ]
    return Classifier(nn.Sequential(*layers), b, classes, bias=False)


def _convolution(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, padding: int = 1
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=padding, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()
