"""Whether samples.png is a sheet of a release's own images: whoever looks at one picture looks at that one.

Where the names beside them end follows from its width, so that a sheet may be lettered by any font. Pixels of images
and the white around them are compared with those of synthetic.parquet; letters are not, and stand behind a hash alone.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from raysyn.data.images import Images
from raysyn.report.pictures import BESIDE, COLUMNS, MARGIN, ROWS, geometry, strips
from raysyn.report.verify_contents import Check, of_pixels_alone
from raysyn.report.verify_contents import Images as Released

SAMPLES = "samples.png"
WIDEST = 40
"""Pixels that a letter of a name takes at most."""
LONGEST = 300
"""Letters of a name that are looked at, which bounds what a sheet unpacks to. Names were once written in full: of words
1,500 letters still fit, of nothing but W 800; the name of a folder has 255 at most."""


def samples(release: Path, images: Released) -> Check:
    """Every row of the sheet, from the first image on."""
    fault = _fault((release / SAMPLES).read_bytes(), images)
    told = (
        "shows images of synthetic.parquet, and holds pixels alone; beside and below them is grey, known by hash alone"
    )
    return Check("samples", fault is None, fault or told)


def _fault(picture: bytes, released: Released) -> str | None:
    """What is wrong with it, in words."""
    from PIL import Image

    shown = _shown(released)
    sheet = geometry(shown, COLUMNS, ROWS)
    width = int.from_bytes(picture[16:20], "big")
    longest = min(max(map(len, [*shown.class_names, "class 24"])), LONGEST)
    head = struct.pack(">8sI4sIIBBBBB", b"\x89PNG\r\n\x1a\n", 13, b"IHDR", width, sheet.height, 8, 2, 0, 0, 0)
    letters = width - sheet.strip - 2 * MARGIN - BESIDE
    if not picture.startswith(head) or not 0 <= letters <= WIDEST * longest:
        return f"{SAMPLES} has not the size of a sheet of these images"
    if not of_pixels_alone(picture, sheet.height * (1 + 3 * width)):
        return f"{SAMPLES} is no PNG file of pixels alone"
    left, rows = width - sheet.strip - MARGIN, sheet.height - sheet.below
    # Its size is known by now, and may be beyond what Pillow takes for a bomb.
    with any_size():
        whole = np.asarray(Image.open(io.BytesIO(picture)))
    found = whole[:rows, left:]
    made = np.full_like(found, 255)
    for row, strip in enumerate(strips(shown, COLUMNS, sheet)):
        top = MARGIN + row * sheet.step
        opaque = strip[..., 3] > 0
        made[top : top + strip.shape[0], : strip.shape[1]][opaque] = strip[opaque, :3]
    if not np.array_equal(found, made):
        return f"{SAMPLES} shows other images than synthetic.parquet holds"
    beside = (whole[:, :left], whole[rows:])
    return f"{SAMPLES} has colours beside its images" if any(map(_coloured, beside)) else None


def _coloured(pixels_HWC: np.ndarray) -> bool:
    """Letters are black on white."""
    return bool((pixels_HWC != pixels_HWC[..., :1]).any())


@contextmanager
def any_size() -> Iterator[None]:
    """Within, Pillow opens images of any size."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _shown(released: Released) -> Images:
    """The images that a sheet may show, decoded."""
    from PIL import Image

    labels, chosen = np.asarray(released.labels), list[int]()
    for label in range(min(ROWS, len(released.class_names))):
        chosen += np.flatnonzero(labels == label)[:COLUMNS].tolist()
    pixels = [np.asarray(Image.open(io.BytesIO(released.pictures[at]))) for at in chosen]
    images_NHWC = np.array(pixels, np.uint8).reshape(len(chosen), *released.shape)
    return Images(images_NHWC, labels[chosen].astype(np.int64), released.class_names)
