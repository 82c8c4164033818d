"""WebDataset: images and labels in .tar files, one or many, read where they lie. Nothing is unpacked.

A sample is the files of one name up to its first full stop: `0001.png` and `0001.cls`. Only plain files are read, by
their places in the archive; links, folders and devices are left out, whatever their names are.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from raysyn.data.listing import is_hidden
from raysyn.data.manifest import LABEL, classes_of
from raysyn.data.members import Member
from raysyn.data.names import legible
from raysyn.data.parquet_schema import usual_name
from raysyn.data.shards import Kind, Shards, files_of, of_names, parquet_files, shards_of
from raysyn.data.source import USUAL_NAMES
from raysyn.data.written import written_classes

ENDING = ".tar"
TARS = Kind(ENDING, (ENDING,))
IMAGES = ("png", "jpg", "jpeg", "webp", "tif", "tiff", "bmp", "pgm", "ppm", "dcm")
LABELS = ("cls", "json", "txt")
"""In the order in which they are taken, where a sample has several."""
NAME = re.compile(r"^((?:.*/)?[^./]+)\.([^/]+)$", re.DOTALL)
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
MOST_SHARDS = 100_000
MOST_OF_LABEL = 2**20
"""Bytes of a label's file that are read."""
BLOCK = 512


class Image(NamedTuple):
    """One sample."""

    split: str
    member: Member
    label: int
    place: str


@dataclass(frozen=True)
class Tars:
    """All shards of a set, understood; of the images, only their places are held."""

    images: Sequence[Image]
    class_names: Sequence[str] | None
    shards: Shards
    told: str
    declared: bool = False
    """Whether a release says its classes, one of which may have no image."""


@dataclass
class _Sample:
    place: str
    images: list[Member] = field(default_factory=list)
    labels: dict[str, Member] = field(default_factory=dict)


def tar_shards(path: Path) -> list[Path]:
    """The .tar files that `path` names: itself, by a range such as set-{000..012}.tar, or those of a folder without
    class folders and Parquet files, beside which a .tar is no part of the set; none where the source is of another
    kind."""
    if RANGE.search(path.name) and not path.exists():
        return _in_range(path) if path.suffix.lower() == ENDING else []
    if path.is_file():
        return [path] if path.suffix.lower() == ENDING else []
    if not path.is_dir():
        return []
    try:
        found = files_of(path, TARS.endings)
        return found if found and not parquet_files(path) and not _has_class_folders(path) else []
    except OSError:  # for the walk to tell
        return []


def _in_range(path: Path) -> list[Path]:
    parts, spans = RANGE.split(path.name)[::3], RANGE.findall(path.name)
    numbers = [range(int(first), int(last) + 1) for first, last in spans]
    widths = [len(first) for first, _ in spans]
    found = []
    for some in itertools.islice(itertools.product(*numbers), MOST_SHARDS):
        name = parts[0]
        for number, width, part in zip(some, widths, parts[1:], strict=True):
            name += f"{number:0{width}d}{part}"
        found.append(path.with_name(name))
    return found


def _has_class_folders(path: Path) -> bool:
    """Whether images lie in folders here, so that a .tar beside them is none of the set."""
    inside = [one for one in path.iterdir() if one.is_dir() and not is_hidden(one.name)]
    shards = [one for one in inside if one.name.lower() in USUAL_NAMES or one.name == "data"]
    return len(inside) > len(shards) or any(below.is_dir() for one in shards for below in one.iterdir())


def read_tars(path: Path, label: str) -> Tars:
    """Look through all shards that `path` names; file names of a folder or a range say splits. ValueError, in a
    sentence that `label` opens, for an archive that is damaged or cut off, and a sample without image or label."""
    found = _shards(path, label)
    kept = found.shards
    aside, kinds = Counter[str](), Counter[str]()
    rows: list[tuple[str, Member, str]] = []
    places: list[str] = []
    for shard in kept:
        for sample in _samples(shard.path, label, aside):
            before = f"{legible(shard.path.name)}, " if len(kept) > 1 else ""
            place = f"{before}sample {sample.place}"
            image, kind, word = _understood(sample, f"{label}: {place}")
            kinds[kind] += 1
            rows.append((shard.split or "train", image, word))
            places.append(place)
    if len(kinds) > 1:
        raise ValueError(f"{label} has labels by {' and '.join(sorted(kinds))}; give all samples one kind of label")
    told_names = [name for (name,) in written_classes(path if path.is_dir() else path.parent, "name")]
    declared = bool(told_names) and {*kinds} == {"cls"} and all(int(word) < len(told_names) for _, _, word in rows)
    if declared:
        numbers = {str(number): number for number in range(len(told_names))}
        names: list[str] | None = told_names
    else:
        numbers, names = classes_of([(split, "", word) for split, _, word in rows], label)
    images = [
        Image(split, member, numbers[word], place) for (split, member, word), place in zip(rows, places, strict=True)
    ]
    told = f"{len(kept):,} WebDataset shard{'s' if len(kept) > 1 else ''}, labels by {next(iter(kinds), 'cls')}"
    told += ", splits by file names" if found.by_names else ", no splits: all for training"
    left = ", ".join([*found.left, *(f"{count:,} {what}" for what, count in sorted(aside.items()))])
    return Tars(images, names, found, told + (f"; left out: {left}" if left else ""), declared)


