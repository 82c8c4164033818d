"""Labelled images from built-in names, downloads and files, always as uint8 NHWC in NumPy (Ray shares it uncopied).

The number of images, their shape and the list of classes are treated as public throughout raysyn.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

TORCHVISION = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST", "cifar10": "CIFAR10", "cifar100": "CIFAR100"}
MEDMNIST = tuple("path derma oct pneumonia retina breast blood tissue organa organc organs".split())
NAMES = ("digits", *TORCHVISION, *(f"{organ}mnist" for organ in MEDMNIST))
SMALLEST = 8
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which labelled images to use."""

    name: str | None = "digits"
    """digits (built in), mnist, fashion_mnist, cifar10, cifar100 or a 2D MedMNIST flag; downloaded on first use."""
    path: str | None = None
    """Own data instead of a name: a Parquet file (columns image, label, split), a MedMNIST-style .npz file, or a
    folder with train/ and test/, each with one sub-folder of images per class."""
    size: int | None = None
    """Rescale every image to this many pixels a side, at least 8; by default images stay as they are."""
    limit: int | None = None
    """Keep only this many training images, always the same ones, and at most as many test images."""


@dataclass(frozen=True, eq=False)
class Images:
    """Images with labels: images_NHWC uint8 (N, H, W, C), C 1 or 3; labels_N int64 in [0, len(class_names))."""

    images_NHWC: np.ndarray
    labels_N: np.ndarray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.images_NHWC.dtype == np.uint8 and self.images_NHWC.ndim == 4, self.images_NHWC.shape
        assert self.images_NHWC.shape[3] in (1, 3), self.images_NHWC.shape
        assert self.labels_N.dtype == np.int64 and self.labels_N.shape == self.images_NHWC.shape[:1]
        assert len(self) == 0 or (self.labels_N.min() >= 0 and self.labels_N.max() < self.classes)

    def __len__(self) -> int:
        return len(self.images_NHWC)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of one image."""
        height, width, channels = self.images_NHWC.shape[1:]
        return height, width, channels

    @property
    def classes(self) -> int:
        """Number of classes, those without an image here included."""
        return len(self.class_names)

    def select(self, indices: Any) -> Images:
        """The images at `indices` (integers, a slice or a mask), with the same classes."""
        return Images(self.images_NHWC[indices], self.labels_N[indices], self.class_names)

    def fingerprint(self) -> str:
        """SHA-256 (hex) over shape, class names, labels and pixels, in this order of images."""
        digest = hashlib.sha256(json.dumps([self.images_NHWC.shape, self.class_names]).encode())
        digest.update(np.ascontiguousarray(self.labels_N, dtype="<i8").data)
        digest.update(np.ascontiguousarray(self.images_NHWC).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Dataset:
    """The splits of one data set; all have the same image shape and classes."""

    name: str
    train: Images
    test: Images
    val: Images | None


@dataclass(frozen=True)
class _Split:
    """A split before decoding: arrays, encoded bytes or file paths, so that `limit` decodes only what it keeps."""

    pictures: Sequence[Any]
    labels: Sequence[int] | np.ndarray
    place: Callable[[int], str]


@dataclass(frozen=True)
class _Source:
    """What a reader found; `label` opens every error sentence, `class_names` is None where the source has none."""

    name: str
    label: str
    class_names: Sequence[str] | None
    splits: dict[str, _Split]


def load(config: DataConfig) -> Dataset:
    """The data set that `config` names: train and test, and val where the source has one.

    Raises ValueError, one sentence with field, value and mend, for anything the user can put right.
    """
    if config.size is not None and config.size < SMALLEST:
        raise ValueError(f"data.size={config.size} is too small; give at least {SMALLEST} or leave it out")
    if config.limit is not None and config.limit < 1:
        raise ValueError(f"data.limit={config.limit} leaves nothing to train on; give at least 1 or leave it out")
    source = _from_path(config.path) if config.path is not None else _from_name(config.name, config.size)
    labels = {split: _labels(source, split) for split in SPLITS if split in source.splits}
    for split in ("train", "test"):
        if split not in labels or len(labels[split]) == 0:
            raise ValueError(f"{source.label} has no {split} images; both train and test are needed")
    class_names = _class_names(source, labels)
    limit = len(labels["train"]) if config.limit is None else config.limit
    if limit > len(labels["train"]):
        raise ValueError(f"data.limit={limit} is more than the {len(labels['train'])} training images of {source.label}")
    done: dict[str, Images] = {}
    for split in labels:
        if len(labels[split]):
            keep = np.arange(len(labels[split])) if config.limit is None else _subset(len(labels[split]), limit)
            shape = done["train"].shape if done else None
            pixels = _pixels(source, source.splits[split], keep, config.size, shape)
            done[split] = Images(pixels, labels[split][keep], class_names)
    return Dataset(source.name, done["train"], done["test"], done.get("val"))


def _subset(n: int, limit: int) -> np.ndarray:
    """Indices of at most `limit` of n images; a smaller limit gives a subset of a larger one's."""
    # RandomState, not Generator: its streams are frozen, so a subset means the same under every NumPy.
    return np.sort(np.random.RandomState(0).permutation(n)[:limit])


