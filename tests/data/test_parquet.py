"""Parquet files as Hugging Face and pandas write them: one reader for private and public images."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from raysyn.data.images import DataConfig, Images, load
from raysyn.data.parquet import read_parquet
from raysyn.data.parquet_schema import Columns
from raysyn.data.pixels import pixels_of
from raysyn.data.public import load_public
from raysyn.data.streams import PublicConfig

N = 14
PIXELS = np.random.default_rng(0).integers(0, 256, (N, 8, 8), dtype=np.uint8)
LABELS = [0, 1] * 7
SPLIT = ["train"] * 10 + ["test"] * 4


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


FILES = [png(one) for one in PIXELS]
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
HUGGING = pa.array([{"bytes": one, "path": f"{at}.png"} for at, one in enumerate(FILES)], STRUCT)
WORDS = [("yak", "ant")[label] for label in LABELS]


def class_label(*names: str, column: str = "label") -> dict[str, Any]:
    return {"info": {"features": {column: {"names": list(names), "_type": "ClassLabel"}}}}


def write(path: Path, metadata: dict[str, Any] | None = None, rows: slice = slice(N), **columns: Any) -> Path:
    """A good table, with `columns` replaced, added or (None) left out."""
    good: dict[str, Any] = {"image": FILES, "label": LABELS, "split": SPLIT}
    table = pa.table({name: value for name, value in (good | columns).items() if value is not None})
    table = table.replace_schema_metadata({key: json.dumps(value) for key, value in (metadata or {}).items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.slice(rows.start or 0, rows.stop - (rows.start or 0)), path, row_group_size=3)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))


Read = Callable[..., tuple[Images, Images]]


def privately(path: Path, **more: Any) -> tuple[Images, Images]:
    found = load(DataConfig(path=str(path), **more))
    return found.train, found.test


def publicly(path: Path, **more: Any) -> tuple[Images, Images]:
    found = load_public(PublicConfig(path=(str(path),), **more), (8, 8, 1))
    return found.train, found.valid


both = pytest.mark.parametrize("read", [privately, publicly])


def check(images: tuple[Images, Images], names: tuple[str, ...], labels: list[int] | None = None) -> None:
    train, test = images
    assert (train.images_NHWC[:][..., 0] == PIXELS[:10]).all() and (test.images_NHWC[:][..., 0] == PIXELS[10:]).all()
    assert train.class_names == names
    assert [*train.labels_N, *test.labels_N] == (LABELS if labels is None else labels)


KINDS: dict[str, dict[str, Any]] = {
    "binary": {"image": pa.array(FILES, pa.binary())},
    "large binary": {"image": pa.array(FILES, pa.large_binary())},
    "struct": {"image": HUGGING},
    "struct of large binary": {
        "image": HUGGING.cast(pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())]))
    },
    "struct the other way round": {
        "image": pa.array(
            [{"path": None, "bytes": one} for one in FILES], pa.struct([("path", pa.string()), ("bytes", pa.binary())])
        )
    },
    "dictionary of files": {"image": pa.array(FILES).dictionary_encode()},
    "small numbers": {"label": pa.array(LABELS, pa.uint8())},
    "dictionary of numbers": {"label": pa.array(LABELS, pa.int64()).dictionary_encode()},
    "dictionary of splits": {"split": pa.array(SPLIT).dictionary_encode()},
    "usual splits": {"split": ["TRAIN"] * 10 + ["testing"] * 4},
    "more columns": {"age": [40] * N, "image_id": list(map(str, range(N)))},
}


@both
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_column_gives_the_same_images(tmp_path: Path, read: Read, kind: str) -> None:
    check(read(write(tmp_path / "set.parquet", **KINDS[kind])), ("0", "1"))


@both
@pytest.mark.parametrize(
    "words",
    [WORDS, pa.array(WORDS, pa.large_string()), pa.array(WORDS).dictionary_encode()],
    ids=["string", "large string", "category"],
)
def test_labels_in_words_are_classes_in_sorted_order(tmp_path: Path, read: Read, words: Any) -> None:
    turned = [1 - label for label in LABELS]
    check(read(write(tmp_path / "set.parquet", label=words)), ("ant", "yak"), turned)
    named = write(tmp_path / "set.parquet", {"dataset": {"classes": ["yak", "ant", "cow"]}}, label=words)
    check(read(named), ("yak", "ant", "cow"))


@both
def test_a_word_that_train_does_not_have_is_refused(tmp_path: Path, read: Read) -> None:
    with pytest.raises(ValueError, match=r"row 13 has the label 'cow', no class of train; mend it"):
        read(write(tmp_path / "set.parquet", label=[*WORDS[:-1], "cow"]))


def test_words_are_no_declaration(tmp_path: Path) -> None:
    """A limit that leaves such a class without an image is refused, as with numbers."""
    path = write(tmp_path / "set.parquet", label=["rare", *["ant"] * 9, *["ant"] * 4])
    with pytest.raises(ValueError, match=r"data\.limit=2 leaves class 1 without a training image"):
        load(DataConfig(path=str(path), limit=2))


@both
def test_numbers_as_words_are_classes_in_the_order_of_their_values(tmp_path: Path, read: Read) -> None:
    path = write(tmp_path / "set.parquet", label=[("9", "10")[label] for label in LABELS], split=None, Split=SPLIT)
    check(read(path), ("9", "10"))


@both
def test_class_names_of_hugging_face_are_kept(tmp_path: Path, read: Read) -> None:
    about = {"huggingface": class_label("benign", "malignant")}
    check(read(write(tmp_path / "set.parquet", about, image=HUGGING)), ("benign", "malignant"))
    # Those that raysyn writes come first, and a feature of another kind has none.
    both = about | {"dataset": {"classes": ["a", "b"]}}
    check(read(write(tmp_path / "a.parquet", both)), ("a", "b"))
    other = {"huggingface": {"info": {"features": {"label": {"dtype": "int64", "_type": "Value"}}}}}
    check(read(write(tmp_path / "b.parquet", other)), ("0", "1"))


@both
def test_columns_have_other_names_or_are_named(tmp_path: Path, read: Read) -> None:
    check(read(write(tmp_path / "a.parquet", image=None, label=None, img=HUGGING, labels=LABELS)), ("0", "1"))
    about = {"huggingface": class_label("fine", "coarse", column="kind")}
    path = write(tmp_path / "b.parquet", about, image=None, label=None, scan=FILES, kind=LABELS)
    check(read(path, image_column="scan", label_column="kind"), ("fine", "coarse"))
    # What is usual is not taken for what is named.
    path = write(tmp_path / "c.parquet", kind=[1 - label for label in LABELS])
    check(read(path, label_column="kind"), ("0", "1"), [1 - label for label in LABELS])
    check(read(path), ("0", "1"))


def shards(folder: Path, *names: str) -> Path:
    """A good set as a folder of files, a third of train in each."""
    cuts = [slice(0, 4), slice(4, 7), slice(7, 10), slice(10, N)]
    for name, rows in zip(names, cuts, strict=True):
        write(folder / name, {"huggingface": class_label("x", "y")}, rows, image=HUGGING, split=None)
    return folder


OF_THREE = [f"train-{at:05d}-of-00003.parquet" for at in range(3)]
FOLDERS = {
    "shards": [*OF_THREE, "test-00000-of-00001.parquet"],
    "in data/": [f"data/{name}" for name in (*OF_THREE, "test-00000-of-00001.parquet")],
    "in folders": [*(f"train/{at:04d}.parquet" for at in range(3)), "test/0000.parquet"],
    "by hand": ["train_a.parquet", "train_b.pq", "training.PARQUET", "validation.parquet"],
}


@both
@pytest.mark.parametrize("layout", FOLDERS)
def test_a_folder_of_shards_is_one_set_whose_files_name_the_splits(tmp_path: Path, read: Read, layout: str) -> None:
    path = shards(tmp_path / "set", *FOLDERS[layout])
    (path / "README.md").write_text("---\n")
    if layout == "by hand":
        found = load(DataConfig(path=str(path), test_share=0.2))
        assert len(found.train) == 8 and found.val is not None and (found.val.images_NHWC[..., 0] == PIXELS[10:]).all()
        return
    check(read(path), ("x", "y"))
    found = load(DataConfig(path=str(path)))
    assert found.name == "set" and found.told == (
        "4 Parquet files, images in the column image, labels in label (names of classes by Hugging Face's ClassLabel), "
        "splits by file names"
    )


@both
def test_shards_that_are_not_there_or_differ_are_refused(tmp_path: Path, read: Read) -> None:
    path = shards(tmp_path / "set", *FOLDERS["shards"])
    (path / OF_THREE[1]).rename(tmp_path / "away")
    with pytest.raises(ValueError, match=r"has 2 of 3 files of train, and not train-00001-of-00003; bring them all"):
        read(path)
    write(path / OF_THREE[1], {"huggingface": class_label("y", "x")}, slice(4, 7), image=HUGGING, split=None)
    with pytest.raises(ValueError, match=rf"{OF_THREE[1]} has other columns or names of classes than test-"):
        read(path)


@both
def test_shards_one_folder_deeper_are_pointed_to(tmp_path: Path, read: Read) -> None:
    shards(tmp_path / "set" / "plain", *FOLDERS["shards"])
    with pytest.raises(ValueError, match=r"has Parquet files in plain/, and none in itself: give '.*/set/plain'$"):
        read(tmp_path / "set")


def test_files_of_no_split_are_left_out_and_told(tmp_path: Path) -> None:
    path = shards(tmp_path / "set", *FOLDERS["shards"])
    write(path / "extra-00000-of-00001.parquet", {"huggingface": class_label("x", "y")}, image=HUGGING, split=None)
    found = load(DataConfig(path=str(path)))
    assert len(found.train) == 10
    assert found.told.endswith("; left out: 1 of no split, such as extra-00000-of-00001.parquet")
    # What is told is written into the report, in UTF-8.
    (path / "extra-00000-of-00001.parquet").rename(path / os.fsdecode(b"extra-\xe4.parquet"))
    assert load(DataConfig(path=str(path))).told.endswith("such as extra-\\xe4.parquet")


def test_a_file_without_splits_is_all_for_training(tmp_path: Path) -> None:
    path = write(tmp_path / "train-00000-of-00004.parquet", image=HUGGING, split=None)
    found = load(DataConfig(path=str(path), test_share=0.2))
    assert (len(found.train), len(found.test)) == (11, 3) and ", no column split: all for training; " in found.told
    with pytest.raises(ValueError, match=r"has no column split, and so no test images; .* --data\.test-share"):
        load(DataConfig(path=str(path)))
    write(path, rows=slice(10), image=FILES * 1, split=None)
    assert len(load(DataConfig(path=str(path), test_share=0.5)).test) == 5


LATIN = pa.Array.from_buffers(pa.string(), N, pa.array([b"kr\xe4nklich"] * N, pa.binary()).buffers())
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no image": ({"image": None}, r"lacks the column image \(or img\); it has label, split: .* --{g}\.image-column"),
    "neither": (
        {"image": None, "label": None, "x": [0] * N},
        r"lacks the columns image \(or img\) and label \(or labels\); it has split, x: name those to read with "
        r"--{g}\.image-column and --{g}\.label-column$",
    ),
    "no label": ({"label": None}, r"lacks the column label \(or labels\); it has image, split: .* --{g}\.label-column"),
    "paths": ({"image": ["0.png"] * N}, r"column image is string; it must hold PNG or JPEG files"),
    "lists": ({"image": [[1, 2]] * N}, r"column image is list<.*>; it must hold PNG"),
    "struct of paths": ({"image": [{"path": "0.png"}] * N}, r"column image is struct<path: string>; it must hold PNG"),
    "path alone": (
        {"image": pa.array([{"bytes": None, "path": "a"}] * N, STRUCT)}, r"row 0 has an empty image; .* a path names\)",
    ),
    "no struct": ({"image": pa.array([*HUGGING.to_pylist()[:5], *[None] * 9], STRUCT)}, "row 5 has an empty image"),
    "empty image": ({"image": [*FILES[:3], None, *FILES[4:]]}, "row 3 has an empty image; fill or drop it"),
    "empty label": ({"label": [*LABELS[:3], None, *LABELS[4:]]}, "row 3 has an empty label"),
    "empty word": ({"label": [*WORDS[:3], None, *WORDS[4:]]}, "row 3 has an empty label"),
    "empty split": ({"split": [*SPLIT[:3], None, *SPLIT[4:]]}, "row 3 has an empty split"),
    "other split": ({"split": [*SPLIT[:3], "dev", *SPLIT[4:]]}, "row 3 has the split 'dev'; it must be one of train"),
    "beyond": ({"label": pa.array([*LABELS[:5], 2**64 - 1, *LABELS[6:]], pa.uint64())}, "row 5 has the label 18446"),
    "no UTF-8": ({"label": LATIN}, "column label holds text that is no UTF-8; write it in UTF-8"),
    "no UTF-8 split": ({"split": LATIN}, "column split holds text that is no UTF-8"),
    "points": ({"label": [*map(float, LABELS[:-1]), None]}, "column label is double, as empty rows make of numbers"),
    "truth": ({"label": [True, False] * 7}, "column label is bool; it must hold class numbers"),
}  # fmt: skip


@both
@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path, read: Read, kind: str) -> None:
    columns, words = BAD[kind]
    group = "data" if read is privately else "public"
    with pytest.raises(ValueError, match=rf"^{group}\.path='.*set\.parquet'.*{words.replace('{g}', group)}") as caught:
        read(write(tmp_path / "set.parquet", **columns))
    assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize(
    ("text", "said"),
    [("cifar", "but 'cifar', and names"), ("[" * 200_000, r"but '\[{20}\.\.\.', and names"), ("\udce4", "but ")],
)
def test_what_others_wrote_into_the_metadata_is_named(tmp_path: Path, read: Read, text: str, said: str) -> None:
    path = write(tmp_path / "set.parquet")
    about = {"dataset": text.encode("utf-8", "surrogateescape")}
    pq.write_table(pq.read_table(path).replace_schema_metadata(about), path)
    with pytest.raises(
        ValueError, match=rf"schema metadata 'dataset' is no JSON object {said}.* remove this key"
    ) as caught:
        read(path)
    assert "\n" not in str(caught.value)


@both
@pytest.mark.parametrize("name", ["image", "label", "other"])
def test_two_columns_of_one_name_are_refused(tmp_path: Path, read: Read, name: str) -> None:
    names = ["image", "label", name, name] if name == "other" else ["image", "label", name]
    columns = [FILES, LABELS, LABELS, LABELS][: len(names)]
    pq.write_table(pa.Table.from_arrays([pa.array(one) for one in columns], names=names), tmp_path / "set.parquet")
    with pytest.raises(ValueError, match=rf"set\.parquet' has 2 columns called {name}; rename all but one"):
        read(tmp_path / "set.parquet")


@both
def test_columns_are_of_parquet_alone_and_must_be_there(tmp_path: Path, read: Read) -> None:
    group = "data" if read is privately else "public"
    path = write(tmp_path / "set.parquet")
    with pytest.raises(ValueError, match=rf"the column that {group}\.label_column='kind' names; it has image, label"):
        read(path, label_column="kind")
    np.savez(tmp_path / "set.npz", train_images=PIXELS, train_labels=LABELS)
    with pytest.raises(ValueError, match=rf"{group}\.image_column='scan' names a column, but .* is no Parquet file"):
        read(tmp_path / "set.npz", image_column="scan")
    with pytest.raises(ValueError, match=r"image_column='scan' names a column, but data\.name='digits' is no Parquet"):
        load(DataConfig(image_column="scan"))
    with pytest.raises(ValueError, match=r"label_column='x' names a column, but public\.name='glyphs' is no Parquet"):
        load_public(PublicConfig(label_column="x"), (8, 8, 1))


def test_of_many_columns_a_message_names_the_nearest_and_few_others(tmp_path: Path) -> None:
    many = {f"clinical variable {at}": LABELS for at in range(40)}
    path = write(tmp_path / "scans.parquet", finding=LABELS, patient_no=LABELS, **many)
    for given, nearest in ({"label_column": "findings"}, "finding"), ({"person_column": "patient_nr"}, "patient_no"):
        with pytest.raises(ValueError, match=rf"names; it has {nearest}, image, label, .* and 33 more$"):
            load(DataConfig(path=str(path), **given))


def test_what_is_decoded_of_other_columns_is_not_taken_for_it(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet", kind=[1 - label for label in LABELS])
    config = PublicConfig(path=(str(path),))
    usual = load_public(config, (8, 8, 1)).train.labels_N
    other = load_public(replace(config, label_column="kind"), (8, 8, 1)).train.labels_N
    assert (usual == 1 - other).all()


def test_a_file_that_changes_between_two_passes_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "set.parquet")
    source = read_parquet(path, "it", Columns())
    train = source.splits["train"]
    pixels = pixels_of(source, train, np.arange(2), None, None, None)
    assert len(pixels) == 2
    for gone in (False, True):
        path.unlink() if gone else write(path, rows=slice(N - 2))
        with pytest.raises(ValueError, match=r"set\.parquet has changed while it was read: try again once"):
            pixels_of(source, train, np.arange(2), None, None, None)
