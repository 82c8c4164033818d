"""Every source gives the same images back, every fault one sentence that names field, value and mend."""

import io
import json
import os
import re
import struct
import sys
import types
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from raysyn.data.images import DataConfig, Dataset, Images, load, public_facts
from raysyn.data.public import load_public
from raysyn.data.several import CHEST
from raysyn.data.sources import MEDMNIST, NAMES, cache_folder, subset
from raysyn.data.streams import PublicConfig

REAL = Path(os.environ.get("RAYSYN_DATA", Path(__file__).parents[3] / "shared" / "data"))
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (12, 9, 8), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (12, 9, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3
SPLIT = ["train"] * 6 + ["val"] * 3 + ["test"] * 3


def encode(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None, **options: Any) -> bytes:
    """An image file in memory, converted to `mode` before saving."""
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def parquet(path: Path, metadata: Any = None, **columns: Any) -> str:
    """A good Parquet file of 12 grey images, with `columns` replaced (None: left out)."""
    good = {"image": [encode(pixels) for pixels in GREY], "label": LABELS.tolist(), "split": SPLIT}
    table = pa.table({key: value for key, value in (good | columns).items() if value is not None})
    if metadata is not None:
        table = table.replace_schema_metadata({"dataset": metadata})
    pq.write_table(table, path / "set.parquet")
    return str(path / "set.parquet")


def npz(path: Path, **replaced: Any) -> str:
    """A good MedMNIST-style file of colour images, with arrays replaced (None: left out)."""
    good = {f"{s}_images": COLOUR[i : i + 6] for s, i in (("train", 0), ("test", 6))}
    good |= {f"{s}_labels": LABELS[i : i + 6, None].astype(np.uint8) for s, i in (("train", 0), ("test", 6))}
    np.savez(path / "set.npz", **{k: v for k, v in (good | replaced).items() if v is not None})
    return str(path / "set.npz")


def folder(path: Path) -> Path:
    """A good folder of grey images: train, test and val with classes ant and bee."""
    for split, start in (("train", 0), ("test", 4), ("val", 8)):
        for offset, name in enumerate(("ant", "bee", "ant", "bee")):
            file = path / "zoo" / split / name / f"{offset}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(GREY[start + offset]).save(file)
    return path / "zoo"


def fault(config: DataConfig) -> str:
    """The sentence that `load` refuses with."""
    with pytest.raises(ValueError) as caught:
        load(config)
    sentence = str(caught.value)
    assert "\n" not in sentence and "0x" not in sentence, sentence
    return sentence


# Sources


def test_what_is_printed_of_images_tells_how_many_and_no_pixel() -> None:
    images = Images(np.full((2, 1, 3, 1), 77, np.uint8), np.array([1, 0]), ("a", "b"), persons_N=np.zeros(2, np.int64))
    assert repr(images) == "Images(2 of 1 x 3 x 1, 2 classes, 1 units)"


def test_digits_need_no_file_and_are_always_the_same() -> None:
    digits = load(DataConfig())
    assert (digits.name, len(digits.train), len(digits.test), digits.val) == ("digits", 1498, 299, None)
    assert digits.train.shape == (8, 8, 1) and digits.train.classes == 10
    assert digits.train.images_NHWC.max() == 255 and np.bincount(digits.test.labels_N).min() >= 15
    assert load(DataConfig()).train.fingerprint() == digits.train.fingerprint()
    both = {image.tobytes() for image in digits.train.images_NHWC} & {i.tobytes() for i in digits.test.images_NHWC}
    assert not both


def test_parquet_keeps_pixels_labels_splits_and_names(tmp_path: Path) -> None:
    path = parquet(tmp_path, json.dumps({"classes": ["ant", "bee", "cat"]}))
    loaded = load(DataConfig(path=path))
    assert loaded.name == "set" and loaded.train.class_names == ("ant", "bee", "cat") and loaded.val is not None
    for images, rows in ((loaded.train, slice(6)), (loaded.val, slice(6, 9)), (loaded.test, slice(9, 12))):
        assert (images.images_NHWC[..., 0] == GREY[rows]).all() and (images.labels_N == LABELS[rows]).all()
        assert images.shape == (9, 8, 1) and images.labels_N.dtype == np.int64
    unnamed = load(DataConfig(path=parquet(tmp_path)))
    assert unnamed.train.class_names == ("0", "1", "2")


def test_parquet_takes_dictionary_splits_large_binary_and_small_labels(tmp_path: Path) -> None:
    path = parquet(
        tmp_path,
        image=pa.array([encode(pixels) for pixels in COLOUR], pa.large_binary()),
        label=pa.array(LABELS, pa.uint8()),
        split=pa.array(SPLIT).dictionary_encode(),
    )
    assert (load(DataConfig(path=path)).train.images_NHWC == COLOUR[:6]).all()


def test_npz_keeps_pixels_and_flattens_labels(tmp_path: Path) -> None:
    loaded = load(DataConfig(path=npz(tmp_path)))
    assert (loaded.test.images_NHWC == COLOUR[6:]).all() and loaded.test.labels_N.tolist() == [
        0,
        1,
        2,
        0,
        1,
        2,
    ]
    assert loaded.val is None
    grey = load(DataConfig(path=npz(tmp_path, train_images=GREY[:6], test_images=GREY[6:, ..., None])))
    assert grey.train.shape == grey.test.shape == (9, 8, 1)


def test_folder_sorts_classes_and_files_and_skips_hidden_ones(tmp_path: Path) -> None:
    zoo = folder(tmp_path)
    (zoo / "train" / ".cache").write_text("x")
    (zoo / "train" / "ant" / ".DS_Store").write_text("x")
    loaded = load(DataConfig(path=str(zoo)))
    assert loaded.name == "zoo" and loaded.train.class_names == ("ant", "bee") and loaded.val is not None
    assert (loaded.train.images_NHWC[..., 0] == GREY[[0, 2, 1, 3]]).all()
    assert loaded.train.labels_N.tolist() == [0, 0, 1, 1]


def test_path_wins_over_name(tmp_path: Path) -> None:
    assert load(DataConfig(name="no such name", path=npz(tmp_path))).name == "set"


class FakeTorchvision:
    """Stands in for a torchvision data set: its constructor's arguments and attributes."""

    classes = ("ant", "bee", "cat")

    def __init__(self, root: str, train: bool, download: bool) -> None:
        assert Path(root) == cache_folder() and download
        self.data, self.targets = (COLOUR[:6], [0, 1, 2, 0, 1, 2]) if train else (COLOUR[6:], [0, 1, 2, 0, 1, 2])


def test_torchvision_names_download_to_the_cache_and_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = types.ModuleType("torchvision.datasets")
    fake.CIFAR10 = FakeTorchvision  # type: ignore[attr-defined]
    package = types.ModuleType("torchvision")
    package.datasets = fake  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", package)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", fake)
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    loaded = load(DataConfig(name="cifar10"))
    assert (loaded.test.images_NHWC == COLOUR[6:]).all() and loaded.train.class_names == ("ant", "bee", "cat")
    assert str(tmp_path / "cache") in capsys.readouterr().err

    def offline(root: str, train: bool, download: bool) -> None:
        raise OSError("no route\nto host")

    fake.CIFAR10 = offline  # type: ignore[attr-defined]
    assert "(no route to host); try again, or give a file with data.path" in fault(DataConfig(name="cifar10"))

    def mirrors(root: str, train: bool, download: bool) -> None:
        raise RuntimeError(
            "Error downloading it:\n" + "Tried http://mirror.example/it.gz, got:\nno route to host\n" * 9
        )

    fake.CIFAR10 = mirrors  # type: ignore[attr-defined]
    whole, cut = "Tried http://mirror.example/it.gz, got: no route to host", fault(DataConfig(name="cifar10"))
    assert f"(Error downloading it: {whole} {whole} {whole} Tried …); try again" in cut


