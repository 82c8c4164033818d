"""JPEG files that are cut off: decoders fill what is missing with grey, or with what zeros mean, in silence."""

from __future__ import annotations

import io
import os
import re
from typing import TYPE_CHECKING, BinaryIO

from raysyn.data.reading import Broken

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MARKER = re.compile(rb"\xff[\x02-\xcf\xd9-\xfe]")
"""What ends the data of an image; neither a byte of these nor where decoding may start again."""
END = b"\xff\xd9"
FILLED = 128
"""What a decoder makes of pixels that are not there."""
MORE = bytes(range(1, 128))
"""Data that an image would go on with, if it had not ended."""


def check_whole(image: Picture, file: BinaryIO) -> None:
    """Broken for a loaded image whose `file` ends before it does; cameras may write more behind the image."""
    if image.format in ("JPEG", "MPO") and (_lacks_end(file) or _is_filled(image, file)):
        raise Broken("it is JPEG that is cut off: bring it anew")


def _lacks_end(file: BinaryIO) -> bool:
    """Whether nothing says that the image ends, as where the rest of its file is zeros."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(END)))
    return file.read() != END and _end_of(_all_of(file)) is None


def _is_filled(image: Picture, file: BinaryIO) -> bool:
    """Whether somebody has ended the image where it was cut off. Its last pixel is grey then, and would be another one
    if there were more data before the end, which a whole image has no use for."""
    from PIL import ImageChops
    from PIL.JpegImagePlugin import JpegImageFile

    if image.getpixel((image.width - 1, image.height - 1)) not in (FILLED, (FILLED,) * 3):
        return False
    content = _all_of(file)
    end = _end_of(content)
    with JpegImageFile(io.BytesIO(content[:end] + MORE + content[end:])) as longer:
        return ImageChops.difference(image, longer).getbbox() is not None


def _all_of(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _end_of(content: bytes) -> int | None:
    """Where the first image of a file ends; those within what describes it, such as previews, are passed over."""
    at = 0
    while found := MARKER.search(content, at):
        if found[0] == END:
            return found.start()
        at = found.end() + max(2, int.from_bytes(content[found.end() : found.end() + 2]))
    return None
