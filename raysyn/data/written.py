"""What raysyn writes beside the images of a release, and reads back: classes.json, the names of classes in order, and
manifest.json, which files hold the same images once more. Another file of that name, of another form, says nothing
here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

CLASSES, MANIFEST = "classes.json", "manifest.json"
MOST_BYTES = 2**28
LAYOUT = re.compile(r"(folder|webdataset)/.+", re.DOTALL)
SHA256 = re.compile(r"[0-9a-f]{64}")


def written_classes(folder: Path, *fields: str) -> list[tuple[str, ...]]:
    """The `fields` of each class, by its number; none where there is no file of raysyn's form, which is a list of
    objects of label, counted from 0, and of these fields alone."""
    rows = _json_of(folder / CLASSES)
    keys = {"label", *fields}
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() == keys for row in rows):
        return []
    found = [tuple(row[name] for name in fields) for row in rows]
    counted = all(type(row["label"]) is int and row["label"] == at for at, row in enumerate(rows))
    words = all(isinstance(word, str) and word for row in found for word in row)
    # Each once, or two classes would become one.
    apart = words and all(len({row[at] for row in found}) == len(found) for at in range(len(fields)))
    return found if counted and apart else []


def written_again(folder: Path) -> frozenset[str]:
    """Places of files in a release that are in synthetic.parquet already; none where this is no release."""
    known = _json_of(folder / MANIFEST)
    if not isinstance(known, dict):
        return frozenset()
    hashes = all(isinstance(one, str) and SHA256.fullmatch(one) for one in known.values())
    sound = hashes and all(LAYOUT.fullmatch(name) for name in known)
    return frozenset(known) if sound else frozenset()


def _json_of(path: Path) -> Any:
    """What is in the file; None where there is none that can be read."""
    try:
        if path.is_file() and path.stat().st_size <= MOST_BYTES:
            return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        pass
    return None
