"""WebDataset: images and labels in .tar files, one or many, read where they lie. Nothing is unpacked.

A sample is the files of one name up to its first full stop: `0001.png` and `0001.cls`. Only plain files are read, by
their places in the archive; links, folders and devices are left out, whatever their names are, and so is what systems
hide.
"""

from __future__ import annotations

import itertools
import math
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from raysyn.data.listing import is_hidden
from raysyn.data.members import Archive, Member
from raysyn.data.names import legible
from raysyn.data.persons import Persons
from raysyn.data.shards import Kind, Shards, files_of, of_names, parquet_files, shards_of
from raysyn.data.source import USUAL_NAMES
from raysyn.data.tar_labels import LABELS, Whose, label_of, refuse_strange
from raysyn.data.word_labels import classes_of
from raysyn.data.written import written_classes

ENDING = ".tar"
TARS = Kind(ENDING, (ENDING,))
IMAGES = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "pgm", "ppm", "dcm", "gif", "jp2", "pbm", "pnm")
NAME = re.compile(r"^((?:.*/)?[^./]+)\.([^/]+)$", re.DOTALL)
RANGE = re.compile(r"\{(\d{1,99})\.\.(\d{1,99})\}")
MOST_SHARDS = 100_000
BLOCK = 512
FURTHER = "with a further full stop in their names"
"""Such as masks, NAME.seg.png beside NAME.png."""


class Image(NamedTuple):
    """One sample."""

    split: str
    member: Member
    label: int
    place: str
    name: str
    """Of its file, in the archive."""


@dataclass(frozen=True)
class Tars:
    """All shards of a set, understood; of the images, only their places are held."""

    images: Sequence[Image]
    class_names: Sequence[str] | None
    shards: Shards
    told: str
    declared: bool = False
    """Whether a release says its classes, one of which may have no image."""
    persons: Sequence[int] | None = None
    """A number for whose each image is; None where nobody is named."""
    warned: tuple[str, ...] = ()
    """What a user must know of them."""
    named: Mapping[str, int] = field(default_factory=dict, repr=False)
    """{name: number} of persons."""


@dataclass
class _Sample:
    place: str
    images: list[Member] = field(default_factory=list)
    name: str = ""
    """Of the last image."""
    labels: dict[str, Member] = field(default_factory=dict)


def tar_shards(path: Path) -> list[Path]:
    """The .tar files that `path` names: itself, also as a range such as set-{000..012}.tar, or those of a folder
    without class folders and Parquet files, beside which a .tar is no part of the set; none where the source is of
    another kind."""
    if _is_range(path):
        return [path]
    if path.is_file():
        return [path] if path.suffix.lower() == ENDING else []
    if not path.is_dir():
        return []
    try:
        found = files_of(path, TARS.endings)
        return found if found and not parquet_files(path) and not _has_class_folders(path) else []
    except OSError:  # for the walk to tell
        return []


def _is_range(path: Path) -> bool:
    return bool(RANGE.search(path.name)) and path.suffix.lower() == ENDING and not path.exists()


def _in_range(path: Path, label: str) -> list[Path]:
    """The files of a range, all of which must be there."""
    parts, spans = RANGE.split(path.name)[::3], RANGE.findall(path.name)
    numbers = [range(int(first), int(last) + 1) for first, last in spans]
    if not all(numbers):
        raise ValueError(f"{label} counts down; write the smaller number first")
    if math.prod(one.stop - one.start for one in numbers) > MOST_SHARDS:
        raise ValueError(f"{label} names more than {MOST_SHARDS:,} files; mend the range")
    widths = [len(first) for first, _ in spans]
    found = []
    for some in itertools.product(*numbers):
        name = parts[0]
        for number, width, part in zip(some, widths, parts[1:], strict=True):
            name += f"{number:0{width}d}{part}"
        found.append(path.with_name(name))
        if not found[-1].is_file():
            raise ValueError(f"{label} has no file {legible(name)}; bring it, or name those that are there")
    return found


def _has_class_folders(path: Path) -> bool:
    """Whether images lie in folders here, so that a .tar beside them is none of the set."""
    inside = [one for one in path.iterdir() if one.is_dir() and not is_hidden(one.name)]
    shards = [one for one in inside if one.name.lower() in USUAL_NAMES or one.name == "data"]
    return len(inside) > len(shards) or any(below.is_dir() for one in shards for below in one.iterdir())


