"""Folders of Parquet files: which are one set, what their names say, and what of them is not read."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.data.parquet import open_parquet
from raysyn.data.parquet_schema import USUAL
from raysyn.data.streams import PublicConfig, Stream

HASH = "0123456789abcdef"


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


IMAGES = [png(seed) for seed in range(4)]


def files(folder: Path, *names: str, **columns: Any) -> Path:
    """Four images in each file."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": IMAGES, "label": [0, 1, 0, 1], **columns}), folder / name)
    return folder


def splits(folder: Path) -> dict[str, int]:
    rows = [row.split for row in open_parquet(folder, "data.path", USUAL).rows()]
    return {split: rows.count(split) for split in sorted(set(rows))}


def told(folder: Path) -> str:
    return open_parquet(folder, "data.path", USUAL).told


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mnist-train", "mnist-test"], {"train": 4, "test": 4}),
        (["2024.Train.v2", "2024.Test.v2", "2024.valid.v2"], {"train": 4, "test": 4, "val": 4}),
        (["my test set train1", "my test set test1"], {"train": 4, "test": 4}),
        (["data/a_train", "data/a_test"], {"train": 4, "test": 4}),
        (["train/a", "train/b", "test/c"], {"train": 8, "test": 4}),
        (["trainees-0", "trainees-1"], {"train": 8}),
        ([f"train-00000-of-00001-{HASH}", f"test-00000-of-00001-{HASH[::-1]}"], {"train": 4, "test": 4}),
        (["part-0.snappy", "part-1.snappy"], {"train": 8}),
        ([f"{HASH * 2}_000000_000000", f"{HASH[::-1] * 2}_000001_000000"], {"train": 8}),
        (["scans_a", "scans_b"], {"train": 8}),
    ],
)
def test_the_last_word_of_a_split_in_a_name_decides(tmp_path: Path, names: list[str], expected: dict[str, int]) -> None:
    path = files(tmp_path / "test", *(f"{name}.parquet" for name in names))
    assert splits(path) == expected
    said = "splits by file names" if len(expected) > 1 else "no split in file names: all for training"
    assert told(path).endswith(f", {said}")


def test_the_name_of_the_folder_that_is_given_says_no_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = files(tmp_path / "test", "scans.parquet")
    monkeypatch.chdir(path)
    assert splits(path) == splits(Path(".")) == {"train": 4}
    # The same file, given with the folder that it lies in, is for tests: what is decoded of it must not be taken.
    files(tmp_path, "train/scans.parquet")
    assert splits(tmp_path) == {"train": 4, "test": 4}
    inner, outer = (Stream.of(PublicConfig(path=(str(one),))).identity for one in (path, tmp_path))
    assert not set(inner[:-1]) & set(outer)


def test_with_a_column_of_splits_every_file_is_read(tmp_path: Path) -> None:
    column = ["train", "train", "test", "test"]
    path = files(tmp_path / "set", "train_hospital_a.parquet", "hospital_b.parquet", split=column)
    assert splits(path) == {"train": 4, "test": 4} and "left out" not in told(path)
    # Without one, a file of no split is left out.
    assert splits(files(path, "train_hospital_a.parquet", "hospital_b.parquet")) == {"train": 4}
    assert told(path).endswith("; left out: 1 of no split, such as hospital_b.parquet")


ONE, TWO = "train-00000-of-00001.parquet", "train-00000-of-00002.parquet"
HASHED = [f"train-0000{at}-of-00004-{HASH}.parquet" for at in (0, 2, 3)]
HASHES = [f"train-00000-of-00001-{one}.parquet" for one in (HASH, HASH[::-1])]
REFUSED: dict[str, tuple[list[str], str]] = {
    "hashed, one missing": (HASHED, "has 3 of 4 files of train, and not train-00001-of-00004"),
    "capitals, one missing": (["Train-00000-OF-00002.parquet"], "has 1 of 2 files of train, and not train-00001-of"),
    "one folder incomplete": (
        ["train/a-00000-of-00002.parquet", "test/a-00001-of-00002.parquet"], "has 1 of 2 files of test/a, and not",
    ),
    "two exports": ([ONE, TWO, "train-00001-of-00002.parquet"], f"has {ONE} and {TWO}, as two exports of one split"),
    "two hashes": (HASHES, "as two exports of one split leave them"),
    "two sets": (["cats.parquet", "xrays.parquet"], r"has cats.parquet and xrays.parquet, .* two sets: give one"),
    "a set and a number": (["0.parquet", "xrays.parquet"], r"has xrays.parquet and 0.parquet, .* two sets"),
    "two sets of splits": (["cats-train.parquet", "xrays-train.parquet"], "has cats-train.parquet and xrays-train"),
    "deeper": (["train/a.parquet", "train/part2/b.parquet"], "train/part2/b.parquet is of a split, but not where"),
    "own and a folder": (["train.parquet", "test/0.parquet"], r"test/0.parquet is of a split, .* \(train.parquet\)"),
    "two folders of one": (["train/a.parquet", "valid/a.parquet", "validation/a.parquet"], "validation/, both for val"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_not_one_whole_set_is_refused(tmp_path: Path, kind: str) -> None:
    names, words = REFUSED[kind]
    with pytest.raises(ValueError, match=rf"^data\.path.*{words}") as caught:
        splits(files(tmp_path / "set", *names))
    assert "\n" not in str(caught.value)


def test_images_in_the_folder_of_a_split_are_not_passed_over(tmp_path: Path) -> None:
    path = files(tmp_path / "set", "train/a.parquet")
    (path / "test" / "0").mkdir(parents=True)
    (path / "test" / "0" / "a.png").write_bytes(IMAGES[0])
    with pytest.raises(ValueError, match=r"test/0/a\.png is of a split, but not where .* one layout, or move it"):
        load(DataConfig(path=str(path), test_share=0.5))


def test_what_else_is_there_is_counted(tmp_path: Path) -> None:
    path = files(tmp_path / "set", "train.parquet", "test.parquet", "old/a.parquet", "old/b.parquet")
    for name in ("README.md", "raw.png", ".hidden", "_SUCCESS"):
        (path / name).write_bytes(IMAGES[0])
    os.symlink(path, path / "old" / "back")
    assert told(path).endswith("; left out: 2 Parquet of other folders, 2 hidden and 1 no Parquet")


@pytest.mark.parametrize("name", ["train/0001.parquet", "train/images"])
def test_links_to_files_that_are_not_there_are_refused(tmp_path: Path, name: str) -> None:
    path = files(tmp_path / "set", "train/0000.parquet", "test/0000.parquet")
    os.symlink(tmp_path / "nowhere", path / name)
    with pytest.raises(ValueError, match=rf"{name} is a link to what is not there; bring the files"):
        splits(path)
