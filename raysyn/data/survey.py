"""What is in a source of images, one picture after the other: a bad one is counted, and ends nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from raysyn.data.described import SCAN_OF_PALETTE, Described, described
from raysyn.data.picture import Fit, decode_picture, fault_of, is_broken
from raysyn.data.reading import Notes, Reading
from raysyn.data.source import SPLITS, Source, Split
from raysyn.data.stored import in_order, parts

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

AT_ONCE = 64
"""Pictures that memory holds, as files."""
TELL_S = 5.0
"""Between words about how far it is."""
EXAMPLES = 5
"""Places that are named, of faults and of copies."""
CROSSED = 10
"""Of copies across splits."""
GREYS = "P (grey)"
"""The mode of a picture whose palette is of greys: such a one is colour among colours."""
CLEAR = "--background white"
"""What the fault of a transparent image names as its mend."""
UNNAMED = "no window"
"""What is counted of a DICOM file that names none."""
BOX = 64
"""Pixels a side, at most, of what is kept for the contact sheet."""


@dataclass
class Survey:
    """Counts over all pictures. A class is a label as the source has it, whole or not."""

    classes: dict[str, Counter[Any]] = field(default_factory=dict)
    """{split: images of each label}, the unusable ones as well."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """(width, height) of those that are image files."""
    damaged: Counter[tuple[int, int]] = field(default_factory=Counter)
    """The same of those among them that cannot be decoded."""
    modes: Counter[str] = field(default_factory=Counter)
    """Pillow's names: L is grey, RGB colour, RGBA has transparency. With what the pixels tell: GREYS, and
    opaque where nothing shows through."""
    kinds: Counter[str] = field(default_factory=Counter)
    """grey, colour or GREYS, of those that can be used."""
    clear: Counter[str] = field(default_factory=Counter)
    """The same of those that could be over a background."""
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    """{mode: least and largest value} of what is deeper than 8 bits, in its own units."""
    depths: Counter[tuple[bool, bool]] = field(default_factory=Counter)
    """Those that can be decoded by (whether one is deeper than 8 bits, whether it can be used)."""
    of_depth: dict[bool, list[str]] = field(default_factory=lambda: {False: [], True: []})
    """Places of the first that are not deeper than 8 bits, and of the first that are."""
    windows: Counter[str] = field(default_factory=Counter)
    """Those that DICOM files name."""
    faults: Counter[str] = field(default_factory=Counter)
    """What is wrong with those that cannot be used."""
    faulty: list[tuple[str, str]] = field(default_factory=list)
    """(place, what is wrong) of the first of them."""
    broken: Counter[str] = field(default_factory=Counter)
    """{split: those of them that cannot be decoded}, which a run can leave out."""
    within: Counter[str] = field(default_factory=Counter)
    """Exact copies, pixel by pixel, of images before them in the same split."""
    across: Counter[tuple[str, str]] = field(default_factory=Counter)
    """{(split, earlier split): images of the first that are in the second too}."""
    relabelled: int = 0
    """Exact copies of an image before them that has another label."""
    copies: list[tuple[str, str]] = field(default_factory=list)
    """(place, place of the image before it) of the first copies."""
    crossed: list[tuple[str, str]] = field(default_factory=list)
    """The same of the first that are in another split."""
    shown: dict[Any, list[np.ndarray]] = field(default_factory=dict)
    """The first images of a class, small enough for a sheet."""

    @property
    def images(self) -> int:
        """All of them, the unusable ones as well."""
        return sum(found.total() for found in self.classes.values())

    @property
    def whole(self) -> Counter[tuple[int, int]]:
        """Sizes of those that can be decoded: a run leaves out the others, or stops at them, whatever their size."""
        return self.sizes - self.damaged


@dataclass(frozen=True)
class _Seen:
    """One picture."""

    facts: Described | None = None
    size: tuple[int, int] | None = None
    mode: str | None = None
    fault: str | None = None
    broken: bool = False
    kind: str | None = None
    """grey, colour or GREYS: as it is or, if its fault is that it is transparent, over white."""
    digest: bytes | None = None
    """Of the pixels, where it can be used."""
    small: np.ndarray | None = None
    """For the contact sheet."""


def survey(
    source: Source, columns: int, rows: int, tell: Callable[[int, int], None], size: int | None = None,
    fit: Fit | None = None,
) -> Survey:  # fmt: skip
    """Look at every picture of `source`; the first `columns` of `rows` classes are kept for a sheet, as they are
    or, with a `fit`, as they come into `size` by it.

    `tell` is called now and then with how many there were, and there are.
    """
    look = partial(_look, source.reading, partial(_small, size=size, fit=fit))
    names = {number: name for name, number in source.persons.items()}
    found, where = Survey(), dict[bytes, tuple[str, str, Any]]()
    total = sum(len(split.labels_N) for split in source.splits.values())
    done, spoken = 0, time.monotonic()
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for name in (name for name in SPLITS if name in source.splits):
            split, own = source.splits[name], Counter[Any](source.splits[name].labels_N.tolist())
            found.classes[name] = own
            here = set[bytes]()
            shows = partial(_shows, found, columns, rows)
            called = partial(_called, names, split)
            for start, seen in _seen(split, pool, look, shows):
                for index, one in enumerate(seen, start):
                    _count(found, one, split.place(index))
                    found.broken[name] += one.broken
                    if one.digest is not None:
                        label = split.labels_N[index].item()
                        _compare(found, where, here, one.digest, (name, called(index), label))
                        if one.small is not None and shows(label):
                            found.shown.setdefault(label, []).append(one.small)
                done += len(seen)
                if time.monotonic() - spoken > TELL_S:
                    tell(done, total)
                    spoken = time.monotonic()
    return found


def _seen(
    split: Split, pool: ThreadPoolExecutor, look: Callable[[Any, bool], _Seen], shows: Callable[[Any], bool]
) -> Iterator[tuple[int, list[_Seen]]]:
    """(place of the first, what was seen) of some at a time."""
    at = 0
    for some in parts(in_order(split.pictures, np.arange(len(split.pictures))), AT_ONCE):
        shown = map(shows, split.labels_N[at : at + len(some)].tolist())
        yield at, list(pool.map(look, some, shown))
        at += len(some)


def _look(reading: Reading, boxed: Callable[[np.ndarray], np.ndarray], picture: Any, shown: bool) -> _Seen:
    """What is seen of a picture, whose pixels nobody holds afterwards; `shown` is for the contact sheet."""
    facts = None
    try:
        facts = described(picture)
        pixels = decode_picture(picture, None, reading=reading)
        height, width, channels = pixels.shape  # of a picture that was lying, as it is shown
        mode = facts.mode
        if mode in ("LA", "RGBA") and reading.background is None:
            mode += " (opaque)"
        kind = _kind(facts, channels, reading)
        small = boxed(pixels) if shown else None
        mode = GREYS if kind == GREYS else mode
        return _Seen(facts, (width, height), mode, None, False, kind, _digest(pixels), small)
    except Exception as error:  # decoders raise anything on damaged bytes
        fault = fault_of(picture, error)
        broken = is_broken(picture, error)
        if facts is None:
            return _Seen(None, None, None, fault, broken)
        over = _over_white(picture, facts, reading) if CLEAR in fault else None
        return _Seen(facts, facts.size, facts.mode, fault, broken, over)


def _kind(facts: Described, channels: int, reading: Reading) -> str:
    if facts.mode in ("P", SCAN_OF_PALETTE) and channels == 1 and reading.colour == "auto":
        return GREYS
    return "grey" if channels == 1 else "colour"


def _over_white(picture: Any, facts: Described, reading: Reading) -> str | None:
    """Of which kind a transparent picture is over white, uncounted; None where it cannot be used then."""
    over = replace(reading, background="white", notes=Notes())
    try:
        return _kind(facts, decode_picture(picture, None, reading=over).shape[2], over)
    except Exception:  # decoders raise anything on damaged bytes
        return None


def _count(found: Survey, one: _Seen, place: str) -> None:
    if one.size is not None and one.mode is not None:
        found.sizes[one.size] += 1
        found.damaged[one.size] += one.broken
        found.modes[one.mode] += 1
    if one.kind is not None:
        (found.kinds if one.fault is None else found.clear)[one.kind] += 1
    if one.facts is not None and one.facts.span is not None:
        least, most = found.spans.get(one.facts.mode, one.facts.span)
        found.spans[one.facts.mode] = min(least, one.facts.span[0]), max(most, one.facts.span[1])
    if one.facts is not None and not one.broken:
        deep = one.facts.span is not None
        found.depths[deep, one.fault is None] += 1
        found.of_depth[deep] += [place][: EXAMPLES - len(found.of_depth[deep])]
    if one.facts is not None and one.facts.scan:
        window = one.facts.window
        found.windows[UNNAMED if window is None else f"{window[0]:g} to {window[1]:g}"] += 1
    if one.fault is not None:
        found.faults[one.fault] += 1
        if len(found.faulty) < EXAMPLES:
            found.faulty.append((place, one.fault))


def _called(names: Mapping[int, str], split: Split, index: int) -> str:
    """A picture's place, and after it whose it is where that is named."""
    name = None if split.persons_N is None else names.get(int(split.persons_N[index]))
    return split.place(index) if name is None else f"{split.place(index)} ({name})"


