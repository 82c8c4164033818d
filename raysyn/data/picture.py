"""One picture, decoded: what would lose something without a word is refused."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


Crop = Literal["centre"]
"""What of a picture is kept before it is rescaled; `crop` of the ways to fit it."""
Fit = Literal["stretch", "pad", "crop"]
"""How a picture comes into a size of other proportions."""


TURNED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
"""Pillow's transposition (`Image.Transpose`) that undoes each orientation which EXIF knows, as viewers do."""
ORIENTATION = 0x0112
OTHER = "another kind of colour: save it as 8-bit grey or RGB"
DEPTH = "deeper than 8 bits: scale the values that matter to 0 to 255, and save it as 8-bit grey"
CLEAR = "with transparency: save it without"
FAULTS = {
    **dict.fromkeys(("I", "F"), DEPTH),
    **dict.fromkeys(("LA", "PA", "RGBA"), CLEAR),
    "CMYK": "of colours for print: save it as RGB",
}
"""What is wrong with a mode of Pillow, up to its semicolon, and the mend."""


def decode_picture(picture: Any, size: int | None, fit: Fit | None = None) -> np.ndarray:
    """One picture (HWC array, bytes of a file or path) as uint8 (H, W, C), fitted into the `size` asked for; the array
    itself where nothing of it changes."""
    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
        if (fit != "crop" or height == width) and (size is None or height == width == size):
            return picture
    pixels = np.asarray(fitted(opened(picture), None if size is None else (size, size), fit))
    return pixels[..., None] if pixels.ndim == 2 else pixels


def fitted(image: Picture, size: tuple[int, int] | None, fit: Fit | None) -> Picture:
    """An image in `size` (width, height), bilinear and antialiased: stretched to it by default; `pad`: as large as it
    has room in there, in the middle of black; `crop`: the square in its middle alone."""
    from PIL import Image

    if fit == "crop":
        image = centre_square(image)
    if size is None or image.size == size:
        return image
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
            f"{group}.fit is {fit!r}, but {group}.crop={crop!r} keeps the square in the middle: leave one of them out"
        )
    if fit in ("stretch", "pad") and not sized:
        raise ValueError(f"{group}.fit={fit!r} needs a size to fit images into: give --{group}.size, or leave it out")
    return fit if crop is None else "crop"


def opened(picture: Any) -> Picture:
    """One picture (HWC array, bytes of a file or path) in mode L or RGB and upright, the same for private and public
    ones; ValueError for what would lose transparency, depth or frames."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        return Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as file:
        return _plain(file)


def has_palette(picture: Any) -> bool:
    """Whether it is a file whose pixels are numbers of colours: such a one is grey wherever its colours are."""
    from PIL import Image

    if isinstance(picture, np.ndarray):
        return False
    with Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture) as file:
        return file.mode == "P"


def fault_of(picture: Any, error: Exception) -> str:
    """Why it cannot be used, in a few words, after `error` of a decoder."""
    from PIL import UnidentifiedImageError

    if not isinstance(error, UnidentifiedImageError):
        return (str(error) or type(error).__name__).splitlines()[0]
    begin = picture[:132] if isinstance(picture, bytes) else _first_bytes(picture)
    if not begin:
        return "it is empty, and no image file: bring it anew or remove it"
    if begin[128:] == b"DICM":
        return "it is a DICOM file, and no image file that is read here: export it as 8-bit PNG"
    return "no image file: PNG, JPEG and what else Pillow opens is read; move or remove it"


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(132)


def centre_square(image: Picture) -> Picture:
    """The square in the middle that is as high and wide as the shorter side; of an odd remainder, the left or upper
    side loses the smaller part."""
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return image if width == height else image.crop((left, top, left + side, top + side))


def _plain(image: Picture) -> Picture:
    """The image in mode L or RGB, upright; refuses what would lose transparency, depth or frames."""
    from PIL import Image

    # A phone's JPEG may hold a second picture, such as depth, behind the one that viewers show.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ValueError("it is animated or has several pages; save one of them")
    image.load()
    mode, plain = image.mode, image
    if "transparency" in image.info:
        raise ValueError(f"its mode {mode} is not plain, but with transparency: save it without")
    if mode in ("LA", "RGBA") and image.getextrema()[-1] == (255, 255):
        # Nothing shows through, as in screenshots.
        plain = image.convert(mode[:-1])
    elif mode == "P":
        plain = _grey_or_colour(image.convert("RGB"))
    elif mode == "1":
        plain = image.convert("L")
    elif mode not in ("L", "RGB"):
        raise ValueError(f"its mode {mode} is not plain, but {FAULTS.get(mode.partition(';')[0], OTHER)}")
    turn = TURNED.get(_orientation(image))
    return plain if turn is None else plain.transpose(Image.Transpose(turn))


def _grey_or_colour(image: Picture) -> Picture:
    """A palette says nothing of it, so that the pixels do."""
    red, green, blue = image.split()
    return red if red.tobytes() == green.tobytes() == blue.tobytes() else image


def _orientation(image: Picture) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # damaged EXIF, whose readers raise anything: viewers show such an image as it is stored
        return 1
