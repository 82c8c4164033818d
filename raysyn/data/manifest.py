"""A table of images beside their files (.csv, .tsv), as many sets are handed on: path, label and, if it has one, split.

Nothing is dropped in silence: a row without its file is refused, images without a row are counted. Those are the files
that end as images do, or as files of rows do, and of those without an ending the ones that begin as an image does.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from raysyn.data.listing import BESIDE, IMAGES, UNREAD, ending_of, first, is_hidden, is_sheet
from raysyn.data.names import legible
from raysyn.data.parquet_schema import CERTIFICATE, SPLIT, Columns, Lacking, columns_of, usual_name
from raysyn.data.persons import Persons, number_of, spelled_twice
from raysyn.data.picture import begins_as_image
from raysyn.data.several import Several, mend
from raysyn.data.source import SPLITS, USUAL_NAMES
from raysyn.data.word_labels import classes_of

ENDINGS = (".csv", ".tsv")
FILE = ("path", "image", "file", "file_name", "filename", "image_id", "id")
BETWEEN = "|"
"""What stands between several labels of an image."""
LABEL = ("label", "labels", "class")
"""What the columns are called, in whatever case; the first that is there is taken, where none is named."""
MARKS = ",;\t"
"""What parts the fields of a line."""
SOURCES = (*ENDINGS, ".parquet", ".pq", ".tar", ".npz")
"""Endings of files that `raysyn look` writes sheets of."""
SAID = re.compile(r'"?sep=([^"\w\s]|\t)"?\s*', re.IGNORECASE)
"""How a table may say in a line before all others what does."""


@dataclass(frozen=True)
class Manifest:
    """A table, understood: every row has its file."""

    rows: Sequence[tuple[str, str, int]]
    """(split, file, class number), in the order of rows."""
    class_names: Sequence[str] | None
    """None where labels are numbers."""
    has_splits: bool
    told: str
    warned: tuple[str, ...] = ()
    persons: Sequence[int] | None = None
    """Of each row whose it is; None where nobody is named."""
    named: Mapping[str, int] = field(default_factory=dict, repr=False)
    """{name: number} of persons."""


def read_manifest(
    path: Path, label: str, columns: Columns, several: Several | None = None, labels: bool = True,
    persons: Persons | None = None,
) -> Manifest:  # fmt: skip
    """Read a table and find its files in its folder and below, by path or the end of it, with or without ending.
    Without `labels` their column is not needed, and all are of class 0; with `several` a row may have none. Without
    `persons` nobody is named.
    ValueError, in a sentence that `label` opens, for a column, file or field that is not there, and for a file that is
    there twice."""
    fields, rows = _table(path, label)
    image, number = columns_of(fields, label, columns, labels, FILE, LABEL, _lacks)
    split = usual_name(fields, SPLIT)
    person = None if persons is None else persons.column_in(fields, label, (image, number))
    found, known, whose = _Files(path.parent), dict[str, int](), dict[str, int]()
    read: list[tuple[str, str, str]] = []
    of, faults = list[int](), list[str]()
    for at, row in rows:
        place = f"{label}: line {at}"
        try:
            where = _split_of(row, split, (image, None if several else number, split), place)  # several may be none
            file = found.named(row[image], place)
            if (before := known.setdefault(file, at)) != at:
                raise ValueError(f"{place} has the same file as line {before}, {row[image]!r}; leave one of them out")
            whom = None if person is None else number_of(row[person], whose, place)
        except ValueError as error:
            faults.append(str(error))
            continue
        read.append((where, file, row[number] if number else "0"))
        if whom is not None:
            of.append(whom)
    _refuse(faults)
    classes = None if several is None else several.among(None, label)
    if classes is None:
        _refuse_several(read, label, columns.group)
        numbers, names = classes_of(read, label, (f"line {line}" for line in known.values()))
    else:
        numbers, names = {}, list(classes.names)
        for (_, _, name), line in zip(read, known.values(), strict=True):
            numbers[name] = classes.of(_split_label(name), f"{label}: line {line}")
    told = _told(len(read), image, number, split, person)
    told += f"; {classes.told()}" if classes is not None else ""
    if left := found.left(known.keys()):
        told += f"; left out: {len(left):,} file{'s' if len(left) > 1 else ''} without a row{first(left, len(left))}"
    numbered = [(where, file, numbers[name]) for where, file, name in read]
    warned = [] if classes is None else [*classes.unseen(label)]
    if person is not None:
        warned += spelled_twice(whose)
    elif persons is not None:
        warned += persons.asked(fields, (image, number, split))
    return Manifest(numbered, names, split is not None, told, tuple(warned), None if person is None else of, whose)


def _refuse(faults: Sequence[str]) -> None:
    """ValueError by the first of them, and how many lines have one."""
    if faults:
        many = f" ({len(faults):,} lines cannot be used, this is the first of them)" if len(faults) > 1 else ""
        raise ValueError(f"{faults[0]}{many}")


def _split_of(row: dict[str, str], split: str | None, needed: tuple[str | None, ...], place: str) -> str:
    """Where a row's image belongs; ValueError for a field that is empty, or no split."""
    for name in filter(None, needed):
        if not row[name]:
            raise ValueError(f"{place} has an empty {name}; fill or drop it")
    if (where := USUAL_NAMES.get(row[split].lower() if split else "train")) is None:
        raise ValueError(f"{place} has the split {row[split or '']!r}; it must be one of {', '.join(SPLITS)}")
    return where