def _digest(pixels: np.ndarray) -> bytes:
    told = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    told.update(np.ascontiguousarray(pixels).data)
    return told.digest()


def _compare(
    found: Survey,
    where: dict[bytes, tuple[str, str, Any]],
    here: set[bytes],
    digest: bytes,
    this: tuple[str, str, Any],
) -> None:
    """Note a copy of what was there before: `where` is the first of all splits, `here` what this split has."""
    before = where.setdefault(digest, this)
    if before is this:
        here.add(digest)
        return
    pair = (f"{this[0]}: {this[1]}", f"{before[0]}: {before[1]}")
    if digest in here:
        found.within[this[0]] += 1
    else:
        # The earliest split that has it: of a third one, the second is not asked.
        found.across[this[0], before[0]] += 1
        found.crossed += [pair][: CROSSED - len(found.crossed)]
        here.add(digest)
    found.relabelled += before[2] != this[2]
    found.copies += [pair][: EXAMPLES - len(found.copies)]


def _shows(found: Survey, columns: int, rows: int, label: Any) -> bool:
    """Whether the contact sheet has room for one more of this class."""
    return isinstance(label, int) and 0 <= label < rows and len(found.shown.get(label, ())) < columns


def _small(pixels: np.ndarray, size: int | None, fit: Fit | None) -> np.ndarray:
    """RGB, and no side above BOX."""
    from PIL import Image

    if fit is not None:
        pixels = decode_picture(pixels, size, fit)
    image: Picture = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    image.thumbnail((BOX, BOX), Image.Resampling.BILINEAR)
    return np.asarray(image)
