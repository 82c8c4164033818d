"""What `raysyn look` says of a source: sentences and tables, all of which stay inside."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from raysyn.data.grouped import Named, Suggested
from raysyn.data.names import legible
from raysyn.data.picture import Fit
from raysyn.data.source import SPLITS
from raysyn.data.survey import GREYS, Survey

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
SIDES = (8, 16, 28, 32, 64, 128, 224, 256)
"""Sizes that are advised."""
MOST_SIZES, SOME_SIZES = 8, 5
"""Sizes of which each has a row, and how many have one where there are more."""
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
    return printable(names[label] if names is not None and known else str(label))


def printable(text: str) -> str:
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
    made.append(Table("Sizes", [["width x height", "images"], *_rows_of_sizes(found)]))
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
        pairs = [[printable(one), printable(other)] for one, other in found.crossed]
        made.append(Table(f"Exact copies across splits{some}", [["image", "is the same as"], *pairs]))
    return made


def _rows_of_sizes(found: Survey) -> list[list[str]]:
    """The most frequent first; of many sizes the first few alone."""
    every = found.sizes.most_common()
    shown = every if len(every) <= MOST_SIZES else every[:SOME_SIZES]
    rest = [[f"{len(every) - len(shown):,} more", f"{sum(n for _, n in every[len(shown) :]):,}"]]
    return [[_by(size), f"{n:,}"] for size, n in shown] + rest * (len(every) > len(shown))


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]}"


def _span_of_sizes(found: Survey) -> list[str]:
    """Where they lie, of those that have no row each."""
    if len(found.sizes) <= MOST_SIZES:
        return []
    every = sorted(found.sizes, key=lambda size: (max(size), min(size)))
    up_to = accumulate(found.sizes[size] for size in every)
    median = next(size for size, n in zip(every, up_to, strict=True) if 2 * n >= found.sizes.total())
    return [
        f"By the longer side, the smallest image is {_by(every[0])}, the median {_by(median)} and the largest "
        f"{_by(every[-1])} pixels."
    ]


def _by_value(label: Any) -> tuple[bool, Any]:
    """Numbers by value, and after them whatever else labels are, as it is printed."""
    number = isinstance(label, int | float) and label == label
    return not number, label if number else str(label)


def sentences(found: Survey, skipped: int = 0, windows: bool = True) -> list[str]:
    """What is worth knowing beside the tables; `skipped` is how many that are broken a run may leave out, `windows`
    whether a window helps."""
    lines = _span_of_sizes(found)
    if bad := found.faults.total():
        stops = ", at which a run stops" if _stops(found, skipped) else ""
        lines.append(f"Images that cannot be used{stops}: {bad:,}. The first: {_listed(found.faulty)}.")
    if broken := found.broken.total():
        those = ("it" if bad == 1 else "these") if broken == bad else f"the {broken:,} out that cannot be decoded"
        lines[-1] += f" --data.skip-broken {broken} leaves {those}{' out' * (broken == bad)}."
    for mode, (least, most) in found.spans.items():
        whole = f" {WHOLE_RANGE}" if mode.startswith("I;16") else ""
        ends = f" {PRIVATE_ENDS}{whole}" if windows else ""
        lines.append(f"Values of {mode} lie from {least:,g} to {most:,g}.{ends}")
    lines += [f"Exact copies within {split}: {n:,}." for split, n in found.within.items() if n]
    for (split, earlier), n in found.across.items():
        lines.append(f"Exact copies in {split} of images of {earlier}: {n:,}. These are not held out.")
    if found.relabelled:
        lines.append(f"Exact copies with another label than the first of their kind: {found.relabelled:,}.")
    # Those across splits have a table.
    if more := [pair for pair in found.copies if pair not in found.crossed]:
        pairs = "; ".join(f"{printable(one)} is {printable(other)}" for one, other in more)
        lines.append(f"The first copies within a split, beside the first of the same pixels in any: {pairs}.")
    if not found.copies and not bad:
        lines.append("No image is an exact copy of another one.")
    elif not found.copies and (compared := found.images - bad) > 1:
        lines.append(f"Of the {compared:,} images that can be used none is an exact copy of another one.")
    return lines


def _stops(found: Survey, skipped: int) -> bool:
    """Whether a run stops at an image that cannot be used."""
    broken = found.broken.total()
    return found.faults.total() > (broken if broken <= skipped else 0)


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
    return "; ".join(f"{', '.join(map(printable, some))} ({fault})" for fault, some in places.items())


def advice(found: Survey, sized: int | None, fit: Fit | None = None) -> list[str]:
    """Which flags, or what done to the files, makes them of one size and kind; `sized` and `fit`: those given."""
    lines = []
    if (several := how_many_sizes(found, fit)) > 1 and sized is None:
        size, smaller = advised_size(found)
        larger = f", and enlarges {smaller:,} of {found.whole.total():,}" if smaller else ""
        shortest = min(map(min, found.whole))
        lines.append(
            f"There are {several:,} sizes, the shortest side is {shortest} pixels: --data.size {size} "
            f"makes them one{larger}. To be told of such a run, look again with --size {size}."
        )
    if fit is None and any(width != height for width, height in found.whole):
        lines.append(
            "Not all are square: --data.size alone changes their proportions, --data.crop centre keeps them, and so "
            "does --data.fit pad, which keeps whole images. To see what becomes of them, look again with --fit."
        )
    if len(both := kinds(found)) > 1:
        told = " and ".join(f"{n:,} {kind}" for kind, n in sorted(both.items(), reverse=True))
        lines.append(
            f"There are both kinds, {told}: convert all to one of the two, or read them so with --data.colour rgb or "
            "grey."
        )
    return lines


def advised_size(found: Survey) -> tuple[int, int]:
    """One that most images have, and how many are smaller."""
    sides = Counter[int]()
    for pair, n in found.whole.items():
        sides[min(pair)] += n
    smaller = {side: sum(n for shortest, n in sides.items() if shortest < side) for side in SIDES}
    size = max((side for side in SIDES if smaller[side] <= FEW * sides.total()), default=SIDES[0])
    return size, smaller[size]


def kinds(found: Survey, over: bool = False) -> Counter[str]:
    """Grey and colour, as far as there are any; `over` is whether transparent ones count, as they are over white."""
    every = found.kinds + found.clear if over else found.kinds
    both = Counter({kind: n for kind, n in every.items() if kind != GREYS})
    if greys := every[GREYS]:
        both["grey" if both["grey"] or not both["colour"] else "colour"] += greys
    return both


def how_many_sizes(found: Survey, fit: Fit | None) -> int:
    """How many those that can be decoded have, once they are cropped, if they are."""
    return len({min(size) for size in found.whole} if fit == "crop" else found.whole)


def differing(found: Survey, channels: int, sized: int | None, fit: Fit | None = None, skipped: int = 0) -> list[str]:
    """What a run is refused for, in words after "the first that"; nothing where all can be used but for broken ones
    that are `skipped`, and are of one size, unless all are rescaled to `sized`, once cropped if that is the `fit`, and
    of the kind that the first one has."""
    kind = KINDS[channels]
    reasons = {
        "is of another size": sized is None and how_many_sizes(found, fit) > 1,
        f"is not {kind}": bool(kinds(found).keys() - {kind}),
        "cannot be used": _stops(found, skipped),
    }
    return [reason for reason, holds in reasons.items() if holds]
