"""What `raysyn look` says of a source: sentences, tables, a contact sheet and a page, all of which stay inside."""

from __future__ import annotations

import base64
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.grouped import Named, Suggested
from raysyn.data.images import Images
from raysyn.data.names import legible
from raysyn.data.picture import Fit
from raysyn.data.source import SPLITS
from raysyn.data.survey import BOX, GREYS, Survey
from raysyn.report.pictures import png_bytes, sample_sheet

INSIDE = (
    "Stays inside: all of this is of the images themselves, without noise. What you choose by it is chosen on private "
    "images: say so with --tuned-on."
)
PRIVATE_ENDS = (
    "Both are of private images: --data.window LOW HIGH is public, so do not copy them there, but give what the device "
    "or the format can hold."
)
WHOLE_RANGE = "0 65535 is the whole range, and tells nothing."
"""What is said of least and largest values."""
COLUMNS, ROWS = 12, 25
"""Of the contact sheet."""
SIDES = (8, 16, 28, 32, 64, 128, 224, 256)
"""Sizes that are advised."""
FEW = 0.1
"""Share of the images that may be smaller than a size that is advised."""
KINDS = {1: "grey", 3: "colour"}
"""By channels."""


@dataclass(frozen=True)
class Table:
    """The first row is its heading."""

    title: str
    rows: Sequence[Sequence[str]]

    def numbers(self, column: int) -> bool:
        """Whether a column is one of numbers, which stand to the right."""
        return column > 0 and all(row[column][:1].isdigit() for row in self.rows[1:])


def name_of(label: Any, names: Sequence[str] | None) -> str:
    """A class, as far as the source names it; what cannot be printed is escaped."""
    known = names is not None and isinstance(label, int) and 0 <= label < len(names)
    return _printable(names[label] if names is not None and known else str(label))


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else repr(one)[1:-1] for one in legible(text))


def tables(found: Survey, names: Sequence[str] | None) -> list[Table]:
    """Images by class and split, sizes, modes, and what cannot be used; classes without an image too."""
    splits = [split for split in SPLITS if found.classes.get(split)]
    labels = {label for split in splits for label in found.classes[split]} | set(range(len(names or ())))
    by_class = [
        [name_of(label, names), *(f"{found.classes[split][label]:,}" for split in splits)]
        for label in sorted(labels, key=_by_value)
    ]  # fmt: skip
    made = [Table("Images by class", [["class", *splits], *by_class])]
    sizes = [[f"{width} x {height}", f"{n:,}"] for (width, height), n in found.sizes.most_common()]
    made.append(Table("Sizes", [["width x height", "images"], *sizes]))
    made.append(Table("Modes", [["mode", "images"], *([mode, f"{n:,}"] for mode, n in found.modes.most_common())]))
    if found.windows:
        windows = [[window, f"{n:,}"] for window, n in found.windows.most_common()]
        made.append(Table("Windows of DICOM files", [["values that become 0 and 255", "images"], *windows]))
    if found.faults:
        faults = [[fault, f"{n:,}"] for fault, n in found.faults.most_common()]
        made.append(Table("Not usable", [["what is wrong", "images"], *faults]))
    if found.crossed:
        every = found.across.total()
        some = f", the first {len(found.crossed)} of {every:,}" if every > len(found.crossed) else ""
        pairs = [[_printable(one), _printable(other)] for one, other in found.crossed]
        made.append(Table(f"Exact copies across splits{some}", [["image", "is the same as"], *pairs]))
    return made


def _by_value(label: Any) -> tuple[bool, Any]:
    """Numbers by value, and after them whatever else labels are, as it is printed."""
    number = isinstance(label, int | float) and label == label
    return not number, label if number else str(label)


