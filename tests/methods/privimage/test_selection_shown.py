"""The public images that a paid query picked, as the report shows them."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from raysyn.data.images import Images
from raysyn.data.public import Public
from raysyn.methods.privimage import report
from raysyn.report.section import Section

SIDE, SCALE, GAP = 8, 6, 2


def public(classes: int, each: int = 12) -> Public:
    """Images that are all of one grey: ten times their class, and one more for each earlier image of it."""
    labels = np.arange(classes * each, dtype=np.int64) % classes
    grey = 10 * labels + np.arange(classes * each) // classes
    pixels = np.broadcast_to(grey.astype(np.uint8)[:, None, None, None], (len(labels), SIDE, SIDE, 1)).copy()
    images = Images(pixels, labels, tuple(f"letter {label}" for label in range(classes)))
    return Public("set", images, images)


def private(classes: int) -> Images:
    return Images(np.zeros((classes, SIDE, SIDE, 1), np.uint8), np.arange(classes), tuple(map(str, range(classes))))


def greys(section: Section, row: int) -> list[int]:
    """Of the images of a strip, in their order."""
    picture = section.strips[row][1].removeprefix("data:image/png;base64,")
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(picture))))
    wide = SIDE * SCALE + GAP
    return [int(sheet[GAP + 3, GAP + at * wide + 3, 0]) for at in range((sheet.shape[1] - GAP) // wide)]


def test_each_class_has_the_first_images_of_what_was_picked_for_it_under_their_names() -> None:
    section = report.selection(np.array([[5, 1], [7, 2]]), private(2), public(8))
    assert [words for words, _ in section.strips] == [
        "0: letter 5 (class 5), letter 1 (class 1)", "1: letter 7 (class 7), letter 2 (class 2)"
    ]  # fmt: skip
    assert greys(section, 0) == [50, 51, 52, 53, 54, 10, 11, 12, 13, 14]
    assert greys(section, 1) == [70, 71, 72, 73, 74, 20, 21, 22, 23, 24]
    assert section.rows[1] == ("0", "letter 5, letter 1", "24") and "are shown." not in section.text


def test_one_histogram_of_all_and_more_classes_than_a_strip_has_room_for() -> None:
    section = report.selection(np.arange(24, dtype=np.int64)[None, ::-1], private(3), public(24, each=2))
    ((words, _),) = section.strips
    assert words.startswith("all: letter 23 (class 23), letter 22") and words.endswith("(class 14) and 14 more")
    assert greys(section, 0) == [10 * label for label in range(23, 13, -1)]


def test_of_many_sensitive_classes_the_first_are_shown_and_all_are_named() -> None:
    section = report.selection(np.zeros((25, 1), np.int64), private(25), public(2))
    assert len(section.strips) == 20 and len(section.rows) == 26
    assert "Of the first 20 sensitive classes images are shown." in section.text
