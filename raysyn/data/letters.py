"""Characters that are drawn: fonts as fields of distances, from which strokes of any width, bent in any way, are drawn.

Of each font there are two pens: the letter's own outline, and its middle line, which a pen of one width follows, as in
handwriting. Nothing here has seen an image: fonts come with Matplotlib.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raysyn.data.glyphs import FONTS, font, font_file

SIDE = 64
"""Pixels of a field."""
FRAME = 1.6
"""Sides of a field are so many times the height of a capital letter: room for letters that are bent."""
ALIKE = {
    **{
        "0": "0O",
        "1": "1lI|/",
        "2": "2Z",
        "3": "3",
        "4": "4\u0427\u0447",
        "5": "5S",
        "6": "6b",
        "7": "7",
        "8": "8",
        "9": "9gq",
    },
    **{"I": "Il|", "l": "lI|1", "O": "O0", "o": "o", "i": "ij", "S": "S5"},
}
"""How a character may be written, beside its own form: in fonts some have serifs that hands leave out."""
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def character_of(name: str) -> str | None:
    """The character that a class' name means: itself, `3 - three` or `three`; None for other names, and for characters
    that no font has."""
    first = name.strip().partition(" - ")[0]
    found = str(WORDS.index(first.lower())) if first.lower() in WORDS else first
    return found if len(found) == 1 and any(ord(found) in _known(one) for one in FONTS) else None


@functools.cache
def fields(character: str) -> NDArray[np.float32]:
    """float32 (faces, SIDE, SIDE): how far each place is from the pen's edge, in parts of half a field, negative inside
    of an outline; of middle lines, how far it is from the line."""
    forms = [(one, name) for one in ALIKE.get(character, character) for name in FONTS if ord(one) in _known(name)]
    drawn = np.stack([_drawn(*form) for form in forms])
    return np.concatenate([_outlines(drawn), _lines(drawn)])


def pens(character: str) -> NDArray[np.bool_]:
    """(faces,): whether a face of `fields` is a line, which needs a pen's width."""
    each = len(fields(character)) // 2
    return np.arange(2 * each) >= each


@functools.cache
def _known(name: str) -> frozenset[int]:
    """What a font has, of characters."""
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(font_file(name)).get_charmap())


def _drawn(character: str, name: str) -> NDArray[np.bool_]:
    """Where there is ink, bool (SIDE, SIDE)."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (2 * SIDE, 2 * SIDE))
    # Capital letters are about 0.72 of a font's size.
    face: Any = font(name, round(2 * SIDE / FRAME / 0.72))
    left, top, right, bottom = face.getbbox(character)
    place = (SIDE - (left + right) / 2, SIDE - (top + bottom) / 2)
    ImageDraw.Draw(canvas).text(place, character, fill=255, font=face)
    return np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX)) > 127


def _outlines(drawn_NHW: NDArray[np.bool_]) -> NDArray[np.float32]:
    from scipy import ndimage

    far = ndimage.distance_transform_edt
    return np.stack([far(~one) - far(one) for one in drawn_NHW]).astype(np.float32) / (SIDE / 2)


def _lines(drawn_NHW: NDArray[np.bool_]) -> NDArray[np.float32]:
    from scipy import ndimage

    thin = thinned(drawn_NHW)
    for line, drawn in zip(thin, drawn_NHW, strict=True):
        # A dot of even width is thinned to nothing.
        parts, count = ndimage.label(drawn, np.ones((3, 3)))
        for lost in sorted(set(range(1, count + 1)) - set(parts[line].tolist())):
            place = ndimage.center_of_mass(parts == lost)
            line[round(place[0]), round(place[1])] = True
    return np.stack([ndimage.distance_transform_edt(~one) for one in thin]).astype(np.float32) / (SIDE / 2)


def thinned(drawn_NHW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Lines of one pixel in the middle of what is drawn (Zhang and Suen, 1984)."""
    thin = drawn_NHW.copy()
    changed = True
    while changed:
        changed = False
        for first in (True, False):
            around = np.pad(thin, ((0, 0), (1, 1), (1, 1)))
            high, wide = thin.shape[1:]
            # Clockwise from above.
            steps = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))
            ring = [around[:, 1 + y : 1 + y + high, 1 + x : 1 + x + wide] for y, x in steps]
            count = np.sum(ring, axis=0)
            turns = np.sum([~one & other for one, other in zip(ring, [*ring[1:], ring[0]], strict=True)], axis=0)
            north, east, south, west = ring[0], ring[2], ring[4], ring[6]
            if first:
                edge = ~(north & east & south) & ~(east & south & west)
            else:
                edge = ~(north & east & west) & ~(north & south & west)
            gone = thin & (count >= 2) & (count <= 6) & (turns == 1) & edge
            thin &= ~gone
            changed |= bool(gone.any())
    return thin
