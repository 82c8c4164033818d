"""A table of images beside their files (.csv, .tsv), as many sets are handed on: path, label and, if it has one, split.

Nothing is dropped in silence: a row without its file is refused, files without a row are counted.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from raysyn.data.listing import BESIDE, is_hidden
from raysyn.data.names import legible
from raysyn.data.parquet_schema import Columns
from raysyn.data.source import SPLITS, USUAL_NAMES

ENDINGS = (".csv", ".tsv")
FILE = ("path", "image", "file", "file_name", "filename", "image_id", "id")
LABEL = ("label", "labels", "class")
"""What the columns are called; the first that is there is taken, where none is named."""


@dataclass(frozen=True)
class Manifest:
    """A table, understood: every row has its file."""

    rows: Sequence[tuple[str, str, int]]
    """(split, file, class number), in the order of rows."""
    class_names: Sequence[str] | None
    """None where labels are numbers."""
    has_splits: bool
    told: str


def read_manifest(path: Path, label: str, columns: Columns) -> Manifest:
    """Read a table and find its files, by path, name or name without ending, in its folder and below. ValueError, in a
    sentence that `label` opens, for a column, file or field that is not there, and for a file that is there twice."""
    fields, rows = _table(path, label)
    image = _column(fields, label, "image", FILE, columns.image, columns.group)
    number = _column(fields, label, "label", LABEL, columns.label, columns.group)
    split = "split" if "split" in fields else None
    found, known = _Files(path.parent), dict[str, int]()
    read: list[tuple[str, str, str]] = []
    for at, row in rows:
        place = f"{label}: line {at}"
        for name in (image, number, *([split] if split else [])):
            if not row[name]:
                raise ValueError(f"{place} has an empty {name}; fill or drop it")
        if (where := USUAL_NAMES.get(row[split].lower() if split else "train")) is None:
            raise ValueError(f"{place} has the split {row[split or '']!r}; it must be one of {', '.join(SPLITS)}")
        file = found.named(row[image], place)
        if (before := known.setdefault(file, at)) != at:
            raise ValueError(f"{place} has the same file as line {before}, {row[image]!r}; leave one of them out")
        read.append((where, file, row[number]))
    numbers, names = _classes(read, label)
    told = f"a table of {len(read):,} rows, files by {image}, labels in {number}" + (
        "" if split else ", no column split: all for training"
    )
    left = found.count - sum(file in found for _, file, _ in read)
    told += f"; left out: {left:,} files without a row" if left else ""
    return Manifest([(where, file, numbers[name]) for where, file, name in read], names, split is not None, told)


def _table(path: Path, label: str) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Names of columns, and (line, row by name)."""
    try:
        # Tables of Windows begin with a mark of their encoding.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{label} cannot be read as a table in UTF-8 ({error}); save it so") from error
    head = text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=head.count))
    fields = [name.strip() for name in next(reader, [])]
    if len(set(fields)) < len(fields):
        raise ValueError(f"{label} has two columns of one name; it has {', '.join(fields)}: rename one")

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        try:
            for cells in reader:
                if cells and len(cells) != len(fields):
                    raise ValueError(
                        f"{label}: line {reader.line_num} has {len(cells)} fields, and the first {len(fields)}; mend it"
                    )
                if cells:
                    yield reader.line_num, {name: cell.strip() for name, cell in zip(fields, cells, strict=True)}
        except csv.Error as error:
            raise ValueError(f"{label}: line {reader.line_num} cannot be read ({error}); mend it") from error

    return fields, rows()


def _column(fields: list[str], label: str, what: str, usual: tuple[str, ...], given: str | None, group: str) -> str:
    has = f"it has {', '.join(fields) or 'none'}"
    if given is not None and given not in fields:
        raise ValueError(f"{label} lacks the column that {group}{what}_column={given!r} names; {has}")
    for name in (given,) if given is not None else usual:
        if name in fields:
            return name
    raise ValueError(
        f"{label} lacks a column of {what}s ({', '.join(usual)}); {has}: name the one to read with "
        f"--{group}{what}-column"
    )


class _Files:
    """The files in a folder and below, by their paths and names."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = str(folder), 0
        self._by_name: dict[str, list[str]] = {}
        seen = set[str]()
        for above, folders, names in os.walk(self.folder, followlinks=True):
            # Of folders that are linked together, each is walked once.
            folders[:] = sorted(name for name in folders if not is_hidden(name)) if _new(above, seen) else []
            for name in names:
                stem, ending = os.path.splitext(name)
                if ending.lower() not in BESIDE and not is_hidden(name):
                    self.count += 1
                    for known in {name, stem}:
                        self._by_name.setdefault(known, []).append(os.path.normpath(os.path.join(above, name)))

    def __contains__(self, file: str) -> bool:
        return file in self._by_name.get(os.path.basename(file), [])

    def named(self, given: str, place: str) -> str:
        """The file that a row means."""
        for spelled in (given, given.replace("\\", "/")):  # as Windows writes paths
            whole = os.path.normpath(os.path.join(self.folder, spelled))
            if os.path.isfile(whole):
                return whole
        files = self._by_name.get(os.path.basename(given), [])
        if len(files) == 1 and os.path.isfile(files[0]):
            return files[0]
        fault = f"names {len(files)} files, such as {legible(files[0])} and {legible(files[1])}; give paths" if (
            len(files) > 1
        ) else f"is in {legible(self.folder)} nowhere; bring it, or leave out its row"  # fmt: skip
        raise ValueError(f"{place}: {given!r} {fault}")


def _new(folder: str, seen: set[str]) -> bool:
    """Whether a folder is not among those `seen`, which it is afterwards."""
    before = len(seen)
    seen.add(os.path.realpath(folder))
    return len(seen) > before


def _classes(rows: list[tuple[str, str, str]], label: str) -> tuple[dict[str, int], list[str] | None]:
    """{label: class number}, and names where labels are words: those of train, sorted."""
    every = {name for _, _, name in rows}
    if all(name.isascii() and name.isdigit() and len(name) < 10 and name == str(int(name)) for name in every):
        return {name: int(name) for name in every}, None
    names = sorted({name for where, _, name in rows if where == "train"})
    if extra := sorted(every - set(names)):
        raise ValueError(f"{label}: the label {extra[0]!r} is no class of train; mend it")
    return {name: number for number, name in enumerate(names)}, names