# Readers: one per source, each returns pictures still undecoded


def _from_name(name: str | None, size: int | None) -> _Source:
    if name == "digits":
        return _digits()
    if name in TORCHVISION:
        return _torchvision(name)
    if name in NAMES:
        return _medmnist(name, size)
    mend = "several labels per image are not supported" if name == "chestmnist" else "unknown"
    raise ValueError(f"data.name={name!r}: {mend}; choose one of {', '.join(NAMES)}, or give data.path")


def _digits() -> _Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    # A fixed random sixth: the file cycles through the classes, so every sixth image would favour some of them.
    test = _subset(len(pixels), len(pixels) // 6)
    train = np.setdiff1d(np.arange(len(pixels)), test)
    arrays = {"train": (pixels[train], digits.target[train]), "test": (pixels[test], digits.target[test])}
    return _from_arrays("digits", "data.name='digits'", arrays, [str(digit) for digit in range(10)])


def cache_folder() -> Path:
    """Where downloads are kept: $RAYSYN_CACHE, by default ~/.cache/raysyn."""
    return Path(os.environ.get("RAYSYN_CACHE") or Path.home() / ".cache" / "raysyn")


def _fetch(name: str, get: Callable[[Path], Any]) -> Any:
    """`get(cache folder)`, telling the user first, since it may download."""
    folder = cache_folder()
    print(f"{name}: using {folder}, downloading what is missing", file=sys.stderr)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return get(folder)
    except (OSError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise ValueError(f"data.name={name!r} could not be downloaded to {folder} ({reason[0]}); "
                         "give a file with data.path instead") from error  # fmt: skip


def _torchvision(name: str) -> _Source:
    import torchvision.datasets

    kind = getattr(torchvision.datasets, TORCHVISION[name])
    train, test = _fetch(name, lambda root: [kind(root, train=part, download=True) for part in (True, False)])
    arrays = {split: (np.asarray(part.data), np.asarray(part.targets)) for split, part in (("train", train), ("test", test))}
    return _from_arrays(name, f"data.name={name!r}", arrays, train.classes)


def _medmnist(name: str, size: int | None) -> _Source:
    import medmnist

    info = medmnist.INFO[name]
    # MedMNIST+ holds the real thing at these sizes; any other size is rescaled from 28 like the papers do.
    native = size if size in (64, 128, 224) else 28
    kind = getattr(medmnist, info["python_class"])
    part = _fetch(name, lambda root: kind(split="train", download=True, root=str(root), size=native))
    file = Path(part.root) / f"{part.flag}{part.size_flag}.npz"
    names = [info["label"][str(label)] for label in range(len(info["label"]))]
    return _npz(file, name, f"data.name={name!r}", names)


def _from_path(given: str) -> _Source:
    path, label = Path(given).expanduser(), f"data.path={given!r}"
    if not path.exists():
        raise ValueError(f"{label} does not exist; check the spelling, or use data.name")
    if path.is_dir():
        return _folder(path, label)
    if path.suffix == ".npz":
        return _npz(path, path.stem, label, None)
    if path.suffix in (".parquet", ".pq"):
        return _parquet(path, label)
    raise ValueError(f"{label} is neither a .parquet file, a .npz file nor a folder with train/ and test/")


def _parquet(path: Path, label: str) -> _Source:
    try:
        schema = pq.read_schema(path)
        missing = [column for column in ("image", "label", "split") if column not in schema.names]
        if missing:
            raise ValueError(f"{label} lacks the column {', '.join(missing)}; it needs image, label and split")
        table = pq.read_table(path, columns=["image", "label", "split"])
    except (OSError, pa.ArrowException) as error:
        raise ValueError(f"{label} cannot be read as Parquet ({str(error).splitlines()[0]})") from error
    kinds = schema.field("image").type, schema.field("label").type
    if not (pa.types.is_binary(kinds[0]) or pa.types.is_large_binary(kinds[0])):
        raise ValueError(f"{label}: column image is {kinds[0]}; it must hold the bytes of PNG or JPEG files (binary)")
    if not pa.types.is_integer(kinds[1]):
        raise ValueError(f"{label}: column label is {kinds[1]}; it must hold class numbers 0, 1, 2, ... (integer)")
    for column in ("image", "label", "split"):
        if table[column].null_count:
            raise ValueError(f"{label}: column {column} has {table[column].null_count} empty rows; fill or remove them")
    pictures, labels = table["image"].to_pylist(), table["label"].to_numpy()
    splits = np.array(table["split"].to_pylist(), dtype=object)
    unknown = sorted({str(split) for split in splits} - set(SPLITS))
    if unknown:
        raise ValueError(f"{label}: column split holds {unknown[0]!r}; it must be one of train, val, test")
    rows = {split: np.flatnonzero(splits == split) for split in SPLITS}
    return _Source(path.stem, label, _metadata_names(schema, label), {
        split: _Split([pictures[row] for row in at], labels[at], lambda i, at=at: f"row {at[i]}")
        for split, at in rows.items()})  # fmt: skip


def _metadata_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Class names from the schema metadata: key `dataset`, a JSON object with a list `classes`."""
    raw = (schema.metadata or {}).get(b"dataset")
    if raw is None:
        return None
    try:
        names = json.loads(raw).get("classes")
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{label}: the schema metadata key 'dataset' is not a JSON object; mend or remove it") from error
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise ValueError(f"{label}: 'classes' in the schema metadata must be a list of names; mend or remove it")
    return names


def _npz(path: Path, name: str, label: str, class_names: Sequence[str] | None) -> _Source:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{label} cannot be read as .npz of plain arrays ({error})") from error
    for key in ("train_images", "train_labels", "test_images", "test_labels"):
        if key not in arrays:
            raise ValueError(f"{label} lacks the array {key}; it needs train_ and test_ images and labels")
    if ("val_images" in arrays) != ("val_labels" in arrays):
        raise ValueError(f"{label} has only one of val_images and val_labels; give both or none")
    found = {s: (arrays[f"{s}_images"], arrays[f"{s}_labels"]) for s in SPLITS if f"{s}_images" in arrays}
    return _from_arrays(name, label, found, class_names)


def _from_arrays(
    name: str, label: str, arrays: dict[str, tuple[np.ndarray, np.ndarray]], class_names: Sequence[str] | None
) -> _Source:
    splits = {}
    for split, (images, labels) in arrays.items():
        pixels = images[..., None] if images.ndim == 3 else images
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
            raise ValueError(f"{label}: {split} images are {images.dtype} of shape {images.shape}; "
                             "they must be uint8 (N, H, W) or (N, H, W, 1 or 3)")  # fmt: skip
        if labels.ndim == 2 and labels.shape[1] > 1:
            raise ValueError(f"{label}: {split} has {labels.shape[1]} labels per image; give one class number each")
        if labels.size != len(pixels):
            raise ValueError(f"{label}: {split} has {len(pixels)} images but {labels.size} labels; give one each")
        splits[split] = _Split(pixels, labels.reshape(-1), lambda i, split=split: f"{split} image {i}")
    return _Source(name, label, class_names, splits)


def _folder(path: Path, label: str) -> _Source:
    for split in ("train", "test"):
        if not (path / split).is_dir():
            raise ValueError(f"{label} has no folder {split}/; it needs train/ and test/ with one sub-folder per class")
    class_names = [folder.name for folder in _visible(path / "train") if folder.is_dir()]
    splits = {}
    for split in SPLITS:
        if (path / split).is_dir():
            files, labels = _folder_split(path / split, class_names, label)
            splits[split] = _Split(files, labels, lambda i, files=files: f"file {files[i].relative_to(path)}")
    return _Source(path.resolve().name, label, class_names, splits)


def _folder_split(folder: Path, class_names: list[str], label: str) -> tuple[list[Path], np.ndarray]:
    """Files and class numbers of one split, in sorted order."""
    files: list[Path] = []
    labels: list[int] = []
    for entry in _visible(folder):
        if not entry.is_dir():
            raise ValueError(f"{label}: {folder.name}/{entry.name} is not in a class folder; move or remove it")
        if entry.name not in class_names:
            raise ValueError(f"{label}: class {entry.name!r} of {folder.name}/ is not in train/; add or remove it")
        inside = [file for file in sorted(entry.rglob("*")) if file.is_file() and not file.name.startswith(".")]
        files += inside
        labels += [class_names.index(entry.name)] * len(inside)
    return files, np.array(labels, dtype=np.int64)


def _visible(folder: Path) -> Iterator[Path]:
    return (entry for entry in sorted(folder.iterdir()) if not entry.name.startswith("."))


# Checks and decoding


def _labels(source: _Source, split: str) -> np.ndarray:
    """The labels of one split as int64, refusing anything but whole numbers from 0."""
    labels = np.asarray(source.splits[split].labels)
    if labels.size and not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{source.label}: {split} labels are {labels.dtype}; they must be class numbers 0, 1, 2, ...")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < 2**31:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise ValueError(f"{source.label}: {split} has the label {wrong}; number the classes 0, 1, 2, ...")
    return labels.astype(np.int64)


def _class_names(source: _Source, labels: dict[str, np.ndarray]) -> tuple[str, ...]:
    """The name of every class, each with at least one training image; numbers where the source has no names."""
    seen = np.unique(labels["train"])
    names = source.class_names
    classes = int(seen[-1]) + 1 if names is None else len(names)
    for split, found in labels.items():
        unknown = found[found >= classes]
        if unknown.size:
            raise ValueError(f"{source.label}: {split} has the label {unknown[0]}, but there are only {classes} classes"
                             f"{'' if names is None else ' named'} in train; mend the label or add the class")  # fmt: skip
    # The first gap, not all of them: a stray label of a million would otherwise list a million classes.
    if len(seen) < classes:
        gap = int(np.flatnonzero(np.append(seen, -1) != np.arange(len(seen) + 1))[0])
        name = "" if names is None else f" ({names[gap]})"
        raise ValueError(f"{source.label}: class {gap}{name} has no training images; add some or renumber the classes")
    return tuple(str(label) for label in range(classes)) if names is None else tuple(str(name) for name in names)


def _pixels(
    source: _Source, split: _Split, keep: np.ndarray, size: int | None, shape: tuple[int, int, int] | None
) -> np.ndarray:
    """The pictures at `keep` decoded to uint8 (N, H, W, C); `shape` is what train has, None for train itself."""

    def one(index: int) -> np.ndarray:
        try:
            return _decode(split.pictures[index], size)
        except Exception as error:  # a decoder fed damaged bytes may raise anything; here is where the row is known
            raise ValueError(f"{source.label}: {split.place(index)} is no usable image ({error})") from error

    first = one(keep[0])
    shape = shape or _checked_shape(first, f"{source.label}: {split.place(keep[0])}")
    result = np.empty((len(keep), *shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for at in range(start, min(start + 512, len(keep))):
            pixels = one(keep[at])
            if pixels.shape != shape:
                raise ValueError(_mixed(f"{source.label}: {split.place(keep[at])}", pixels.shape, shape))
            result[at] = pixels

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for _ in pool.map(fill, range(0, len(keep), 512)):
            pass
    return result


def _checked_shape(pixels: np.ndarray, place: str) -> tuple[int, int, int]:
    height, width, channels = pixels.shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"{place} is {width}x{height} pixels, under {SMALLEST}; rescale with data.size")
    return height, width, channels


def _mixed(place: str, shape: tuple[int, ...], expected: tuple[int, int, int]) -> str:
    if shape[2] != expected[2]:
        kind = {1: "grey", 3: "colour"}
        return f"{place} is {kind[shape[2]]} but the first is {kind[expected[2]]}; convert all images to one of the two"
    return (f"{place} is {shape[1]}x{shape[0]} pixels but the first is {expected[1]}x{expected[0]}; "
            "rescale all with data.size")  # fmt: skip


def _decode(picture: Any, size: int | None) -> np.ndarray:
    """One picture (bytes of a file, path or HWC array) as uint8 (H, W, C), rescaled to `size` if given."""
    if isinstance(picture, np.ndarray):
        if size is None or picture.shape[:2] == (size, size):
            return picture
        image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture)
    else:
        image = Image.open(io.BytesIO(picture) if isinstance(picture, bytes) else picture)
        image.load()
        if "transparency" in image.info or image.mode not in ("1", "L", "P", "RGB"):
            raise ValueError(f"mode {image.mode}, transparency or more than 8 bits; save it as 8-bit grey or RGB")
        if image.mode in ("1", "P"):
            image = image.convert("L" if image.mode == "1" else "RGB")
    if size is not None and image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
