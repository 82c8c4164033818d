"""Characters as fields of distances: which class means which, and lines in the middle of what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from raysyn.data import letters


@pytest.mark.parametrize(
    ("name", "character"),
    [
        *[(one, one) for one in ("7", "A", "q", "Ж", "&")], (" 3 ", "3"), ("3 - three", "3"), ("Nine", "9"),
        ("T-shirt/top", None), ("class 3", None), ("", None), ("10", None), ("お", None), ("thirteen", None),
    ],
)  # fmt: skip
def test_a_class_is_a_character_by_its_name(name: str, character: str | None) -> None:
    assert letters.character_of(name) == character


@pytest.mark.parametrize("character", ["4", "8", "i", "Ж"])
def test_each_font_that_has_a_character_gives_an_outline_and_a_line(character: str) -> None:
    fields, lines = letters.fields(character), letters.pens(character)
    assert fields.shape == (len(lines), letters.SIDE, letters.SIDE) and lines.sum() * 2 == len(lines)
    for outline, line in zip(fields[~lines], fields[lines], strict=True):
        inside = outline < 0
        assert 0.005 < inside.mean() < 0.4 and line.min() == 0
        # A line lies in its outline, is thinner, and there is one wherever there is ink.
        assert (inside | (line > 0)).all() and (line == 0).sum() < inside.sum()
        parts = ndimage.label(inside, np.ones((3, 3)))[1]
        assert ndimage.label(line == 0, np.ones((3, 3)))[1] == parts


def test_a_thick_stroke_becomes_a_line_of_one_pixel() -> None:
    drawn = np.zeros((1, 20, 20), bool)
    drawn[0, 4:9, 2:18] = True
    thin = letters.thinned(drawn)[0]
    assert thin.any() and thin.sum(0).max() == 1 and set(np.nonzero(thin)[0]) == {6}
