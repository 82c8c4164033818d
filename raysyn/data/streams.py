"""Public images one at a time, from names, files and folders."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from raysyn.data.folders import understood
from raysyn.data.labels import check_number, count_classes, whole_numbers
from raysyn.data.manifest import ENDINGS as MANIFEST
from raysyn.data.manifest import read_manifest
from raysyn.data.names import legible
from raysyn.data.parquet import open_parquet
from raysyn.data.parquet_schema import Columns, check_no_columns
from raysyn.data.picture import Crop, Fit
from raysyn.data.shards import ENDINGS as PARQUET
from raysyn.data.shards import parquet_files
from raysyn.data.source import Source
from raysyn.data.sources import NAMES, check_given, from_name, from_path
from raysyn.data.tars import read_tars, tar_shards

READ_AS = "upright, splits anywhere in names, of the depth that files say, whole, numbers as such"
"""Changes where files are read otherwise than before: what was decoded then must not be taken for them."""


@dataclass(frozen=True, kw_only=True)
class PublicConfig:
    """Which labelled public images to use, brought to the size and colours of the sensitive ones."""

    name: tuple[str, ...] = ("glyphs",)
    """glyphs (letters, built in), or names that --data.name knows. Several sets make one, whose classes are those of
    the first, then of the second and so on."""
    path: tuple[str, ...] = ()
    """Own data instead of names: Parquet files (columns image, label, split) or folders of them, .npz files, or folders
    with train/ and, if there is one, val/ or test/, each with one sub-folder of images per class. Parquet and folders
    are read as a stream; a set by name, or a small .npz file, is held once, while it is decoded."""
    image_column: str | None = None
    """Column of Parquet files that holds the images (by default image, or else img), or of .csv files their paths."""
    label_column: str | None = None
    """Column of them that holds their classes, as numbers or names; by default label, or else labels."""
    crop: Crop | None = None
    """centre: of every image keep the square in its middle, before it is rescaled; by default the whole image."""
    fit: Fit | None = None
    """How an image of other proportions comes into the size of the sensitive ones: stretch (by default), pad (whole, in
    the middle of black), or crop (the same as --public.crop centre)."""
    window: tuple[float, float] | None = None
    """LOW HIGH: of images deeper than 8 bits (16-bit, floats, DICOM) LOW and below becomes 0, HIGH and above 255, and
    what is between linear, in the units of the files. By default such are refused, but for floats from 0 to 1 and DICOM
    files that name a window."""
    background: str | None = None
    """white, black or #rrggbb: what shows through transparent images; by default such are refused."""
    skip_broken: int | None = None
    """Leave out up to this many images that cannot be decoded."""
    limit: int | None = None
    """Use at most this many of the training images, always the same ones."""

    def sets(self) -> tuple[str, ...]:
        """Names of the sets, files or folders, without their paths, as a certificate names them."""
        return tuple(Path(one).expanduser().resolve().name for one in self.path) or self.name

    @staticmethod
    def of(entry: str, like: PublicConfig) -> PublicConfig:
        """All of one set, by a name that is known or else a path, whose pictures are read as those of another, as far
        as that is for its kind: what is said of image files is not of arrays."""
        every = replace(like, name=(), path=(), limit=None, image_column=None, label_column=None)
        if entry in NAMES or entry.lower().endswith(".npz"):
            every = replace(every, background=None, skip_broken=None)
        return replace(every, name=(entry,), window=None) if entry in NAMES else replace(every, path=(entry,))


class Picture(NamedTuple):
    """One picture as a source holds it."""

    split: str
    pixels: Any
    """HWC array, bytes of an image file, its path, or a member of an archive."""
    label: int
    place: str
    """What to call it in an error."""


@dataclass(frozen=True)
class Stream:
    """A source read from its beginning to its end."""

    name: str
    label: str
    identity: tuple[Any, ...]
    """Changes when its images may have."""
    opened: Callable[[], tuple[Sequence[str] | None, Iterator[Picture]]]
    """Class names, where they are known, and all pictures: asked for only where these are not decoded yet."""
    told: str = ""
    """How it was understood, and what of it was left out."""

    @staticmethod
    def of(config: PublicConfig) -> Stream:
        if not config.path and not config.name:
            raise ValueError("public.name and public.path are both empty: name one public set at least")
        columns = Columns(config.image_column, config.label_column, "public.")
        if not config.path:
            check_no_columns(columns, f"public.name={config.name[0]!r}")
        streams = [_from_path(one, columns) for one in config.path] or [*map(_from_name, config.name)]
        streams = [replace(stream, opened=partial(_without_gap, stream)) for stream in streams]
        return streams[0] if len(streams) == 1 else _chained(streams)


def _from_name(name: str) -> Stream:
    return Stream(name, f"public set {name}", (name,), partial(_held, from_name, name, None, "public"))


def _from_path(given: str, columns: Columns) -> Stream:
    path = check_given(given, f"public.path={given!r}")
    if tar_shards(path):
        check_no_columns(columns, f"public.path={given!r}")
        return _tars(path)
    if parquet_files(path) or (path.suffix.lower() in PARQUET and path.is_file()):
        return _parquet(path, columns)
    if path.suffix.lower() in MANIFEST and path.is_file():
        return _manifest(path, columns)
    check_no_columns(columns, f"public.path={given!r}")
    if path.is_dir():
        return _folder(path)
    identity = (*_file_facts(path), READ_AS) if path.exists() else (given,)
    return Stream(
        path.stem, f"public set {path.stem}", identity, partial(_held, partial(from_path, group="public"), given)
    )


