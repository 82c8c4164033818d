"""Images in a Parquet file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from raysyn.data.source import SPLITS, Source, Split

COLUMNS = ("image", "label", "split")


def read_parquet(path: Path, label: str) -> Source:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
        check_columns(schema, label)
        table = pq.read_table(path, columns=list(COLUMNS))
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    for column in COLUMNS:
        empty = table[column].null_count
        if empty:
            raise ValueError(f"{label}: column {column} has {empty} empty rows; fill or drop them")
    pictures, labels = table["image"].to_pylist(), table["label"].to_numpy()
    where = np.array(table["split"].to_pylist(), dtype=object)
    unknown = sorted({str(split) for split in where} - set(SPLITS))
    if unknown:
        raise ValueError(f"{label}: column split holds {unknown[0]!r}; it must be one of {', '.join(SPLITS)}")
    splits = {}
    for split in SPLITS:
        rows = np.flatnonzero(where == split)
        splits[split] = Split([pictures[row] for row in rows], labels[rows], [f"row {row}" for row in rows])
    naming = "a list \"classes\" in the JSON object of the schema metadata 'dataset'"
    names = metadata_names(schema, label)
    return Source(path.stem, label, names, splits, naming, released=_is_release(schema))


def _is_release(schema: Any) -> bool:
    """Whether the schema's metadata are those that raysyn writes into synthetic.parquet (`release.parquet_bytes`)."""
    about = json.loads((schema.metadata or {}).get(b"dataset", b"{}"))
    return {"name", "classes", "image_shape", "encoding"} <= about.keys()


def check_columns(schema: Any, label: str) -> None:
    from pyarrow import types

    missing = [column for column in COLUMNS if column not in schema.names]
    if missing:
        raise ValueError(f"{label} lacks the column {', '.join(missing)}; it needs {', '.join(COLUMNS)}")
    image, number = schema.field("image").type, schema.field("label").type
    if not (types.is_binary(image) or types.is_large_binary(image)):
        raise ValueError(f"{label}: column image is {image}; it must hold PNG or JPEG files (binary)")
    if not types.is_integer(number):
        raise ValueError(f"{label}: column label is {number}; it must hold class numbers (integer)")


def metadata_names(schema: Any, label: str) -> list[str] | None:
    """Class names from the schema metadata: key `dataset`, a JSON object with a list `classes`."""
    raw = (schema.metadata or {}).get(b"dataset", b"{}")
    try:
        names = json.loads(raw).get("classes")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{label}: schema metadata 'dataset' is no JSON object; mend or remove it") from error
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{label}: 'classes' in the schema metadata is no list of names; mend or remove it")
    return names
