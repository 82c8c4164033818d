"""Class numbers are judged in one way, for private and public images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

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
