"""Images as PNG files: one by one, and as the sheet of samples."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from raysyn.data.images import Images

FRAME = (128, 136, 148, 255)


if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def png_bytes(image: np.ndarray | Picture) -> bytes:
    """A uint8 array (H, W, 1 or 3 or 4), or a picture, as a PNG file."""
    from PIL import Image

    if isinstance(image, np.ndarray):
        image = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def png_uri(image: np.ndarray | Picture) -> str:
    """The same inside a page: a data URI."""
    return f"data:image/png;base64,{base64.b64encode(png_bytes(image)).decode()}"


def first_of_class(images: Images, label: int, count: int) -> np.ndarray:
    """The first `count` images of a class: a fixed choice, so nobody picks the pretty ones."""
    return images.images_NHWC[np.flatnonzero(images.labels_N == label)[:count]]


def mosaic(images_NHWC: np.ndarray, columns: int, scale: int, gap: int) -> np.ndarray:
    """RGBA (H, W, 4): images in rows of `columns`, each pixel `scale` wide, framed in grey."""
    count, height, width, _ = images_NHWC.shape
    down, right, rows = height * scale + gap, width * scale + gap, max(1, math.ceil(count / columns))
    sheet = np.zeros((rows * down + gap, columns * right + gap, 4), np.uint8)
    for index, image in enumerate(images_NHWC):
        top, left = index // columns * down, index % columns * right
        # Grey frames set off black images as well as white ones, on a light page and on a dark one.
        sheet[top : top + down + gap, left : left + right + gap] = FRAME
        tile = sheet[top + gap : top + down, left + gap : left + right]
        tile[..., :3] = image.repeat(scale, 0).repeat(scale, 1)
    return sheet


def pairs_sheet(left_NHWC: np.ndarray, right_NHWC: np.ndarray) -> np.ndarray:
    """RGBA (H, W, 4): four pairs in a row, each side by side, and gaps that tell one pair from the next."""
    return mosaic(np.concatenate([left_NHWC, right_NHWC], axis=2), 4, max(1, round(64 / left_NHWC.shape[1])), 6)


def _lettering(class_names: Sequence[str]) -> tuple[Any, list[str]]:
    """A font, and the names as it can write them: by its number, a class of whose name a letter would be a box."""
    from PIL import ImageFont

    if all(name.isascii() for name in class_names):
        return ImageFont.load_default(size=16), list(class_names)
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    # Of the package, not of the machine: a run that is continued elsewhere must draw the same sheet.
    file = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    known = FT2Font(file).get_charmap()
    names = [
        name if all(ord(letter) in known for letter in name) else f"class {number}"
        for number, name in enumerate(class_names)
    ]
    return ImageFont.truetype(file, 15), names


def sample_sheet(images: Images, columns: int = 12, most_rows: int = 25) -> Picture:
    """A labelled row of samples per class, small images enlarged without blurring."""
    from PIL import Image, ImageDraw

    height = images.images_NHWC.shape[1]
    scale, margin, gap = math.ceil(48 / height), 16, 2
    font, names = _lettering(images.class_names[:most_rows])
    indent = margin + 14 + math.ceil(max((font.getlength(name) for name in names), default=0))
    strips = [mosaic(first_of_class(images, label, columns), columns, scale, gap) for label in range(len(names))]
    # Rows overlap by one frame, so that frames are equally thick everywhere.
    step, width = height * scale + gap, indent + strips[0].shape[1] + margin
    left_out = len(images.class_names) - len(names)
    sheet = Image.new("RGB", (width, 2 * margin + step * len(names) + gap + (24 if left_out else 0)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, strip) in enumerate(zip(names, strips, strict=True)):
        top = margin + row * step
        draw.text((indent - 14, top + strip.shape[0] / 2), name, fill="#333333", font=font, anchor="rm")
        picture = Image.fromarray(strip)
        sheet.paste(picture, (indent, top), picture)
    if left_out:
        draw.text(
            (indent, sheet.height - 12),
            f"and {left_out} more classes",
            fill="#333333",
            font=font,
            anchor="lm",
        )
    return sheet