def _told(rows: int, image: str, number: str | None, split: str | None, person: str | None) -> str:
    """How a table was understood, by its columns."""
    told = f"a table of {rows:,} rows, files by {image}, labels {f'in {number}' if number else 'unread'}"
    told += f", persons in {person}" if person is not None else ""
    return told + ("" if split else ", no column split: all for training")


def names_files(table: str) -> str | None:
    """The column of a table that by its name says files of images; None where it is none, or no such table."""
    if os.path.splitext(table)[1].lower() not in ENDINGS:
        return None
    try:
        with open(table, encoding="utf-8-sig") as file:
            said = SAID.fullmatch(head := file.readline(2**16))
            head = file.readline(2**16) if said else head
        fields = next(csv.reader([head], delimiter=_delimiter(said, head), skipinitialspace=True), [])
    except (OSError, UnicodeDecodeError, csv.Error):  # whatever it is, it is not that
        return None
    return usual_name([name.strip() for name in fields], FILE)


def _table(path: Path, label: str) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """Names of columns, and (line, row by name)."""
    try:
        # Tables of Windows begin with a mark of their encoding.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{label} cannot be read as a table in UTF-8 ({error}); save it so") from error
    lines = io.StringIO(text, newline="")
    if (said := SAID.fullmatch(head := text.partition("\n")[0])) is not None:
        lines.readline()
    # Strictly: else a stray quote takes all rows up to the next one, or the end, into a field.
    reader = csv.reader(lines, delimiter=_delimiter(said, head), strict=True, skipinitialspace=True)
    before = int(said is not None)

    def cannot(begin: int, error: csv.Error) -> ValueError:
        at = reader.line_num + before
        up_to = f" to {at}" if at > begin else ""
        return ValueError(f"{label}: line {begin}{up_to} cannot be read ({error}); mend it, such as its quotes")

    try:
        fields = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise cannot(1 + before, error) from error
    if len(set(fields)) < len(fields):
        raise ValueError(f"{label} has two columns of one name; it has {', '.join(fields)}: rename one")

    def rows() -> Iterator[tuple[int, dict[str, str]]]:
        begin = reader.line_num + before + 1
        try:
            for cells in reader:
                begin = (at := reader.line_num + before) + 1
                if cells and len(cells) != len(fields):
                    raise ValueError(
                        f"{label}: line {at} has {len(cells)} fields, and the first {len(fields)}; mend it"
                    )
                if cells:
                    yield at, {name: cell.strip() for name, cell in zip(fields, cells, strict=True)}
        except csv.Error as error:
            raise cannot(begin, error) from error

    return fields, rows()


def _delimiter(said: re.Match[str] | None, head: str) -> str:
    """What parts the fields: what a table says itself, or what there is most of in its first line."""
    return max(MARKS, key=head.count) if said is None else said[1]


def _lacks(lacking: Lacking) -> str:
    return " and ".join(f"a column of {name}s ({', '.join(usual)})" for name, usual in lacking)


