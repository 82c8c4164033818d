"""Images in Parquet files: raysyn's own layout, and what Hugging Face exports, in one file or in shards.

One reader for private and public images, row by row, so that memory holds what is asked for.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from raysyn.data.labels import check_number
from raysyn.data.names import legible
from raysyn.data.parquet_batches import batches, values
from raysyn.data.parquet_schema import Columns, Schema, understood
from raysyn.data.persons import Persons, number_of, spelled_twice
from raysyn.data.several import Classes, Several, check_one, mend
from raysyn.data.shards import Shard, shards_of
from raysyn.data.source import SPLITS, USUAL_NAMES, Source, Split
from raysyn.data.stored import Stored
from raysyn.data.word_labels import missing, names_of, plain, told_missing

NAMING = "a list \"classes\" in the JSON object of the schema metadata 'dataset'"


class Row(NamedTuple):
    """One image as the file holds it."""

    split: str
    image: bytes
    label: int
    shard: int
    number: int
    """Of the row, in its shard."""
    person: int = -1
    """Counted from 0 in the order of rows, where persons are named."""


@dataclass(frozen=True)
class Table:
    """One file or several, understood; nothing of their rows is held."""

    label: str
    shards: tuple[Shard, ...]
    schema: Schema
    class_names: Sequence[str] | None
    told: str
    classes: Classes | None = None
    """Of several labels per image."""
    states: tuple[tuple[int, int] | None, ...] = ()
    """Those of each file when it was understood (`_state`)."""
    whose: dict[str, int] = field(default_factory=dict, compare=False, repr=False)
    """Persons by name, once their rows were asked for."""

    def rows(self, images: bool = True) -> Iterator[Row]:
        """All images, in the order of files and rows; without `images`, all but those. ValueError, naming the row, for
        an empty field, an unknown split or an unknown name of a class."""
        schema, persons = self.schema, self.whose
        numbers = {name: number for number, name in enumerate(self.class_names or ()) if schema.named}
        for one, shard in enumerate(self.shards):
            for row, (image, label, split, person) in enumerate(self._fields(shard, images)):
                place = self.place(one, row)
                found = shard.split if schema.split is None else split
                for what, value in (("image", image), ("label", label), ("split", found)):
                    if value is None:
                        raise ValueError(self._empty(what, place))
                if self.classes is not None:
                    label = self.classes.of(label, f"{self.label}: {place}")
                elif not schema.named:
                    check_number(label, f"{self.label}: {place}")
                elif label not in numbers and (label := plain(label)) not in numbers:
                    raise ValueError(f"{self.label}: {place} has the label {label!r}, no class of train; mend it")
                whose = number_of(person, persons, f"{self.label}: {place}") if schema.person else -1
                yield Row(self._split(found, place), image, numbers.get(label, label), one, row, whose)

    def images_of(self, number: int, rows_N: np.ndarray) -> Iterator[bytes]:
        """The images at increasing rows of one shard; row groups without any are left unread. ValueError, naming the
        row, for an empty one."""
        at = 0
        if _state(self.shards[number].path) != self.states[number]:
            raise ValueError(
                f"{self.label}: {legible(self.shards[number].path.name)} has changed while it was read: try again once "
                "nobody writes to it"
            )
        for numbers_N, part in batches(self.shards[number].path, [self.schema.image_leaf], self.label, rows_N):
            images, before = self._images(part), at
            at += int(np.searchsorted(rows_N[at:], numbers_N[-1], side="right"))
            for row in rows_N[before:at].tolist():
                if (image := images[int(np.searchsorted(numbers_N, row))].as_py()) is None:
                    raise ValueError(self._empty("image", self.place(number, row)))
                yield image
            if at == len(rows_N):
                return

    def place(self, number: int, row: int) -> str:
        """What to call a row of a shard in an error."""
        return (f"{legible(self.shards[number].path.name)}, " if len(self.shards) > 1 else "") + f"row {row}"

    def paths_of(self, number: int, rows_N: np.ndarray) -> Iterator[str]:
        """What the images at increasing rows of one shard are called by their paths; "" for one without."""
        assert self.schema.path_leaf is not None
        for numbers_N, part in batches(self.shards[number].path, [self.schema.path_leaf], self.label, rows_N):
            paths = [(one or {}).get("path") for one in values(part, self.schema.image, self.label)]
            yield from (paths[at] or "" for at in np.flatnonzero(np.isin(numbers_N, rows_N)).tolist())

    def _fields(self, shard: Shard, images: bool) -> Iterator[tuple[Any, Any, Any, Any]]:
        """(image, label, split, person) of each row, as they are; None without such a column."""
        schema = self.schema
        read = (schema.image_leaf if images else None, schema.label, schema.split, schema.person)
        wanted = list(dict.fromkeys(name for name in read if name is not None))
        for _, part in batches(shard.path, wanted, self.label):
            found = self._images(part).to_pylist() if images else [b""] * part.num_rows
            splits = values(part, schema.split, self.label) if schema.split else [None] * part.num_rows
            labels = values(part, schema.label, self.label) if schema.label else [0] * part.num_rows
            persons = values(part, schema.person, self.label) if schema.person else [None] * part.num_rows
            yield from zip(found, labels, splits, persons, strict=True)

    def _images(self, part: Any) -> Any:
        images = part.column(self.schema.image)
        if self.schema.image_leaf != self.schema.image:
            import pyarrow.compute as pc  # seven MiB, which no other column needs

            images = pc.struct_field(images, "bytes")
        return images

    def _empty(self, what: str, place: str) -> str:
        by_path = what == "image" and self.schema.image_leaf != self.schema.image
        more = " (the files are read that it holds, not those that a path names)" if by_path else ""
        return f"{self.label}: {place} has an empty {what}; fill or drop it{more}"

    def _split(self, given: Any, place: str) -> str:
        split = USUAL_NAMES.get(str(given).lower())
        if split is None:
            raise ValueError(
                f"{self.label}: {place} has the split {given!r}; it must be one of {', '.join(SPLITS)} (or another "
                "usual name of these)"
            )
        return split


def _state(path: Path) -> tuple[int, int] | None:
    """Size and time of a file; None of one that is gone."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns


