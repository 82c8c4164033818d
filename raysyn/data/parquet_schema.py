"""Which columns of a Parquet file hold image, label and split, and what its schema says of classes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from raysyn.data.names import there_are
from raysyn.data.persons import Persons

IMAGE = ("image", "img")
LABEL = ("label", "labels")
SPLIT = ("split",)
"""What the columns are called, in whatever case; the first that is there is taken, where none is named."""


def usual_name(names: Sequence[str], usual: tuple[str, ...]) -> str | None:
    """The first of `usual` among the names of columns, as it is written there; None where it is not."""
    for name in usual:
        for found in (name, *names):
            if found.lower() == name and found in names:
                return found
    return None


class Columns(NamedTuple):
    """Names of columns that a user gives, where they are not the usual ones."""

    image: str | None = None
    label: str | None = None
    group: str = "data."
    """What the flags begin with."""


USUAL = Columns()


def check_no_columns(columns: Columns, label: str) -> None:
    """ValueError where a column is named for what is no Parquet file."""
    for what, name in (("image", columns.image), ("label", columns.label)):
        if name is not None:
            raise ValueError(
                f"{columns.group}{what}_column={name!r} names a column, but {label} is no Parquet file and no table; "
                "leave it out"
            )


@dataclass(frozen=True)
class Schema:
    """What the schema of a file says."""

    image: str
    image_leaf: str
    """What to read of it: of Hugging Face's struct, its bytes alone."""
    label: str | None
    """None where labels are not read."""
    named: bool
    """Whether labels are names of classes, not numbers."""
    several: bool
    """Whether labels are lists of them."""
    split: str | None
    class_names: tuple[str, ...] | None
    names_from: str
    released: bool
    person: str | None = None
    """Where persons are not read, or not named, None."""
    path_leaf: str | None = field(default=None, compare=False)
    """Where Hugging Face's struct has the paths of its files, which a file of the set may lack."""
    asked: tuple[str, ...] = field(default=(), compare=False)
    """What a user is asked about its columns."""

    def told(self) -> str:
        """Which columns are read."""
        names = f" (names of classes by {self.names_from})" if self.names_from else ""
        labels = "unread" if self.label is None else f"in {self.label}{names}"
        persons = "" if self.person is None else f", persons in {self.person}"
        return f"images in the column {self.image}, labels {labels}{persons}"


def understood(path: Path, label: str, columns: Columns, labels: bool = True, persons: Persons | None = None) -> Schema:
    """The schema of one file, without that of `labels` if they are not to be read, nor of persons if none are;
    ValueError, in a sentence that `label` opens, for columns that cannot be used."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    for one in schema.names:
        if (count := schema.names.count(one)) > 1:
            raise ValueError(f"{label} has {count} columns called {one}; rename all but one")
    image, number = columns_of(schema.names, label, columns, labels, IMAGE, LABEL, _lacks)
    leaf = _image_leaf(schema.field(image).type, image, label)
    split = usual_name(schema.names, SPLIT)
    about = _json(schema, "dataset", label)
    released = _is_released(path, about)
    person = None if persons is None else persons.column_in(schema.names, label, (image, number))
    if person is not None:
        _check_persons(schema.field(person).type, person, label)
    asked = () if persons is None or person else persons.asked(schema.names, (image, number, split))
    paths = _path_leaf(schema.field(image).type, image)
    if number is None:
        return Schema(image, leaf, None, False, False, split, None, "", released, person, paths, asked)
    one, several = _one_label(schema.field(number).type)
    named = _is_named(one, number, label)
    names, names_from = metadata_names(about, label), ""
    if names is None:
        names, names_from = (
            _hugging_face_names(_json(schema, "huggingface", label), number),
            "Hugging Face's ClassLabel",
        )
    if names is None:
        names_from = "the labels of train, sorted" if named and not several else ""
    known = None if names is None else tuple(names)
    return Schema(image, leaf, number, named, several, split, known, names_from, released, person, paths, asked)


CERTIFICATE = "certificate.json"
"""Beside a released file; it has the SHA-256 of each file of the release."""


def _is_released(path: Path, about: Mapping[str, Any]) -> bool:
    """Whether this file is the one that its certificate, beside it, is about. Of all others it is not known that they
    are public: people describe private images by the same words, and add some to synthetic ones."""
    if not {"name", "classes", "image_shape", "encoding"} <= about.keys():
        return False
    try:
        known = json.loads((path.parent / CERTIFICATE).read_bytes())["files"][path.name]["sha256"]
        with path.open("rb") as file:
            return bool(hashlib.file_digest(file, "sha256").hexdigest() == known)
    except (OSError, ValueError, LookupError, TypeError):
        return False


Lacking = Sequence[tuple[str, tuple[str, ...]]]
"""(what a column would be of, what it is usually called)."""


def _lacks(lacking: Lacking) -> str:
    what = " and ".join(f"{name} (or {', '.join(usual[1:])})" for name, usual in lacking)
    return f"the column{'s' * (len(lacking) > 1)} {what}"


def columns_of(
    names: Sequence[str], label: str, columns: Columns, labels: bool, images: tuple[str, ...],
    numbers: tuple[str, ...], lacks: Callable[[Lacking], str],
) -> tuple[str, str | None]:  # fmt: skip
    """Those of images and, if they are read, of labels, which are usually called `images` and `numbers`; ValueError, in
    the words of `lacks`, for all that are not there at once."""
    _check_named(names, label, columns, labels)
    image = columns.image or usual_name(names, images)
    number = (columns.label or usual_name(names, numbers)) if labels else None
    there = (("image", images, image), ("label", numbers, number or not labels))
    lacking = [(what, usual) for what, usual, found in there if not found]
    if image is None or lacking:
        mend = _to_name([name for name, _ in lacking], columns.group)
        raise ValueError(f"{label} lacks {lacks(lacking)}; it has {there_are(names)}: {mend}")
    return image, number


def _check_named(names: Sequence[str], label: str, columns: Columns, labels: bool) -> None:
    """ValueError where columns are named that are not among `names`, for all of them at once."""
    named = {"image": columns.image, "label": columns.label if labels else None}
    lacking = {what: given for what, given in named.items() if given is not None and given not in names}
    if lacking:
        flags = " and ".join(f"{columns.group}{what}_column={given!r}" for what, given in lacking.items())
        those = f"the column that {flags} names" if len(lacking) == 1 else f"the columns that {flags} name"
        raise ValueError(f"{label} lacks {those}; it has {there_are(names, *lacking.values())}")


def _to_name(lacking: Sequence[str], group: str) -> str:
    """How columns are named that are lacking."""
    those = "those" if len(lacking) > 1 else "the one"
    return f"name {those} to read with {' and '.join(f'--{group}{what}-column' for what in lacking)}"


def _image_leaf(kind: Any, column: str, label: str) -> str:
    from pyarrow import types

    def files(kind: Any) -> bool:
        kind = kind.value_type if types.is_dictionary(kind) else kind
        return types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind)

    inside = (
        {kind.field(at).name: kind.field(at).type for at in range(kind.num_fields)} if types.is_struct(kind) else {}
    )
    if "bytes" in inside and files(inside["bytes"]):
        return f"{column}.bytes"
    if not files(kind):
        raise ValueError(
            f"{label}: column {column} is {kind}; it must hold PNG or JPEG files (binary, or Hugging Face's struct of "
            "bytes and path)"
        )
    return column


def _path_leaf(kind: Any, column: str) -> str | None:
    """Where Hugging Face's struct holds the path of a file; None without one."""
    from pyarrow import types

    inside = (
        {kind.field(at).name: kind.field(at).type for at in range(kind.num_fields)} if types.is_struct(kind) else {}
    )
    return f"{column}.path" if "path" in inside and _is_text(inside["path"]) else None


