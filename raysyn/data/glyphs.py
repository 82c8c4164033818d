"""Letters that are drawn, not downloaded: built-in public images."""

from __future__ import annotations

import functools
import string
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.source import Source, from_arrays

FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSerif"),
    *("DejaVuSerif-Bold", "DejaVuSerif-Italic", "STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic"),
    *("STIXGeneralBolIta", "cmb10", "cmr10", "cmss10", "cmti10", "cmtt10"),
)


def glyphs(size: int, per_class: int = 120) -> Source:
    """Letters of the fonts that come with Matplotlib, each turned, slanted and framed a little differently: a public
    set that is always at hand. Grey, white on black, `size` pixels a side; a sixth is for tests."""
    letters = list(string.ascii_letters)
    pixels = _drawn(size, letters, per_class)
    labels = np.repeat(np.arange(len(letters)), per_class)
    test = np.arange(len(labels)) % 6 == 0
    arrays = {"train": (pixels[~test], labels[~test]), "test": (pixels[test], labels[test])}
    return from_arrays("glyphs", "data.name='glyphs'", arrays, letters)


def _drawn(size: int, letters: list[str], per_class: int) -> np.ndarray:
    """So many of each letter, one letter after the other: uint8 (N, size, size)."""
    rng = np.random.RandomState(0)
    return np.stack([_glyph(letter, size, rng) for letter in letters for _ in range(per_class)])


def _glyph(letter: str, size: int, rng: np.random.RandomState) -> np.ndarray:
    """One letter, uint8 (size, size)."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from PIL import Image, ImageDraw

    face = font(FONTS[rng.randint(len(FONTS))])
    canvas = Image.new("L", (128, 128))
    ImageDraw.Draw(canvas).text((64, 64), letter, fill=255, font=face, anchor="mm")
    turn, slant = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.2, 0.2)
    matrix = np.array([[np.cos(turn), np.sin(turn) + slant], [-np.sin(turn), np.cos(turn)]])
    matrix[0] *= rng.uniform(0.8, 1.25)
    moved = 64 - matrix @ [64, 64]
    canvas = canvas.transform(
        canvas.size, Image.Transform.AFFINE, (*matrix[0], moved[0], *matrix[1], moved[1]), Image.Resampling.BILINEAR
    )
    left, top, right, bottom = canvas.getbbox() or (0, 0, *canvas.size)
    side = max(right - left, bottom - top) * rng.uniform(1.0, 1.2)
    across, down = ((side - extent) * rng.uniform(0.3, 0.7) for extent in (right - left, bottom - top))
    box = (left - across, top - down, left - across + side, top - down + side)
    framed = canvas.transform((4 * size, 4 * size), Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
    return np.asarray(framed.resize((size, size), Image.Resampling.BOX))


@functools.cache
def font(name: str, size: int = 64) -> Any:
    """One of FONTS."""
    from PIL import ImageFont

    return ImageFont.truetype(font_file(name), size)


def font_file(name: str) -> str:
    """Where it lies: Matplotlib brings them."""
    from matplotlib import get_data_path

    return str(Path(get_data_path(), "fonts", "ttf", f"{name}.ttf"))