def test_medmnist_names_read_the_downloaded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    several = np.array([[1, 0, 1], [0, 0, 1], [0, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 1]], np.uint8)

    def download_url(url: str, root: str, file: str, md5: str) -> None:
        made.append(url)
        assert md5 == f"sum of {url}" and Path(root) == tmp_path
        labels = {"train_labels": several, "test_labels": several} if file.startswith("chest") else {}
        Path(npz(Path(root), **labels)).rename(Path(root) / file)

    fake, utils = types.ModuleType("medmnist"), types.ModuleType("torchvision.datasets.utils")
    about: dict[str, Any] = {"label": {"0": "ant", "1": "bee", "2": "cat"}}
    for flag in ("", "_64"):
        about |= {f"url{flag}": f"blood{flag}", f"MD5{flag}": f"sum of blood{flag}"}
    fake.INFO = {"bloodmnist": about, "chestmnist": about}  # type: ignore[attr-defined]
    utils.download_url = download_url  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "medmnist", fake)
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", utils)
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path))
    loaded = load(DataConfig(name="bloodmnist"))
    assert loaded.name == "bloodmnist" and loaded.train.class_names == ("ant", "bee", "cat")
    load(DataConfig(name="bloodmnist", size=64))
    load(DataConfig(name="bloodmnist", size=32))
    assert made == ["blood", "blood_64", "blood"]
    assert "has several labels per image; say how" in fault(DataConfig(name="chestmnist"))
    chest = load(DataConfig(name="chestmnist", multi_label="combination", label_order=("cat", "ant"))).train
    assert chest.class_names == ("none of them", "cat", "ant", "cat + ant")
    assert chest.labels_N.tolist() == [3, 1, 1, 2, 0, 1]