def of_two_depths(found: Survey, windowed: bool) -> list[str]:
    """What is said where some are deeper than 8 bits and some are not, and these cannot be read together; `windowed`
    is whether they were looked at through a window."""
    numbers = {deep: found.depths[deep, True] + found.depths[deep, False] for deep in (True, False)}
    # A window is for the deeper ones alone; without one, scans that name their own are read, and so are floats.
    other = not windowed
    if not all(numbers.values()) or found.depths[other, True] or not found.depths[other, False]:
        return []
    rarer = min(numbers, key=lambda deep: numbers[deep])
    told = {True: f"{numbers[True]:,} deeper than 8 bits", False: f"{numbers[False]:,} of 8 bits"}
    some = ", ".join(map(_printable, found.of_depth[rarer]))
    more = f" and {rest:,} more" if (rest := numbers[rarer] - len(found.of_depth[rarer])) else ""
    told[rarer] += f" ({some}{more})"
    return [
        f"There are images of two depths, {told[rarer]} and {told[not rarer]}, which no --data.window reads together: "
        "convert all to one depth first."
    ]


def sentences(found: Survey) -> list[str]:
    """What is worth knowing beside the tables."""
    lines = []
    if bad := found.faults.total():
        lines.append(f"Images that cannot be used, at which a run stops: {bad:,}. The first: {_listed(found.faulty)}.")
    for mode, (least, most) in found.spans.items():
        whole = f" {WHOLE_RANGE}" if mode.startswith("I;16") else ""
        lines.append(f"Values of {mode} lie from {least:,g} to {most:,g}. {PRIVATE_ENDS}{whole}")
    lines += [f"Exact copies within {split}: {n:,}." for split, n in found.within.items() if n]
    for (split, earlier), n in found.across.items():
        lines.append(f"Exact copies in {split} of images of {earlier}: {n:,}. These are not held out.")
    if found.relabelled:
        lines.append(f"Exact copies with another label than the first of their kind: {found.relabelled:,}.")
    # Those across splits have a table.
    if more := [pair for pair in found.copies if pair not in found.crossed]:
        pairs = "; ".join(f"{_printable(one)} is {_printable(other)}" for one, other in more)
        lines.append(f"The first copies within a split, beside the first of the same pixels in any: {pairs}.")
    if not found.copies and not bad:
        lines.append("No image is an exact copy of another one.")
    elif not found.copies and (compared := found.images - bad) > 1:
        lines.append(f"Of the {compared:,} images that can be used none is an exact copy of another one.")
    return lines


def table_of_persons(named: Named | None) -> list[Table]:
    """How many images persons have, where they are named."""
    if named is None:
        return []
    return [
        Table(
            "Images of a person",
            [["images", "persons"], *([f"{n:,}", f"{p:,}"] for n, p in sorted(named.images.items()))],
        )
    ]


def of_persons(named: Named | None, suggested: Suggested | None, published: bool) -> list[str]:
    """Whose images they are; where nobody is named, what names of files suggest."""
    if named is not None:
        least, most = min(named.images), max(named.images)
        each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
        lines = [f"Persons that are named: {named.images.total():,}, with {each} image{'s' * (most > 1)} each."]
        for (split, later), n in named.across.items():
            lines.append(f"Persons with images in {split} and in {later}: {n:,}. Of these nothing is held out.")
        return [*lines, f"Persons with images of several classes: {named.mixed:,}."]
    if published:
        return []
    if suggested is None:
        return [
            "Nobody is named: a promise would be for one image. If somebody has several, name them with "
            "--data.person-column or --data.person-pattern."
        ]
    names = "1 name does" if suggested.without == 1 else f"{suggested.without:,} names do"
    without = f" ({names} not match it, and would be refused)" if suggested.without else ""
    return [
        f"Nobody is named: a promise would be for one image. Names of files suggest {suggested.groups:,} groups, in "
        f"which {suggested.images:,} images are not alone. If these are persons, name them with --data.person-pattern "
        f"{shlex.quote(suggested.pattern)}{without}. Look first: in "
        f"{' it finds '.join(map(legible, suggested.example))}, and whoever has two such names is hidden as two."
    ]


def _listed(pairs: Sequence[tuple[str, str]]) -> str:
    """Places by what is wrong with them."""
    places: dict[str, list[str]] = {}
    for place, fault in pairs:
        places.setdefault(fault, []).append(place)
    return "; ".join(f"{', '.join(map(_printable, some))} ({fault})" for fault, some in places.items())