def _check_persons(kind: Any, column: str, label: str) -> None:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    if not (types.is_integer(plain) or _is_text(plain)):
        points = ", as empty rows make of numbers: fill or drop these, save integers" * types.is_floating(plain)
        raise ValueError(
            f"{label}: column {column} is {kind}{points}; to tell whose an image is it must hold numbers (integer) or "
            "names (string): mend or rename it"
        )


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _one_label(kind: Any) -> tuple[Any, bool]:
    """The type of a label, and whether a row has a list of such."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return (kind.value_type, True) if lists else (kind, False)


def _is_named(kind: Any, column: str, label: str) -> bool:
    from pyarrow import types

    plain = kind.value_type if types.is_dictionary(kind) else kind
    if types.is_integer(plain):
        return False
    if _is_text(plain):
        return True
    points = ", as empty rows make of numbers: fill or drop these, save integers" if types.is_floating(plain) else ""
    raise ValueError(
        f"{label}: column {column} is {kind}{points}; it must hold class numbers (integer) or names of classes (string)"
    )


def _json(schema: Any, key: str, label: str) -> dict[str, Any]:
    """A JSON object of the schema's metadata, {} where there is none."""
    raw = (schema.metadata or {}).get(key.encode(), b"{}")
    try:
        about = json.loads(raw)
    except (ValueError, RecursionError):
        about = None
    if not isinstance(about, dict):
        begin = raw[:20].decode(errors="backslashreplace") + ("..." if len(raw) > 20 else "")
        raise ValueError(
            f"{label}: schema metadata {key!r} is no JSON object but {begin!r}, and names of classes are looked for "
            "there; mend it, or remove this key (pyarrow's Table.replace_schema_metadata)"
        )
    return about


def metadata_names(about: dict[str, Any], label: str) -> list[str] | None:
    """Class names from the schema metadata: key `dataset`, a JSON object with a list `classes`."""
    names = about.get("classes")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{label}: 'classes' in the schema metadata is no list of names; mend or remove it")
    return names


def _hugging_face_names(about: dict[str, Any], column: str) -> list[str] | None:
    """Those of a ClassLabel, as the library `datasets` writes them; None for any other feature."""
    at: Any = about
    for key in ("info", "features", column):
        at = at.get(key) if isinstance(at, dict) else None
    if isinstance(at, dict) and isinstance(at.get("feature"), dict):
        at = at["feature"]  # of lists of labels
    if not isinstance(at, dict) or at.get("_type") != "ClassLabel":
        return None
    names = at.get("names")
    return names if isinstance(names, list) and names and all(isinstance(name, str) for name in names) else None