def test_medmnist_names_are_those_of_the_package() -> None:
    from medmnist.info import INFO

    flat = {flag for flag in INFO if "3d" not in flag and "multi-label" not in INFO[flag]["task"]}
    assert set(MEDMNIST) == flat
    assert sorted(CHEST) == sorted(INFO["chestmnist"]["label"].values())


# Size, limit, fingerprint


@pytest.mark.parametrize("size", [8, 16])
def test_size_rescales_every_image_of_any_size(tmp_path: Path, size: int) -> None:
    mixed = [encode(np.full((9 + i, 30, 3), 20 * i, np.uint8)) for i in range(12)]
    loaded = load(DataConfig(path=parquet(tmp_path, image=mixed), size=size))
    assert loaded.train.shape == (size, size, 3)
    assert (loaded.train.images_NHWC[:, 0, 0, 0] == 20 * np.arange(6)).all()
    assert load(DataConfig(path=npz(tmp_path), size=size)).test.shape == (size, size, 3)
    assert loaded.told.endswith(f"; 12 rescaled to {size}x{size} pixels")


def test_images_that_have_the_size_are_not_among_those_that_are_rescaled(tmp_path: Path) -> None:
    mixed = [encode(np.full((8 + 4 * (i % 3), 12, 3), 20 * i, np.uint8)) for i in range(12)]
    path = parquet(tmp_path, image=mixed)
    assert load(DataConfig(path=path, size=12)).told.endswith("; 8 rescaled to 12x12 pixels")
    assert "rescaled" not in load(DataConfig(limit=30)).told


def test_limit_keeps_the_same_images_nested_and_limits_test_too(tmp_path: Path) -> None:
    def limited(limit: int) -> Dataset:
        return load(DataConfig(limit=limit))

    small, large = limited(50), limited(500)
    assert (len(small.train), len(small.test), len(large.train), len(large.test)) == (50, 50, 500, 299)
    assert limited(50).train.fingerprint() == small.train.fingerprint()
    inside = {image.tobytes() for image in large.train.images_NHWC}
    assert all(image.tobytes() in inside for image in small.train.images_NHWC)
    assert limited(3).train.classes == 10
    assert subset(10, 4).tolist() == [2, 4, 8, 9]  # written down: a change would change every limited run


def test_limit_decodes_only_what_it_keeps(tmp_path: Path) -> None:
    kept = int(subset(6, 1)[0])
    images = [
        encode(GREY[i]) if i in (kept, 6 + int(subset(3, 1)[0]), 9 + int(subset(3, 1)[0])) else b"x" for i in range(12)
    ]
    declared = json.dumps({"classes": ["a", "b", "c"]})
    assert len(load(DataConfig(path=parquet(tmp_path, declared, image=images), limit=1)).train) == 1


@pytest.mark.parametrize("named", [True, False])
def test_a_class_that_a_limit_leaves_out_is_declared_or_refused(tmp_path: Path, named: bool) -> None:
    """The rule that holds for the whole set holds for the subset."""
    names = {"class_names": np.array(["ant", "bee", "cat"])} if named else {}
    path = npz(tmp_path, **names)
    kept = LABELS[:6][subset(6, 2)]
    gone = min({0, 1, 2} - set(kept.tolist()))
    if named:
        loaded = load(DataConfig(path=path, limit=2))
        assert loaded.empty_classes() == tuple("ant bee cat".split()[one] for one in {0, 1, 2} - set(kept.tolist()))
        assert loaded.train.class_names == ("ant", "bee", "cat")
        return
    # Labels beyond those that are left would not be classes at all; those below are a gap, or the end of the list.
    sentence = fault(DataConfig(path=path, limit=2))
    assert f"data.limit=2 leaves class {gone} without a training image; raise it, or declare" in sentence
    assert "class_names" in sentence
    assert load(DataConfig(path=path)).empty_classes() == ()


def test_one_image_does_not_decide_whether_declared_classes_can_be_used(tmp_path: Path) -> None:
    """Two neighbours: with the only image of a rare class, and without it."""
    names = np.array(["ant", "bee", "rare"])
    labels = np.array([0, 1, 0, 1, 0, 2], np.uint8)
    for keep in (slice(6), slice(5)):
        more = {"train_images": COLOUR[keep], "train_labels": labels[keep], "class_names": names}
        loaded = load(DataConfig(path=npz(tmp_path, **more)))
        assert loaded.train.class_names == ("ant", "bee", "rare") and loaded.train.classes == 3
    assert loaded.empty_classes() == ("rare",)
    bad = fault(DataConfig(path=npz(tmp_path, class_names=np.array([1, 2, 3]))))
    assert "class_names is int64 of shape (3,); give one string per class" in bad


