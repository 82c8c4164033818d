"""Camelyon17-WILDS (Bándi et al., 2019; Koh et al., 2021): patches of tissue, with tumour in the middle or not."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from raysyn.data.prepared.finding import home_of, look_for
from raysyn.data.prepared.kinds import Found
from raysyn.data.streams import Picture

CENTRES = {"1": "val", "2": "test"}
"""Hospitals that are kept apart: in the official division of WILDS they stand above the column `split`."""
SPLITS = {"0": "train", "1": "id_val"}
COLUMNS = ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split")


def camelyon(source: Path) -> Found:
    """Classes normal and tumor. Parts: train and id_val of three hospitals, val and test of one more each."""
    home = home_of(source, ("camelyon17_v1.0",), ("metadata.csv", "patches"))
    mend = "unpack camelyon17_v1.0.tar.gz, and give the folder that it makes"
    metadata = look_for(home, ("metadata.csv",), mend)
    patches = look_for(home, ("patches/",), mend)
    images = Counter(part for part, _, _ in _rows(metadata))
    return Found(("normal", "tumor"), partial(_pictures, metadata, patches), images)


def _pictures(metadata: Path, patches: Path) -> Iterator[Picture]:
    for part, label, name in _rows(metadata):
        yield Picture(part, patches / name, label, f"patch {name}")


def _rows(path: Path) -> Iterator[tuple[str, int, str]]:
    """(part, label, path of the patch) of every row."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path} has no column {missing[0]}: give the metadata.csv of Camelyon17-WILDS")
        for row in reader:
            part = CENTRES.get(row["center"]) or SPLITS.get(row["split"])
            if part is None or row["tumor"] not in ("0", "1"):
                raise ValueError(
                    f"{path}: line {reader.line_num} has center {row['center']}, split {row['split']} and tumor "
                    f"{row['tumor']}: give the metadata.csv of Camelyon17-WILDS"
                )
            node = f"patient_{row['patient']}_node_{row['node']}"
            yield part, int(row["tumor"]), f"{node}/patch_{node}_x_{row['x_coord']}_y_{row['y_coord']}.png"
