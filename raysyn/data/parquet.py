"""Images in Parquet files: raysyn's own layout, and what Hugging Face exports, in one file or in shards.

One reader for private and public images, row by row, so that memory holds what is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from raysyn.data.labels import check_number
from raysyn.data.names import in_order, legible
from raysyn.data.parquet_schema import Columns, Schema, understood
from raysyn.data.shards import Shard, shards_of
from raysyn.data.source import SPLITS, USUAL_NAMES, Source, Split

ROWS_AT_ONCE = 500
READ_AT_ONCE = 2**20
"""Bytes of a column."""
NAMING = "a list \"classes\" in the JSON object of the schema metadata 'dataset'"


class Row(NamedTuple):
    """One image as the file holds it."""

    split: str
    image: bytes
    label: int
    place: str


@dataclass(frozen=True)
class Table:
    """One file or several, understood; nothing of their rows is held."""

    label: str
    shards: tuple[Shard, ...]
    schema: Schema
    class_names: Sequence[str] | None
    told: str

    def rows(self) -> Iterator[Row]:
        """All images, in the order of files and rows. ValueError, naming the row, for an empty field, an unknown split
        or an unknown name of a class."""
        schema, several = self.schema, len(self.shards) > 1
        numbers = {name: number for number, name in enumerate(self.class_names or ())}
        for shard in self.shards:
            before = f"{legible(shard.path.name)}, " if several else ""
            for row, (image, label, split) in enumerate(self._fields(shard)):
                place = f"{before}row {row}"
                found = shard.split if schema.split is None else split
                for what, value in (("image", image), ("label", label), ("split", found)):
                    if value is None:
                        by_path = what == "image" and schema.image_leaf != schema.image
                        more = " (the files are read that it holds, not those that a path names)" if by_path else ""
                        raise ValueError(f"{self.label}: {place} has an empty {what}; fill or drop it{more}")
                if not schema.named:
                    check_number(label, f"{self.label}: {place}")
                elif label not in numbers:
                    raise ValueError(f"{self.label}: {place} has the label {label!r}, no class of train; mend it")
                yield Row(self._split(found, place), image, numbers[label] if schema.named else label, place)

    def _fields(self, shard: Shard) -> Iterator[tuple[Any, Any, Any]]:
        """(image, label, split) of each row, as they are; the split is None without such a column."""
        schema = self.schema
        wanted = [schema.image_leaf, schema.label, *([schema.split] if schema.split else [])]
        for part in _batches(shard.path, wanted, self.label):
            images = part.column(schema.image)
            if schema.image_leaf != schema.image:
                import pyarrow.compute as pc  # seven MiB, which no other column needs

                images = pc.struct_field(images, "bytes")
            splits = _values(part, schema.split, self.label) if schema.split else [None] * part.num_rows
            yield from zip(images.to_pylist(), _values(part, schema.label, self.label), splits, strict=True)

    def _split(self, given: Any, place: str) -> str:
        split = USUAL_NAMES.get(str(given).lower())
        if split is None:
            raise ValueError(
                f"{self.label}: {place} has the split {given!r}; it must be one of {', '.join(SPLITS)} (or another "
                "usual name of these)"
            )
        return split


def _batches(path: Path, columns: list[str], label: str) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # By default all row groups are fetched ahead and kept.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_AT_ONCE) as file:
            yield from file.iter_batches(ROWS_AT_ONCE, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error


def _values(part: Any, column: str, label: str) -> list[Any]:
    try:
        values: list[Any] = part.column(column).to_pylist()
    except UnicodeDecodeError as error:
        raise ValueError(f"{label}: column {column} holds text that is no UTF-8; write it in UTF-8") from error
    return values


def open_parquet(path: Path, label: str, columns: Columns) -> Table:
    """A Parquet file, or a folder of them; of the rows, only those of names of classes are read. ValueError, in a
    sentence that `label` opens, where columns are missing, of another kind, or not the same in all files."""
    found = shards_of(path, label, lambda file: understood(file, label, columns).split is not None)
    first = understood(found.shards[0].path, label, columns)
    for shard in found.shards[1:]:
        if understood(shard.path, label, columns) != first:
            raise ValueError(
                f"{label}: {legible(shard.path.name)} has other columns or names of classes than "
                f"{legible(found.shards[0].path.name)}; make all files of a set alike"
            )
    names: Sequence[str] | None = first.class_names
    if first.named and names is None:
        names = _label_names(found.shards, first, label)
    if first.split:
        by = ""
    elif path.is_file():
        by = ", no column split: all for training"
    else:
        by = ", splits by file names" if found.by_names else ", no split in file names: all for training"
    told = f"{found.told}, {first.told()}{by}{found.left_out}"
    return Table(label, found.shards, first, names, told)


def _label_names(shards: Sequence[Shard], schema: Schema, label: str) -> list[str]:
    """All labels of train, in order: whether a class is there must not depend on what is tested with."""
    names = set[str]()
    for shard in shards:
        for part in _batches(shard.path, [schema.label, *([schema.split] if schema.split else [])], label):
            splits = _values(part, schema.split, label) if schema.split else [shard.split] * part.num_rows
            values = _values(part, schema.label, label)
            pairs = set(zip(values, splits, strict=True))
            train = {name for name, split in pairs if USUAL_NAMES.get(str(split).lower()) == "train"}
            names |= train - {None}
    return in_order(names)


def read_parquet(path: Path, label: str, columns: Columns) -> Source:
    """The images of a Parquet file or a folder of them, undecoded, held as bytes."""
    import numpy as np

    table = open_parquet(path, label, columns)
    pictures: dict[str, list[bytes]] = {split: [] for split in SPLITS}
    labels: dict[str, list[int]] = {split: [] for split in SPLITS}
    places: dict[str, list[str]] = {split: [] for split in SPLITS}
    for row in table.rows():
        pictures[row.split].append(row.image)
        labels[row.split].append(row.label)
        places[row.split].append(row.place)
    splits = {}
    for split in SPLITS:
        numbers = np.array(labels[split]) if labels[split] else np.zeros(0, np.int64)
        splits[split] = Split(pictures[split], numbers, places[split])
    whole = table.schema.split or path.is_dir()
    lacks = "has no test images" if whole else "has no column split, and so no test images"
    name = path.stem if path.is_file() else path.resolve().name
    return Source(
        name, label, table.class_names, splits, NAMING, lacks=lacks, released=table.schema.released, told=table.told,
        of_labels=table.schema.class_names is None,
    )  # fmt: skip
