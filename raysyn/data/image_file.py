"""An image file as Pillow opens it: of which formats, and what its values were before Pillow made them plain."""

from __future__ import annotations

import re
import struct
import warnings
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np

from raysyn.data.reading import Broken, Unsuited

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

COMMON = ("BMP", "DIB", "GIF", "JPEG", "PPM", "PNG")
"""Tried first: they need no other part of Pillow."""
FORMATS = (*COMMON, "AVIF", "JPEG2000", "MPO", "PCX", "QOI", "TGA", "TIFF", "WEBP")
"""What is read. Others of Pillow's lose something in silence (the zero of FITS, the depth of SGI, the other pictures of
an icon) or start a program (EPS)."""
HEIC = (b"heic", b"heix", b"hevc", b"mif1", b"msf1")
"""Brands of it, some of which AVIF has too."""
TIFF = (b"II*\0", b"MM\0*")
BITS, SAMPLES = 258, 339
"""Tags of a TIFF: bits of a value, and what it is: 1 (or nothing) is a whole number without a sign, 2 one with it."""
PER_PIXEL, EXTRA = 277, 338
"""Tags of a TIFF: values of a pixel, and what those beyond its colours are: 1 and 2 say how much shows through."""
COLOURS = {"RGB": 3, "RGBA": 3, "CMYK": 4, "YCbCr": 3, "LAB": 3}
"""By mode; others have one."""
NATIVE = {"I;16BS": "I;16NS", "I;32BS": "I;32NS", "F;32BF": "F;32NF"}
"""Pillow's names of how values lie in a file, and of the same in the order of this machine."""
MOST_OF_16 = 65535
# It says, without the name of a file, that tags are damaged or pixels many; what matters of it is an error here.
warnings.filterwarnings("ignore", module=r"PIL\.")
SIZ = b"\xff\x4f\xff\x51"
"""How the data of a JPEG 2000 image begin, and what its values are."""
DEEP_AV1 = re.compile(rb"av1C\x81.[\x40-\x7f\xc0-\xff]", re.DOTALL)
"""In an AVIF file of 10 or 12 bits, which Pillow makes 8."""


class Stored(NamedTuple):
    """What is lost when an image is loaded."""

    raw: str = ""
    """Pillow's name of how the values lie in the file."""
    most: int = MOST_OF_16
    """The largest value that a file of whole numbers may have, as it says itself."""
    cut: bool = False
    """Whether its colours are deeper than 8 bits, and become 8."""
    depth: int = 0
    """Bits of a value of JPEG 2000."""
    signed: bool = False
    """Whether these are below 0 too."""


def open_file(file: BinaryIO) -> Picture:
    """The image, not yet loaded. UnidentifiedImageError for what is none; Unsuited for one that no reader here knows,
    or that has more pixels than Pillow takes."""
    from PIL import Image, UnidentifiedImageError

    try:
        try:
            return Image.open(file, formats=COMMON)
        except UnidentifiedImageError:
            Image.init()
            _know_light_big_endian()
            return Image.open(file, formats=[known for known in Image.ID if known in FORMATS])
    except UnidentifiedImageError:
        _refuse_unknown(file)
        raise
    except Image.DecompressionBombError as error:
        raise Unsuited("it has more pixels than are read: save a smaller picture") from error


def _know_light_big_endian() -> None:
    """Pillow reads TIFFs of 16-bit grey whose 0 is white of one order of bytes alone."""
    from PIL import TiffImagePlugin

    kinds: dict[Any, Any] = TiffImagePlugin.OPEN_INFO
    kinds.setdefault((b"MM", 0, (1,), 1, (16,), ()), ("I;16B", "I;16B"))


def _refuse_unknown(file: BinaryIO) -> None:
    """Unsuited for what is whole, though nothing here reads it."""
    from PIL import Image, TiffImagePlugin

    file.seek(0)
    begin = file.read(12)
    file.seek(0)
    if begin[4:8] == b"ftyp" and begin[8:] in HEIC:
        raise Unsuited("it is HEIC, as telephones write it, which is not read: export it as JPEG or PNG")
    begin = begin[:4]
    try:
        if begin in TIFF:
            TiffImagePlugin.TiffImageFile(file)
        # Of its beginning alone: nothing is decoded, and no program started.
        with Image.open(file, formats=[known for known in Image.ID if known not in FORMATS]) as found:
            name = found.format
    except SyntaxError as error:
        if "unknown pixel mode" not in str(error):
            return
        raise Unsuited("it is a TIFF of a kind that is not read: save it as plain grey or RGB") from error
    except Exception:  # readers of damaged bytes raise anything; it stays what is no image
        return
    raise Unsuited(f"it is {name}, which is not read: save it as PNG")


