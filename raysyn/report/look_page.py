"""What `raysyn look` shows of a source: a contact sheet and a page, both of which stay inside."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from raysyn.data.images import Images
from raysyn.data.survey import BOX, Survey
from raysyn.report.looked import INSIDE, Table, name_of
from raysyn.report.pictures import png_bytes, sample_sheet, unwritten

COLUMNS, ROWS = 12, 25
"""Of the contact sheet."""


def sheet(found: Survey, names: Sequence[str] | None) -> bytes:
    """PNG: the first images of each class, a row per class, in boxes of one size."""
    every = [(label, one) for label, shown in sorted(found.shown.items()) for one in shown]
    side = max((max(one.shape[:2]) for _, one in every), default=BOX)
    boxes = np.full((len(every), side, side, 3), 224, np.uint8)
    for box, (_, one) in zip(boxes, every, strict=True):
        top, left = (side - one.shape[0]) // 2, (side - one.shape[1]) // 2
        box[top : top + one.shape[0], left : left + one.shape[1]] = one
    shown = Images(boxes, np.array([label for label, _ in every], np.int64), tuple(_names(found, names)))
    return png_bytes(sample_sheet(shown, COLUMNS, ROWS))


def of_letters(found: Survey, names: Sequence[str] | None) -> list[str]:
    """What is said of rows that do not have the names of their classes."""
    return unwritten(_names(found, names), "the contact sheet")


def _names(found: Survey, names: Sequence[str] | None) -> list[str]:
    """Of the rows; every class that there is has one, if only an empty one, but of a wild label there are not so
    many."""
    labels = {label for split in found.classes.values() for label in split} | set(range(len(names or ())))
    rows = min(ROWS, 1 + max((label for label in labels if isinstance(label, int)), default=0))
    return [name_of(label, names) for label in range(rows)] + [""] * len(labels - set(range(rows)))


def page(title: str, lines: Sequence[str], shown: Sequence[Table], png: bytes | None) -> str:
    """A self-contained page, with a contact sheet if there is one."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    picture = "" if png is None else "data:image/png;base64," + base64.b64encode(png).decode()
    return made.get_template("look.html.j2").render(
        title=title, inside=INSIDE, lines=lines, tables=shown, picture=picture
    )  # fmt: skip