def advice(found: Survey, sized: int | None, fit: Fit | None = None) -> list[str]:
    """Which flags, or what done to the files, makes them of one size and kind; `sized` and `fit`: those given."""
    lines = []
    if (several := _sizes(found, fit)) > 1 and sized is None:
        sides = Counter[int]()
        for pair, n in found.sizes.items():
            sides[min(pair)] += n
        smaller = {side: sum(n for shortest, n in sides.items() if shortest < side) for side in SIDES}
        size = max((side for side in SIDES if smaller[side] <= FEW * sides.total()), default=SIDES[0])
        larger = f", and enlarges {smaller[size]:,} of {sides.total():,}" if smaller[size] else ""
        lines.append(
            f"There are {several:,} sizes, the shortest side is {min(sides)} pixels: --data.size {size} makes "
            f"them one{larger}. To be told of such a run, look again with --size {size}."
        )
    if fit is None and any(width != height for width, height in found.sizes):
        lines.append(
            "Not all are square: --data.size alone changes their proportions, --data.crop centre keeps them, and so "
            "does --data.fit pad, which keeps whole images. To see what becomes of them, look again with --fit."
        )
    kinds = _kinds(found)
    if len(kinds) > 1:
        told = " and ".join(f"{n:,} {kind}" for kind, n in sorted(kinds.items(), reverse=True))
        lines.append(
            f"There are both kinds, {told}: convert all to one of the two, or read them so with --data.colour rgb or "
            "grey."
        )
    return lines


def _kinds(found: Survey) -> Counter[str]:
    """Grey and colour, as far as there are any."""
    kinds = Counter({kind: n for kind, n in found.kinds.items() if kind != GREYS})
    if greys := found.kinds[GREYS]:
        kinds["grey" if kinds["grey"] or not kinds["colour"] else "colour"] += greys
    return kinds


def _sizes(found: Survey, fit: Fit | None) -> int:
    """How many there are once images are cropped, if they are."""
    return len({min(size) for size in found.sizes} if fit == "crop" else found.sizes)


def differing(found: Survey, channels: int, sized: int | None, fit: Fit | None = None) -> list[str]:
    """What a run is refused for, in words after "the first that"; nothing where all can be used, and are of one size,
    unless all are rescaled to `sized`, once cropped if that is the `fit`, and of the kind that the first one has."""
    kind = KINDS[channels]
    reasons = {
        "is of another size": sized is None and _sizes(found, fit) > 1,
        f"is not {kind}": bool(_kinds(found).keys() - {kind}),
        "cannot be used": bool(found.faults),
    }
    return [reason for reason, holds in reasons.items() if holds]


def sheet(found: Survey, names: Sequence[str] | None) -> bytes:
    """PNG: the first images of each class, a row per class, in boxes of one size."""
    every = [(label, one) for label, shown in sorted(found.shown.items()) for one in shown]
    side = max((max(one.shape[:2]) for _, one in every), default=BOX)
    boxes = np.full((len(every), side, side, 3), 224, np.uint8)
    for box, (_, one) in zip(boxes, every, strict=True):
        top, left = (side - one.shape[0]) // 2, (side - one.shape[1]) // 2
        box[top : top + one.shape[0], left : left + one.shape[1]] = one
    # Every class that there is has a row, if only an empty one; of a wild label there are not so many.
    labels = {label for split in found.classes.values() for label in split} | set(range(len(names or ())))
    rows = min(ROWS, 1 + max((label for label in labels if isinstance(label, int)), default=0))
    named = [name_of(label, names) for label in range(rows)] + [""] * len(labels - set(range(rows)))
    shown = Images(boxes, np.array([label for label, _ in every], np.int64), tuple(named))
    return png_bytes(sample_sheet(shown, COLUMNS, ROWS))


def page(title: str, lines: Sequence[str], shown: Sequence[Table], png: bytes) -> str:
    """A self-contained page."""
    # Imported where it is used, not above: who only asks for help must not wait for it.
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    picture = "data:image/png;base64," + base64.b64encode(png).decode()
    return made.get_template("look.html.j2").render(
        title=title, inside=INSIDE, lines=lines, tables=shown, picture=picture
    )  # fmt: skip