def test_fingerprint_sees_pixels_labels_names_order_and_shape() -> None:
    images = Images(GREY[..., None], LABELS, ("a", "b", "c"))
    others = [
        Images(GREY[..., None] ^ 1, LABELS, ("a", "b", "c")),
        Images(GREY[..., None], (LABELS + 1) % 3, ("a", "b", "c")),
        Images(GREY[..., None], LABELS, ("a", "b", "d")),
        Images(GREY.transpose(0, 2, 1).reshape(12, 9, 8, 1), LABELS, ("a", "b", "c")),
        Images(GREY.reshape(12, 8, 9, 1), LABELS, ("a", "b", "c")),
        images.select(np.arange(12)[::-1]),
    ]
    assert len({images.fingerprint(), *(other.fingerprint() for other in others)}) == 7
    assert images.select(slice(None)).fingerprint() == images.fingerprint()
    assert images.select(LABELS == 1).labels_N.tolist() == [1] * 4


# Properties


@QUICK
@given(st.integers(8, 40), st.integers(8, 40), st.sampled_from([1, 3]), st.integers(0, 2**32 - 1))
def test_any_images_survive_parquet_and_npz(tmp_path: Path, height: int, width: int, channels: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (12, height, width, channels), dtype=np.uint8)
    files = [encode(image[..., 0] if channels == 1 else image) for image in pixels]
    loaded = load(DataConfig(path=parquet(tmp_path, image=files)))
    assert loaded.val is not None
    parts = (loaded.train.images_NHWC, loaded.val.images_NHWC, loaded.test.images_NHWC)
    assert (np.concatenate(parts) == pixels).all()
    again = load(DataConfig(path=npz(tmp_path, train_images=pixels[:6], test_images=pixels[6:])))
    assert (again.train.images_NHWC == pixels[:6]).all()


@QUICK
@given(st.permutations(range(12)), st.permutations(range(3)))
def test_any_order_of_rows_and_labels_survives(tmp_path: Path, order: list[int], names: list[int]) -> None:
    files, labels = [encode(GREY[i]) for i in order], [names[LABELS[i]] for i in order]
    path = parquet(tmp_path, image=files, label=labels, split=[SPLIT[i] for i in order])
    loaded = load(DataConfig(path=path))
    train = [i for i in order if i < 6]
    assert (loaded.train.images_NHWC[..., 0] == GREY[train]).all()
    assert loaded.train.labels_N.tolist() == [names[LABELS[i]] for i in train]


@QUICK
@given(st.integers(0, 60), st.integers(1, 255), st.booleans())
def test_damaged_files_give_an_image_or_a_sentence(tmp_path: Path, at: int, change: int, cut: bool) -> None:
    good = bytearray(encode(GREY[0]))
    good[at] ^= change
    files = [bytes(good[:at] if cut else good)] + [encode(pixels) for pixels in GREY[1:]]
    try:
        load(DataConfig(path=parquet(tmp_path, image=files)))
    except ValueError as error:
        assert "set.parquet" in str(error) and "\n" not in str(error)


# Faults


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (DataConfig(name="mnits"), ["data.name='mnits'", *NAMES, "data.path"]),
        (DataConfig(name=None), ["data.name=None", "digits"]),
        (DataConfig(name="chestmnist"), ["chestmnist", "several labels"]),
        (DataConfig(name="organmnist3d"), ["organmnist3d"]),
        (DataConfig(path="/no/such/file.parquet"), ["/no/such/file.parquet", "does not exist"]),
        (DataConfig(path=__file__), ["neither", ".parquet", ".npz", "train/"]),
        (DataConfig(size=7), ["data.size=7", "8"]),
        (DataConfig(limit=0), ["data.limit=0", "1"]),
        (DataConfig(limit=1499), ["data.limit=1499", "1498"]),
    ],
)
def test_bad_settings_are_named(config: DataConfig, words: list[str]) -> None:
    sentence = fault(config)
    assert all(word in sentence for word in words), sentence


def with_row_4(file: bytes) -> list[bytes]:
    return [file if row == 4 else encode(pixels) for row, pixels in enumerate(GREY)]


