"""Rows of a Parquet file, a few at a time, so that memory holds what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROWS_AT_ONCE = 500
"""At most."""
BYTES_AT_ONCE = 2**24
"""Of the columns that are read, about."""
READ_AT_ONCE = 2**20
"""Bytes of a column."""


def batches(
    path: Path, columns: list[str], label: str, rows_N: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, Any]]:
    """(numbers of its rows, a batch) in order; with `rows_N`, of the row groups alone that hold one of these."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # By default all row groups are fetched ahead and kept.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=READ_AT_ONCE) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
            ends = np.cumsum(sizes, dtype=np.int64)
            groups = range(len(sizes)) if rows_N is None else np.unique(np.searchsorted(ends, rows_N, side="right"))
            numbers_N = np.concatenate(
                [np.zeros(0, np.int64), *(np.arange(ends[g] - sizes[g], ends[g]) for g in groups)]
            )
            at, count = 0, _rows_at_once(file.metadata, columns)
            for part in file.iter_batches(count, row_groups=list(map(int, groups)), columns=columns):
                if part.num_rows:
                    yield numbers_N[at : at + part.num_rows], part
                at += part.num_rows
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error


def _rows_at_once(metadata: Any, columns: list[str]) -> int:
    """Rows of about BYTES_AT_ONCE: photos of many megabytes come in smaller numbers."""
    size = 0
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for chunk in map(group.column, range(group.num_columns)):
            name = chunk.path_in_schema
            if any(name == one or name.startswith(f"{one}.") for one in columns):
                size += chunk.total_uncompressed_size
    return max(1, min(ROWS_AT_ONCE, BYTES_AT_ONCE * metadata.num_rows // max(1, size)))


def values(part: Any, column: str, label: str) -> list[Any]:
    """A column of a batch; ValueError, in a sentence that `label` opens, for text that is no UTF-8."""
    try:
        found: list[Any] = part.column(column).to_pylist()
    except UnicodeDecodeError as error:
        raise ValueError(f"{label}: column {column} holds text that is no UTF-8; write it in UTF-8") from error
    return found