def stored(image: Picture) -> Stored:
    """Of an image that is to be loaded next. Unsuited for one whose values Pillow would change in a way that nothing
    here undoes."""
    if image.format == "JPEG2000":
        return _of_jpeg_2000(image)
    if image.format == "AVIF" and DEEP_AV1.search(_all_of(image)):
        raise Unsuited("it is AVIF deeper than 8 bits: save it as 8-bit PNG")
    tile: Any = next(iter(getattr(image, "tile", ())), None)
    if tile is None:
        return Stored()
    decoder, args = tile[0], tile[3]
    raw = str(args if isinstance(args, str) else next(iter(args or ()), ""))
    if decoder == "libtiff" and raw in NATIVE:
        # What it unpacks has the order of this machine, which Pillow knows of some kinds alone.
        cast(Any, image).tile = [tile._replace(args=(NATIVE[raw], *args[1:]))]
    deep = max(_tags(image).get(BITS, (1,))) > 8 and ";16" not in raw
    if image.format == "TIFF" and deep and image.mode[0] not in "IF":
        # Of which two bytes of a value would be two values.
        raise Unsuited("it is a TIFF of planes deeper than 8 bits: save it with its colours together, or in 8 bits")
    if image.format == "TIFF" and image.mode == "L" and _tags(image).get(SAMPLES) == (2,):
        raise Unsuited("it is a TIFF of 8 bits with a sign: save it without, or in 16 bits")
    if image.format == "TIFF" and (dropped := _dropped(image)):
        raise Unsuited(
            f"it is a TIFF of {_per_pixel(image)} values a pixel, of which {dropped} {'is' if dropped == 1 else 'are'} "
            "neither colour nor said to be transparency: save it as plain grey or RGB"
        )
    if image.format == "PPM" and decoder != "raw" and image.mode in ("I", "RGB"):
        most = int(args[1])
        return Stored(raw, most, cut=most > 255)
    return Stored(raw, cut=";16" in raw)


def _per_pixel(image: Picture) -> int:
    return int(_tags(image).get(PER_PIXEL, 1))


def _dropped(image: Picture) -> int:
    """Values of a pixel that Pillow leaves out of a TIFF in silence."""
    extra = _tags(image).get(EXTRA, ())
    seen = image.mode in ("LA", "La", "PA", "RGBA") and (not extra or extra[0] in (1, 2))
    return max(0, _per_pixel(image) - COLOURS.get(image.mode, 1) - seen)


def _all_of(image: Any) -> bytes:
    """The bytes of its file."""
    at = image.fp.tell()
    image.fp.seek(0)
    content: bytes = image.fp.read()
    image.fp.seek(at)
    return content


def _of_jpeg_2000(image: Picture) -> Stored:
    """What its own data say of its values: 8 bits, or 9 to 16 of grey."""
    content = _all_of(image)
    try:
        at = 0 if content.startswith(SIZ) else _data_of_jp2(content)
        (count,) = struct.unpack_from(">H", content, at + 40)
        kinds = {content[at + 42 + 3 * one] for one in range(count)}
    except (struct.error, ValueError, IndexError) as error:
        raise Broken("it is JPEG 2000 that is cut off: bring it anew") from error
    depths, signed = {(kind & 0x7F) + 1 for kind in kinds}, any(kind & 0x80 for kind in kinds)
    if image.mode == "I;16" and len(depths) == 1 and max(depths) <= 16:
        return Stored(depth=depths.pop(), signed=signed)
    palette = image.mode in ("P", "PA")
    if depths != {8} or signed or palette:
        what = "with a palette" if palette else "of values with a sign" if signed else f"of {max(depths)} bits"
        raise Unsuited(f"it is JPEG 2000 {what}, of which 8 bits are read, and of grey up to 16: save it as PNG")
    return Stored()


def _data_of_jp2(content: bytes) -> int:
    """Where they begin, in a file of boxes."""
    at = 0
    while content[at + 4 : at + 8] != b"jp2c":
        (size,) = struct.unpack_from(">I", content, at)
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, at + 8)
        at += max(size, 8)
    return content.index(SIZ, at)


def values(image: Picture, before: Stored) -> np.ndarray:
    """(H, W) of an image of mode I or F in the units of its file; `before` is from before it was loaded."""
    found = np.asarray(image)
    tags = _tags(image)
    if before.depth:
        # Pillow has moved them to the upper of 16 bits, and 0 to the middle.
        whole = found.astype(np.int32) >> (16 - before.depth)
        return whole - (1 << (before.depth - 1)) if before.signed else whole
    if image.mode == "I" and tags.get(BITS) == (32,) and tags.get(SAMPLES, (1,)) == (1,):
        # Pillow takes them for numbers with a sign.
        return found.view(np.uint32)
    if before.most != MOST_OF_16:
        # Pillow has stretched them to 65535, which is undone exactly.
        return np.rint(found * (before.most / MOST_OF_16)).astype(np.uint16)
    return found


def _tags(image: Picture) -> Any:
    """Those of a TIFF."""
    return getattr(image, "tag_v2", {})
