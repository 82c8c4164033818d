"""Class numbers are judged in one way, for private and public images."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, load
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig
from raysyn.report.pictures import png_bytes

PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 8), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1, 0, 1])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


def privately(*paths: Path) -> tuple[list[int], tuple[str, ...]]:
    train = load(DataConfig(path=str(paths[0]))).train
    return train.labels_N.tolist(), train.class_names


def publicly(*paths: Path) -> tuple[list[int], tuple[str, ...]]:
    train = load_public(PublicConfig(path=tuple(map(str, paths))), (8, 8, 1)).train
    return train.labels_N.tolist(), train.class_names


Read = Callable[..., tuple[list[int], tuple[str, ...]]]
both = pytest.mark.parametrize("read", [privately, publicly])


def npz(path: Path, train: Any, test: Any = LABELS, **more: Any) -> Path:
    np.savez(path, train_images=PIXELS, train_labels=train, test_images=PIXELS, test_labels=test, **more)
    return path


@both
@pytest.mark.parametrize("kind", [float, str, bool, complex, "M8[s]"])
def test_what_is_no_whole_number_is_refused(tmp_path: Path, read: Read, kind: Any) -> None:
    with pytest.raises(ValueError, match=r"set\.npz': train labels are .*; give class numbers 0, 1, 2, \.\.\.$"):
        read(npz(tmp_path / "set.npz", LABELS.astype(kind)))
    with pytest.raises(ValueError, match=r"set\.npz': test labels are "):
        read(npz(tmp_path / "set.npz", LABELS, LABELS.astype(kind)))


@both
@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (LABELS * 2, LABELS, "class 1 has no training images; add some, renumber, or declare"),
        (LABELS + 1, LABELS, "class 0 has no training images"),
        ([*LABELS[:7], 2_000_000_000], LABELS, "class 2 has no training images"),
        (LABELS, LABELS * 2_000_000_000, "test has the label 2000000000, but train has 0 to 1; mend the labels"),
        (LABELS - 1, LABELS, "has the label -1; number classes 0, 1, 2"),
        (LABELS * 2**31, LABELS, "has the label 2147483648; number classes 0, 1, 2"),
    ],
)
def test_numbers_without_names_leave_none_out(tmp_path: Path, read: Read, train: Any, test: Any, words: str) -> None:
    """A list of names up to the highest one would fill the memory."""
    with pytest.raises(ValueError, match=words):
        read(npz(tmp_path / "set.npz", np.array(train), np.array(test)))


@both
def test_with_names_they_may(tmp_path: Path, read: Read) -> None:
    path = npz(tmp_path / "set.npz", LABELS * 2, class_names=np.array(["a", "b", "c"]))
    assert read(path) == ((LABELS * 2).tolist(), ("a", "b", "c"))


def test_of_several_public_sets_each_is_judged_by_itself(tmp_path: Path) -> None:
    named = npz(tmp_path / "named.npz", LABELS, class_names=np.array(["a", "b", "c"]))
    plain, gap = npz(tmp_path / "plain.npz", LABELS), npz(tmp_path / "gap.npz", LABELS * 2)
    labels, names = publicly(named, plain)
    assert labels == [*LABELS.tolist(), *(LABELS + 3).tolist()] and names == ("0", "1", "2", "3", "4")
    with pytest.raises(ValueError, match="public set gap: class 1 has no training images"):
        publicly(named, gap)
    # A negative one would be a class of the set before.
    with pytest.raises(ValueError, match=r"below\.npz': train has the label -1; number"):
        publicly(named, npz(tmp_path / "below.npz", LABELS - 1))


@both
def test_numbers_beyond_those_of_classes_are_named_by_their_row(tmp_path: Path, read: Read) -> None:
    files = [png_bytes(one[..., None]) for one in PIXELS[:4]]
    for label, kind in ((2**64 - 1, pa.uint64()), (-5, pa.int64())):
        labels = pa.array([0, 1, label, 1], kind)
        pq.write_table(
            pa.table({"image": files, "label": labels, "split": ["train"] * 3 + ["test"]}), tmp_path / "x.pq"
        )
        with pytest.raises(ValueError, match=rf"row 2 has the label {label}; number classes 0, 1, 2"):
            read(tmp_path / "x.pq")


def in_table(path: Path, labels: list[str]) -> Path:
    """A .csv beside its images, the last of which is for testing."""
    path.mkdir(exist_ok=True)
    lines = ["path,label,split"]
    for at, label in enumerate(labels):
        Image.fromarray(PIXELS[at % 8] ^ at).save(path / f"{at}.png")
        lines.append(f"{at}.png,{label},{'train' if at < len(labels) - 1 else 'test'}")
    (path / "set.csv").write_text("\n".join(lines))
    return path / "set.csv"


def in_column(path: Path, labels: list[str]) -> Path:
    path.mkdir(exist_ok=True)
    files = [png_bytes((PIXELS[at % 8] ^ at)[..., None]) for at in range(len(labels))]
    split = ["train"] * (len(labels) - 1) + ["test"]
    pq.write_table(pa.table({"image": files, "label": labels, "split": split}), path / "set.parquet")
    return path / "set.parquet"


def in_shards(path: Path, labels: list[str]) -> Path:
    path.mkdir(exist_ok=True)
    for split, rows in (("train", labels[:-1]), ("test", labels[-1:])):
        with tarfile.open(path / f"{split}-000000.tar", "w") as archive:
            for at, label in enumerate(rows):
                for kind, content in (("png", png_bytes((PIXELS[at % 8] ^ at)[..., None])), ("txt", label.encode())):
                    about = tarfile.TarInfo(f"{at:04d}.{kind}")
                    about.size = len(content)
                    archive.addfile(about, io.BytesIO(content))
    return path


TEXT = pytest.mark.parametrize("written", [in_table, in_column, in_shards])
Written = Callable[[Path, list[str]], Path]


@both
@TEXT
@pytest.mark.parametrize("one", ["{}.0", "{}.", "{}"])
def test_numbers_as_text_are_numbers_however_one_is_written(
    tmp_path: Path, read: Read, written: Written, one: str
) -> None:
    """As text 10 comes before 2, and 1.0 is another class than 1."""
    labels = [*map(str, range(12)), one.format(2), "10", one.format(11)]
    assert read(written(tmp_path / "set", labels)) == ([*range(12), 2, 10], tuple(map(str, range(12))))


@both
@TEXT
@pytest.mark.parametrize("none", ["nan", "NaN", "None", "n/a", "<NA>", "?", "-"])
def test_a_missing_label_makes_no_words_of_numbers(tmp_path: Path, read: Read, written: Written, none: str) -> None:
    with pytest.raises(ValueError, match=rf"^(data|public)\.path='.* has the label '{re.escape(none)}', which is none"):
        read(written(tmp_path / "set", [*map(str, range(11)), none, "0"]))


@both
@TEXT
def test_beside_words_only_what_can_be_no_word_is_missing(tmp_path: Path, read: Read, written: Written) -> None:
    with pytest.raises(ValueError, match=r" has the label 'nan', which is none; fill it, drop it, or give that class "):
        read(written(tmp_path / "set", ["ant", "nan", "none", "ant"]))
    assert read(written(tmp_path / "set", ["none", "ant", "1.0", "2", "ant"])) == (
        [3, 2, 0, 1], ("1.0", "2", "ant", "none")
    )  # fmt: skip


@both
def test_a_number_below_0_in_a_table_is_named_by_its_line(tmp_path: Path, read: Read) -> None:
    for below in ("-1", "-1.0"):
        with pytest.raises(ValueError, match=r"set\.csv': line 3 has the label -1; number classes 0, 1, 2, \.\.\.$"):
            read(in_table(tmp_path / "set", ["0", below, "1", "0"]))
    # Of strings it may be the name of a class.
    assert read(in_column(tmp_path / "set", ["10", "-1", "2", "2"])) == ([2, 0, 1], ("-1", "2", "10"))
