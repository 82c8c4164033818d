"""An image file as Pillow opens it: of which formats, and what its values were before Pillow made them plain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from raysyn.data.reading import Unsuited

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

COMMON = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")
"""Tried first: they need no other part of Pillow."""
FORMATS = (
    *(*COMMON, "AVIF", "BLP", "CUR", "DCX", "DDS", "FITS", "FLI", "FPX", "FTEX", "GBR", "ICNS", "ICO", "IM", "IMT"),
    *("IPTC", "JPEG2000", "MCIDAS", "MIC", "MPO", "MSP", "PCD", "PCX", "PIXAR", "PSD", "QOI", "SGI", "SPIDER", "SUN"),
    *("TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB"),
)
"""All that Pillow decodes by itself. Not EPS, for which it writes a file and starts Ghostscript, and no drawings."""
TIFF = (b"II*\0", b"MM\0*")
POSTSCRIPT = (b"%!PS", b"\xc5\xd0\xd3\xc6")
BITS, SAMPLES = 258, 339
"""Tags of a TIFF: bits of a value, and what it is: 1 (or nothing) is a whole number without a sign."""
MOST_OF_16 = 65535


class Stored(NamedTuple):
    """What is lost when an image is loaded."""

    raw: str = ""
    """Pillow's name of how the values lie in the file."""
    most: int = MOST_OF_16
    """The largest value that a file of whole numbers may have, as it says itself."""


def open_file(file: BinaryIO) -> Picture:
    """The image, not yet loaded. UnidentifiedImageError for what is none; Unsuited for one that no reader here knows,
    or that has more pixels than Pillow takes."""
    from PIL import Image, UnidentifiedImageError

    try:
        try:
            return Image.open(file, formats=COMMON)
        except UnidentifiedImageError:
            Image.init()
            return Image.open(file, formats=[known for known in Image.ID if known in FORMATS])
    except UnidentifiedImageError:
        _refuse_unknown(file)
        raise
    except Image.DecompressionBombError as error:
        raise Unsuited("it has more pixels than are read: save a smaller picture") from error


def _refuse_unknown(file: BinaryIO) -> None:
    """Unsuited for what is whole, though nothing here reads it."""
    from PIL import TiffImagePlugin

    file.seek(0)
    begin = file.read(4)
    file.seek(0)
    if begin in POSTSCRIPT:
        raise Unsuited("it is PostScript, which is not read: save it as PNG")
    if begin in TIFF:
        try:
            TiffImagePlugin.TiffImageFile(file)
        except SyntaxError as error:
            if "unknown pixel mode" in str(error):
                raise Unsuited("it is a TIFF of a kind that is not read: save it as plain grey or RGB") from error
        except Exception:  # readers of damaged bytes raise anything; it stays what is no image
            return


def stored(image: Picture) -> Stored:
    """Of an image that is not loaded yet."""
    tile: Any = next(iter(getattr(image, "tile", ())), None)
    if tile is None:
        return Stored()
    decoder, args = tile[0], tile[3]
    raw = args if isinstance(args, str) else next(iter(args or ()), "")
    if image.format == "PPM" and image.mode == "I" and decoder != "raw":
        return Stored(str(raw), int(args[1]))
    return Stored(str(raw))


def values(image: Picture, before: Stored) -> np.ndarray:
    """(H, W) of an image of mode I or F in the units of its file; `before` is from before it was loaded."""
    found = np.asarray(image)
    tags: Any = getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(BITS) == (32,) and tags.get(SAMPLES, (1,)) == (1,):
        # Pillow takes them for numbers with a sign.
        return found.view(np.uint32)
    if before.most != MOST_OF_16:
        # Pillow has stretched them to 65535, which is undone exactly.
        return np.rint(found * (before.most / MOST_OF_16)).astype(np.uint16)
    return found