def read_tars(path: Path, label: str, labels: bool = True, persons: Persons | None = None) -> Tars:
    """Look through all shards that `path` names; file names of a folder or a range say splits. Without `labels` none is
    read, and all samples are of class 0; without `persons` nobody is named. ValueError, in a sentence that `label`
    opens, for an archive that is damaged or cut off, and a sample without image or label."""
    found = _shards(path, label)
    kept = found.shards
    aside, kinds = Counter[str](), Counter[str]()
    rows: list[tuple[str, Member, str]] = []
    places: list[str] = []
    files: list[str] = []
    whose = None if persons is None or persons.pattern is not None else Whose(persons)
    for shard in kept:
        for sample in _samples(shard.path, label, aside):
            before = f"{legible(shard.path.name)}, " if len(kept) > 1 else ""
            place = f"{before}sample {sample.place}"
            image = _image(sample, f"{label}: {place}")
            kind, word = label_of(sample.labels, f"{label}: {place}") if labels else ("", "0")
            kinds[kind] += 1
            if whose is not None:
                whose.ask(sample.labels, f"{label}: {place}")
            rows.append((shard.split or "train", image, word))
            places.append(place)
            files.append(sample.name)
    if len(kinds) > 1:
        raise ValueError(f"{label} has labels by {' and '.join(sorted(kinds))}; give all samples one kind of label")
    refuse_strange([(split, word) for split, _, word in rows], places, label, "txt" in kinds)
    told_names = [name for (name,) in written_classes(path if path.is_dir() else path.parent, "name")]
    declared = bool(told_names) and {*kinds} == {"cls"} and all(int(word) < len(told_names) for _, _, word in rows)
    if declared:
        numbers = {str(number): number for number in range(len(told_names))}
        names: list[str] | None = told_names
    else:
        numbers, names = classes_of(rows, label, places)
    images = [
        Image(split, member, numbers[word], place, file)
        for (split, member, word), place, file in zip(rows, places, files, strict=True)
    ]
    told = f"{len(kept):,} WebDataset shard{'s' if len(kept) > 1 else ''}"
    told += f", labels by {next(iter(kinds), 'cls')}" if labels else ", labels unread"
    numbered, warned = (None, ()) if whose is None else whose.numbers(label)
    if whose is not None and whose.unreadable:
        aside["json that cannot be read"] = whose.unreadable
    told += "" if numbered is None else ", persons by json"
    told += ", splits by file names" if found.by_names else ", no splits: all for training"
    left = ", ".join([*found.left, *(f"{count:,} {what}" for what, count in sorted(aside.items()))])
    told += f"; left out: {left}" if left else ""
    return Tars(images, names, found, told, declared, numbered, warned, {} if whose is None else whose.named)


def _shards(path: Path, label: str) -> Shards:
    """The shards with their splits, by the rules for Parquet files."""
    if path.exists():
        return shards_of(path, label, lambda _: False, TARS)
    # A part of a set, where a user names one.
    return of_names(path.parent, _in_range(path, label), label, lambda _: False, TARS, whole=False)


def _image(sample: _Sample, place: str) -> Member:
    if len(sample.images) != 1:
        has = "several images" if sample.images else f"no image ({', '.join(IMAGES[:4])})"
        raise ValueError(f"{place} has {has}; give one each")
    return sample.images[0]


def _samples(path: Path, label: str, aside: Counter[str]) -> Iterator[_Sample]:
    """The samples of one archive, in its order; `aside` counts what is no part of one."""
    found: dict[str, _Sample] = {}
    apart: dict[str, str] = {}
    for name, member in _files(path, label, aside):
        if any(is_hidden(part) for part in name.split("/") if part not in (".", "..")):
            aside["hidden"] += 1
            continue
        match = NAME.match(name)
        key, kind = (match[1], match[2].lower()) if match else ("", "")
        if kind.rpartition(".")[2] not in (*IMAGES, *LABELS):
            aside["other files"] += 1
        elif "." in kind:
            aside[FURTHER] += 1
            apart.setdefault(key, name)
        elif kind in IMAGES:
            sample = found.setdefault(key, _Sample(legible(key)))
            sample.images.append(member)
            sample.name = name
        elif kind in (sample := found.setdefault(key, _Sample(legible(key)))).labels:
            raise ValueError(
                f"{label}: {legible(path.name)} has two files {legible(key)}.{kind}; leave one of them out"
            )
        else:
            sample.labels[kind] = member
    for key, name in apart.items():
        if key not in found or not found[key].images:
            raise ValueError(
                f"{label}: {legible(path.name)} has {legible(name)}, whose sample by its name is {legible(key)}, up to "
                "the first full stop, and has no image; name its files without further full stops"
            )
    yield from found.values()


def _files(path: Path, label: str, aside: Counter[str]) -> Iterator[tuple[str, Member]]:
    """(name, place) of every plain file of an archive, which must be whole up to its end mark."""
    name, whole, same, before = f"{label}: {legible(path.name)}", True, True, -1
    try:
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            known, held = Archive.of(str(path), file), cast(Any, archive)
            while whole and (one := archive.next()) is not None:
                held.members.clear()  # it keeps all that it has seen
                if not one.isreg() or one.issparse():
                    aside["links and other special files"] += not one.isdir()
                elif not before < one.offset_data <= one.offset_data + one.size <= known.size:
                    whole = False
                else:
                    before = one.offset_data
                    yield one.name, Member(known, one.offset_data, one.size)
            whole = whole and _ends(file, archive.offset)
            same = Archive.of(str(path), file) == known
    except PermissionError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); mend its permissions") from error
    except Exception as error:  # damaged headers raise anything
        raise ValueError(f"{name} cannot be read as a .tar, which must not be compressed; bring it anew") from error
    if not same:
        raise ValueError(f"{label}: {known.changed()}")
    if not whole:
        raise ValueError(f"{name} is damaged or cut off: it does not end where an archive does; bring it anew")


def _ends(file: BinaryIO, offset: int) -> bool:
    """Whether a block of zeros is at `offset`, and nothing but zeros comes after: without, files may be missing."""
    file.seek(offset)
    mark = file.read(BLOCK)
    return len(mark) == BLOCK and not any(part.strip(b"\0") for part in (mark, *iter(lambda: file.read(2**20), b"")))