def _shards(path: Path, label: str) -> Shards:
    """The shards with their splits, by the rules for Parquet files."""
    if path.exists():
        return shards_of(path, label, lambda _: False, TARS)
    files = _in_range(path)
    for file in files:
        if not file.is_file():
            raise ValueError(f"{label} has no file {legible(file.name)}; bring it, or name those that are there")
    return of_names(path.parent, files, label, lambda _: False, TARS)


def _understood(sample: _Sample, place: str) -> tuple[Member, str, str]:
    """(image, kind of label, label) of a sample."""
    if len(sample.images) != 1:
        has = "several images" if sample.images else f"no image ({', '.join(IMAGES[:4])})"
        raise ValueError(f"{place} has {has}; give one each")
    kind = next((kind for kind in LABELS if kind in sample.labels), None)
    if kind is None:
        raise ValueError(
            f"{place} has no label (cls, json or txt); give one each (if the archive holds class folders, unpack it)"
        )
    member = sample.labels[kind]
    if member.size > MOST_OF_LABEL:
        raise ValueError(f"{place} has a label of {member.size:,} bytes; give a number or a word")
    try:
        word = member.read().decode().strip()
    except UnicodeDecodeError:
        raise ValueError(f"{place} has a label that is not UTF-8; mend it") from None
    if kind == "json":
        word = _of_json(word, place)
    if not word:
        raise ValueError(f"{place} has an empty label; give a number or a word")
    if "|" in word:
        # Taken for one, each combination that occurs would be a class, and tell of rare ones.
        raise ValueError(f"{place} has several labels, with | between them; give one each")
    if kind == "cls":
        if not (word.isascii() and word.isdigit() and len(word) < 10):
            raise ValueError(f"{place} has a label cls that is no class number; give 0, 1, 2, ...")
        word = str(int(word))
    return sample.images[0], kind, word


def _of_json(text: str, place: str) -> str:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{place} has a label json that is no JSON; mend it") from None
    for name in LABEL if isinstance(found, dict) else ():
        value = found.get(usual_name(list(found), (name,)))
        if isinstance(value, int | str) and not isinstance(value, bool):
            return str(value)
    raise ValueError(f"{place} has no number or word {', '.join(LABEL[:-1])} or {LABEL[-1]} in its json; add it")


def _samples(path: Path, label: str, aside: Counter[str]) -> Iterator[_Sample]:
    """The samples of one archive, in its order; `aside` counts what is no part of one."""
    found: dict[str, _Sample] = {}
    for name, member in _files(path, label, aside):
        match = NAME.match(name)
        if match is None or os.path.basename(name).startswith("."):
            aside["other files"] += 1
            continue
        key, kind = match[1], match[2].lower()
        if kind not in IMAGES and kind not in LABELS:
            aside["other files"] += 1
            continue
        sample = found.setdefault(key, _Sample(legible(key)))
        if kind in IMAGES:
            sample.images.append(member)
        elif kind in sample.labels:
            raise ValueError(
                f"{label}: {legible(path.name)} has two files {legible(key)}.{kind}; leave one of them out"
            )
        else:
            sample.labels[kind] = member
    yield from found.values()


def _files(path: Path, label: str, aside: Counter[str]) -> Iterator[tuple[str, Member]]:
    """(name, place) of every plain file of an archive, which must be whole up to its end mark."""
    name, whole = f"{label}: {legible(path.name)}", True
    try:
        size, before = path.stat().st_size, -1
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
            held: Any = archive
            while whole and (one := archive.next()) is not None:
                held.members.clear()  # it keeps all that it has seen
                if not one.isreg() or one.issparse():
                    aside["links and other special files"] += not one.isdir()
                elif not before < one.offset_data <= one.offset_data + one.size <= size:
                    whole = False
                else:
                    before = one.offset_data
                    yield one.name, Member(str(path), one.offset_data, one.size)
            whole = whole and _ends(file, archive.offset)
    except PermissionError as error:
        raise ValueError(f"{name} cannot be read ({error.strerror}); mend its permissions") from error
    except Exception as error:  # damaged headers raise anything
        raise ValueError(f"{name} cannot be read as a .tar, which must not be compressed; bring it anew") from error
    if not whole:
        raise ValueError(f"{name} is damaged or cut off: it does not end where an archive does; bring it anew")


def _ends(file: BinaryIO, offset: int) -> bool:
    """Whether a block of zeros is at `offset`, and nothing but zeros comes after: without, files may be missing."""
    file.seek(offset)
    mark = file.read(BLOCK)
    return len(mark) == BLOCK and not any(part.strip(b"\0") for part in (mark, *iter(lambda: file.read(2**20), b"")))