NOISE = GREY[0].repeat(4).reshape(9, 8, 4)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"label": None, "split": None}, ["lacks the column label", "--data.label-column"]),
        ({"image": ["x"] * 12}, ["image", "string", "PNG"]),
        ({"label": [0.0, 1.0, 2.0] * 4}, ["label", "double", "integer"]),
        ({"label": [None, 1, 2] * 4}, ["row 0", "empty label"]),
        ({"label": [-1, 1, 2] * 4}, ["-1"]),
        ({"label": [0, 1, 3] * 4}, ["class 2", "no training images", "declare", "schema metadata 'dataset'"]),
        ({"label": [1, 2, 3] * 4}, ["class 0"]),
        ({"label": [0, 1, 2**40] * 4}, [str(2**40)]),
        ({"label": [0, 1, 2] * 3 + [0, 1, 3]}, ["test", "label 3", "0 to 2"]),
        ({"split": ["dev"] * 12}, ["'dev'", "train, val, test"]),
        ({"split": ["test"] * 12}, ["no train images"]),
        ({"split": ["train"] * 12}, ["no test images"]),
        ({"image": with_row_4(b"not an image")}, ["row 4", "no image file"]),
        ({"image": with_row_4(encode(GREY[4])[:60])}, ["row 4"]),
        ({"image": with_row_4(encode(COLOUR[4]))}, ["row 4", "colour", "grey", "convert"]),
        ({"image": with_row_4(encode(GREY[4][:, :7]))}, ["row 4", "7x9", "8x9", "data.size"]),
        ({"image": with_row_4(encode(NOISE))}, ["row 4", "RGBA"]),
        ({"image": with_row_4(encode(GREY[4].astype(np.uint16)))}, ["row 4", "I;16"]),
        ({"image": with_row_4(encode(COLOUR[4], "JPEG", "CMYK"))}, ["row 4", "CMYK"]),
        ({"image": with_row_4(encode(GREY[4], "PNG", "P", transparency=GREY[4].item(0)))}, ["row 4", "transparency"]),
        ({"image": [encode(pixels[:7]) for pixels in GREY]}, ["8x7", "data.size"]),
    ],
)
def test_bad_parquet_is_named(tmp_path: Path, columns: dict[str, Any], words: list[str]) -> None:
    sentence = fault(DataConfig(path=parquet(tmp_path, **columns)))
    assert all(word in sentence for word in ["set.parquet", *words]), sentence


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("{", ["no JSON object"]),
        ("[]", ["no JSON object"]),
        ('{"classes": "abc"}', ["no list of names"]),
        ('{"classes": ["a", "b"]}', ["label 2", "only 2 classes"]),
        ('{"classes": ["a", "b", "a"]}', ["2 classes are called 'a'", "rename"]),
        ('{"classes": ["\\u00e9", "e\\u0301", "a"]}', ["2 classes are called", "rename"]),
        ('{"classes": ["a", "b\\n(biopsy)", "c"]}', ["class 1, 'b\\n(biopsy)'", "line break", "rename"]),
        ('{"classes": ["a", "b", "\\ud83d"]}', ["class 2, '\\ud83d'", "not UTF-8", "rename"]),
        ('{"classes": ["a", " ", "c"]}', ["class 1", "empty", "give it a name"]),
    ],
)
def test_bad_metadata_is_named(tmp_path: Path, metadata: str, words: list[str]) -> None:
    sentence = fault(DataConfig(path=parquet(tmp_path, metadata)))
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"test_labels": None}, ["test_labels"]),
        ({"val_images": COLOUR[:3]}, ["val_labels"]),
        ({"train_labels": np.zeros((6, 14), np.uint8)}, ["14 labels per image; give one each"]),
        ({"train_labels": np.eye(6, dtype=np.uint8)}, ["6 labels per image", "one-hot rows, the place of the 1"]),
        ({"train_labels": np.zeros(5, np.uint8)}, ["6 images but 5 labels"]),
        ({"train_labels": np.zeros(6)}, ["float64"]),
        ({"train_images": COLOUR[:6] > 9}, ["bool", "uint8"]),
        ({"train_images": COLOUR[:6] / 99}, ["train image 0", "float64", "outside 0 to 1", "--data.window LOW HIGH"]),
        ({"train_images": COLOUR[:6, ..., :2]}, ["(6, 9, 8, 2)"]),
        ({"test_images": COLOUR[:6, :, :, 0]}, ["test image 0", "grey", "colour"]),
        ({"test_images": COLOUR[:0], "test_labels": LABELS[:0]}, ["no test images"]),
        ({"train_labels": np.array([None] * 6)}, ["cannot be read"]),
    ],
)
def test_bad_npz_is_named(tmp_path: Path, arrays: dict[str, Any], words: list[str]) -> None:
    sentence = fault(DataConfig(path=npz(tmp_path, **arrays)))
    assert all(word in sentence for word in ["set.npz", *words]), sentence


