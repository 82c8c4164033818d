"""One picture, decoded: what would lose something without a word is refused."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np

from raysyn.data import deep, dicom, jpeg
from raysyn.data.image_file import Stored, open_file, stored, values
from raysyn.data.members import Member
from raysyn.data.reading import PLAIN, Broken, Reading, Unsuited, of_the_machine

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


Crop = Literal["centre"]
"""What of a picture is kept before it is rescaled; `crop` of the ways to fit it."""
Fit = Literal["stretch", "pad", "crop"]
"""How a picture comes into a size of other proportions."""


TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Pillow's transposition (`Image.Transpose`) that undoes each orientation which EXIF knows, as viewers do."""
ORIENTATION = 0x0112
WHITE_IS_ZERO = 262, 0
"""Tag and value of a TIFF whose small values are light; Pillow heeds it for 8 bits and not for 16."""
FEW_GREYS = {"L;2": 3, "L;4": 15}
"""{Pillow's name of how greys of few bits lie in a PNG: the largest of them}."""
OTHER = "another kind of colour: save it as 8-bit grey or RGB"
PRINT = ("CMYK", "YCbCr")
"""Modes that Pillow turns into RGB."""


def decode_picture(picture: Any, size: int | None, fit: Fit | None = None, reading: Reading = PLAIN) -> np.ndarray:
    """One picture (HWC array, file: see `content`) as uint8 (H, W, C), fitted into the `size` asked for; the array
    itself where nothing of it changes."""
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and _is_of(picture.shape[2], reading):
        height, width = picture.shape[:2]
        if (fit != "crop" or height == width) and (size is None or height == width == size):
            return picture
    pixels = np.asarray(fitted(opened(picture, reading), None if size is None else (size, size), fit, reading))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def fitted(image: Picture, size: tuple[int, int] | None, fit: Fit | None, reading: Reading) -> Picture:
    """An image in `size` (width, height), bilinear and antialiased: stretched to it by default; `pad`: as large as it
    has room in there, in the middle of black; `crop`: the square in its middle alone. `reading` counts those that are
    scaled."""
    from PIL import Image

    if fit == "crop":
        image = centre_square(image)
    if size is None or image.size == size:
        return image
    reading.note(f"{{n:,}} rescaled to {size[0]}x{size[1]} pixels")
    if fit != "pad":
        return image.resize(size, Image.Resampling.BILINEAR)
    scale = min(size[0] / image.size[0], size[1] / image.size[1])
    width, height = (max(1, min(round(side * scale), most)) for side, most in zip(image.size, size, strict=True))
    black = Image.new(image.mode, size)
    black.paste(
        image.resize((width, height), Image.Resampling.BILINEAR), ((size[0] - width) // 2, (size[1] - height) // 2)
    )  # fmt: skip
    return black


def chosen_fit(fit: Fit | None, crop: Crop | None, group: str, sized: bool = True) -> Fit | None:
    """The one that both flags of a group say together: a crop is a fit as well. ValueError where they differ, or there
    is no size to fit images into."""
    if fit is not None and crop is not None and fit != "crop":
        raise ValueError(
            f"{group}fit is {fit!r}, but {group}crop={crop!r} keeps the square in the middle: leave one of them out"
        )
    if fit in ("stretch", "pad") and not sized:
        raise ValueError(f"{group}fit={fit!r} needs a size to fit images into: give --{group}size, or leave it out")
    return fit if crop is None else "crop"


def opened(picture: Any, reading: Reading = PLAIN) -> Picture:
    """One picture (HWC array, file: see `content`) in mode L or RGB and upright, the same for private and public ones;
    ValueError for what would lose transparency or depth, of which `reading` does not say how."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        reading.check_arrays(picture, "it")
        pixels = picture
        if pixels.dtype != np.uint8:
            pixels = deep.scaled(pixels, reading, f"it is of {pixels.dtype} values")
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    else:
        with content(picture) as file:
            if dicom.is_dicom(_begin(file)):
                image = Image.fromarray(dicom.decoded(file, reading))
            else:
                with open_file(file) as found:
                    image = _plain(found, reading)
                    jpeg.check_whole(found, file)
    return _coloured(image, reading)


def content(picture: Any) -> BinaryIO:
    """The file that a picture is, opened: its bytes, a member of an archive, or a path."""
    if isinstance(picture, Member):
        return io.BytesIO(picture.read())
    return io.BytesIO(picture) if isinstance(picture, bytes) else open(picture, "rb")


def _begin(file: BinaryIO) -> bytes:
    begin = file.read(dicom.BEGIN)
    file.seek(0)
    return begin


def begins_as_image(picture: Any) -> bool:
    """Whether a file is an image by how it begins, also one that is not read, such as HEIC; nothing is decoded."""
    try:
        with content(picture) as file:
            if not dicom.is_dicom(_begin(file)):
                open_file(file).close()
    except Unsuited:
        return True
    except Exception:  # readers of damaged bytes raise anything
        return False
    return True


def has_palette(picture: Any) -> bool:
    """Whether it is a file whose pixels are numbers of colours: such a one is grey wherever its colours are."""
    if isinstance(picture, np.ndarray):
        return False
    with content(picture) as file:
        if dicom.is_dicom(_begin(file)):
            return dicom.has_palette(file)
        with open_file(file) as found:
            return found.mode == "P"


def refusal(place: str, picture: Any, error: Exception, reading: Reading) -> ValueError:
    """The sentence on a picture that cannot be used, after `error` of a decoder: Broken for what can be left out."""
    fault = f"{place} cannot be used: {fault_of(picture, error)}"
    if not is_broken(picture, error):
        return ValueError(fault)
    left, flag = reading.skip_broken, reading.flag("skip_broken")
    more = f"raise {flag} above {left}" if left else f"leave such out with {flag} 1"
    return Broken(f"{fault}, or {more}{reading.looked_at()}")


def is_broken(picture: Any, error: Exception) -> bool:
    """Whether a picture, after `error` of a decoder, is one that can be left out."""
    return not (isinstance(error, Unsuited) or isinstance(picture, np.ndarray) or of_the_machine(error))


def fault_of(picture: Any, error: Exception) -> str:
    """Why it cannot be used, in a few words, after `error` of a decoder."""
    from PIL import UnidentifiedImageError

    if isinstance(error, Unsuited | Broken):
        return str(error)
    if of_the_machine(error):
        # The file itself may be whole, so that none of this sort is left out.
        what = "there is no memory for it" if isinstance(error, MemoryError) else os.strerror(error.errno or 0)
        return f"{what}: mend this machine or the file's permissions, and try again"
    if not isinstance(error, UnidentifiedImageError):
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        return f"{reason}: bring it anew"
    with content(picture) as file:
        if not _begin(file):
            return "it is empty, and no image file: bring it anew or remove it"
    return "no image file: PNG, JPEG, TIFF, BMP, GIF, WebP and a few more are read; move or remove it"


def centre_square(image: Picture) -> Picture:
    """The square in the middle that is as high and wide as the shorter side; of an odd remainder, the left or upper
    side loses the smaller part."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image if width == height else image.crop((left, top, left + side, top + side))


def _plain(image: Picture, reading: Reading) -> Picture:
    """The image in mode L or RGB, upright, of several pages or frames the first."""
    from PIL import Image

    # A phone's JPEG may hold a second picture, such as depth, behind the one that viewers show.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        image.seek(0)
        reading.note("of {n:,} with several pages or frames the first")
    before = stored(image)
    image.load()
    mode = image.mode
    kind = mode.partition(";")[0]
    if before.raw.startswith("LA;16"):
        raise Unsuited("it is grey of 16 bits with an alpha channel: save it without, as 16-bit grey or 8-bit grey")
    if kind in ("I", "F"):
        plain = _of_8_bits(image, before, reading)
    elif reading.window is not None:
        raise Unsuited(
            f"its mode {mode} is of 8 bits, which {reading.flag('window')} is not for: leave it out, or bring all "
            "images to one depth"
        )
    else:
        if before.cut:
            reading.note("{n:,} in colour deeper than 8 bits cut to 8")
        plain = _opaque(image, before, reading)
    if plain.mode == "P":
        plain = _grey_or_colour(plain.convert("RGB"))
    elif plain.mode == "1":
        plain = plain.convert("L")
    elif plain.mode in PRINT and reading.colour != "auto":
        plain = plain.convert("RGB")
    elif plain.mode not in ("L", "RGB"):
        # Public images take the colours of the private ones, so that they have no such flag.
        flag = "" if reading.group == "public." else f", or read it so with {reading.flag('colour')} rgb"
        fault = f"of colours for print: save it as RGB{flag}" if mode in PRINT else OTHER
        raise Unsuited(f"its mode {mode} is not plain, but {fault}")
    turn = TURNED.get(_orientation(image))
    return plain if turn is None else plain.transpose(Image.Transpose(turn))


def _of_8_bits(image: Picture, before: Stored, reading: Reading) -> Picture:
    from PIL import Image

    what = f"its mode {image.mode} is not plain, but "
    if "transparency" in image.info:
        raise Unsuited(f"{what}with transparency and deeper than 8 bits: save it without")
    deeper = values(image, before)
    pixels = deep.scaled(deeper, reading, what + ("of floats" if deeper.dtype.kind == "f" else "of values"))
    tag, light = WHITE_IS_ZERO
    tags: Any = getattr(image, "tag_v2", {})
    return Image.fromarray(255 - pixels if tags.get(tag) == light else pixels)


def _opaque(image: Picture, before: Stored, reading: Reading) -> Picture:
    """The image without transparency: where something shows through, over the background that `reading` says."""
    from PIL import Image

    if image.format == "PNG" and isinstance(image.info.get("transparency"), int | tuple):
        if before.cut:
            raise Unsuited("it is 16-bit colour with a colour that shows through: save it with an alpha channel")
        if before.raw in FEW_GREYS:
            # Pillow has stretched the greys to 8 bits, and not that which shows through.
            most = FEW_GREYS[before.raw]
            image.info["transparency"] = (image.info["transparency"] & most) * 255 // most
    if "transparency" not in image.info:
        if image.mode not in ("LA", "PA", "RGBA"):
            return image
        if image.mode in ("LA", "RGBA") and image.getextrema()[-1] == (255, 255):
            # Nothing shows through, as in screenshots.
            return image.convert(image.mode[:-1])
    elif image.convert("RGBA").getextrema()[-1] == (255, 255):
        # A colour is named that shows through, and no pixel has it.
        image = image.copy()
        del image.info["transparency"]
        return image
    background = reading.rgb()
    if background is None:
        raise Unsuited(
            f"its mode {image.mode} is not plain, but with transparency: save it without, or say what shows through, "
            f"such as {reading.flag('background')} white"
        )
    reading.note(f"{{n:,}} with transparency over {reading.background}")
    below = Image.new("RGBA", image.size, (*background, 255))
    whole = Image.alpha_composite(below, image.convert("RGBA")).convert("RGB")
    # Where neither the image nor what shows through has colours, or a palette may have none.
    return whole if image.mode.startswith("RGB") else _grey_or_colour(whole)


def _coloured(image: Picture, reading: Reading) -> Picture:
    """In the kind of colour that `reading` says: grey by luma (ITU-R 601-2)."""
    if reading.colour == "grey" and image.mode == "RGB":
        reading.note("{n:,} of colours read as grey")
        return image.convert("L")
    if reading.colour == "rgb" and image.mode == "L":
        reading.note("{n:,} grey ones read as RGB")
        return image.convert("RGB")
    return image


def _is_of(channels: int, reading: Reading) -> bool:
    """Whether a picture of so many channels is of the kind of colour that `reading` says."""
    return reading.colour == "auto" or channels == {"grey": 1, "rgb": 3}[reading.colour]


def _grey_or_colour(image: Picture) -> Picture:
    """A palette says nothing of it, so that the pixels do."""
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


def _orientation(image: Picture) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF, whose readers raise anything: viewers show such an image as it is stored
        return 1