def open_parquet(
    path: Path, label: str, columns: Columns, several: Several | None = None, labels: bool = True,
    persons: Persons | None = None,
) -> Table:  # fmt: skip
    """A Parquet file, or a folder of them; of the rows, only those of names of classes are read. Without `labels` all
    are of class 0, and without `persons` nobody is named. ValueError, in a sentence that `label` opens, where columns
    are missing, of another kind, or not the same in all files."""
    found = shards_of(path, label, lambda file: understood(file, label, columns, labels, persons).split is not None)
    states = tuple(_state(shard.path) for shard in found.shards)
    first = understood(found.shards[0].path, label, columns, labels, persons)
    for shard in found.shards[1:]:
        other = understood(shard.path, label, columns, labels, persons)
        if other != first:
            raise ValueError(
                f"{label}: {legible(shard.path.name)} has other columns or names of classes than "
                f"{legible(found.shards[0].path.name)}; make all files of a set alike"
            )
        first = first if other.path_leaf else replace(first, path_leaf=None)
    classes = _classes(first, label, columns, several)
    names: Sequence[str] | None = first.class_names if classes is None else classes.names
    if first.named and names is None:
        names = _label_names(found.shards, first, label)
    if first.split:
        by = ""
    elif path.is_file():
        by = ", no column split: all for training"
    else:
        by = ", splits by file names" if found.by_names else ", no split in file names: all for training"
    told = f"{found.told}, {first.told()}{by}{found.left_out}"
    return Table(label, found.shards, first, names, told, classes, states)