def test_a_file_of_medmnist_plus_is_read_also_under_a_name_in_capitals(tmp_path: Path) -> None:
    """As 224 x 224 pixels of colour with validation images and a column of labels, and as 28 x 28 of grey."""
    for shape in ((224, 224, 3), (28, 28)):
        arrays: dict[str, Any] = {}
        for split, count in (("train", 6), ("val", 2), ("test", 3)):
            arrays[f"{split}_images"] = RNG.integers(0, 256, (count, *shape), dtype=np.uint8)
            arrays[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 2
        Path(npz(tmp_path, **arrays)).rename(tmp_path / "SCANS.NPZ")
        found = load(DataConfig(path=str(tmp_path / "SCANS.NPZ")))
        assert found.val is not None and found.val.shape == found.train.shape == (*shape, 1)[:3]
        assert np.array_equal(found.train.images_NHWC.reshape(6, *shape), arrays["train_images"])


@pytest.mark.parametrize("named", ["val", "valid", "validation", "Valid"])
@pytest.mark.parametrize("labels", [True, False])
def test_arrays_of_splits_have_their_usual_names_and_others_are_told(tmp_path: Path, named: str, labels: bool) -> None:
    arrays: dict[str, Any] = {f"{named}_images": COLOUR[:3], f"{named}_labels": LABELS[:3]}
    found = load(DataConfig(path=npz(tmp_path, **arrays), labels=labels))
    assert found.val is not None and np.array_equal(found.val.images_NHWC, COLOUR[:3])
    assert found.told == "a .npz file of train, val, test"
    whose = {f"{split}_persons": np.arange(6) + 9 * at for at, split in enumerate(("training", "test"))}
    more = arrays | {"extra_images": COLOUR[:2], "masks": np.array([None]), "test_images_2": COLOUR[:2]}
    more |= whose | {f"{named}_persons": np.array([20, 21, 22])}
    found = load(DataConfig(path=npz(tmp_path, **more), labels=labels))
    told = "a .npz file of train, val, test, persons by arrays; left out: arrays extra_images, masks, test_images_2; "
    assert found.told.startswith(told)
    public = load_public(PublicConfig(path=(npz(tmp_path, **arrays),)), (9, 8, 3))
    assert np.array_equal(public.valid.images_NHWC[:], COLOUR[:3])
    other = {"valid": "val"}.get(named, "valid")
    twice = arrays | {f"{other}_images": COLOUR[:2]}
    assert f"has arrays {named}_images and {other}_images, both for val_images; leave one of them out" in fault(
        DataConfig(path=npz(tmp_path, **twice), labels=labels)
    )


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x_train": COLOUR, "y_train": LABELS}, "lacks the array train_images; each split .* it has x_train, y_train"),
        (
            {"train_images": COLOUR.transpose(0, 3, 1, 2), "train_labels": LABELS},
            r"train images are uint8 of shape \(12, 3, 9, 8\); they must be",
        ),
        (
            {"train_images": np.zeros((4, 28, 28, 28), np.uint8), "train_labels": LABELS[:4]},
            r"train images are uint8 of shape \(4, 28, 28, 28\); they must be",
        ),
    ],
)
def test_arrays_of_other_names_and_shapes_are_refused_with_what_there_is(
    tmp_path: Path, arrays: dict[str, Any], words: str
) -> None:
    np.savez(tmp_path / "set.npz", **arrays)
    assert re.search(words, fault(DataConfig(path=str(tmp_path / "set.npz"))))


@pytest.mark.parametrize("name", ["broken.npz", "broken.parquet"])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"PK\x03\x04 and then nothing"])
def test_files_of_another_kind_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert "cannot be read" in fault(DataConfig(path=str(tmp_path / name)))


def test_bad_folders_are_named(tmp_path: Path) -> None:
    zoo = folder(tmp_path)
    assert "train/" in fault(DataConfig(path=str(tmp_path)))
    (zoo / "train" / "loose.png").write_bytes(encode(GREY[0]))
    assert "train/loose.png" in fault(DataConfig(path=str(zoo)))
    (zoo / "train" / "loose.png").unlink()
    (zoo / "test" / "cat").mkdir()
    assert "'cat'" in fault(DataConfig(path=str(zoo)))
    (zoo / "train" / "cat").mkdir()
    assert load(DataConfig(path=str(zoo))).empty_classes() == ("cat",)
    (zoo / "train" / "cat" / "notes").write_text("x")
    assert "train/cat/notes cannot be used: no image file" in fault(DataConfig(path=str(zoo)))


def test_palette_and_bilevel_images_become_colour_and_grey(tmp_path: Path) -> None:
    palette = [encode(pixels, "PNG", "P") for pixels in COLOUR]
    assert load(DataConfig(path=parquet(tmp_path, image=palette))).train.shape == (9, 8, 3)
    bilevel = load(DataConfig(path=parquet(tmp_path, image=[encode(pixels > 99) for pixels in GREY])))
    assert (bilevel.train.images_NHWC[..., 0] == 255 * (GREY[:6] > 99)).all()


