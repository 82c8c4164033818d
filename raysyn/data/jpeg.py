"""JPEG files that are cut off: decoders fill what is missing with grey, or with what zeros mean, in silence."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
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
PROGRESSIVE, SCAN = b"\xff\xc2", b"\xff\xda"
COEFFICIENTS = 64
"""Of a block of pixels, each to its last bit, are what the scans of a whole progressive image send in parts."""


def check_whole(image: Picture, file: BinaryIO) -> None:
    """Broken for a loaded image whose `file` ends before it does; cameras may write more behind the image."""
    if image.format not in ("JPEG", "MPO"):
        return
    if _lacks_end(file) or _is_filled(image, file):
        raise Broken("it is JPEG that is cut off: bring it anew")
    if "progressive" in image.info and _lacks_scans(_all_of(file)):
        # One that was made coarse looks the same, to the last byte, as one that was ended where it was cut off.
        raise Broken(
            "it is progressive JPEG that lacks scans, as one that is cut off: bring it anew, or save it once more if "
            "it was made so"
        )


def _lacks_end(file: BinaryIO) -> bool:
    """Whether nothing says that the image ends, as where the rest of its file is zeros."""
    file.seek(max(0, file.seek(0, os.SEEK_END) - len(END)))
    return file.read() != END and _end_of(_all_of(file)) is None


def _is_filled(image: Picture, file: BinaryIO) -> bool:
    """Whether somebody has ended the image where it was cut off. Its last pixel is grey then, and would be another one
    if there were more data before the end, which a whole image has no use for."""
    from PIL import ImageChops
    from PIL.JpegImagePlugin import JpegImageFile

    # A progressive one has a rough pixel there, whatever is missing.
    last = image.getpixel((image.width - 1, image.height - 1))
    if "progressive" not in image.info and last not in (FILLED, (FILLED,) * 3):
        return False
    content = _all_of(file)
    end = _end_of(content)
    with JpegImageFile(io.BytesIO(content[:end] + MORE + content[end:])) as longer:
        return ImageChops.difference(image, longer).getbbox() is not None


def _all_of(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read()


def _lacks_scans(content: bytes) -> bool:
    """Whether a progressive image was ended between two of its scans: it is whole, and coarse, to a decoder."""
    missing: dict[int, list[int]] = {}
    for name, inside in _segments(content):
        if name == PROGRESSIVE:
            missing = {component: [1] * COEFFICIENTS for component in inside[6::3]}
        elif name == SCAN and inside and len(inside) >= 4 + 2 * inside[0]:
            first, last, bits = inside[1 + 2 * inside[0] :][:3]
            for component in inside[1 : 1 + 2 * inside[0] : 2]:
                for at in range(first, min(last + 1, COEFFICIENTS)):
                    # How many of its last bits are left for a later scan.
                    missing.get(component, [0] * COEFFICIENTS)[at] = bits & 15
    return any(any(bits) for bits in missing.values())


def _end_of(content: bytes) -> int | None:
    """Where the first image of a file ends; those within what describes it, such as previews, are passed over."""
    at = 0
    while found := MARKER.search(content, at):
        if found[0] == END:
            return found.start()
        at = found.end() + _length(content, found.end())
    return None


def _segments(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(marker, what follows its length) up to the end of the first image."""
    at = 0
    while (found := MARKER.search(content, at)) and found[0] != END:
        at = found.end() + _length(content, found.end())
        yield found[0], content[found.end() + 2 : at]


def _length(content: bytes, at: int) -> int:
    return max(2, int.from_bytes(content[at : at + 2]))
