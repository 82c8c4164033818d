"""Without labels every kind of source is read, also one whose labels are missing or could not be read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    assert found.told.startswith("a folder of images; left out: 1 no image (about.csv); 3 of its 9")
    with pytest.raises(ValueError, match=r"has one folder, more/, beside about\.csv"):
        load(DataConfig(path=str(tmp_path / "set"), test_share=0.3))


def test_digits_are_the_same_images(tmp_path: Path) -> None:
    with_labels, without = load(DataConfig()), load(DataConfig(labels=False))
    assert (with_labels.train.images_NHWC == without.train.images_NHWC).all() and without.test.classes == 1


NEAR = [
    ("train_images", "test_images"), ("training-set", "testing set"), ("images", "images_test"), ("Test1", "ant"),
    ("a.validation", "b"), ("trainA", "testA"), ("trainset", "testset"), ("TrainImages", "TestImages"),
]  # fmt: skip


@pytest.mark.parametrize("names", NEAR)
def test_folders_whose_names_only_hold_a_split_are_not_all_trained_on(tmp_path: Path, names: tuple[str, ...]) -> None:
    for at, name in enumerate(names):
        write(tmp_path / "set" / name / "a" / f"{at}.png", png(at))
    config = DataConfig(path=str(tmp_path / "set"), labels=False, test_share=0.5)
    words = r"^data\.path='.*set' has .*/, which by its name is for (train|test|val): rename the folders of splits to"
    with pytest.raises(ValueError, match=words):
        load(config)
    for name in names:
        (tmp_path / "set" / name).rename(tmp_path / "set" / f"trains{names.index(name)}")
    assert len(load(config).train) == 1


ODD: dict[str, Any] = {
    "objects": np.array([{}, None] * 3), "words": np.array(["ant"] * 6), "another number of them": np.zeros(2),
    "several": np.full((6, 3), 2),
}  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("in_memory", [0, 2**28])
def test_arrays_of_labels_are_not_read(
    tmp_path: Path, kind: str, in_memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raysyn.data.npz.IN_MEMORY", in_memory)
    images = {f"{split}_images": PIXELS[list(rows)] for split, rows in SPLITS.items()}
    more: dict[str, Any] = {"train_labels": ODD[kind], "test_labels": ODD[kind], "class_names": ODD["objects"]}
    np.savez(tmp_path / "set.npz", **images, **more)
    found = load(DataConfig(path=str(tmp_path / "set.npz"), labels=False))
    assert (found.train.images_NHWC[..., 0] == PIXELS[:6]).all() and found.train.class_names == (ONE_CLASS,)


@pytest.mark.parametrize("kind", ["Parquet", "a table"])
def test_a_column_of_labels_is_not_named_and_forgotten(tmp_path: Path, kind: str) -> None:
    path = str(KINDS[kind](tmp_path / "set"))
    for read in (load, public_facts):
        with pytest.raises(
            ValueError, match=r"^data\.label_column='x' says where .* --data\.no-labels forgets them; le"
        ):
            read(DataConfig(path=path, labels=False, label_column="x"))


def test_labels_cannot_be_heeded_and_forgotten() -> None:
    with pytest.raises(ValueError, match=r"data\.multi_label='combination' says .* --data\.no-labels forgets them"):
        load(DataConfig(labels=False, multi_label="combination"))