def png_of_16_bit_colour(pixels: np.ndarray) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_16_bit_colour_keeps_the_high_byte(tmp_path: Path) -> None:
    deep = [png_of_16_bit_colour(pixels.astype(np.uint16) * 256 + 7) for pixels in COLOUR]
    assert (load(DataConfig(path=parquet(tmp_path, image=deep))).train.images_NHWC == COLOUR[:6]).all()


# Real files, where there are some


@pytest.mark.skipif(not REAL.is_dir(), reason=f"no folder {REAL}; set RAYSYN_DATA to a folder of Parquet files")
@pytest.mark.parametrize(
    ("name", "train", "val", "shape"),
    [
        ("mnist", 60000, 0, (28, 28, 1)),
        ("fashion_mnist", 60000, 0, (28, 28, 1)),
        ("cifar10", 50000, 0, (32, 32, 3)),
        ("cifar100_subset", 20000, 0, (32, 32, 3)),
        ("kmnist_10k", 9000, 0, (28, 28, 1)),
        ("pneumoniamnist", 4708, 524, (28, 28, 1)),
        ("medical_mnist_subset", 6000, 0, (64, 64, 1)),
    ],
)
def test_real_files_load(name: str, train: int, val: int, shape: tuple[int, int, int]) -> None:
    path = REAL / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"no {path}")
    # Limited, since decoding all of them takes a minute; the counts come from the file's own metadata.
    info = json.loads(pq.read_schema(path).metadata[b"dataset"])
    loaded = load(DataConfig(path=str(path), limit=500))
    assert loaded.train.class_names == tuple(info["classes"]) and loaded.train.shape == shape
    assert (len(loaded.train), len(loaded.test), loaded.val is not None) == (500, 500, val > 0)
    assert f"exceeds the {train} images" in fault(DataConfig(path=str(path), limit=10**6))
    assert loaded.train.images_NHWC.std() > 30 and len(np.unique(loaded.train.labels_N)) > 1


# ---- the square in the middle


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(9, 12, 0, 1), (12, 9, 1, 0), (11, 11, 0, 0), (10, 8, 1, 0)]
)
def test_a_crop_keeps_the_square_in_the_middle_of_files_and_arrays(
    tmp_path: Path, height: int, width: int, top: int, left: int
) -> None:
    images = RNG.integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    side = min(height, width)
    kept = images[:, top : top + side, left : left + side]
    arrays = {f"{split}_images": images for split in ("train", "test")}
    labels = {f"{split}_labels": np.array([0, 1, 0, 1]) for split in ("train", "test")}
    np.savez(tmp_path / "set.npz", **arrays, **labels)
    for number, image in enumerate(images):
        for split in ("train", "test"):
            (tmp_path / f"set/{split}/a").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"set/{split}/a/{number}.png").write_bytes(encode(image))
    for source in ("set.npz", "set"):
        cropped = DataConfig(path=str(tmp_path / source), crop="centre")
        assert np.array_equal(load(cropped).train.images_NHWC, kept)
        assert np.array_equal(load(cropped).test.images_NHWC, kept)
        assert public_facts(cropped) == (4, (side, side, 3), 1 if source == "set" else 2)
        scaled = load(replace(cropped, size=8)).train.images_NHWC
        alone = [np.asarray(Image.fromarray(one).resize((8, 8), Image.Resampling.BILINEAR)) for one in kept]
        assert np.array_equal(scaled, alone)


def test_images_of_many_proportions_need_a_size_beside_the_crop(tmp_path: Path) -> None:
    for number, (height, width) in enumerate([(9, 12), (12, 10)]):
        for split in ("train", "test"):
            (tmp_path / split / "a").mkdir(parents=True, exist_ok=True)
            (tmp_path / split / "a" / f"{number}.png").write_bytes(encode(np.zeros((height, width), np.uint8)))
    with pytest.raises(
        ValueError,
        match=r"1\.png is 10x10 pixels but the first \(file train/a/0\.png\) is 9x9; rescale all with data\.size",
    ):
        load(DataConfig(path=str(tmp_path), crop="centre"))
    assert load(DataConfig(path=str(tmp_path), crop="centre", size=8)).train.shape == (8, 8, 1)