class _Files:
    """The files in a folder and below, by the ends of their paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.every: dict[str, str] = {}
        """{what it is however a row spells it: what it is called}."""
        self._ends: dict[int, dict[str, list[str]]] = {}
        self._real = cache(os.path.realpath)
        seen = set[str]()
        for above, folders, names in os.walk(self.folder, followlinks=True):
            # Of folders that are linked together, each is walked once.
            here = self._real(above)
            folders[:] = [] if here in seen else sorted(name for name in folders if not is_hidden(name))
            seen.add(here)
            for name in names:
                if ending_of(name) not in BESIDE and not is_hidden(name):
                    one = os.path.join(above, name)
                    self.every.setdefault(self._itself(one), os.path.normpath(one))

    def left(self, known: Set[str]) -> list[str]:
        """Files without a row, as they lie in the folder, that by their endings are images, or without one begin as
        such, but for what raysyn wrote there: runs, releases, and contact sheets of folders and files of data."""
        endings = IMAGES | UNREAD | {ending_of(one) for one in known}
        without = (
            one for one in set(self.every.values()) - known
            if (ending := ending_of(one)) in endings or (
                # The end of a DICOM file's number is no ending.
                not ending.strip(".0123456789") and os.path.isfile(one) and begins_as_image(one)
            )
        )  # fmt: skip
        files = sorted(os.path.relpath(one, self.folder) for one in without)
        sources = {one.name for one in os.scandir(self.folder) if one.is_dir()}
        sources |= {os.path.splitext(one)[0] for one in os.listdir(self.folder) if one.lower().endswith(SOURCES)}
        written = cache(_is_written)
        return [
            one for one in files
            if not is_sheet(one, sources)
            and not any(written(os.path.join(self.folder, str(above))) for above in Path(one).parents[:-1])
        ]  # fmt: skip

    def _itself(self, place: str) -> str:
        """Where a file lies whatever linked folders lead there. A link of its own stays one: stores link all files of
        the same content to one, under the names that rows use."""
        return os.path.join(self._real(os.path.dirname(place)), os.path.basename(place))

    def named(self, given: str, place: str) -> str:
        """The file that a row means: that at its path, else the one whose path ends so."""
        spellings = [os.path.normpath(one) for one in (given, given.replace("\\", "/"))]  # as Windows writes paths
        for spelled in spellings:
            whole = os.path.normpath(os.path.join(self.folder, spelled))
            if os.path.isfile(whole):
                one = self._itself(whole)
                return self.every.get(one, one)
        files = self._ending_in(spellings[1])
        if len(files) == 1 and os.path.isfile(files[0]):
            return files[0]
        fault = f"names {len(files)} files, such as {legible(files[0])} and {legible(files[1])}; give paths" if (
            len(files) > 1
        ) else f"is in {legible(self.folder)} nowhere; bring it, or leave out its row"  # fmt: skip
        raise ValueError(f"{place}: {given!r} {fault}")

    def _ending_in(self, end: str) -> list[str]:
        """The files whose paths end in the names that `end` has, all of them, with or without the last one's ending."""
        parts = end.count("/") + 1
        if parts not in self._ends:
            found = self._ends[parts] = dict[str, list[str]]()
            for file in sorted(self.every.values()):
                last = "/".join(os.path.abspath(file).split("/")[-parts:])
                for known in {last, os.path.splitext(last)[0]}:
                    found.setdefault(known, []).append(file)
        return self._ends[parts].get(end, [])


def _is_written(folder: str) -> bool:
    """Whether raysyn wrote a folder: a run, or a release."""
    if os.path.isfile(os.path.join(folder, "internal", "run.json")):
        return True
    with suppress(OSError, ValueError, TypeError):
        return "made_by" in json.loads(Path(folder, CERTIFICATE).read_bytes())
    return False


def _split_label(name: str) -> list[str]:
    return [one for one in map(str.strip, name.split(BETWEEN)) if one]


def _refuse_several(rows: list[tuple[str, str, str]], label: str, group: str) -> None:
    """ValueError for labels that are several: taken for one, each combination that occurs would be a class. Of public
    images it may be."""
    if group != "public." and any(len(_split_label(name)) > 1 for _, _, name in rows):
        raise ValueError(f"{label} has rows with several labels, with {BETWEEN} between them; {mend(group)}")
