"""Images as PNG files: one by one, and as the sheet of samples."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from raysyn.data.images import Images
from raysyn.screen.words import shortened, so_many

FRAME = (128, 136, 148, 255)
COLUMNS, ROWS = 12, 25
"""Of a sheet of samples, at most."""
MARGIN, GAP, BESIDE, BELOW = 16, 2, 14, 24
"""In pixels: around a sheet, between images, between a name and its row, and for a line below the rows."""
LONGEST = 24
"""Letters of a name beside a row."""

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
    """A font, and the names as it can write them: with its number, a class of whose name a letter would be a box."""
    from PIL import ImageFont

    names = [shortened(name, LONGEST) for name in class_names]
    if all(name.isascii() for name in names):
        return ImageFont.load_default(size=16), names
    from matplotlib import get_data_path
    from matplotlib.ft2font import FT2Font

    # Of the package, not of the machine: a run that is continued elsewhere must draw the same sheet.
    file = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    known = FT2Font(file).get_charmap()
    return ImageFont.truetype(file, 15), [_written(name, number, known) for number, name in enumerate(names)]


def _written(name: str, number: int, known: Container[int]) -> str:
    """A name in these letters: where some are missing its number, and what is left of it."""
    if all(ord(letter) in known for letter in name):
        return name
    left = "".join(letter if ord(letter) in known else " … " for letter in name)
    left = re.sub(r"(… *)+", "… ", left).strip()
    return f"{number}: {left}" if any(map(str.isalnum, left)) else f"class {number}"


def unwritten(class_names: Sequence[str], sheet: str, most_rows: int = ROWS) -> list[str]:
    """A sentence on the rows of a sheet that do not have the names of their classes, if there are such."""
    names = class_names[:most_rows]
    pairs = zip(names, _lettering(names)[1], strict=True)
    other = [f"{number} ({name})" for number, (name, row) in enumerate(pairs) if row != shortened(name, LONGEST)]
    if not other:
        return []
    return [
        f"The font of {sheet} lacks letters of the name{'s' * (len(other) > 1)} of class{'es' * (len(other) > 1)} "
        f"{', '.join(other)}, where the number stands instead."
    ]


class Sheet(NamedTuple):
    """Sizes of a sheet of samples that do not depend on what is written on it, in pixels."""

    scale: int
    """Of a pixel of an image."""
    step: int
    """From one row to the next, which overlap by a frame."""
    strip: int
    """Width of a row without its name."""
    rows: int
    below: int
    """What is below the rows, where classes are left out."""
    height: int


def geometry(images: Images, columns: int, most_rows: int) -> Sheet:
    """How a sheet of these images is laid out."""
    _, height, width, _ = images.images_NHWC.shape
    scale, rows = math.ceil(48 / height), min(most_rows, len(images.class_names))
    step, below = height * scale + GAP, BELOW if len(images.class_names) > rows else 0
    strip = columns * (width * scale + GAP) + GAP
    return Sheet(scale, step, strip, rows, below, 2 * MARGIN + step * rows + GAP + below)


def strips(images: Images, columns: int, sheet: Sheet) -> list[np.ndarray]:
    """The rows of a sheet, one per class."""
    return [mosaic(first_of_class(images, at, columns), columns, sheet.scale, GAP) for at in range(sheet.rows)]


def sample_sheet(images: Images, columns: int = COLUMNS, most_rows: int = ROWS) -> Picture:
    """A labelled row of samples per class, small images enlarged without blurring."""
    from PIL import Image, ImageDraw

    sized = geometry(images, columns, most_rows)
    font, names = _lettering(images.class_names[: sized.rows])
    indent = MARGIN + BESIDE + math.ceil(max((font.getlength(name) for name in names), default=0))
    # Rows overlap by one frame, so that frames are equally thick everywhere.
    sheet = Image.new("RGB", (indent + sized.strip + MARGIN, sized.height), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, strip) in enumerate(zip(names, strips(images, columns, sized), strict=True)):
        top = MARGIN + row * sized.step
        draw.text((indent - BESIDE, top + strip.shape[0] / 2), name, fill="#333333", font=font, anchor="rm")
        picture = Image.fromarray(strip)
        sheet.paste(picture, (indent, top), picture)
    if sized.below:
        told = f"and {so_many(len(images.class_names) - sized.rows, 'more class')}"
        draw.text((indent, sheet.height - 12), told, fill="#333333", font=font, anchor="lm")
    return sheet