def test_images_of_other_proportions_are_stretched_padded_or_cropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for files and arrays, and for private and public images."""
    monkeypatch.setenv("RAYSYN_CACHE", str(tmp_path / "cache"))
    wide = RNG.integers(1, 256, (12, 8, 16, 3), dtype=np.uint8)
    path = npz(tmp_path, train_images=wide[:6], test_images=wide[6:])
    small = np.stack([np.asarray(Image.fromarray(one).resize((8, 4), Image.Resampling.BILINEAR)) for one in wide])
    padded = np.zeros((12, 8, 8, 3), np.uint8)
    padded[:, 2:6] = small
    expected = {
        "stretch": load(DataConfig(path=path, size=8)).train.images_NHWC, "pad": padded[:6], "crop": wide[:6, :, 4:12]
    }  # fmt: skip
    (tmp_path / "files").mkdir()
    for source in (path, parquet(tmp_path / "files", image=[encode(pixels) for pixels in wide])):
        for fit, pixels in expected.items():
            found = load(DataConfig(path=source, size=8, fit=fit)).train.images_NHWC  # type: ignore[arg-type]
            assert np.array_equal(found, pixels), (source, fit)
            public = load_public(PublicConfig(path=(source,), fit=fit), (8, 8, 3)).train  # type: ignore[arg-type]
            assert np.array_equal(public.images_NHWC[:][:6], pixels[: len(public)]), (source, fit)
    tall = load(DataConfig(path=npz(tmp_path, train_images=wide.transpose(0, 2, 1, 3)[:6]), size=10, fit="pad"))
    assert tall.train.images_NHWC[:, :, [0, 1, 2, 6, 7, 9]].any(axis=(0, 1, 3)).tolist() == [0, 0, 1, 1, 0, 0]
    assert tall.train.images_NHWC[:, [0, 9], 2:7].all()


def test_a_crop_is_one_of_the_fits_and_flags_that_differ_are_refused(tmp_path: Path) -> None:
    path = npz(tmp_path)
    by_fit, by_crop, by_both = (
        load(DataConfig(path=path, **flags)).fingerprint()  # type: ignore[arg-type]
        for flags in ({"fit": "crop"}, {"crop": "centre"}, {"fit": "crop", "crop": "centre"})
    )
    assert by_fit == by_crop == by_both
    sentence = fault(DataConfig(path=path, size=8, fit="pad", crop="centre"))
    assert sentence.startswith("data.fit is 'pad', but data.crop='centre' keeps the square") and "leave one" in sentence
    for fit in ("pad", "stretch"):
        assert "give --data.size" in fault(DataConfig(path=path, fit=fit))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"public\.fit is 'stretch', but public\.crop='centre'"):
        load_public(PublicConfig(path=(path,), fit="stretch", crop="centre"), (8, 8, 3))


def test_labels_can_be_forgotten() -> None:
    """All images are then of one class, also where it is asked what is in a source and nothing is decoded."""
    config = DataConfig(limit=300)
    known, forgotten = load(config), load(replace(config, labels=False))
    assert forgotten.train.class_names == forgotten.test.class_names == ("image",)
    assert not forgotten.train.labels_N.any() and forgotten.fingerprint() != known.fingerprint()
    np.testing.assert_array_equal(forgotten.train.images_NHWC, known.train.images_NHWC)
    assert public_facts(replace(config, labels=False)) == (300, (8, 8, 1), 1)


def test_persons_are_counted_once_and_numbered_anew_among_those_that_are_left() -> None:
    pixels, labels = np.zeros((6, 8, 8, 1), np.uint8), np.zeros(6, np.int64)
    persons = np.array([2, 0, 2, 1, 3, 0])
    images = Images(pixels, labels, ("a",), persons)
    assert images.units == 4 and replace(images, persons_N=None).units == 6
    some = images.select(np.array([4, 2, 0]))
    assert some.units == 2 and some.persons_N is not None and some.persons_N.tolist() == [1, 0, 0]
    for indices in (slice(1, 4), persons != 2, np.zeros(6, bool), np.arange(0)):
        left = images.select(indices)
        assert left.units == len(set(persons[indices].tolist()))
        assert left.persons_N is not None and left.persons_N.dtype == np.int64
        assert np.array_equal(left.persons_N[:, None] == left.persons_N, persons[indices, None] == persons[indices])
    assert replace(images, persons_N=None).select(slice(0, 3)).persons_N is None
    for wrong in (persons + 1, persons * 2, persons[:5], persons.astype(np.int32)):
        with pytest.raises(AssertionError):
            replace(images, persons_N=wrong)


def test_whose_images_they_are_is_part_of_which_they_are() -> None:
    images = Images(np.zeros((4, 8, 8, 1), np.uint8), np.zeros(4, np.int64), ("a",))
    found = [replace(images, persons_N=one) for one in (None, np.arange(4), np.array([0, 0, 1, 2]))]
    assert len({one.fingerprint() for one in found}) == 3 and found[0].fingerprint() == images.fingerprint()