def _held(read: Callable[..., Source], *given: Any) -> tuple[Sequence[str] | None, Iterator[Picture]]:
    """A source that is read as a whole."""
    source = read(*given)
    for split in source.splits:
        whole_numbers(source, split)
    return source.class_names, _of(source)


def _without_gap(stream: Stream) -> tuple[Sequence[str] | None, Iterator[Picture]]:
    """The same, with a ValueError at its end where classes without names leave some number out."""
    names, found = stream.opened()

    def pictures() -> Iterator[Picture]:
        seen: dict[str, set[int]] = {"train": set()}
        for picture in found:
            check_number(picture.label, f"{stream.label}: {picture.place}")
            seen.setdefault(picture.split, set()).add(picture.label)
            yield picture
        if seen["train"]:  # else there is another sentence
            count_classes(stream.label, dict(seen), "")

    return names, (found if names is not None else pictures())


def _chained(streams: Sequence[Stream]) -> Stream:
    """Several sources as one: the labels of each come after those of the sources before it."""

    def opened() -> tuple[Sequence[str] | None, Iterator[Picture]]:
        parts = [stream.opened() for stream in streams]
        known = [
            f"{stream.name}: {name}" for stream, (names, _) in zip(streams, parts, strict=True) for name in names or ()
        ]
        return (known if all(names for names, _ in parts) else None), pictures(parts)

    def pictures(parts: Sequence[tuple[Sequence[str] | None, Iterator[Picture]]]) -> Iterator[Picture]:
        before = 0
        for stream, (names, found) in zip(streams, parts, strict=True):
            classes = len(names or ())
            for picture in found:
                if names is None:
                    classes = max(classes, picture.label + 1)
                elif not 0 <= picture.label < classes:
                    raise ValueError(
                        f"{stream.label}: {picture.place} has the label {picture.label}, but classes are 0 to "
                        f"{classes - 1}; mend it"
                    )
                yield picture._replace(label=before + picture.label, place=f"{stream.name}, {picture.place}")
            before += classes

    name = " and ".join(stream.name for stream in streams)
    told = "; ".join(f"{stream.name}: {stream.told}" for stream in streams if stream.told)
    return Stream(name, f"public sets {name}", tuple(stream.identity for stream in streams), opened, told)


def _of(source: Source) -> Iterator[Picture]:
    for split, part in source.splits.items():
        for index, label in enumerate(part.labels_N.tolist()):
            yield Picture(split, part.pictures[index], label, part.place(index))


def _file_facts(path: Path) -> tuple[str, int, int]:
    found = path.stat()
    return str(path.resolve()), found.st_size, found.st_mtime_ns


def _parquet(path: Path, columns: Columns) -> Stream:
    label = f"public.path={str(path)!r}"
    table = open_parquet(path, label, columns)

    def pictures() -> Iterator[Picture]:
        for row in table.rows():
            yield Picture(row.split, row.image, row.label, table.place(row.shard, row.number))

    # Of one file as it was before there were several, and columns to name.
    facts = (
        _file_facts(path)
        if path.is_file()
        else tuple((*_file_facts(shard.path), shard.split) for shard in table.shards)
    )
    given = [columns] if columns.image or columns.label else []
    name = path.stem if path.is_file() else path.resolve().name
    return Stream(name, label, (*facts, *given, READ_AS), lambda: (table.class_names, pictures()), table.told)


def _manifest(path: Path, columns: Columns) -> Stream:
    label = f"public.path={str(path)!r}"
    manifest = read_manifest(path, label, columns)

    def pictures() -> Iterator[Picture]:
        for split, file, number in manifest.rows:
            yield Picture(split, Path(file), number, f"file {legible(os.path.relpath(file, path.parent))}")

    digest = hashlib.sha256()
    for row in manifest.rows:
        digest.update(os.fsencode(f"{row} {_file_facts(Path(row[1]))[1:]}\n"))
    facts = (*_file_facts(path), digest.hexdigest(), READ_AS)
    return Stream(path.stem, label, facts, lambda: (manifest.class_names, pictures()), manifest.told)


def _tars(path: Path) -> Stream:
    label = f"public.path={str(path)!r}"
    found = read_tars(path, label)

    def pictures() -> Iterator[Picture]:
        for image in found.images:
            yield Picture(image.split, image.member, image.label, image.place)

    facts = tuple((*_file_facts(shard.path), shard.split) for shard in found.shards.shards)
    # Of which the archives say nothing.
    declared = (tuple(found.class_names or ()),) if found.declared else ()
    name = path.resolve().name if path.is_dir() else path.stem
    return Stream(name, label, (*facts, *declared, READ_AS), lambda: (found.class_names, pictures()), found.told)


def _folder(path: Path) -> Stream:
    label = f"public.path={str(path)!r}"
    layout = understood(str(path), label)

    def pictures() -> Iterator[Picture]:
        for split, file, number in layout.files():
            yield Picture(split, Path(file.path), number, f"file {layout.place(file)}")

    # Of classes without an image too.
    digest = hashlib.sha256(os.fsencode(f"{layout.splits} {layout.classes}{layout.folders or ''}\n"))
    for _, file, _ in layout.files():
        found = file.stat()
        digest.update(os.fsencode(f"{file.path} {found.st_size} {found.st_mtime_ns}\n"))
    identity = (str(path.resolve()), digest.hexdigest(), READ_AS)
    return Stream(path.resolve().name, label, identity, lambda: (layout.classes, pictures()), layout.told())
