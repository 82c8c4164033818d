"""One picture, decoded: what would lose something without a word is refused."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


Crop = Literal["centre"]
"""What of a picture is kept before it is rescaled."""


def decode_picture(picture: Any, size: int | None, crop: Crop | None = None) -> np.ndarray:
    """One picture (HWC array, bytes of a file or path) as uint8 (H, W, C), cropped and in the `size` asked for."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
        if (crop is None or height == width) and (size is None or height == width == size):
            return picture
        image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    else:
        with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as file:
            image = _plain(file)
    if crop is not None:
        image = centre_square(image)
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def centre_square(image: Picture) -> Picture:
    """The square in the middle that is as high and wide as the shorter side; of an odd remainder, the left or upper
    side loses the smaller part."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image if width == height else image.crop((left, top, left + side, top + side))


def _plain(image: Picture) -> Picture:
    """The image in mode L or RGB; refuses what would lose transparency, depth or frames."""
    image.load()
    if "transparency" in image.info or image.mode not in ("1", "L", "P", "RGB"):
        raise ValueError(f"its mode {image.mode} is not plain; save it as 8-bit grey or RGB without transparency")
    if getattr(image, "is_animated", False):
        raise ValueError("it is animated; save one frame")
    return image.convert("L" if image.mode == "1" else "RGB") if image.mode in ("1", "P") else image