def _classes(schema: Schema, label: str, columns: Columns, several: Several | None) -> Classes | None:
    """Of a column of lists; ValueError where nothing is said of it, or something of what is none."""
    if not schema.several:
        check_one(several, label)
        return None
    if several is None:
        how = f"{mend(columns.group)}, or " if columns.group != "public." else ""
        raise ValueError(
            f"{label}: column {schema.label} has several labels per image; {how}name a column of one each with "
            f"--{columns.group}label-column"
        )
    return several.among(schema.class_names, label)


def _label_names(shards: Sequence[Shard], schema: Schema, label: str) -> list[str]:
    """All labels of train, in order: whether a class is there must not depend on what is tested with."""
    names = set[str]()
    assert schema.label is not None
    for shard in shards:
        for _, part in batches(shard.path, [schema.label, *([schema.split] if schema.split else [])], label):
            splits = values(part, schema.split, label) if schema.split else [shard.split] * part.num_rows
            found = values(part, schema.label, label)
            pairs = set(zip(found, splits, strict=True))
            train = {name for name, split in pairs if USUAL_NAMES.get(str(split).lower()) == "train"}
            names |= train - {None}
    if (none := missing(names)) is not None:
        raise ValueError(f"{label}: column {schema.label} {told_missing(none)}")
    return names_of(names)


class Rows(Stored):
    """Images of one split, by shard and row; only what is asked for is read."""

    def __init__(self, table: Table, shards_N: np.ndarray, rows_N: np.ndarray) -> None:
        self._table, self._shards_N, self._rows_N = table, shards_N, rows_N

    def __len__(self) -> int:
        return len(self._rows_N)

    def read(self, rows_N: np.ndarray) -> Iterator[bytes]:
        shards_N, inside_N = self._shards_N[rows_N], self._rows_N[rows_N]
        for number in np.unique(shards_N).tolist():
            yield from self._table.images_of(number, inside_N[shards_N == number])

    def some(self, rows_N: np.ndarray) -> Rows:
        return Rows(self._table, self._shards_N[rows_N], self._rows_N[rows_N])

    def names(self) -> Iterator[str]:
        """Paths of all, as the files tell them; nothing else of them is read."""
        for number in np.unique(self._shards_N).tolist():
            yield from self._table.paths_of(number, self._rows_N[self._shards_N == number])

    def place(self, index: int) -> str:
        return self._table.place(int(self._shards_N[index]), int(self._rows_N[index]))


def read_parquet(
    path: Path, label: str, columns: Columns, several: Several | None = None, with_labels: bool = True,
    persons: Persons | None = None,
) -> Source:  # fmt: skip
    """The images of a Parquet file or a folder of them, unread; of their rows memory holds numbers alone."""
    table = open_parquet(path, label, columns, several, with_labels, persons)
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    shards, rows, whose = ({split: array("q") for split in SPLITS} for _ in range(3))
    for row in table.rows(images=False):
        labels[row.split].append(row.label)
        shards[row.split].append(row.shard)
        rows[row.split].append(row.number)
        whose[row.split].append(row.person)
    splits = {}
    for split in SPLITS:
        images = Rows(table, np.array(shards[split], np.int64), np.array(rows[split], np.int64))
        numbers = np.array(labels[split]) if labels[split] else np.zeros(0, np.int64)
        of = np.array(whose[split], np.int64) if table.schema.person else None
        paths = images.names if table.schema.path_leaf else None
        splits[split] = Split(images, numbers, images.place, of, paths)
    whole = table.schema.split or path.is_dir()
    lacks = "has no test images" if whole else "has no column split, and so no test images"
    name = path.stem if path.is_file() else path.resolve().name
    told = table.told if table.classes is None else f"{table.told}; {table.classes.told()}"
    return Source(
        name, label, table.class_names, splits, NAMING, lacks=lacks, released=table.schema.released, told=told,
        of_labels=table.schema.class_names is None and table.classes is None,
        warned=(
            *(() if table.classes is None else table.classes.unseen(label)), *table.schema.asked,
            *spelled_twice(table.whose),
        ),
        persons=table.whose,
    )  # fmt: skip
