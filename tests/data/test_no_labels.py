"""Without labels every kind of source is read, also one whose labels are missing or could not be read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, load, public_facts
from raysyn.data.source import ONE_CLASS

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 8, 8), dtype=np.uint8)
SPLITS = {"train": range(6), "test": range(6, 9)}


def png(at: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS[at]).save(file, "PNG")
    return file.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def tars(folder: Path, *labels: tuple[str, bytes]) -> Path:
    for split, rows in SPLITS.items():
        folder.mkdir(exist_ok=True)
        with tarfile.open(folder / f"{split}-0.tar", "w") as archive:
            for at in rows:
                for ending, content in (("png", png(at)), *labels):
                    about = tarfile.TarInfo(f"{at}.{ending}")
                    about.size = len(content)
                    archive.addfile(about, io.BytesIO(content))
    return folder


def npz(folder: Path, labels: np.ndarray | None) -> Path:
    arrays = {f"{split}_images": PIXELS[rows] for split, rows in SPLITS.items()}
    arrays |= {} if labels is None else {f"{split}_labels": labels[rows] for split, rows in SPLITS.items()}
    folder.mkdir(exist_ok=True)
    np.savez(folder / "set.npz", class_names=np.arange(2), **arrays)  # type: ignore[arg-type]
    return folder / "set.npz"


def parquet(folder: Path, labels: dict[str, list[object]], by_files: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    splits = [split for split, rows in SPLITS.items() for _ in rows]
    table = pa.table({"image": [png(at) for at in range(9)], **({} if by_files else {"split": splits}), **labels})
    if not by_files:
        pq.write_table(table, folder / "set.parquet")
        return folder / "set.parquet"
    for split, rows in SPLITS.items():
        pq.write_table(table.slice(rows.start, len(rows)), folder / f"{split}.parquet")
    return folder


def table(folder: Path) -> Path:
    for at in range(9):
        write(folder / f"{at}.png", png(at))
    rows = [f"{at}.png,{split}" for split, numbers in SPLITS.items() for at in numbers]
    write(folder / "set.csv", "\n".join(["path,split", *rows]).encode())
    return folder / "set.csv"


def images(folder: Path, *, below: str = "", of_tests: str = "") -> Path:
    for split, rows in SPLITS.items():
        for at in rows:
            write(folder / split / (of_tests if split == "test" and of_tests else below) / f"{at}.png", png(at))
    return folder


KINDS: dict[str, Callable[[Path], Path]] = {
    "shards of images alone": tars,
    "captions": lambda folder: tars(folder, ("txt", b"of J. Doe,\nwho is not well"), ("json", b"{")),
    "shards with labels": lambda folder: tars(folder, ("cls", b"0")),
    "arrays": lambda folder: npz(folder, None),
    "arrays of several labels": lambda folder: npz(folder, np.ones((9, 3))),
    "Parquet": lambda folder: parquet(folder, {}),
    "Parquet files": lambda folder: parquet(folder, {}, by_files=True),
    "lists": lambda folder: parquet(folder, {"label": [[0, 1]] * 9}),
    "empty labels": lambda folder: parquet(folder, {"label": [None, 0.5, 7.0] * 3}),
    "a table": table,
    "folders": images,
    "class folders": lambda folder: images(folder, below="ant"),
    "another class of tests": lambda folder: images(folder, below="ant", of_tests="bee"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_without_labels_every_kind_of_source_is_read(tmp_path: Path, kind: str) -> None:
    config = DataConfig(path=str(KINDS[kind](tmp_path / "set")), labels=False)
    found = load(config)
    assert (found.train.images_NHWC[..., 0] == PIXELS[:6]).all() and (
        found.test.images_NHWC[..., 0] == PIXELS[6:]
    ).all()
    assert found.train.class_names == (ONE_CLASS,) and not found.train.labels_N.any()
    assert public_facts(config) == (6, (8, 8, 1), 1)


def test_a_folder_of_images_alone_needs_no_class_folders(tmp_path: Path) -> None:
    for at in range(9):
        write(tmp_path / "set" / ("more" if at > 6 else "") / f"{at}.png", png(at))
    write(tmp_path / "set" / "about.csv", b"id,age\n0,9\n")
    found = load(DataConfig(path=str(tmp_path / "set"), labels=False, test_share=0.3))
    assert (len(found.train), len(found.test)) == (6, 3)
    assert found.told.startswith("a folder of images; left out: 1 no image; 3 of its 9")
    with pytest.raises(ValueError, match=r"has one folder, more/, beside about\.csv"):
        load(DataConfig(path=str(tmp_path / "set"), test_share=0.3))


def test_digits_are_the_same_images(tmp_path: Path) -> None:
    with_labels, without = load(DataConfig()), load(DataConfig(labels=False))
    assert (with_labels.train.images_NHWC == without.train.images_NHWC).all() and without.test.classes == 1


def test_labels_cannot_be_heeded_and_forgotten() -> None:
    with pytest.raises(ValueError, match=r"data\.multi_label='combination' says .* --data\.no-labels forgets them"):
        load(DataConfig(labels=False, multi_label="combination"))
